"""The slotted radio: every user, every slot, every byte.

In each slot, each cell divides its band among the slices that have data (see
`shares.reserved_shares`), and each slice gives its share to its users in the order of its scheduler. A
packet offered during a slot is served from the next slot on; what is served in a slot is delivered at its
end. Users' rates are flat over the band.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network import slot_kernels as kernels
from wirelesslab.network.access import Account, Delivered
from wirelesslab.network.fading import Fading, RayleighFading
from wirelesslab.network.radio import ProportionalRate, RateMapping, Shannon
from wirelesslab.network.slices import ResourceRatio, Slice, check_slices
from wirelesslab.network.slot_offers import Offers, indices
from wirelesslab.network.user_schedulers import ProportionalFair, UserScheduler
from wirelesslab.rng import stream

NO_LIMIT = 2**62  # bytes
BATCH = 65_536  # user-slots per call of the kernel: their gains stay in the cache


@dataclass(frozen=True, kw_only=True)
class SlotRadio:
    """How the slots of every cell run.

    Attributes:
        slot_s: Length of a slot: 1 ms at 15 kHz subcarrier spacing.
        bandwidth_hz: Of each cell.
        rate: From SNR to rate.
        intra_slice: Which user of a slice goes first.
        fading: Of each user, slot by slot.
        buffer_bytes: Of each user; a packet that does not fit is dropped whole. None has no limit.
    """

    slot_s: float = 1e-3
    bandwidth_hz: float = 20e6
    rate: RateMapping = Shannon()
    intra_slice: UserScheduler = ProportionalFair()
    fading: Fading = RayleighFading()
    buffer_bytes: int | None = None

    def __post_init__(self) -> None:
        check.positive(slot_s=self.slot_s, bandwidth_hz=self.bandwidth_hz)
        parts = (("intra_slice", "code", "ProportionalFair()"), ("fading", "draw", "RayleighFading()"))
        for name, method, example in (*parts, ("rate", "spectral_efficiency", "Shannon()")):
            value = getattr(self, name)
            if not hasattr(value, method) or isinstance(value, type):
                msg = f"{name}: got {value!r}, expected an object such as {example}"
                raise TypeError(msg)
        if self.buffer_bytes is not None:
            check.positive_integer(buffer_bytes=self.buffer_bytes)


class SlotAccess:
    """A `RadioAccess` that computes every user in every slot.

    `now_s` is the end of the last slot that was computed; an `advance` to a time inside a slot leaves that
    slot for later, and packets not yet taken in count as waiting. Fractions of a byte that a user's share
    paid for are kept for its next turn. The fading of a user is drawn for every slot, busy or not, in
    service or not: it does not depend on traffic, shares or failures.

    Args:
        config: The slots.
        slices: All slices.
        cells: Cell of each user, shape (users,).
        slice_of: Index of each user's slice, shape (users,).
        mean_snr: SNR (or SINR) without fading, linear, shape (users,); or
        mean_rate_bps: Rate of the whole band at fading gain 1, to which the rate is then proportional.
        num_cells: By default, as many as `cells` names.
        saturated: Users that always have data, shape (users,) or one answer for all. Their bytes count as
            offered when they are delivered; they take no packets.
        seed: Of the fading; replicas need one each, such as the network's.
        name: Of the fading's stream, so that two accesses of one simulation differ.

    Raises:
        ValueError: Arrays of other shapes or ranges, or slices that clash.
    """

    def __init__(
        self,
        config: SlotRadio,
        slices: tuple[Slice, ...],
        *,
        cells: ArrayLike,
        slice_of: ArrayLike,
        mean_snr: ArrayLike | None = None,
        mean_rate_bps: ArrayLike | None = None,
        num_cells: int | None = None,
        saturated: ArrayLike = False,
        seed: int = 0,
        name: str = "slots",
    ) -> None:
        check_slices(slices)
        if not slices:
            msg = "slices: got none, expected at least one"
            raise ValueError(msg)
        if (mean_snr is None) == (mean_rate_bps is None):
            msg = "mean_snr: expected either mean_snr or mean_rate_bps, not both and not neither"
            raise ValueError(msg)
        self.config, self.slices = config, slices
        cell = indices(cells, None, num_cells, name="cells")
        num_users = cell.size
        self.num_cells = int(num_cells if num_cells is not None else cell.max(initial=0) + 1)
        self._slice_of = indices(slice_of, num_users, len(slices), name="slice_of")
        self._by_rate = mean_snr is None
        mean = self._mean(mean_rate_bps if mean_snr is None else mean_snr, num_users)
        always = np.broadcast_to(np.asarray(saturated, dtype=bool), num_users)
        num_rows = self.num_cells * len(slices)
        self._rng = stream(seed, "slots", name)
        self._fading = config.fading.begin(num_users, self._rng)
        self._rule = self._numbers()
        self._users = kernels.idle_users(num_users)
        self._users.row[:] = cell * len(slices) + self._slice_of
        self._users.mean[:], self._users.saturated[:] = mean, always
        self._order = kernels.Order(
            user=np.zeros(num_users, np.int32),
            busy=np.zeros(num_users, np.uint8),
            start=np.zeros(num_rows + 1, np.int64),
            saturated=np.zeros(num_rows, np.int64),
        )
        self._sort()
        in_row = np.maximum(np.diff(self._order.start), 1)
        typical = mean if self._by_rate else config.rate.spectral_efficiency(mean.astype(float))
        self._users.average[:] = np.maximum(self._rule.full_band_bytes * typical / in_row[self._users.row], 1e-6)
        self._pool = kernels.empty_pool(0)
        self._books = kernels.Books(
            np.zeros((8, num_rows), np.int64), np.zeros((4, num_rows)), np.full(num_rows, -1, np.int64)
        )
        self._marks = np.zeros(6, np.int64)
        self._marks[kernels.FREE] = -1
        self._ratios = np.array([[s.radio.dedicated, s.radio.min, s.radio.max, s.weight] for s in slices]).T.copy()
        self._up = np.ones(self.num_cells, bool)
        self._offers = Offers()
        self._any_saturated = bool(always.any())
        self._scratch = kernels.Scratch(
            np.zeros(num_users, np.int32), np.zeros(num_users, np.int32), np.zeros(num_users), np.zeros(num_users),
            np.zeros(len(slices)), np.zeros(len(slices)),
        )  # fmt: skip
        self._output = _output(0)
        self._lost: list[Delivered] = []
        self._gains = np.zeros((1, num_users), np.float32)

    def _numbers(self) -> kernels.Rule:
        config, rate = self.config, self.config.rate
        full_band_bytes = config.slot_s / 8 * (1.0 if self._by_rate else config.bandwidth_hz)
        if self._by_rate or isinstance(rate, ProportionalRate):
            slope = 1.0 if self._by_rate else rate.slope
            mapping, ceiling, least_snr = kernels.PROPORTIONAL, np.inf, 0.0
        else:
            mapping, slope, ceiling, least_snr = kernels.SHANNON, rate.slope, rate.ceiling, rate.least_snr
        return kernels.Rule(
            slot_s=float(config.slot_s),
            scheduler=config.intra_slice.code,
            window=float(config.intra_slice.window_slots),
            buffer_bytes=NO_LIMIT if config.buffer_bytes is None else int(config.buffer_bytes),
            mapping=mapping,
            full_band_bytes=float(full_band_bytes),
            slope=float(slope),
            ceiling=float(ceiling),
            least_snr=float(least_snr),
        )

    def _mean(self, values: ArrayLike | None, num_users: int) -> NDArray[np.float32]:
        name = "mean_rate_bps" if self._by_rate else "mean_snr"
        assert values is not None
        mean = check.array(values, (num_users,), "users", name=name, because="users were set by cells")
        if np.any(mean < 0):
            msg = f"{name}: got {mean.min():g}, expected linear values of at least 0"
            raise ValueError(msg)
        return mean.astype(np.float32)

    def _sort(self) -> None:
        kernels.sort_by_row(self._users, self._order)

    @property
    def num_users(self) -> int:
        """How many users there are."""
        return int(self._users.row.size)

    @property
    def now_s(self) -> float:
        """The end of the last slot that was computed."""
        return float(int(self._marks[kernels.SLOT]) * self.config.slot_s)

    @property
    def next_s(self) -> float:
        """The end of the next slot; inf if nothing is waiting."""
        busy = self._marks[kernels.WAITING] or len(self._offers) or self._any_saturated
        return float((int(self._marks[kernels.SLOT]) + 1) * self.config.slot_s) if busy else float("inf")

    @property
    def cells(self) -> NDArray[np.int64]:
        """Cell of each user, shape (users,)."""
        return self._users.row.astype(np.int64) // len(self.slices)

    @property
    def user_slices(self) -> NDArray[np.int64]:
        """Place in `slices` of each user's slice, shape (users,)."""
        return self._slice_of.copy()

    @property
    def backlog_bytes(self) -> NDArray[np.int64]:
        """Bytes that wait for each user, shape (users,); packets of the slot on the air not yet included."""
        return self._users.queued.copy()

    @property
    def average_bytes_per_slot(self) -> NDArray[np.float32]:
        """Average throughput that proportional fairness remembers, shape (users,)."""
        return self._users.average.copy()

    def offer(self, users: ArrayLike, num_bytes: ArrayLike, offered_s: ArrayLike | None = None) -> None:
        """Take one packet per entry; see `RadioAccess.offer`.

        Raises:
            ValueError: No such user, a saturated user, an empty packet, or times that go backwards.
        """
        saturated = self._users.saturated if self._any_saturated else None
        self._offers.take(
            users, num_bytes, offered_s, max(self.now_s, self._offers.latest_s), self.num_users, saturated
        )

    def advance(self, until_s: float) -> Delivered:
        """Compute all slots that end by `until_s`; return what got through since the last call."""
        until = int(np.floor(until_s / self.config.slot_s + 1e-6))
        parts: list[Delivered] = []
        who, num_bytes, offered = self._offers.waiting()
        self._marks[kernels.TAKEN] = 0
        lost_s = np.full(who.size, -1.0)
        batch = max(1, BATCH // max(self.num_users, 1))
        while (first := int(self._marks[kernels.SLOT])) < until:
            count = min(batch, until - first)
            if self._gains.shape[0] < count:
                self._gains = np.zeros((batch, self.num_users), np.float32)
            gains = self._gains[:count]
            self.config.fading.draw(self._fading, self.config.slot_s, self._rng, gains)
            while True:
                code = kernels.run_slots(
                    first, gains, self._users, self._order, self._pool, self._books, self._scratch, self._output,
                    who, num_bytes, offered, lost_s, self._ratios, self._up, self._marks, self._rule,
                )  # fmt: skip
                if code == kernels.DONE:
                    break
                if code == kernels.POOL_FULL:
                    self._enlarge_pool()
                else:
                    parts.append(self._flushed())
                    if self._marks[kernels.WAITING] > self._output.user.size // 2:
                        self._output = _output(2 * int(self._marks[kernels.WAITING]) + 64)
        lost = np.flatnonzero(lost_s >= 0)
        if lost.size:
            self._lost.append(Delivered(who[lost], num_bytes[lost], offered[lost], lost_s[lost]))
        self._offers.drop_first(int(self._marks[kernels.TAKEN]))
        self._offers.latest_s = max(self._offers.latest_s, float(until_s))
        if self._marks[kernels.NUM_OUT]:
            parts.append(self._flushed())
        return parts[0] if len(parts) == 1 else Delivered.joined(parts)

    def given_up(self) -> Delivered:
        """Return the packets that found their user's buffer full since the last call."""
        lost, self._lost = Delivered.joined(self._lost), []
        return lost

    def _flushed(self) -> Delivered:
        count = int(self._marks[kernels.NUM_OUT])
        self._marks[kernels.NUM_OUT] = 0
        out = self._output
        return Delivered(
            user=out.user[:count].copy(),
            num_bytes=out.size[:count].copy(),
            offered_s=out.offered[:count].copy(),
            delivered_s=out.delivered[:count].copy(),
        )

    def _enlarge_pool(self) -> None:
        size = self._pool.next.size
        places = max(1024, 2 * size)
        more = kernels.empty_pool(places - size)
        self._pool = kernels.Pool(
            next=np.concatenate([self._pool.next, more.next]),
            left=np.concatenate([self._pool.left, more.left]),
            size=np.concatenate([self._pool.size, more.size]),
            offered=np.concatenate([self._pool.offered, more.offered]),
        )
        self._pool.next[size : places - 1] = np.arange(size + 1, places)
        self._pool.next[places - 1] = self._marks[kernels.FREE]
        self._marks[kernels.FREE] = size
        self._marks[kernels.NUM_FREE] += places - size

    def set_users(self, cells: ArrayLike | None = None, mean: ArrayLike | None = None) -> None:
        """From now on, users are in these cells and have these channels.

        Backlogs, averages and fading travel with the users. A waiting packet, and the bytes of it that are
        still to come, are offered to the new cell: its account gains what the old one's loses, whereas bytes
        delivered before, and the time spent waiting before, stay with the old cell.

        Args:
            cells: Cell of each user, shape (users,).
            mean: `mean_snr`, or `mean_rate_bps` if that was given at first, shape (users,).
        """
        if mean is not None:
            self._users.mean[:] = self._mean(mean, self.num_users)
        if cells is None:
            return
        cell = indices(cells, self.num_users, self.num_cells, name="cells")
        row = (cell * len(self.slices) + self._slice_of).astype(np.int32)
        moved = np.flatnonzero(row != self._users.row)
        if moved.size:
            kernels.move(moved, row, self.now_s, self._users, self._pool, self._books)
            self._sort()

    def set_ratios(self, ratios: Mapping[str, ResourceRatio]) -> None:
        """From now on, hold these slices to these shares of every cell.

        Raises:
            ValueError: No such slice, or guarantees that exceed the cell.
        """
        names = [s.name for s in self.slices]
        changed = self._ratios.copy()
        for slice_name, ratio in ratios.items():
            check.one_of(names, ratios=slice_name)
            changed[:3, names.index(slice_name)] = ratio.dedicated, ratio.min, ratio.max
        if changed[kernels.MIN].sum() > 1 + 1e-9:
            msg = f"ratios: min shares sum to {changed[kernels.MIN].sum():g}, expected at most 1; lower one"
            raise ValueError(msg)
        self._ratios = changed

    def set_cell_up(self, cell: int, up: bool) -> None:
        """Take a cell out of service or back; its packets wait."""
        check.non_negative_integer(cell=cell)
        check.within(0, self.num_cells - 1, cell=cell)
        self._up[cell] = up

    def account(self) -> Account:
        """Return where every byte is."""
        counts, times, now = self._books.counts.copy(), self._books.times, self.now_s
        integral = times[kernels.INTEGRAL] + counts[kernels.WAITING_PACKETS] * (now - times[kernels.SINCE])
        sojourn = times[kernels.SOJOURN].copy()
        kernels.waiting_seconds(now, self._users, self._pool, sojourn)
        who, num_bytes, offered = self._offers.waiting()
        if who.size:
            row, waited = self._users.row[who], np.maximum(now - offered, 0)
            for packets, size in (
                (kernels.OFFERED_PACKETS, kernels.OFFERED_BYTES),
                (kernels.WAITING_PACKETS, kernels.WAITING_BYTES),
            ):
                np.add.at(counts[packets], row, 1)
                np.add.at(counts[size], row, num_bytes)
            np.add.at(integral, row, waited)
            np.add.at(sojourn, row, waited)
        shape = (self.num_cells, len(self.slices))
        table = counts.reshape(8, *shape)
        return Account(
            offered_bytes=table[kernels.OFFERED_BYTES],
            delivered_bytes=table[kernels.DELIVERED_BYTES],
            waiting_bytes=table[kernels.WAITING_BYTES],
            dropped_bytes=table[kernels.DROPPED_BYTES],
            offered_packets=table[kernels.OFFERED_PACKETS],
            delivered_packets=table[kernels.DELIVERED_PACKETS],
            waiting_packets=table[kernels.WAITING_PACKETS],
            dropped_packets=table[kernels.DROPPED_PACKETS],
            packet_seconds=integral.reshape(shape),
            sojourn_seconds=sojourn.reshape(shape),
            used_share_seconds=times[kernels.USED].reshape(shape).copy(),
            now_s=now,
        )

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the whole state."""
        groups: dict[str, Any] = {"users": self._users, "pool": self._pool, "books": self._books}
        return {
            **{name: {key: array.copy() for key, array in group._asdict().items()} for name, group in groups.items()},
            "offers": self._offers.snapshot(),
            "marks": self._marks.copy(),
            "ratios": self._ratios.copy(),
            "up": self._up.copy(),
            "fading": {key: array.copy() for key, array in self._fading.items()},
            "rng": self._rng.bit_generator.state,
            "lost": {key: array.copy() for key, array in vars(Delivered.joined(self._lost)).items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot of this access, or of one built alike."""
        if state["users"]["row"].shape != self._users.row.shape or state["up"].shape != self._up.shape:
            msg = "state: got a snapshot of other users or cells, expected one of an access built alike"
            raise ValueError(msg)
        for key, array in state["users"].items():
            getattr(self._users, key)[:] = array
        self._pool = kernels.Pool(**{key: array.copy() for key, array in state["pool"].items()})
        self._books = kernels.Books(**{key: array.copy() for key, array in state["books"].items()})
        self._offers.restore(state["offers"])
        self._marks, self._ratios, self._up = (state[key].copy() for key in ("marks", "ratios", "up"))
        self._fading = {key: array.copy() for key, array in state["fading"].items()}
        self._rng.bit_generator.state = state["rng"]
        lost = Delivered(**{key: array.copy() for key, array in state["lost"].items()})
        self._lost = [lost] if lost.user.size else []
        self._any_saturated = bool(self._users.saturated.any())
        self._sort()

    def __deepcopy__(self, memo: dict[int, Any]) -> "SlotAccess":
        # The users' columns are views of one array of records, and compiled for that: a copy must be laid out alike.
        twin = SlotAccess.__new__(SlotAccess)
        memo[id(self)] = twin
        twin.__dict__.update({name: deepcopy(value, memo) for name, value in vars(self).items() if name != "_users"})
        twin._users = kernels.idle_users(self.num_users)
        for name, values in self._users._asdict().items():
            getattr(twin._users, name)[:] = values
        return twin


def _output(capacity: int) -> kernels.Output:
    return kernels.Output(
        np.zeros(capacity, np.int64), np.zeros(capacity, np.int64), np.zeros(capacity), np.zeros(capacity)
    )
