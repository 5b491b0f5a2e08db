"""How users move: positions of all users as one array, moved on by any time at once.

State is `memory`, a dict of arrays with one row per user (a trace keeps one clock). Where a model
makes choices on the way (`RandomWaypoint`, `Manhattan`), each user draws them from a stream of its own
(see `source_streams`): a path depends neither on the other users nor on how time is cut into steps.

To add one, write a class with `begin` and `advance` and name it in `MOBILITY_MODELS`.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.areas import Area, Points
from wirelesslab.network.manhattan import Manhattan
from wirelesslab.network.source_streams import Memory, begin_streams, first_uniforms, uniforms

__all__ = [
    "MOBILITY_MODELS",
    "Manhattan",
    "Mobility",
    "MobilityTrace",
    "RandomWalk",
    "RandomWaypoint",
    "Static",
]

Rng = np.random.Generator


class Mobility(Protocol):
    """The law by which users move."""

    def begin(self, rng: Rng, positions_m: Points, /) -> Memory:
        """Return the memory of users who stand at `positions_m` (U, 2).

        Raises:
            ValueError: They cannot stand there.
        """
        ...

    def advance(self, rng: Rng, memory: Memory, positions_m: Points, dt_s: float, /) -> Points:
        """Return where users are `dt_s` later, a new array (U, 2); `memory` is changed in place.

        `positions_m` are those returned last, or those that `begin` was given.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Static:
    """Nobody moves."""

    def begin(self, _rng: Rng, positions_m: Points, /) -> Memory:
        """Return no memory."""
        check_positions(positions_m)
        return {}

    def advance(self, _rng: Rng, _memory: Memory, positions_m: Points, dt_s: float, /) -> Points:
        """Return where users were."""
        check_step(dt_s)
        return positions_m.copy()


@dataclass(frozen=True, kw_only=True)
class RandomWalk:
    """Brownian motion: after t seconds each coordinate is off by a Gaussian of variance 2 D t.

    What a twin that is t seconds old is wrong by: 2 D t per axis, 4 D t in the plane.

    Attributes:
        diffusion_m2_per_s: D.
        area: Users are mirrored at its border; exact in law for a rectangle, elsewhere for steps
            that are short beside the area. None: the whole plane.
    """

    diffusion_m2_per_s: float
    area: Area | None = None

    def __post_init__(self) -> None:
        check.positive(diffusion_m2_per_s=self.diffusion_m2_per_s)

    def begin(self, _rng: Rng, positions_m: Points, /) -> Memory:
        """Return no memory: Brownian motion has none."""
        check_positions(positions_m, self.area)
        return {}

    def advance(self, rng: Rng, _memory: Memory, positions_m: Points, dt_s: float, /) -> Points:
        """Return where users are `dt_s` later; cutting `dt_s` changes the path, not its law."""
        check_step(dt_s)
        deviation_m = math.sqrt(2 * self.diffusion_m2_per_s * dt_s)
        moved_m = positions_m + deviation_m * rng.standard_normal(positions_m.shape)
        return moved_m if self.area is None else self.area.reflect(moved_m)


@dataclass(frozen=True, kw_only=True)
class RandomWaypoint:
    """Straight to a point anywhere in the area, at a speed of the leg's own; a rest; on to the next point.

    References: Johnson and Maltz, "Dynamic source routing in ad hoc wireless networks", 1996. The
    stationary law is denser in the middle and slower than the speeds drawn: Bettstetter, Resta and
    Santi, IEEE Trans. Mobile Comput. 2(3), 2003; Le Boudec and Vojnovic, INFOCOM 2005. Users begin
    where they are put, on a new leg: let some legs pass before measuring.

    Attributes:
        area: Convex, so that legs stay inside.
        speed_mps: Least and greatest speed, drawn evenly for each leg. The least is above 0: towards
            0 legs last ever longer and the mean speed decays for good (Yoon, Liu and Noble, INFOCOM 2003).
        pause_s: Least and greatest rest, drawn evenly at each point.
    """

    area: Area
    speed_mps: tuple[float, float] = (0.5, 1.5)
    pause_s: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        check_speeds(self.speed_mps)
        for bound in self.pause_s:
            check.finite(pause_s=bound)
        if not 0 <= self.pause_s[0] <= self.pause_s[1]:
            msg = f"pause_s: got {self.pause_s}, expected least and greatest rest, 0 <= least <= greatest"
            raise ValueError(msg)

    def begin(self, rng: Rng, positions_m: Points, /) -> Memory:
        """Return the memory of users who set out on a leg at once."""
        check_positions(positions_m, self.area)
        memory = begin_streams(rng, positions_m.shape[0])
        draws = first_uniforms(memory)
        memory["target_m"] = self.area.place(draws[:, :2])
        memory["speed_mps"] = _between(self.speed_mps, draws[:, 2])
        memory["rest_s"] = np.zeros(positions_m.shape[0])  # left at the present point before the leg begins
        return memory

    def advance(self, _rng: Rng, memory: Memory, positions_m: Points, dt_s: float, /) -> Points:
        """Return where users are `dt_s` later, however many legs that takes."""
        check_step(dt_s)
        moved_m = positions_m.copy()
        users, left_s = np.arange(moved_m.shape[0]), np.full(moved_m.shape[0], float(dt_s))
        while users.size:
            rested_s = np.minimum(memory["rest_s"][users], left_s)
            memory["rest_s"][users] -= rested_s
            left_s = left_s - rested_s
            way_m = memory["target_m"][users] - moved_m[users]
            length_m = np.hypot(way_m[:, 0], way_m[:, 1])
            step_m = memory["speed_mps"][users] * left_s
            arrives = (step_m >= length_m) & (left_s > 0)
            share = np.divide(step_m, length_m, out=np.zeros(users.size), where=~arrives & (length_m > 0))
            moved_m[users] += way_m * share[:, None]
            there = users[arrives]
            moved_m[there] = memory["target_m"][there]
            left_s = left_s[arrives] - length_m[arrives] / memory["speed_mps"][there]
            draws = uniforms(memory, there)
            memory["target_m"][there] = self.area.place(draws[:, :2])
            memory["speed_mps"][there] = _between(self.speed_mps, draws[:, 2])
            memory["rest_s"][there] = _between(self.pause_s, draws[:, 3])
            left_s, users = np.maximum(left_s, 0.0), there
        return moved_m


