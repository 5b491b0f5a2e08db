"""Grant-free access of very many devices: only those that have something to say are touched."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network import active_kernels as kernels
from wirelesslab.network.access import Account, Delivered
from wirelesslab.network.contention import CONTENTIONS, Contention, LimitedGrants, OwnedPilots, SharedPool
from wirelesslab.network.device_lines import account_of, empty, longer, no_counts, with_room
from wirelesslab.network.slices import ResourceRatio, Slice, check_slices
from wirelesslab.network.slot_offers import Offers, indices
from wirelesslab.network.turns import Turns

__all__ = ["CONTENTIONS", "ActiveSetAccess", "Contention", "LimitedGrants", "OwnedPilots", "SharedPool"]

MOST_SLICES = 10
Arrivals = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


class ActiveSetAccess:
    """Slotted contention among the devices that have a packet: the `RadioAccess` of 1e6 devices.

    A device whose packet came by the start of a slot speaks in it, one packet per slot, oldest first.
    Who is heard is through at the slot's end. Who is not stays silent for a number of slots drawn
    uniformly from 0 to `back_off_slots` - 1 and tries again, `max_attempts` times in all. A call costs
    time and memory for the active devices only; idle slots cost nothing.

    Slices take turns: a slot of a cell belongs to one of the slices that want it, in proportion to
    what `reserved_shares` gives them (smooth weighted round robin); a dedicated share that its slice
    does not want stays empty. That slices divide slots rather than preambles is our choice.

    Args:
        slices: The slices; at most 10.
        cells: Cell of each device, shape (users,).
        slice_of: Index of each device's slice, shape (users,).
        slot_s: Length of a slot; slot k starts at k slot_s.
        contention: Who gets through.
        rng: For choices and back-off; its state is part of snapshots.
        num_cells: By default, as many as `cells` names.
        back_off_slots: Window of the back-off; 1 tries again in the next slot.
        max_attempts: A packet that failed so often is dropped; None never drops.
        now_s: When it starts.

    Examples:
        >>> from wirelesslab.network.slices import MIOT
        >>> radio = ActiveSetAccess((MIOT,), cells=[0, 0], slice_of=[0, 0], slot_s=1e-3,
        ...                         contention=LimitedGrants(1), rng=np.random.default_rng(1))
        >>> radio.offer([0, 1, 1], [20, 20, 30])
        >>> radio.advance(0.01).delivered_s
        array([0.001, 0.002, 0.003])
    """

    def __init__(
        self,
        slices: tuple[Slice, ...],
        *,
        cells: ArrayLike,
        slice_of: ArrayLike,
        slot_s: float,
        contention: Contention,
        rng: np.random.Generator,
        num_cells: int | None = None,
        back_off_slots: int = 20,
        max_attempts: int | None = None,
        now_s: float = 0.0,
    ) -> None:
        check_slices(slices)
        check.positive_integer(back_off_slots=back_off_slots)
        check.within(1, MOST_SLICES, slices=len(slices))
        check.positive(slot_s=slot_s)
        check.within(0, 1e18 * slot_s, now_s=now_s)
        if max_attempts is not None:
            check.positive_integer(max_attempts=max_attempts)
        if not isinstance(rng, np.random.Generator):
            msg = f"rng: got {type(rng).__name__}, expected numpy.random.Generator, such as rng.stream(7)"
            raise TypeError(msg)
        cell = indices(cells, None, num_cells, name="cells")
        of_slice = indices(slice_of, cell.size, len(slices), name="slice_of")
        num_cells = int(cell.max(initial=0)) + 1 if num_cells is None else num_cells
        self.slices, self.num_cells, self.slot_s = slices, num_cells, float(slot_s)
        self.contention, self.back_off_slots, self.max_attempts = contention, back_off_slots, max_attempts
        self._rng = rng
        none = np.full(cell.size, -1, np.int64)
        self._devices = kernels.Devices(cell * len(slices) + of_slice, none, none.copy())
        self._packets, self._active = empty(kernels.Packets), empty(kernels.Active)
        counters = no_counts(kernels.Counters, num_cells * len(slices), float(now_s))
        self._counters = counters._replace(used_slot=np.full_like(counters.used_slot, -1))
        self._up = np.ones(num_cells, np.bool_)
        self._turns = Turns(slices, num_cells)
        self._now_s = float(now_s)
        self._slot = kernels.first_slot_from(self._now_s, self.slot_s)
        self._offers = Offers()
        self._offers.latest_s = self._now_s
        self._lost: list[Delivered] = []

    @property
    def now_s(self) -> float:
        """The time up to which everything has been computed."""
        return self._now_s

    @property
    def cells(self) -> NDArray[np.int64]:
        """Cell of each user, shape (users,)."""
        return self._devices.group // len(self.slices)

    @property
    def user_slices(self) -> NDArray[np.int64]:
        """Place in `slices` of each user's slice, shape (users,)."""
        return self._devices.group % len(self.slices)

    @property
    def num_active(self) -> int:
        """Devices that have a packet."""
        return int(self._counters.sizes[kernels.ACTIVE])

    @property
    def next_s(self) -> float:
        """End of the next slot in which a device speaks; inf if nothing is waiting."""
        slot = self._next_slot(self._offers.waiting()[2])
        return np.inf if slot is None else (slot + 1) * self.slot_s

    def offer(self, users: ArrayLike, num_bytes: ArrayLike, offered_s: ArrayLike | None = None) -> None:
        """Take one packet per entry; see `RadioAccess.offer`.

        Raises:
            ValueError: An unknown device, an empty packet, or times that go back.
        """
        now_s = self._now_s if offered_s is None else offered_s
        self._offers.take(users, num_bytes, now_s, self._now_s, self._devices.head.size, None)

    def advance(self, until_s: float) -> Delivered:
        """Compute all slots that end by `until_s`; return the packets that got through since the last call.

        Raises:
            ValueError: `until_s` lies before now or before the last packet offered.
        """
        until_s = self._offers.checked_end(until_s)
        arrivals = self._offers.taken(until_s)
        times, came, delivered = arrivals[2], 0, []
        while (slot := self._next_slot(times[came:])) is not None and (slot + 1) * self.slot_s <= until_s:
            came = self._enqueue(arrivals, came, (slot + 1) * self.slot_s)
            delivered.append(self._compute(slot))
            self._slot = slot + 1
        self._enqueue(arrivals, came, until_s)
        self._now_s = self._offers.latest_s = until_s
        started = kernels.first_slot_from(self._now_s, self.slot_s)
        # A slot that has started and not ended is still to be computed.
        self._slot = max(self._slot, started if started * self.slot_s == self._now_s else started - 1)
        return Delivered.joined(delivered)

    def given_up(self) -> Delivered:
        """Return the packets that failed `max_attempts` times since the last call."""
        lost, self._lost = Delivered.joined(self._lost), []
        return lost

    def set_users(self, cells: ArrayLike | None = None, mean: ArrayLike | None = None) -> None:
        """From now on, devices are in these cells, shape (users,); who gets through there is the contention's matter.

        What waits is offered to the new cell: its account gains what the old one's loses, whereas the time
        spent waiting before stays with the old cell.

        Args:
            cells: Cell of each device, shape (users,).
            mean: Not used: there is no rate here that a channel could change.
        """
        del mean
        if cells is None:
            return
        group = indices(cells, self._devices.group.size, self.num_cells, name="cells") * len(self.slices)
        group += self.user_slices
        self._enqueue(self._offers.taken(self._now_s), 0, self._now_s)
        counters, packets = self._counters, self._packets
        inside = np.flatnonzero(packets.user >= 0)
        inside = inside[group[packets.user[inside]] != self._devices.group[packets.user[inside]]]
        users, num_bytes = packets.user[inside], packets.num_bytes[inside]
        counters.packet_seconds[:] += counters.waiting * (self._now_s - counters.since_s)
        counters.since_s[:] = self._now_s
        for sign, where in ((-1, self._devices.group[users]), (1, group[users])):
            for name, amount in (
                ("waiting", 1), ("offered_packets", 1), ("waiting_bytes", num_bytes), ("offered_bytes", num_bytes),
            ):  # fmt: skip
                np.add.at(getattr(counters, name), where, sign * amount)
            np.add.at(counters.sojourn_seconds, where, -sign * (self._now_s - packets.offered_s[inside]))
        self._devices.group[:] = group

    def set_ratios(self, ratios: Mapping[str, ResourceRatio]) -> None:
        """From now on, hold these slices to these shares of every cell's slots.

        Raises:
            ValueError: An unknown slice, or `min` shares that add up to more than 1.
        """
        self._turns.set_ratios(ratios)

    def set_cell_up(self, cell: int, up: bool) -> None:
        """Take a cell out of service or back; while it is down its devices stay silent and packets wait."""
        check.non_negative_integer(cell=cell)
        check.within(0, self.num_cells - 1, cell=cell)
        self._up[cell] = up

    def account(self) -> Account:
        """Return where every byte is."""
        self._enqueue(self._offers.taken(self._now_s), 0, self._now_s)
        shape = self.num_cells, len(self.slices)
        return account_of(self._counters, self._packets, self._devices.group, shape, self._now_s)

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the whole state."""
        state: dict[str, Any] = {
            name: {field: value.copy() for field, value in getattr(self, f"_{name}")._asdict().items()}
            for name in ("devices", "packets", "active", "counters")
        }
        state["offers"] = self._offers.snapshot()
        state["turns"] = self._turns.snapshot()
        state |= {"up": self._up.copy(), "rng": self._rng.bit_generator.state}
        state["lost"] = {name: value.copy() for name, value in vars(Delivered.joined(self._lost)).items()}
        return state | {"now_s": self._now_s, "slot": self._slot}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot of an access with the same slices, cells, devices and kind of generator."""
        for name in ("devices", "packets", "active", "counters"):
            kind = type(getattr(self, f"_{name}"))
            setattr(self, f"_{name}", kind(*(np.array(state[name][field]) for field in kind._fields)))
        self._offers.restore(state["offers"])
        self._turns.restore(state["turns"])
        self._up = np.array(state["up"])
        self._rng.bit_generator.state = state["rng"]
        lost = Delivered(**{name: np.array(value) for name, value in state["lost"].items()})
        self._lost = [lost] if lost.user.size else []
        self._now_s, self._slot = float(state["now_s"]), int(state["slot"])

    def _enqueue(self, arrivals: Arrivals, came: int, until_s: float) -> int:
        """Put arrivals up to `until_s` in line, the first `came` of which are there; return how many are then."""
        user, size, times = arrivals
        if came == times.size or times[came] > until_s:
            return came
        here = slice(came, int(np.searchsorted(times, until_s, side="right")))
        cut = here.stop - came
        self._packets = with_room(self._packets, self._counters.sizes, cut)
        if self.num_active + cut > self._active.user.size:
            self._active = longer(self._active, max(64, self._active.user.size, cut))
        state = self._packets, self._active, self._devices, self._counters
        kernels.enqueue(user[here], size[here], times[here], self.slot_s, *state)
        return here.stop

    def _next_slot(self, times: NDArray[np.float64]) -> int | None:
        """Return the next slot in which somebody may speak, if packets come at `times`."""
        num = self.num_active
        ready = self._active.ready_slot[:num]
        if num and not self._up.all():
            ready = ready[self._up[self._devices.group[self._active.user[:num]] // len(self.slices)]]
        slots = [int(ready.min())] if ready.size else []
        if times.size:
            slots.append(kernels.first_slot_from(float(times[0]), self.slot_s))
        return max(self._slot, min(slots)) if slots else None

    def _compute(self, slot: int) -> Delivered:
        """Let everybody who is ready speak in a slot."""
        num = self.num_active
        speakers = np.flatnonzero(self._active.ready_slot[:num] <= slot)
        users = self._active.user[speakers]
        group = self._devices.group[users]
        if not self._up.all():
            speakers, users, group = (a[self._up[group // len(self.slices)]] for a in (speakers, users, group))
        if self._turns.needed:
            mine = self._turns.take(group)
            speakers, users, group = speakers[mine], users[mine], group[mine]
        heard = self.contention.success(self._rng, users, group // len(self.slices), slot)
        if heard.shape != users.shape or heard.dtype != np.bool_:
            msg = f"contention: got {heard.dtype} of shape {heard.shape}, expected bool of shape {users.shape}"
            raise ValueError(msg)
        num_heard = int(np.count_nonzero(heard))
        back_off = np.zeros(0, np.int64)
        if not self.contention.losers_wait:
            back_off = self._rng.integers(self.back_off_slots, size=users.size - num_heard)
        done = (np.empty(num_heard, np.int64), np.empty(num_heard, np.int64), np.empty(num_heard))
        state = self._packets, self._active, self._devices, self._counters
        losers = back_off.size if self.max_attempts else 0
        lost = (np.empty(losers, np.int64), np.empty(losers, np.int64), np.empty(losers))
        num_lost = kernels.finish_slot(
            slot, self.slot_s, speakers, heard, back_off, self.max_attempts or 0, *state, done, lost
        )
        end_s = (slot + 1) * self.slot_s
        if num_lost:
            user, num_bytes, offered_s = lost
            end = np.full(num_lost, end_s)
            self._lost.append(Delivered(user[:num_lost], num_bytes[:num_lost], offered_s[:num_lost], end))
        return Delivered(*done, np.full(num_heard, end_s))
