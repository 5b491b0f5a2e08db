"""The radio at the level of flows: files share a cell as a fluid, computed event by event in virtual time."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network import processor_sharing as ps
from wirelesslab.network.access import Account, Delivered
from wirelesslab.network.shares import ratio_table
from wirelesslab.network.slices import ResourceRatio, Slice, check_slices
from wirelesslab.network.slot_offers import Offers, indices

FIRST_PLACES = 64


class FlowAccess:
    """Processor sharing in every cell: the `RadioAccess` of 1e4 to 1e6 users.

    All files of a slice in a cell are served at once, each in proportion to its user's weight; a
    file of n bytes needs 8 n / rate seconds of the cell's whole resource. Busy slices divide the
    cell as `reserved_shares` does. Exact for the fluid model: no slots, no rounding of times.

    Bytes are whole: of a file in service, what is left is rounded up, so its last byte is through
    when the file is. When a user changes cells, what is left of its files leaves the old cell's
    `offered` and enters the new one's; summed over cells, `offered` is what was offered.

    Args:
        slices: The slices; `radio` and `weight` say how they share a cell.
        cells: Cell of each user, shape (users,).
        slice_of: Index of each user's slice, shape (users,).
        rates_bps: Rate of each user if it had its whole cell for itself, shape (users,); 0 means out of
            reach: its files wait and take nothing.
        weights: Of each user within its slice, above 0, broadcast to (users,).
        num_cells: By default, as many as `cells` names.
        now_s: When it starts.

    References:
        M/G/1-PS: Kleinrock, Queueing Systems II, 1976, 4.4: a file that would take x alone takes
        x/(1 - rho) on average, whatever the law of sizes.

    Examples:
        >>> from wirelesslab.network.slices import EMBB
        >>> radio = FlowAccess((EMBB,), cells=[0, 0], slice_of=[0, 0], rates_bps=[8e6, 8e6])
        >>> radio.offer([0, 1], [1_000_000, 500_000])
        >>> radio.advance(10.0).delivered_s
        array([1. , 1.5])
    """

    def __init__(
        self,
        slices: tuple[Slice, ...],
        *,
        cells: ArrayLike,
        slice_of: ArrayLike,
        rates_bps: ArrayLike,
        weights: ArrayLike = 1.0,
        num_cells: int | None = None,
        now_s: float = 0.0,
    ) -> None:
        check_slices(slices)
        check.positive_integer(slices=len(slices))
        check.finite(now_s=now_s)
        cell = indices(cells, None, num_cells, name="cells")
        of_slice = indices(slice_of, cell.size, len(slices), name="slice_of")
        num_cells = int(cell.max(initial=0)) + 1 if num_cells is None else num_cells
        self.slices, self.num_cells = slices, num_cells
        weight = np.array(np.broadcast_to(np.asarray(weights, dtype=np.float64), cell.shape))
        if not (np.isfinite(weight) & (weight > 0)).all():
            msg = "weights: got a number that is not finite and above 0, expected one weight above 0 per user"
            raise ValueError(msg)
        self._users = ps.Users(cell, of_slice, _rates(rates_bps, cell.size), weight)
        self._ratios = {s.name: s.radio for s in slices}
        dedicated, minimum, maximum = ratio_table(slices, "radio").T.copy()
        self._policy = ps.Policy(dedicated, minimum, maximum, np.array([float(s.weight) for s in slices]))
        self._cells = _idle_cells(num_cells, len(slices), float(now_s))
        self._files = _places(0)
        self._now_s = float(now_s)
        self._offers = Offers()
        self._offers.latest_s = self._now_s
        self._ready: list[Delivered] = []

    @property
    def now_s(self) -> float:
        """The time up to which everything has been computed."""
        return self._now_s

    @property
    def cells(self) -> NDArray[np.int64]:
        """Cell of each user, shape (users,)."""
        return self._users.cell.copy()

    @property
    def user_slices(self) -> NDArray[np.int64]:
        """Place in `slices` of each user's slice, shape (users,)."""
        return self._users.slice_index.copy()

    @property
    def next_s(self) -> float:
        """When a file comes or is through next, as far as is known; inf if nothing is waiting."""
        self._admit()
        if self._ready:
            return self._now_s
        times = self._offers.waiting()[2]
        return min(float(self._cells.next_s.min()), float(times[0]) if times.size else np.inf)

    def offer(self, users: ArrayLike, num_bytes: ArrayLike, offered_s: ArrayLike | None = None) -> None:
        """Take one file per entry; see `RadioAccess.offer`.

        Raises:
            ValueError: An unknown user, an empty file, or times that go back.
        """
        now_s = self._now_s if offered_s is None else offered_s
        self._offers.take(users, num_bytes, now_s, self._now_s, self._users.cell.size, None)

    def advance(self, until_s: float) -> Delivered:
        """Compute everything up to `until_s`; return the files that got through since the last call.

        Raises:
            ValueError: `until_s` lies before now or before the last file offered.
        """
        self._compute(self._offers.checked_end(until_s))
        self._offers.latest_s = self._now_s
        delivered, self._ready = Delivered.joined(self._ready), []
        return delivered

    def given_up(self) -> Delivered:
        """Return nothing: files wait until they are through."""
        return Delivered.none()

    def set_ratios(self, ratios: Mapping[str, ResourceRatio]) -> None:
        """From now on, hold these slices to these shares of every cell.

        Raises:
            ValueError: An unknown slice, or `min` shares that add up to more than 1.
        """
        for name in ratios:
            check.one_of(self._ratios, slices=name)
        wanted = self._ratios | dict(ratios)
        total = sum(ratio.min for ratio in wanted.values())
        if total > 1 + 1e-9:
            msg = f"ratios: min shares sum to {total:g}, expected at most 1; lower one of {list(wanted)}"
            raise ValueError(msg)
        self._admit()
        self._ratios = wanted
        for index, ratio in enumerate(wanted.values()):
            self._policy.dedicated[index] = ratio.dedicated
            self._policy.minimum[index] = ratio.min
            self._policy.maximum[index] = ratio.max
        self._divide(range(self.num_cells))

    def set_cell_up(self, cell: int, up: bool) -> None:
        """Take a cell out of service or back; its clocks stand still while it is down."""
        check.non_negative_integer(cell=cell)
        check.within(0, self.num_cells - 1, cell=cell)
        self._admit()
        # Settled at the old shares before the change takes effect.
        ps.settle(cell, self._now_s, self._cells)
        self._cells.up[cell] = up
        self._divide([cell])

    def set_users(self, cells: ArrayLike | None = None, rates_bps: ArrayLike | None = None) -> None:
        """From now on, users are in these cells at these rates; both of shape (users,), None leaves them.

        Files in service go on with what is left of them.
        """
        users = self._users
        cell = users.cell.copy() if cells is None else indices(cells, users.cell.size, self.num_cells, name="cells")
        rate = users.rate_bps.copy() if rates_bps is None else _rates(rates_bps, users.cell.size)
        self._admit()
        ps.move(self._now_s, cell, rate, self._cells, self._files, users, self._policy)

    def account(self) -> Account:
        """Return where every byte is."""
        self._admit()
        cells = self._cells
        elapsed = np.maximum(self._now_s - cells.since_s, 0.0)[:, None]
        waiting_bytes, delivered_bytes = np.zeros_like(cells.waiting), cells.delivered_bytes.copy()
        sojourn_seconds = cells.sojourn_seconds.copy()
        ps.inside(self._now_s, cells, self._files, self._users, waiting_bytes, delivered_bytes, sojourn_seconds)
        return Account(
            offered_bytes=cells.offered_bytes.copy(),
            delivered_bytes=delivered_bytes,
            waiting_bytes=waiting_bytes,
            dropped_bytes=np.zeros_like(waiting_bytes),
            offered_packets=cells.offered_packets.copy(),
            delivered_packets=cells.delivered_packets.copy(),
            waiting_packets=cells.waiting.copy(),
            dropped_packets=np.zeros_like(cells.waiting),
            packet_seconds=cells.packet_seconds + elapsed * cells.waiting,
            sojourn_seconds=sojourn_seconds,
            used_share_seconds=cells.used_share_seconds + elapsed * cells.share * (cells.root >= 0),
            now_s=self._now_s,
        )

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the whole state."""
        state: dict[str, Any] = {name: _copied(getattr(self, f"_{name}")) for name in ("cells", "files", "users")}
        state |= {"now_s": self._now_s, "offers": self._offers.snapshot()}
        state["policy"] = _copied(self._policy)
        ready = Delivered.joined(self._ready)
        state["ready"] = {name: value.copy() for name, value in vars(ready).items()}
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot of an access with the same slices, cells and users."""
        for name, kind in (("cells", ps.Cells), ("files", ps.Files), ("users", ps.Users), ("policy", ps.Policy)):
            setattr(self, f"_{name}", kind(*(np.array(state[name][field]) for field in kind._fields)))
        policy = self._policy
        self._ratios = {
            s.name: ResourceRatio(dedicated=float(d), min=float(low), max=float(high))
            for s, d, low, high in zip(self.slices, policy.dedicated, policy.minimum, policy.maximum, strict=True)
        }
        self._now_s = float(state["now_s"])
        self._offers.restore(state["offers"])
        ready = Delivered(**{name: np.array(value) for name, value in state["ready"].items()})
        self._ready = [ready] if ready.user.size else []

    def _admit(self) -> None:
        """Let in what is offered at this very moment, so that it counts in what is asked."""
        times = self._offers.waiting()[2]
        if times.size and times[0] <= self._now_s:
            self._compute(self._now_s)

    def _compute(self, until_s: float) -> None:
        user, size, times = self._offers.taken(until_s)
        cells = self._cells
        if user.size > cells.num_free[0]:
            self._files = _more_places(self._files, cells, user.size)
        cell = self._users.cell[user]
        order = np.argsort(cell, kind="stable")
        first = np.zeros(self.num_cells + 1, np.int64)
        np.cumsum(np.bincount(cell, minlength=self.num_cells), out=first[1:])
        files = self._files
        num_done = ps.run_cells(until_s, first, order, user, size, times, cells, files, self._users, self._policy)
        self._now_s = until_s
        if num_done:
            when = files.done_s[:num_done]
            in_time = np.argsort(when, kind="stable")
            place = files.done[:num_done][in_time]
            self._ready.append(
                Delivered(files.user[place], files.num_bytes[place], files.offered_s[place], when[in_time])
            )
            ps.release(num_done, cells, files)

    def _divide(self, cells: "range | list[int]") -> None:
        for cell in cells:
            ps.settle(cell, self._now_s, self._cells)
            ps.divide(cell, self._cells, self._policy)
            ps.foresee(cell, self._cells, self._files)


