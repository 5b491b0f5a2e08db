"""Loads of three kinds of radio that grow with their users, and what a step of them costs.

Density, traffic per user and channels stay as they are while cells are added, so that cost per user tells how
the code grows, not how the load does. All figures of the loads are our choice.
"""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.access import RadioAccess
from wirelesslab.network.active_set import ActiveSetAccess, SharedPool
from wirelesslab.network.flow_sharing import FlowAccess
from wirelesslab.network.slices import EMBB, MIOT, URLLC
from wirelesslab.network.slots import SlotAccess, SlotRadio
from wirelesslab.rng import stream
from wirelesslab.stats import student_quantile

Offers = list[tuple[NDArray[np.int64], NDArray[np.int64]]]
SLICES = (EMBB, URLLC, MIOT)


class Workload(Protocol):
    """A radio with as many users as wanted, and what they say in each step."""

    @property
    def step_s(self) -> float:
        """Simulated seconds between two calls of `advance`."""
        ...

    @property
    def unit(self) -> str:
        """What a cost is reckoned per."""
        ...

    def radio(self, num_users: int, /) -> RadioAccess:
        """Return the radio, empty."""
        ...

    def offers(self, num_users: int, num_steps: int, /) -> Offers:
        """Return users and sizes of what is offered in each step."""
        ...

    def units(self, num_users: int, /) -> float:
        """Return the mean number of units in a step."""
        ...


