"""What a flood of one slice does to another, on a link and in a cell: runs, and what theory predicts of them.

Slice X (eMBB, packets of one size) sends `flood` times its normal load; slice Y (URLLC, exponential sizes) sends
the very same packets whatever X does. Both come as Poisson processes.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.access import Delivered
from wirelesslab.network.fading import NoFading
from wirelesslab.network.packet_sizes import ExponentialSize, SizeLaw
from wirelesslab.network.schedulers import FirstComeFirstServed, Scheduler, StrictPriority, WeightedFair
from wirelesslab.network.simulation import Network
from wirelesslab.network.slices import EMBB, URLLC, ResourceRatio, Slice
from wirelesslab.network.slots import SlotAccess, SlotRadio
from wirelesslab.network.statistics import Tally
from wirelesslab.network.theory import mm1_sojourn, mm1_sojourn_quantile
from wirelesslab.network.topology import line
from wirelesslab.network.traffic import Poisson
from wirelesslab.network.user_schedulers import EarliestDeadline
from wirelesslab.rng import stream

LinkSharing = Literal["dedicated", "minimum", "first come first served", "weighted fair", "strict priority"]
CellSharing = Literal["dedicated", "minimum", "weighted"]
LINK_SHARINGS: tuple[LinkSharing, ...] = get_args(LinkSharing)
CELL_SHARINGS: tuple[CellSharing, ...] = get_args(CellSharing)
WARM_UP = 0.02  # of a run's time
LATE = 0.99  # the quantile


class Seen(NamedTuple):
    """Y's delays in a run, and by how much more came of X's packets and Y's bytes than should have (known mean 0)."""

    delays: Tally
    controls: tuple[float, float]


class Prediction(NamedTuple):
    """What theory says of Y's delay.

    Attributes:
        mean_s: Its mean, or an upper bound of it; NaN if theory is silent.
        late_s: Its 99 % quantile, likewise.
        kind: "exact"; "at most": a bound; "fluid": the queue has no mean, and grows as a fluid would.
    """

    mean_s: float
    late_s: float
    kind: Literal["exact", "at most", "fluid"]


@dataclass(frozen=True, kw_only=True)
class Flood:
    """Two slices before one resource.

    Attributes:
        flood: How many times its normal load X sends.
        x_load: X's normal load, as a share of the resource.
        y_load: Y's load.
        y_share: Share of the resource that is Y's when it has one.
        x_bytes: Size of X's packets.
        y_bytes: Mean size of Y's packets.
        rate_bps: Of the resource.
        time_s: How long a run takes.
    """

    flood: float
    x_load: float = 0.12
    y_load: float = 0.06
    y_share: float = 0.2
    x_bytes: int = 3000
    y_bytes: int = 1250
    rate_bps: float = 20e6
    time_s: float = 20.0

    def __post_init__(self) -> None:
        check.positive(
            flood=self.flood, x_load=self.x_load, y_load=self.y_load, rate_bps=self.rate_bps, time_s=self.time_s
        )
        check.positive_integer(x_bytes=self.x_bytes, y_bytes=self.y_bytes)
        if not self.y_load < self.y_share < 1:
            msg = f"y_share: got {self.y_share}, expected above y_load={self.y_load}, so that Y is stable, and below 1"
            raise ValueError(msg)

    @property
    def load(self) -> float:
        """Of both slices together."""
        return self.flood * self.x_load + self.y_load

    @property
    def rates_per_s(self) -> tuple[float, float]:
        """Packets per second of X and Y."""
        x_rate, y_rate = (
            load * self.rate_bps / (8 * size)
            for load, size in ((self.flood * self.x_load, self.x_bytes), (self.y_load, self.y_bytes))
        )
        return x_rate, y_rate

    def _excess(self, x_packets: int, y_bytes: int) -> tuple[float, float]:
        """Return by how much more came than should have, relatively."""
        x_rate, y_rate = self.rates_per_s
        return x_packets / (x_rate * self.time_s) - 1, y_bytes / (y_rate * self.y_bytes * self.time_s) - 1

    def _alone(self, share: float) -> tuple[float, float]:
        """Return mean and quantile of Y's delay, had it a share of its own: M/M/1."""
        arrivals, service = self.rates_per_s[1], share * self.rate_bps / (8 * self.y_bytes)
        return mm1_sojourn(arrivals, service), mm1_sojourn_quantile(LATE, arrivals, service)