def _idle_cells(num_cells: int, num_slices: int, now_s: float) -> ps.Cells:
    def table(dtype: type, value: int = 0) -> NDArray[Any]:
        return np.full((num_cells, num_slices), value, dtype)

    whole, real = np.int64, np.float64
    return ps.Cells(
        np.full(num_cells, now_s),
        np.full(num_cells, np.inf),
        np.ones(num_cells, np.bool_),
        np.zeros(1, np.int64),
        table(whole, -1),
        *(table(kind) for kind in (real, real, real, whole, whole, whole, whole, whole, real, real, real)),
    )


def _places(capacity: int) -> ps.Files:
    def column(dtype: type, value: int = 0) -> NDArray[Any]:
        return np.full(capacity, value, dtype)

    whole, real = np.int64, np.float64
    return ps.Files(
        column(whole, ps.FREE),
        *(column(kind) for kind in (whole, whole, real, real, real, real, whole, whole, whole, whole, real)),
    )


def _more_places(files: ps.Files, cells: ps.Cells, needed: int) -> ps.Files:
    """Return the pool with at least `needed` free places."""
    now, num_free = files.user.size, int(cells.num_free[0])
    capacity = max(FIRST_PLACES, 2 * now, now + needed - num_free)
    bigger = ps.Files(*(np.concatenate([old, new]) for old, new in zip(files, _places(capacity - now), strict=True)))
    bigger.free[num_free : num_free + capacity - now] = np.arange(now, capacity)
    cells.num_free[0] += capacity - now
    return bigger


def _copied(arrays: NamedTuple) -> dict[str, NDArray[Any]]:
    return {name: value.copy() for name, value in zip(arrays._fields, arrays, strict=True)}


def _rates(rates_bps: ArrayLike, num_users: int) -> NDArray[np.float64]:
    rates = check.array(
        np.broadcast_to(np.asarray(rates_bps, dtype=np.float64), (num_users,)), (num_users,), "users", name="rates_bps"
    ).astype(np.float64)
    if (rates < 0).any():
        msg = f"rates_bps: got {rates.min()}, expected rates of at least 0"
        raise ValueError(msg)
    return rates