def _spread(num_users: int, users_per_cell: int, seed_name: str) -> tuple[NDArray[np.int64], int, np.random.Generator]:
    rng = stream(1, seed_name, num_users)
    num_cells = max(1, num_users // users_per_cell)
    return rng.integers(0, num_cells, num_users), num_cells, rng


def _poisson_offers(
    num_users: int, num_steps: int, per_step: float, num_bytes: tuple[int, int], saturated: bool = False
) -> Offers:
    rng = stream(3, "packets", num_users)
    counts = np.zeros(num_steps, np.int64) if saturated else rng.poisson(per_step, num_steps)
    return [(rng.integers(0, num_users, k), rng.integers(*num_bytes, k)) for k in counts]


@dataclass(frozen=True, kw_only=True)
class SlottedUsers:
    """Every user in every slot: proportional fair, Rayleigh fading, Shannon rates, bytes accounted for.

    Attributes:
        step_s: A slot.
        users_per_cell: In a cell of 20 MHz.
        packets_per_user_s: Poisson; 34 Mb/s in a cell, a third of the band, more where channels are poor.
        num_bytes: Range of sizes, the upper end excluded.
        saturated: Whether all users always have data, instead of packets.
        unit: What a cost is reckoned per.
    """

    step_s: float = 1e-3
    users_per_cell: int = 500
    packets_per_user_s: float = 10.0
    num_bytes: tuple[int, int] = (200, 1500)
    saturated: bool = False
    unit: str = "user-slot"

    def radio(self, num_users: int, /) -> RadioAccess:
        """Return three slices of users in as many cells as they fill."""
        cells, num_cells, rng = _spread(num_users, self.users_per_cell, "users")
        return SlotAccess(
            SlotRadio(slot_s=self.step_s, buffer_bytes=200_000), SLICES, cells=cells, num_cells=num_cells,
            slice_of=rng.integers(0, 3, num_users), mean_snr=10 ** rng.normal(1.2, 0.6, num_users),
            saturated=self.saturated, seed=2,
        )  # fmt: skip

    def offers(self, num_users: int, num_steps: int, /) -> Offers:
        """Return Poisson packets; none if users are saturated."""
        per_step = num_users * self.packets_per_user_s * self.step_s
        return _poisson_offers(num_users, num_steps, per_step, self.num_bytes, self.saturated)

    def units(self, num_users: int, /) -> float:
        """Return the users: each is looked at in each slot."""
        return float(num_users)


@dataclass(frozen=True, kw_only=True)
class SharedFiles:
    """Files that share their cells as a fluid: processor sharing by virtual time.

    Attributes:
        step_s: Between two calls.
        users_per_cell: In a cell.
        files_per_user_s: Poisson; load 0.4 of a cell of 100 Mb/s.
        num_bytes: Range of sizes, the upper end excluded.
        rate_bps: Of a user alone in its cell.
        unit: What a cost is reckoned per.
    """

    step_s: float = 0.1
    users_per_cell: int = 500
    files_per_user_s: float = 0.02
    num_bytes: tuple[int, int] = (250_000, 750_001)
    rate_bps: float = 100e6
    unit: str = "file"

    def radio(self, num_users: int, /) -> RadioAccess:
        """Return three slices of users in as many cells as they fill."""
        cells, num_cells, rng = _spread(num_users, self.users_per_cell, "users")
        return FlowAccess(
            SLICES, cells=cells, slice_of=rng.integers(0, 3, num_users), num_cells=num_cells,
            rates_bps=np.full(num_users, self.rate_bps),
        )  # fmt: skip

    def offers(self, num_users: int, num_steps: int, /) -> Offers:
        """Return Poisson files."""
        return _poisson_offers(num_users, num_steps, self.units(num_users), self.num_bytes)

    def units(self, num_users: int, /) -> float:
        """Return the files that come in a step."""
        return num_users * self.files_per_user_s * self.step_s


@dataclass(frozen=True, kw_only=True)
class SilentDevices:
    """Grant-free devices of which few speak: only those that have a packet are touched.

    Attributes:
        step_s: A slot.
        users_per_cell: Devices in a cell.
        packets_per_user_s: Poisson; one in a thousand devices begins in a slot, 10 in a cell.
        num_pilots: Of a shared pool.
        num_bytes: Range of sizes, the upper end excluded.
        unit: What a cost is reckoned per.
    """

    step_s: float = 0.01
    users_per_cell: int = 10_000
    packets_per_user_s: float = 0.1
    num_pilots: int = 64
    num_bytes: tuple[int, int] = (20, 200)
    unit: str = "packet"

    def radio(self, num_users: int, /) -> RadioAccess:
        """Return devices of one slice in as many cells as they fill."""
        cells, num_cells, _ = _spread(num_users, self.users_per_cell, "devices")
        return ActiveSetAccess(
            (MIOT,), cells=cells, slice_of=np.zeros(num_users, np.int64), num_cells=num_cells, slot_s=self.step_s,
            contention=SharedPool(self.num_pilots), rng=stream(2, "contention", num_users),
        )  # fmt: skip

    def offers(self, num_users: int, num_steps: int, /) -> Offers:
        """Return Poisson packets."""
        return _poisson_offers(num_users, num_steps, self.units(num_users), self.num_bytes)

    def units(self, num_users: int, /) -> float:
        """Return the packets that come in a step: the devices that become active."""
        return num_users * self.packets_per_user_s * self.step_s


WORKLOADS: Mapping[str, Workload] = {
    "slots": SlottedUsers(),
    "flows": SharedFiles(),
    "active set": SilentDevices(),
}


def live(radio: RadioAccess, offers: Offers, step_s: float) -> None:
    """Offer and advance, step by step."""
    for users, sizes in offers:
        radio.offer(users, sizes)
        radio.advance(radio.now_s + step_s)


def num_steps(workload: Workload, num_users: int) -> int:
    """Return how many steps make a turn that is long enough to time."""
    return int(max(8, min(1000, 4_000_000 // num_users, 4_000_000 / workload.units(num_users))))


def seconds_per_step(systems: Mapping[str, tuple[Workload, int]], rounds: int = 5) -> dict[str, NDArray[np.float64]]:
    """Return the processor time of one step in each of several turns, offers and accounts included.

    Processor time of this one thread, not wall time: other work on the machine then only costs its caches.
    The systems take turns, so that a slow spell hits all of them alike. What is offered is drawn beforehand.

    Args:
        systems: Workload and number of users, by name.
        rounds: Turns.

    Returns:
        Seconds, shape (rounds,), by name.
    """
    check.positive_integer(rounds=rounds)
    work = {}
    for name, (workload, num_users) in systems.items():
        steps = num_steps(workload, num_users)
        radio = workload.radio(num_users)
        live(radio, workload.offers(num_users, max(60, steps)), workload.step_s)  # to its steady state
        work[name] = radio, workload.offers(num_users, steps), workload.step_s
    times: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, (radio, offers, step_s) in work.items():
            start = time.thread_time()
            live(radio, offers, step_s)
            times[name].append((time.thread_time() - start) / len(offers))
    for radio, _, _ in work.values():
        radio.account().check()
    return {name: np.array(values) for name, values in times.items()}


def resident_bytes() -> int:
    """Return the most memory that this process has had resident."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(status.read_text(encoding="ascii").split("VmHWM:")[1].split()[0])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def cost_alone(name: str, users: Sequence[int], rounds: int) -> dict[str, NDArray[np.float64]]:
    """Return what a workload costs at several sizes; run it in a process of its own, for memory's sake.

    Args:
        name: Of `WORKLOADS`.
        users: Numbers of users, ascending.
        rounds: Turns that are timed at each size.

    Returns:
        "step_s", processor time of a step, shape (sizes, rounds); "memory_bytes", the most that was resident so far
        beyond what code and compiler took, shape (sizes,).
    """
    check.one_of(tuple(WORKLOADS), name=name)
    workload = WORKLOADS[name]
    live(workload.radio(100), workload.offers(100, 20), workload.step_s)  # compiled, and loaded
    before = resident_bytes()
    seconds, memory = [], []
    for num_users in users:
        seconds.append(seconds_per_step({name: (workload, num_users)}, rounds)[name])
        memory.append(float(resident_bytes() - before))
    return {"step_s": np.array(seconds), "memory_bytes": np.array(memory)}


class Exponent(NamedTuple):
    """How a cost grows: as size to the power `value`.

    Attributes:
        value: The slope of log cost over log size.
        low: Lower end of its interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def fitted_exponent(sizes: ArrayLike, costs: ArrayLike, confidence: float = 0.95) -> Exponent:
    """Return the exponent of growth by least squares in logarithms, with Student's interval.

    The interval tells how well a power law fits these points as well as how much they scatter.

    Args:
        sizes: Of the points, shape (points,), not all the same.
        costs: Theirs, shape (points,).
        confidence: Of the interval.

    Raises:
        ValueError: Fewer than three points, a single size, or numbers not above 0.

    Examples:
        >>> fitted_exponent([1, 10, 100], [2.0, 20.0, 200.0]).value
        1.0
    """
    size, cost = np.asarray(sizes, float).ravel(), np.asarray(costs, float).ravel()
    if size.shape != cost.shape or size.size < 3 or np.unique(size).size < 2 or not ((size > 0) & (cost > 0)).all():
        msg = f"sizes, costs: got {size} and {cost}, expected three points or more above 0, of two sizes or more"
        raise ValueError(msg)
    x, y = np.log(size), np.log(cost)
    spread = float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * y).sum() / spread)
    left = y - y.mean() - slope * (x - x.mean())
    half = student_quantile(0.5 + confidence / 2, x.size - 2) * math.sqrt(float(left @ left) / (x.size - 2) / spread)
    return Exponent(round(slope, 12), slope - half, slope + half)