@dataclass(frozen=True, kw_only=True)
class LinkFlood(Flood):
    """A flood on a transport link.

    Attributes:
        sharing: How the slices share it; "minimum" guarantees Y its share, first come first served beyond.
    """

    sharing: LinkSharing

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(LINK_SHARINGS, sharing=self.sharing)

    def predicted(self) -> Prediction:
        """Return what theory says.

        Dedicated: M/M/1 of its own share. First come first served: M/G/1 of the sum (Pollaczek-Khinchine), beyond
        load 1 the fluid's growth, averaged over the run. Strict priority: Cobham's formula, the part of X that gets
        through counted. Guarantees: M/M/1 of the guaranteed share and one packet of X, an upper bound (Parekh
        and Gallager, IEEE/ACM Trans. Netw. 1(3), 1993; Golestani, 1994, with two slices).
        """
        nan = float("nan")
        x_s, y_s = (8 * size / self.rate_bps for size in (self.x_bytes, self.y_bytes))
        residual_s = y_s * self.y_load + min(self.flood * self.x_load, 1 - self.y_load) * x_s / 2
        if self.sharing == "dedicated":
            return Prediction(*self._alone(self.y_share), "exact")
        if self.sharing == "strict priority":
            return Prediction(residual_s / (1 - self.y_load) + y_s, nan, "exact")
        if self.sharing == "first come first served":
            if self.load < 1:
                return Prediction(residual_s / (1 - self.load) + y_s, nan, "exact")
            return Prediction((1 + WARM_UP) / 2 * self.time_s * (1 - 1 / self.load), nan, "fluid")
        mean_s, late_s = self._alone(self.y_share if self.sharing == "minimum" else 0.5)
        return Prediction(mean_s + x_s, late_s + x_s, "at most")

    def measure(self, seed: int) -> Seen:
        """Return Y's delays in a network of one link."""
        schedulers: dict[LinkSharing, Scheduler] = {
            "weighted fair": WeightedFair(),
            "strict priority": StrictPriority(),
        }
        slices = _slices(self.sharing, self.y_share)
        graph = line(num_links=1, rate_bps=self.rate_bps, distance_m=1.0)
        network = Network(
            graph, slices, seed=seed, scheduler=schedulers.get(self.sharing, FirstComeFirstServed()), report_s=10.0
        )
        sizes: tuple[int | SizeLaw, ...] = (self.x_bytes, ExponentialSize(mean=self.y_bytes))
        for of_slice, rate_per_s, num_bytes in zip(slices, self.rates_per_s, sizes, strict=True):
            network.add(
                Poisson(
                    of_slice, name=f"{of_slice.name}_source", source="edge-1", sink="edge-2", rate_per_s=rate_per_s,
                    num_bytes=num_bytes,
                )
            )  # fmt: skip
        network.run(WARM_UP * self.time_s)
        network.book.delays[1] = delays = Tally(accuracy=1e-3)
        network.run(self.time_s)
        network.check()
        return Seen(delays, self._excess(network.book.offered_flows[0], network.book.offered_bytes[1]))


