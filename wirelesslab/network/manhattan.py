"""Users on the streets of a grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.areas import Points
from wirelesslab.network.source_streams import Memory, begin_streams, first_uniforms, uniforms

Rng = np.random.Generator
HEADINGS = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])  # east, north, west, south
TURNS = np.array([0, 1, 3])  # straight on, left, right


@dataclass(frozen=True, kw_only=True)
class Manhattan:
    """Streets between square blocks: users drive along them and turn, or not, where streets cross.

    References: the Manhattan grid of UMTS 30.03 (ETSI TR 101 112) as we recollect it: straight on with
    probability 1/2 and left or right with 1/4 each; a constant speed per user is our choice. Where the
    grid ends, the turns that remain share the probability; a user with none of them turns back.

    Attributes:
        block_m: Distance between parallel streets.
        num_blocks: Blocks from west to east and from south to north.
        origin_m: The south-west corner.
        speed_mps: Least and greatest speed, drawn evenly once per user.
        turn_probs: Straight on, left, right; adds up to 1.
    """

    block_m: float = 100.0
    num_blocks: tuple[int, int] = (10, 10)
    origin_m: tuple[float, float] = (0.0, 0.0)
    speed_mps: tuple[float, float] = (1.0, 15.0)
    turn_probs: tuple[float, float, float] = (0.5, 0.25, 0.25)

    def __post_init__(self) -> None:
        check.positive(block_m=self.block_m)
        for axis in (0, 1):
            check.positive_integer(num_blocks=self.num_blocks[axis])
            check.finite(origin_m=self.origin_m[axis])
            check.positive(speed_mps=self.speed_mps[axis])
        if self.speed_mps[0] > self.speed_mps[1]:
            msg = f"speed_mps: got {self.speed_mps}, expected least and greatest speed in this order"
            raise ValueError(msg)
        for prob in self.turn_probs:
            check.probability(turn_probs=prob)
        if len(self.turn_probs) != 3 or abs(sum(self.turn_probs) - 1) > 1e-9:
            msg = f"turn_probs: got {self.turn_probs}, expected three (straight, left, right) that add up to 1"
            raise ValueError(msg)

    def place(self, uniform: NDArray[np.float64], /) -> Points:
        """Map numbers in (0, 1), shape (n, 2), to points spread evenly over the streets, shape (n, 2)."""
        east, north = self.num_blocks
        across = np.array([east * (north + 1), north * (east + 1)])  # blocks of street that run east, north
        street, along = np.divmod(uniform[:, 0] * across.sum(), 1.0)
        upright = street >= across[0]
        length = np.where(upright, north, east)
        line, block = np.divmod(np.where(upright, street - across[0], street), length)
        along = (block + along) * self.block_m
        place_m = np.where(
            upright[:, None], np.stack([line * self.block_m, along], 1), np.stack([along, line * self.block_m], 1)
        )
        return np.asarray(self.origin_m + place_m)

    def nearest_street(self, positions_m: Points) -> Points:
        """Return the points of the streets that lie nearest, shape (U, 2)."""
        blocks = np.clip((positions_m - self.origin_m) / self.block_m, 0, self.num_blocks)
        off = np.abs(blocks - np.rint(blocks))
        nearer = off[:, :1] <= off[:, 1:] if positions_m.size else np.zeros((0, 1), np.bool_)
        snapped = np.where(np.concatenate([nearer, ~nearer], axis=1), np.rint(blocks), blocks)
        return np.asarray(self.origin_m + snapped * self.block_m)

    def begin(self, rng: Rng, positions_m: Points, /) -> Memory:
        """Return the memory of users who stand on streets.

        Raises:
            ValueError: A user stands elsewhere.
        """
        check.array(positions_m, (None, 2), "U, 2", name="positions_m")
        off_m = np.abs(positions_m - self.nearest_street(positions_m)).max(axis=1, initial=0.0)
        astray = np.flatnonzero(off_m > 1e-6 * self.block_m)
        if astray.size:
            user = int(astray[0])
            msg = (
                f"positions_m: got {astray.size} users off the streets, the first is user {user} at "
                f"{positions_m[user].tolist()}; put them with nearest_street(positions_m)"
            )
            raise ValueError(msg)
        memory = begin_streams(rng, positions_m.shape[0])
        draws = first_uniforms(memory)
        blocks = (self.nearest_street(positions_m) - self.origin_m) / self.block_m
        runs_east = np.abs(blocks[:, 1] - np.rint(blocks[:, 1])) < 1e-6
        runs_north = np.abs(blocks[:, 0] - np.rint(blocks[:, 0])) < 1e-6
        # on a crossing the street is drawn too; the way along it always is
        north = runs_north & (~runs_east | (draws[:, 1] < 0.5))
        heading = np.where(north, 1, 0) + 2 * (draws[:, 0] < 0.5)
        along = np.where(north, blocks[:, 1], blocks[:, 0])
        whole = np.rint(along)
        along = np.where(np.abs(along - whole) < 1e-6, whole, along)
        limit = np.where(north, self.num_blocks[1], self.num_blocks[0])
        forward = heading < 2
        # who stands at the end of a street and looks out of the grid turns round
        forward = np.where(along <= 0, True, np.where(along >= limit, False, forward))
        next_corner = np.where(forward, np.floor(along) + 1, np.ceil(along) - 1)
        memory["heading"] = (np.where(north, 1, 0) + np.where(forward, 0, 2)).astype(np.int64)
        cross = np.rint(np.where(north, blocks[:, 0], blocks[:, 1]))
        corner = np.where(north[:, None], np.stack([cross, next_corner], 1), np.stack([next_corner, cross], 1))
        memory["corner"] = corner.astype(np.int64)  # the crossing ahead, counted from the origin
        memory["left_m"] = np.abs(next_corner - along) * self.block_m  # to that crossing
        memory["speed_mps"] = self.speed_mps[0] + (self.speed_mps[1] - self.speed_mps[0]) * draws[:, 2]
        return memory

    def advance(self, _rng: Rng, memory: Memory, positions_m: Points, dt_s: float, /) -> Points:
        """Return where users are `dt_s` later, however many crossings that takes; always on a street."""
        check.finite(dt_s=dt_s)
        if dt_s < 0:
            msg = f"dt_s: got {dt_s}, expected at least 0; time does not run backwards"
            raise ValueError(msg)
        check.array(positions_m, (memory["left_m"].size, 2), "U, 2", name="positions_m", because="U was set by begin")
        memory["left_m"] -= memory["speed_mps"] * dt_s
        crossing = np.flatnonzero(memory["left_m"] <= 0)
        while crossing.size:
            memory["heading"][crossing] = self._turn(
                memory["corner"][crossing], memory["heading"][crossing], uniforms(memory, crossing)[:, 0]
            )
            memory["corner"][crossing] += HEADINGS[memory["heading"][crossing]]
            memory["left_m"][crossing] += self.block_m
            crossing = crossing[memory["left_m"][crossing] <= 0]
        behind = memory["left_m"][:, None] * HEADINGS[memory["heading"]]
        return np.asarray(self.origin_m + memory["corner"] * self.block_m - behind)

    def _turn(
        self, corner: NDArray[np.int64], heading: NDArray[np.int64], uniform: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """Return the headings (n,) with which users leave the crossings `corner` (n, 2)."""
        options = (heading[:, None] + TURNS) % 4
        beyond = corner[:, None, :] + HEADINGS[options]
        open_ = ((beyond >= 0) & (beyond <= self.num_blocks)).all(axis=2)
        weight = np.cumsum(np.where(open_, self.turn_probs, 0.0), axis=1)
        # the first turn whose summed weight exceeds the draw has a weight above 0 itself
        pick = np.minimum((weight <= uniform[:, None] * weight[:, 2:]).sum(axis=1), 2)
        chosen = options[np.arange(pick.size), pick]
        return np.where(weight[:, 2] > 0, chosen, (heading + 2) % 4)
