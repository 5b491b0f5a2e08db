"""The radio, admission, random access and fair rates of this simulator where theory has closed forms.

The cases are like those of `theory_runs`: `expected` row by row, and `measure` under a seed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network import theory
from wirelesslab.network.active_set import ActiveSetAccess, SharedPool
from wirelesslab.network.admission import CallClass, CompleteSharing, LossSystem
from wirelesslab.network.admission_runs import simulate_admission
from wirelesslab.network.fair_rates import max_min_rates, proportional_fair_rates, water_filling
from wirelesslab.network.flow_sharing import FlowAccess
from wirelesslab.network.radio import ProportionalRate
from wirelesslab.network.slices import EMBB, MIOT
from wirelesslab.network.slots import SlotAccess, SlotRadio
from wirelesslab.network.theory_runs import Measured
from wirelesslab.network.traffic import BetaBurst, due
from wirelesslab.network.user_schedulers import ProportionalFair
from wirelesslab.rng import stream

RATE_BPS = 8e6  # of the cell in which files share: a file of a megabyte takes a second alone
SLOT_S = 1e-3


@dataclass(frozen=True, kw_only=True)
class SharedCell:
    """Files of two sizes that share a cell as a fluid (M/G/1-PS): each takes its time alone over 1 - load.

    Attributes:
        load: Below 1.
        sizes_bytes: Of small and large files, equally many.
        num_files: Files that are measured, about.
    """

    load: float = 0.6
    sizes_bytes: tuple[int, ...] = (200_000, 1_800_000)
    num_files: int = 40_000

    def __post_init__(self) -> None:
        theory.stable_load(self.load)
        check.positive_integer(num_files=self.num_files)
        if len(self.sizes_bytes) != 2:
            msg = f"sizes_bytes: got {len(self.sizes_bytes)}, expected two"
            raise ValueError(msg)

    @property
    def expected(self) -> Mapping[str, float]:
        """What theory says."""
        return {
            f"M/G/1-PS, load {self.load:g}: a {kind} file": theory.ps_sojourn(8 * size / RATE_BPS, self.load)
            for kind, size in zip(("small", "large"), self.sizes_bytes, strict=True)
        }

    def measure(self, seed: int) -> Measured:
        """Return what `FlowAccess` gives."""
        rng = stream(seed, "files")
        mean_s = 8 * sum(self.sizes_bytes) / 2 / RATE_BPS
        times = np.cumsum(rng.exponential(mean_s / self.load, self.num_files))
        kinds = rng.integers(2, size=self.num_files)
        num_users = 1000  # more than ever download at once
        cell = FlowAccess(
            (EMBB,), cells=np.zeros(num_users, int), slice_of=np.zeros(num_users, int),
            rates_bps=np.full(num_users, RATE_BPS),
        )  # fmt: skip
        cell.offer(np.arange(self.num_files) % num_users, np.array(self.sizes_bytes)[kinds], times)
        done = cell.advance(float(times[-1]))
        cell.account().check()
        late = done.offered_s > times[-1] * 0.02
        excess = mean_s * self.num_files / (self.load * times[-1]) - 1, (kinds.mean() - 0.5) / 0.5
        return Measured([done.delay_s[late & (done.num_bytes == size)].mean() for size in self.sizes_bytes], excess)


@dataclass(frozen=True, kw_only=True)
class MultiuserGain:
    """Proportional fairness rides on the peaks of users whose Rayleigh fading is independent.

    Attributes:
        num_users: K, all with full buffers.
        window_slots: Of the averaging; theory wants at least 1,000.
        num_slots: Slots that are measured.
    """

    num_users: int = 16
    window_slots: int = 2000
    num_slots: int = 20_000

    def __post_init__(self) -> None:
        check.positive_integer(num_users=self.num_users, window_slots=self.window_slots, num_slots=self.num_slots)

    @property
    def expected(self) -> Mapping[str, float]:
        """What theory says."""
        return {f"Proportional fairness, {self.num_users} users: gain": theory.multiuser_gain(self.num_users)}

    def measure(self, seed: int) -> Measured:
        """Return what `SlotAccess` gives."""
        snr, nobody = 4.0, np.zeros(self.num_users, int)
        config = SlotRadio(
            slot_s=SLOT_S, rate=ProportionalRate(), intra_slice=ProportionalFair(window_slots=self.window_slots)
        )
        access = SlotAccess(
            config, (EMBB,), cells=nobody, slice_of=nobody, mean_snr=np.full(self.num_users, snr), saturated=True,
            seed=seed,
        )  # fmt: skip
        warm_s = 4 * self.window_slots * SLOT_S
        access.advance(warm_s)
        before = access.account().delivered_bytes.sum()
        access.advance(warm_s + self.num_slots * SLOT_S)
        account = access.account()
        account.check()
        alone = config.bandwidth_hz * snr * SLOT_S / 8
        return Measured((float((account.delivered_bytes.sum() - before) / self.num_slots / alone),))


@dataclass(frozen=True, kw_only=True)
class LossOfTwoClasses:
    """Calls of two sizes that share a resource, everybody admitted who fits.

    Attributes:
        capacity: Units.
        demands: Units of a call of each class.
        loads: In Erlang, of each class.
        num_calls: Calls that are measured.
    """

    capacity: int = 30
    demands: tuple[int, ...] = (1, 4)
    loads: tuple[float, ...] = (10.0, 3.0)
    num_calls: int = 200_000

    def __post_init__(self) -> None:
        check.positive_integer(num_calls=self.num_calls)
        if len(self.demands) != 2:
            msg = f"demands: got {len(self.demands)} classes, expected two"
            raise ValueError(msg)
        _ = self.expected

    @property
    def expected(self) -> Mapping[str, float]:
        """What theory says."""
        blocking = theory.kaufman_roberts(self.capacity, self.demands, self.loads).blocking
        return {
            f"Kaufman-Roberts, {self.capacity} units: blocking of {demand} unit{'s' * (demand > 1)}": float(lost)
            for demand, lost in zip(self.demands, blocking, strict=True)
        }

    def measure(self, seed: int) -> Measured:
        """Return what a loss system played call by call gives."""
        classes = tuple(CallClass(arrival_rate=a, demand=d) for a, d in zip(self.loads, self.demands, strict=True))
        system = LossSystem(capacity=self.capacity, classes=classes)
        calls = simulate_admission(CompleteSharing(system), system, stream(seed, "calls"), self.num_calls, warm_up=5000)
        return Measured([float(share) for share in calls.blocked / calls.offered])


@dataclass(frozen=True, kw_only=True)
class BurstPeak:
    """Many devices that wake within seconds, each once, at a time of Beta(3, 4) law: arrivals at the peak.

    Attributes:
        num_devices: Devices.
        duration_s: Of the burst.
        per_s: The slot in which arrivals are counted; 5 ms in TR 37.868.
        num_bursts: Bursts that are measured.
    """

    num_devices: int = 30_000
    duration_s: float = 10.0
    per_s: float = 5e-3
    num_bursts: int = 5

    def __post_init__(self) -> None:
        check.positive_integer(num_devices=self.num_devices, num_bursts=self.num_bursts)
        check.positive(duration_s=self.duration_s, per_s=self.per_s)

    @property
    def expected(self) -> Mapping[str, float]:
        """What theory says."""
        peak = theory.beta_burst_peak(self.num_devices, self.duration_s) * self.per_s
        return {f"Beta(3, 4) burst, peak: arrivals per {1e3 * self.per_s:g} ms": peak}

    def measure(self, seed: int) -> Measured:
        """Return what `BetaBurst` gives, within 1 % of the burst around its peak (which is flat to 0.04 % there)."""
        model, half_s, seen = BetaBurst(duration_s=self.duration_s), 0.01 * self.duration_s, 0
        for burst in range(self.num_bursts):
            rng = stream(seed, "burst", burst)
            _, _, times = due(model, rng, model.begin(rng, self.num_devices), self.duration_s)
            seen += int(np.count_nonzero(np.abs(times - 0.4 * self.duration_s) < half_s))
        return Measured((seen / self.num_bursts * self.per_s / (2 * half_s),))


@dataclass(frozen=True, kw_only=True)
class Preambles:
    """Devices that choose among preambles of a slot, each packet sent once: who is alone is heard.

    Rows: the share of packets that get through; for ALOHA (one preamble), packets per slot.

    Attributes:
        num_preambles: To choose from.
        mean_contenders: Per slot.
        poisson: Whether their number is Poisson; otherwise exactly `mean_contenders`, rounded.
        num_slots: Slots that are measured.
    """

    num_preambles: int = 54
    mean_contenders: float = 31.1
    poisson: bool = True
    num_slots: int = 2000

    def __post_init__(self) -> None:
        check.positive_integer(num_preambles=self.num_preambles, num_slots=self.num_slots)
        check.positive(mean_contenders=self.mean_contenders)

    @property
    def expected(self) -> Mapping[str, float]:
        """What theory says."""
        if self.num_preambles == 1:
            load = self.mean_contenders
            return {f"Slotted ALOHA, load {load:g}: packets per slot": theory.slotted_aloha(load)}
        if self.poisson:
            alone = theory.no_collision_poisson(self.num_preambles, self.mean_contenders)
            return {f"{self.num_preambles} preambles, Poisson {self.mean_contenders:g}: alone": alone}
        num = round(self.mean_contenders)
        alone = theory.no_collision(self.num_preambles, num)
        return {f"{self.num_preambles} preambles, {num} devices: alone": alone}

    def measure(self, seed: int) -> Measured:
        """Return what `ActiveSetAccess` gives."""
        rng = stream(seed, "contenders")
        num = round(self.mean_contenders)
        counts = rng.poisson(self.mean_contenders, self.num_slots) if self.poisson else np.full(self.num_slots, num)
        num_devices = 50 * num
        times = np.repeat(np.arange(self.num_slots), counts) * SLOT_S
        access = ActiveSetAccess(
            (MIOT,), cells=np.zeros(num_devices, int), slice_of=np.zeros(num_devices, int), slot_s=SLOT_S,
            contention=SharedPool(self.num_preambles), rng=stream(seed, "choices"), max_attempts=1,
        )  # fmt: skip
        access.offer(np.arange(times.size) % num_devices, np.full(times.size, 20), times)
        heard = access.advance(self.num_slots * SLOT_S).user.size
        access.account().check()
        return Measured((heard / (self.num_slots if self.num_preambles == 1 else times.size),))


@dataclass(frozen=True, kw_only=True)
class Water:
    """Capacity of parallel channels by water-filling; nothing is random, so it must be right to rounding.

    Attributes:
        gains: SNR per unit of power of each channel.
        power: To be spent.
    """

    gains: tuple[float, ...] = (1.0, 0.5, 0.25, 0.1)
    power: float = 10.0

    @property
    def expected(self) -> Mapping[str, float]:
        """What theory says: the best of the channels filled in the order of their gains, by trying all counts."""
        floors = np.sort(1 / np.array(self.gains))
        best = 0.0
        for used in range(1, floors.size + 1):
            level = (self.power + floors[:used].sum()) / used
            if level > floors[used - 1]:
                best = max(best, float(np.log2(level / floors[:used]).sum()))
        return {f"Water-filling, {len(self.gains)} channels: bit/s/Hz": best}

    def measure(self, seed: int) -> Measured:
        """Return what `water_filling` gives."""
        del seed
        powers = water_filling(self.gains, self.power).powers
        return Measured((math.fsum(np.log2(1 + powers * np.array(self.gains))),))


@dataclass(frozen=True, kw_only=True)
class LineOfLinks:
    """A long flow over all links of a line and a short one over each; must be right to rounding.

    Attributes:
        num_links: L.
    """

    num_links: int = 2

    def __post_init__(self) -> None:
        check.positive_integer(num_links=self.num_links)

    @property
    def expected(self) -> Mapping[str, float]:
        """What theory says."""
        return {
            f"Line of {self.num_links} links: long flow, max-min": theory.line_rates(self.num_links, "max-min").long,
            f"Line of {self.num_links} links: long flow, proportional fair": theory.line_rates(
                self.num_links, "proportional"
            ).long,
        }

    def measure(self, seed: int) -> Measured:
        """Return what `fair_rates` gives."""
        del seed
        routes: NDArray[np.float64] = np.hstack([np.ones((self.num_links, 1)), np.eye(self.num_links)])
        capacities = np.ones(self.num_links)
        return Measured([float(rates(routes, capacities)[0]) for rates in (max_min_rates, proportional_fair_rates)])