@dataclass(frozen=True, kw_only=True)
class CellFlood(Flood):
    """A flood in a radio cell of slots, every user at the same rate and without fading, so that theory can tell.

    Attributes:
        sharing: How the slices share the cell; "minimum" guarantees Y its share, equal weights divide the rest.
        slot_s: Length of a slot.
        num_users: Of each slice.
    """

    sharing: CellSharing
    slot_s: float = 0.25e-3
    num_users: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check.one_of(CELL_SHARINGS, sharing=self.sharing)
        check.positive(slot_s=self.slot_s)
        check.positive_integer(num_users=self.num_users)

    def predicted(self) -> Prediction:
        """Return what theory says.

        A queue served in slots delays by one slot more than in continuous time: half a slot until the packet may be
        served and half until the last one ends. Dedicated: M/M/1 of its own share. Otherwise M/M/1 of what X leaves
        when it always has data, exact when the load of both is above 1 and an upper bound below.
        """
        share = {"dedicated": self.y_share, "minimum": (1 + self.y_share) / 2, "weighted": 0.5}[self.sharing]
        mean_s, late_s = self._alone(share)
        exact = self.sharing == "dedicated" or self.load > 1
        return Prediction(mean_s + self.slot_s, late_s + self.slot_s, "exact" if exact else "at most")

    def measure(self, seed: int) -> Seen:
        """Return Y's delays in a cell of `SlotAccess`."""
        slices = _slices(self.sharing, self.y_share)
        users = np.arange(2 * self.num_users)
        access = SlotAccess(
            SlotRadio(slot_s=self.slot_s, intra_slice=EarliestDeadline(), fading=NoFading()), slices,
            cells=np.zeros(users.size, int), slice_of=users // self.num_users,
            mean_rate_bps=np.full(users.size, self.rate_bps), seed=seed,
        )  # fmt: skip
        parts = [self._packets(seed, index) for index in (0, 1)]
        times, who, sizes = (np.concatenate([part[column] for part in parts]) for column in range(3))
        order = np.argsort(times, kind="stable")
        access.offer(who[order], sizes[order], times[order])
        done: Delivered = access.advance(self.time_s)
        access.account().check()
        delays = Tally(accuracy=1e-3)
        delays.add_many(done.delay_s[(done.user >= self.num_users) & (done.delivered_s > WARM_UP * self.time_s)])
        return Seen(delays, self._excess(parts[0][0].size, int(parts[1][2].sum())))

    def _packets(self, seed: int, index: int) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Return times, users and sizes of a slice's packets; a slice's do not depend on the other's."""
        rng = stream(seed, "packets", index)
        expected = self.rates_per_s[index] * self.time_s
        gaps = rng.standard_exponential(round(expected + 10 * expected**0.5 + 10))
        times = np.cumsum(gaps) / self.rates_per_s[index]
        times = times[times < self.time_s]
        rng = stream(seed, "sizes", index)
        who = rng.integers(self.num_users, size=times.size) + index * self.num_users
        law = ExponentialSize(mean=self.y_bytes)
        sizes = law.quantile(rng.random(times.size)) if index else np.full(times.size, self.x_bytes)
        return times, who, sizes


def _slices(sharing: str, y_share: float) -> tuple[Slice, Slice]:
    """Return X and Y, of equal weight, Y more urgent, with the shares that a sharing gives them."""
    ratios = {
        "dedicated": (ResourceRatio.isolated(1 - y_share), ResourceRatio.isolated(y_share)),
        "minimum": (ResourceRatio(), ResourceRatio(min=y_share)),
    }.get(sharing, (ResourceRatio(), ResourceRatio()))
    x, y = (
        replace(of_slice, weight=1.0, transport=ratio, radio=ratio)
        for of_slice, ratio in zip((EMBB, URLLC), ratios, strict=True)
    )
    return x, y


def run_flood(config: LinkFlood | CellFlood, seed: int) -> dict[str, Any]:
    """Run a flood under a seed: an experiment for `replicate`."""
    delays, controls = config.measure(seed)
    return {
        "mean_s": delays.mean,
        "late_s": delays.quantile(LATE),
        "packets": delays.count,
        "controls": controls,
    }
