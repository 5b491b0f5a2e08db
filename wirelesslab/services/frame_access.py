"""Messages in frames: grant-free access as a `RadioAccess` whose receiver is a detector, a table or an ideal."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.access import Account, Delivered
from wirelesslab.network.active_kernels import ACTIVE, first_slot_from
from wirelesslab.network.device_lines import account_of, empty, longer, no_counts, with_room
from wirelesslab.network.slices import ResourceRatio, Slice, check_slices
from wirelesslab.network.slot_offers import Offers, indices
from wirelesslab.network.turns import Turns
from wirelesslab.services import frame_kernels as kernels
from wirelesslab.services.frames import FrameOutcomes, Frames, check_outcomes
from wirelesslab.services.framing import Framing, LoadEstimate

MOST_SLICES = 10
Arrivals = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


class FrameAccess:
    """Devices that say messages in frames, whoever decides what was heard: a `RadioAccess`.

    Slices take turns within each codebook, by `Turns`. Devices do not move: their codebook belongs to their cell.
    A call costs time for those who have a message; idle frames cost nothing, so that false alarms are drawn
    only in frames in which somebody speaks or is amid a message: elsewhere they could do no harm.

    Args:
        slices: The slices; at most 10.
        cells: Cell of each device, shape (users,); the devices of a cell fill its codebooks in their order.
        slice_of: Index of each device's slice, shape (users,).
        framing: How messages become frames.
        outcomes: What becomes of frames.
        rng: From which the seed of all chance is drawn, here and never again.
        estimate: How ε is estimated; None leaves it at what the detector's scenario says.
        num_cells: By default, as many as `cells` names.
        now_s: When it starts.

    Raises:
        ValueError: A cell has more devices than its codebooks, the outcomes are those of other codebooks, or the
            detector cannot be told an ε.
    """

    def __init__(
        self,
        slices: tuple[Slice, ...],
        *,
        cells: ArrayLike,
        slice_of: ArrayLike,
        framing: Framing,
        outcomes: FrameOutcomes,
        rng: np.random.Generator,
        estimate: LoadEstimate | None = None,
        num_cells: int | None = None,
        now_s: float = 0.0,
    ) -> None:
        check_slices(slices)
        check.within(1, MOST_SLICES, slices=len(slices))
        check.within(0, 1e15 * framing.slot_s, now_s=now_s)
        if not isinstance(rng, np.random.Generator):
            msg = f"rng: got {type(rng).__name__}, expected numpy.random.Generator, such as rng.stream(7)"
            raise TypeError(msg)
        check_outcomes(outcomes, framing.num_devices, estimated=estimate is not None)
        cell = indices(cells, None, num_cells, name="cells")
        of_slice = indices(slice_of, cell.size, len(slices), name="slice_of")
        self.slices, self.framing, self.outcomes, self.estimate = tuple(slices), framing, outcomes, estimate
        self.num_cells = int(cell.max(initial=0)) + 1 if num_cells is None else num_cells
        order = np.argsort(cell, kind="stable")
        in_cell = np.empty(cell.size, np.int64)
        in_cell[order] = np.arange(cell.size) - np.searchsorted(cell[order], cell[order])
        needed = int(-(-np.bincount(cell, minlength=1).max(initial=1) // framing.num_devices))
        self.codebooks = framing.codebooks or needed
        if needed > self.codebooks:
            msg = (
                f"codebooks: got {self.codebooks} of {framing.num_devices} devices each, the fullest cell has "
                f"{np.bincount(cell).max()} devices, expected at least {needed} codebooks"
            )
            raise ValueError(msg)
        self.turns = -(-self.codebooks // framing.bands)
        codebook = cell * self.codebooks + in_cell // framing.num_devices
        none = np.full(cell.size, -1, np.int64)
        group = cell * len(slices) + of_slice
        self._devices = kernels.Devices(group, codebook, in_cell % framing.num_devices, none, none.copy())
        self._member = np.full(self.num_cells * self.codebooks * framing.num_devices, -1, np.int64)
        self._member[codebook * framing.num_devices + self._devices.label] = np.arange(cell.size)
        self._offset = np.arange(self.num_cells * self.codebooks) % self.codebooks // framing.bands
        self._messages, self._active = empty(kernels.Messages), empty(kernels.Active)
        self._counters = no_counts(kernels.Counters, self.num_cells * len(slices), float(now_s))
        self._up = np.ones(self.num_cells, np.bool_)
        self._turns = Turns(self.slices, self.num_cells * self.codebooks)
        self._load = np.full(self.num_cells, np.nan)  # the share of devices heard; NaN before the first round
        self._heard = np.zeros(self.num_cells, np.int64)  # in the round at hand
        self._seed = int(rng.integers(2**62))
        self._now_s = float(now_s)
        self._slot = first_slot_from(self._now_s, framing.slot_s)
        self._round = self._slot // self.turns
        self._offers = Offers()
        self._offers.latest_s = self._now_s
        self._lost: list[Delivered] = []

    # --- what it is --------------------------------------------------------------------------------------

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
        """Devices that have a message."""
        return int(self._counters.sizes[ACTIVE])

    @property
    def next_s(self) -> float:
        """End of the next slot in which a device speaks or is amid a message; inf if nothing is waiting."""
        slot = self._next_slot(self._offers.waiting()[2])
        return np.inf if slot is None else (slot + 1) * self.framing.slot_s

    @property
    def load(self) -> NDArray[np.float64]:
        """Share of a codebook's devices heard in a frame, smoothed, shape (cells,); NaN without an estimate."""
        return self._load.copy()

    def counts(self) -> dict[str, NDArray[np.int64]]:
        """Return what happened in the air so far, each of shape (cells, slices).

        ``frames_spoken``, of them ``missed`` and ``wrong``; ``frames_of_delivered``, all that the messages delivered
        have cost; ``false_alarms`` of devices that exist, ``broken_by_alarm`` messages, ``restarts``: whole messages
        that the CRC refused, those included that were then given up.
        """
        shape = self.num_cells, len(self.slices)
        names = (
            "frames_spoken", "frames_of_delivered", "missed", "wrong", "false_alarms", "broken_by_alarm", "restarts",
        )  # fmt: skip
        return {name: getattr(self._counters, name).reshape(shape).copy() for name in names}

    def energy_per_delivered_j(self) -> NDArray[np.float64]:
        """Return all energy spoken over the messages delivered, shape (cells, slices); NaN before the first."""
        counters, shape = self._counters, (self.num_cells, len(self.slices))
        with np.errstate(invalid="ignore", divide="ignore"):
            per = self.framing.frame_energy_j * counters.frames_spoken / counters.delivered_packets
        per[counters.delivered_packets == 0] = np.nan
        return np.asarray(per.reshape(shape))

    # --- the radio ---------------------------------------------------------------------------------------

    def offer(self, users: ArrayLike, num_bytes: ArrayLike, offered_s: ArrayLike | None = None) -> None:
        """Take one message per entry; see `RadioAccess.offer`.

        Raises:
            ValueError: An unknown device, an empty message, or times that go back.
        """
        now_s = self._now_s if offered_s is None else offered_s
        self._offers.take(users, num_bytes, now_s, self._now_s, self._devices.head.size, None)

    def advance(self, until_s: float) -> Delivered:
        """Compute all slots that end by `until_s`; return the messages that got through since the last call.

        Raises:
            ValueError: `until_s` lies before now or before the last message offered.
        """
        slot_s, until_s = self.framing.slot_s, self._offers.checked_end(until_s)
        last = first_slot_from(until_s, slot_s)
        over = last if last * slot_s == until_s else last - 1  # slots before this one have ended
        arrivals, came, delivered = self._offers.taken(until_s), 0, []
        while (slot := self._next_slot(arrivals[2][came:])) is not None and slot < over:
            # Within a round every codebook has one turn: all its frames can be computed at once.
            stop = min(over, (slot // self.turns + 1) * self.turns)
            here = self._enqueue(arrivals, came, stop * slot_s)
            user, size, times = (a[came:here] for a in arrivals)
            delivered.append(self._compute(slot, stop, (user, size, times)))  # type: ignore[arg-type]
            came, self._slot = here, stop
        here = self._enqueue(arrivals, came, until_s)
        rest = self._devices.group[arrivals[0][came:]]
        kernels.integrate(arrivals[2][came:], rest, np.zeros(0), np.zeros(0, np.int64), until_s, self._counters)
        self._now_s = self._offers.latest_s = until_s
        self._slot = max(self._slot, over)
        return Delivered.joined(delivered)

    def given_up(self) -> Delivered:
        """Return the messages that were dropped since the last call."""
        lost, self._lost = Delivered.joined(self._lost), []
        return lost

    def set_ratios(self, ratios: Mapping[str, ResourceRatio]) -> None:
        """From now on, hold these slices to these shares of every codebook's turns."""
        self._turns.set_ratios(ratios)

    def set_cell_up(self, cell: int, up: bool) -> None:
        """Take a cell out of service or back; while it is down, nobody speaks in it and messages wait.

        Raises:
            ValueError: There is no such cell.
        """
        indices([cell], 1, self.num_cells, name="cell")
        if up and not self._up[cell]:
            num, first = self.num_active, first_slot_from(self._now_s, self.framing.slot_s)
            users, speak = self._active.user[:num], self._active.speak_slot[:num]
            late = (self._devices.group[users] // len(self.slices) == cell) & (speak < first)
            speak[late] = first + (self._offset[self._devices.codebook[users[late]]] - first) % self.turns
        self._up[cell] = up

    def account(self) -> Account:
        """Return where every byte is."""
        shape = self.num_cells, len(self.slices)
        return account_of(self._counters, self._messages, self._devices.group, shape, self._now_s)

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the whole state."""
        state: dict[str, Any] = {
            name: {field: value.copy() for field, value in getattr(self, f"_{name}")._asdict().items()}
            for name in ("messages", "active", "counters")
        }
        state |= {name: getattr(self, f"_{name}").copy() for name in ("up", "load", "heard")}
        state |= {name: getattr(self._devices, name).copy() for name in ("head", "tail")}
        state |= {"offers": self._offers.snapshot(), "turns": self._turns.snapshot(), "seed": self._seed}
        state["lost"] = {name: value.copy() for name, value in vars(Delivered.joined(self._lost)).items()}
        return state | {"now_s": self._now_s, "slot": self._slot, "round": self._round}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot of an access with the same slices, devices, framing and outcomes."""
        for name in ("messages", "active", "counters"):
            kind = type(getattr(self, f"_{name}"))
            setattr(self, f"_{name}", kind(*(np.array(state[name][field]) for field in kind._fields)))
        for name in ("up", "load", "heard"):
            setattr(self, f"_{name}", np.array(state[name]))
        self._devices = self._devices._replace(head=np.array(state["head"]), tail=np.array(state["tail"]))
        self._offers.restore(state["offers"])
        self._turns.restore(state["turns"])
        lost = Delivered(**{name: np.array(value) for name, value in state["lost"].items()})
        self._lost = [lost] if lost.user.size else []
        self._now_s, self._seed = float(state["now_s"]), int(state["seed"])
        self._slot, self._round = int(state["slot"]), int(state["round"])

    # --- how it works ------------------------------------------------------------------------------------

    def _enqueue(self, arrivals: Arrivals, came: int, until_s: float) -> int:
        """Put arrivals up to `until_s` in line, the first `came` of which are there; return how many are then."""
        user, size, times = arrivals
        here = slice(came, int(np.searchsorted(times, until_s, side="right")))
        cut = here.stop - came
        if not cut:
            return came
        self._messages = with_room(self._messages, self._counters.sizes, cut)
        if self.num_active + cut > self._active.user.size:
            self._active = longer(self._active, max(64, self._active.user.size, cut))
        kernels.enqueue(
            user[here], size[here], times[here], self.framing.segments(size[here]), self.framing.slot_s, self.turns,
            self._offset, self._messages, self._active, self._devices, self._counters,
        )  # fmt: skip
        return here.stop

    def _next_slot(self, times: NDArray[np.float64]) -> int | None:
        """Return the next slot in which somebody may speak or be harmed, if messages come at `times`."""
        num = self.num_active
        users, slots = self._active.user[:num], []
        turn = self._slot + (self._offset[self._devices.codebook[users]] - self._slot) % self.turns
        # Who is amid a message and silent can be harmed by a false alarm.
        matters = np.where(self._amid(users), turn, self._active.speak_slot[:num])
        if num and not self._up.all():
            matters = matters[self._up[self._devices.group[users] // len(self.slices)]]
        if matters.size:
            slots.append(int(matters.min()))
        if times.size:
            slots.append(first_slot_from(float(times[0]), self.framing.slot_s))
        return max(self._slot, min(slots)) if slots else None

    def _amid(self, users: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of these active devices have begun their message."""
        return np.asarray(self._messages.spoken[self._devices.head[users]] > 0)

    def _compute(self, start: int, stop: int, arrivals: Arrivals) -> Delivered:
        """Compute the frames of slots `start` to before `stop`, in which every codebook has at most one turn."""
        frames, speakers = self._frames(start, stop)
        slot_s, counters, size = self.framing.slot_s, self._counters, speakers.size
        user, num_bytes = np.empty(size, np.int64), np.empty(size, np.int64)
        offered_s, end_s, through = np.empty(size), np.empty(size), np.empty(size, np.bool_)
        count = 0
        if frames.slot.size:
            heard = self.outcomes.hear(frames, self._seed)
            if heard.outcome.shape != speakers.shape:
                msg = f"outcomes: got shape {heard.outcome.shape}, expected one for each speaker {speakers.shape}"
                raise ValueError(msg)
            alarmed = self._member[frames.codebook[heard.false_frame] * self.framing.num_devices + heard.false_label]
            if self.estimate is not None:
                frame_of = np.repeat(np.arange(frames.slot.size), frames.num_speakers)
                np.add.at(self._heard, frames.cell[frame_of[heard.outcome != kernels.MISSED]], 1)
                np.add.at(self._heard, frames.cell[heard.false_frame], 1)
            users = self._active.user[speakers]
            self._note_use(frames, users)
            count = kernels.settle(
                self._seed, slot_s, self.turns, self.framing.back_off_turns, self.framing.max_attempts or 0,
                -1 if self.framing.max_restarts is None else self.framing.max_restarts, speakers,
                heard.outcome, alarmed[alarmed >= 0], self._messages, self._active, self._devices, counters,
                (user, num_bytes, offered_s, end_s, through),
            )  # fmt: skip
        user, num_bytes, offered_s = user[:count], num_bytes[:count], offered_s[:count]
        end_s, through = end_s[:count], through[:count]
        kernels.integrate(
            arrivals[2], self._devices.group[arrivals[0]], end_s, self._devices.group[user], stop * slot_s, counters
        )
        if through.all():
            return Delivered(user, num_bytes, offered_s, end_s)
        gone = np.logical_not(through)
        self._lost.append(Delivered(user[gone], num_bytes[gone], offered_s[gone], end_s[gone]))
        return Delivered(user[through], num_bytes[through], offered_s[through], end_s[through])

    def _frames(self, start: int, stop: int) -> tuple[Frames, NDArray[np.int64]]:
        """Return the frames in which somebody speaks or is amid a message, and the speakers' places, frame by frame."""
        num = self.num_active
        users, speak = self._active.user[:num], self._active.speak_slot[:num]
        codebook = self._devices.codebook[users]
        turn = start + (self._offset[codebook] - start) % self.turns
        amid = self._amid(users)
        speaks = speak == turn
        here = (turn < stop) & (speaks | amid)
        if not self._up.all():
            here &= self._up[self._devices.group[users] // len(self.slices)]
        if self._turns.needed and (here & speaks).any():
            mine = here & speaks
            held = np.flatnonzero(mine)[~self._turns_of(users[mine], codebook[mine])]
            speak[held] += self.turns
            speaks[held] = False
            here[held] &= amid[held]
        place = np.flatnonzero(here)
        place = place[np.lexsort((codebook[place], turn[place]))]
        own = codebook[place]
        new = np.ones(place.size, np.bool_)
        new[1:] = own[1:] != own[:-1]  # a codebook has one turn here
        frame, heads = np.cumsum(new) - 1, place[new]
        speaks = speaks[place]
        speakers = place[speaks]
        first = np.concatenate([[0], np.cumsum(np.bincount(frame[speaks], minlength=heads.size))]).astype(np.int64)
        cell = codebook[heads] // self.codebooks
        told = np.full(heads.size, np.nan) if self.estimate is None else self._told(start // self.turns)[cell]
        frames = Frames(turn[heads], cell, codebook[heads], first, self._devices.label[users[speakers]], told)
        return frames, speakers

    def _turns_of(self, users: NDArray[np.int64], codebook: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Give each codebook's turn to one slice; return which speakers may use it."""
        return self._turns.take(
            codebook * len(self.slices) + self._devices.group[users] % len(self.slices), only_theirs=True
        )

    def _note_use(self, frames: Frames, users: NDArray[np.int64]) -> None:
        """Add the frames in which somebody spoke to what their slice has used of the cell."""
        spoken = np.flatnonzero(frames.num_speakers)
        group = self._devices.group[users[frames.first[spoken]]]
        share = self.framing.slot_s / self.framing.bands
        used = self._counters.used_share_seconds
        used += np.bincount(group, minlength=used.size) * share

    def _told(self, round_: int) -> NDArray[np.float64]:
        """Bring the estimate of the load up to a round, and return the ε that each cell's detector is told."""
        assert self.estimate is not None
        rounds = round_ - self._round
        if rounds > 0:
            keep = np.exp(-self.codebooks / self.estimate.memory_frames)
            share = self._heard / (self.codebooks * self.framing.num_devices)
            known = np.where(np.isnan(self._load), share, self._load * keep + share * (1 - keep))
            self._load = known * keep ** (rounds - 1)
            self._heard[:] = 0
            self._round = round_
        told = np.clip(self._load, self.estimate.floor, self.estimate.ceiling)
        return np.asarray(np.where(np.isnan(told), self.estimate.floor, told))