@dataclass(frozen=True, eq=False)
class MobilityTrace:
    """Recorded positions, joined by straight lines; before the first and after the last users stand still.

    Attributes:
        times_s: When, strictly increasing, shape (T,).
        positions_m: Where, shape (T, U, 2).
    """

    times_s: NDArray[np.float64]
    positions_m: NDArray[np.float64]

    def __post_init__(self) -> None:
        times_s = check.array(self.times_s, (None,), "T", name="times_s").astype(np.float64)
        path_m = check.array(
            self.positions_m, (times_s.size, None, 2), "T, U, 2", name="positions_m", because="T was set by times_s"
        ).astype(np.float64)
        if not times_s.size or np.any(np.diff(times_s) <= 0):
            msg = f"times_s: got {times_s.tolist()[:5]}…, expected at least one time, strictly increasing"
            raise ValueError(msg)
        for name, value in (("times_s", times_s), ("positions_m", path_m)):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    def at(self, now_s: float) -> Points:
        """Return where users are at a time, shape (U, 2)."""
        last = self.times_s.size - 1
        after = int(np.searchsorted(self.times_s, now_s, side="right"))
        if after == 0 or after > last:
            return np.array(self.positions_m[min(after, last)])
        before_s, after_s = self.times_s[after - 1], self.times_s[after]
        share = (now_s - before_s) / (after_s - before_s)
        return np.asarray((1 - share) * self.positions_m[after - 1] + share * self.positions_m[after])

    def begin(self, _rng: Rng, positions_m: Points, /) -> Memory:
        """Return the trace's clock at 0.

        Raises:
            ValueError: The users stand elsewhere than the trace says for time 0.
        """
        check_positions(positions_m)
        start_m = self.at(0.0)
        if positions_m.shape != start_m.shape or not np.allclose(positions_m, start_m, rtol=0, atol=1e-6):
            msg = (
                f"positions_m: got shape {positions_m.shape} or places other than those of the trace at time 0, "
                f"shape {start_m.shape}; begin with trace.at(0.0)"
            )
            raise ValueError(msg)
        return {"now_s": np.zeros(1)}

    def advance(self, _rng: Rng, memory: Memory, _positions_m: Points, dt_s: float, /) -> Points:
        """Return where the trace says that users are `dt_s` later."""
        check_step(dt_s)
        memory["now_s"] += dt_s
        return self.at(float(memory["now_s"][0]))


MOBILITY_MODELS: tuple[type[Mobility], ...] = (Static, RandomWalk, RandomWaypoint, Manhattan, MobilityTrace)


def check_positions(positions_m: Points, area: Area | None = None) -> None:
    """Refuse what are not positions (U, 2) in the area."""
    check.array(positions_m, (None, 2), "U, 2", name="positions_m")
    if area is None:
        return
    outside = np.flatnonzero(~area.contains(positions_m))
    if outside.size:
        user = int(outside[0])
        msg = (
            f"positions_m: got {outside.size} users outside {area!r}, the first is user {user} at "
            f"{positions_m[user].tolist()}; put them with area.place(rng.random((num_users, 2)))"
        )
        raise ValueError(msg)


def check_step(dt_s: float) -> None:
    """Refuse what is not a time that passes."""
    check.finite(dt_s=dt_s)
    if dt_s < 0:
        msg = f"dt_s: got {dt_s}, expected at least 0; time does not run backwards"
        raise ValueError(msg)


def check_speeds(speed_mps: tuple[float, float]) -> None:
    """Refuse what is not a range of speeds above 0."""
    for bound in speed_mps:
        check.positive(speed_mps=bound)
    if speed_mps[0] > speed_mps[1]:
        msg = f"speed_mps: got {speed_mps}, expected least and greatest speed in this order"
        raise ValueError(msg)


def _between(bounds: tuple[float, float], uniform: NDArray[np.float64]) -> NDArray[np.float64]:
    return bounds[0] + (bounds[1] - bounds[0]) * uniform
