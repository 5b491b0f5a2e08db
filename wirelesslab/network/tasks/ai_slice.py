"""AISlice: how large the batch, how strong the compression, and at which edge node the server of a learning job.

rules: `ai_slice_rules.Fixed`, `.RandomChoice`, `.CompressWhenSendingDominates`, `.ForeseesAPeriod`
"""

from collections.abc import Mapping
from math import ceil
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.tasks.ai_slice_job import Floats, World, round_seconds
from wirelesslab.network.tasks.ai_slice_world import AISliceConfig, drawn_moves, world_of
from wirelesslab.network.tasks.task import SOURCES, Source, same_setting, seed_of

MOST_RATE, MOST_S = 1e15, 1e7  # bounds of what is shown: bits/s and operations/s, seconds
DONE = 1 - 1e-9  # progress at which the target is reached, rounding aside

Choice = tuple[int, int, int]


class AISlice(gymnasium.Env[NDArray[np.float32], NDArray[np.int64]]):
    """Run a learning job on the AI slice of a network whose share, ways and edge servers' loads move.

    The job runs round after round: every client computes its part of a batch and sends its coded gradient to the
    server at an edge node, which answers all. A round takes what `ai_slice_job.round_seconds` says under the world of
    the period in which it begins; a round once begun is finished as it began, if need be in the next period.

    State: the part of the job that is done, the time, how long a round goes on into this period, the server's
    edge node, and what moves: the slice's share, each client's fading, the ways to the edge nodes, their loads.

    Action: three numbers, ``(batch, coder, edge)``: places in `job.batches`, in `job.coders` and of an edge node.
    Another edge node than before has the server's state moved there first, which takes time and bytes.

    Transition: as many whole rounds are begun as the period has time for; each does its part of the job, a
    declared law of batch and coder (`LearningJob`) with the noise scale of the period's start. Then the world moves,
    whatever was done.

    Reward, parts in ``info["reward"]``: "progress", its part of `progress_worth`; "time", the price of the seconds
    of the period until the job is done, negative; "bytes", the price of what was sent, negative. Cost, apart: "late",
    seconds of the period after `deadline_s` in which the job was not done.

    Horizon: terminated when the job is done; truncated after `config.horizon` periods. Discount hint: 0.99 a period.

    Observation, float32: progress (0 to 1), seconds until the horizon, seconds that a round still takes, the noise
    scale (samples), the share (0 to 1), 1 at the server's edge node (edges numbers, all 0 at first), the slowest
    client's rate up to each edge node (bits/s), operations/s left at each edge node, and how old the numbers of the
    world are (s).

    Args:
        config: The job and its world; `AISliceConfig()` when None.
        source: Where the world is seen: as it is for the coming period ("physical", and "fresh", a twin that is told at
            once), as it was `age_periods` before ("aged"), or not at all ("none": the middle of everything is shown).
        age_periods: How late an aged twin is.

    Raises:
        ValueError: A number makes no sense.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's form)

    def __init__(
        self, config: AISliceConfig | None = None, *, source: Source = "physical", age_periods: int = 5,
        render_mode: str | None = None,
    ) -> None:  # fmt: skip
        check.one_of(SOURCES, source=source)
        check.positive_integer(age_periods=age_periods)
        self.config, self.source, self.age_periods = config or AISliceConfig(), source, age_periods
        self.render_mode = render_mode
        job, edges = self.config.job, self.config.edges
        self.action_space = MultiDiscrete([len(job.batches), len(job.coders), edges])
        high = np.array(
            [1, MOST_S, MOST_S, 1e9, 1, *[1] * edges, *[MOST_RATE] * edges, *[MOST_RATE] * edges, MOST_S], np.float32
        )
        self.observation_space = Box(np.zeros_like(high), high, dtype=np.float32)
        middle = np.zeros((1, 1 + self.config.clients + 2 * edges))
        self._middle = world_of(self.config, middle).at(0)
        self._take(middle)
        self.period, self.edge, self.progress = self.config.horizon, -1, 0.0  # outside an episode until a reset
        self.overrun_s, self.time_s, self.sent_bytes = 0.0, 0.0, 0
        late = f", {age_periods} periods late" if source == "aged" else ""
        self._of = {"config": repr(self.config), "source": f"{source}{late}"}

    def _take(self, moves: Floats) -> None:
        """Work out the worlds of all periods at once: a step then only looks things up."""
        self._moves, self._worlds = moves, world_of(self.config, moves)
        self._seconds = round_seconds(self.config.job, self._worlds)

    # --- an episode --------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the job; the seed draws all that moves."""
        super().reset(seed=seed, options=options)
        self._take(drawn_moves(self.config, seed_of(self, seed)))
        self.period, self.edge = 0, -1  # the server is nowhere yet
        self.progress, self.overrun_s, self.time_s = 0.0, 0.0, 0.0
        self.sent_bytes = 0
        return self._observe(), {"time_s": 0.0}

    @property
    def world(self) -> World:
        """What the job meets in the coming period."""
        return self._worlds.at(self.period)

    @property
    def round_s(self) -> Floats:
        """How long a round takes in the coming period by every choice, shape (batches, coders, edges)."""
        return np.asarray(self._seconds[self.period])

    @property
    def seen(self) -> World:
        """What is seen of the world."""
        if self.source == "none":
            return self._middle
        late = self.age_periods if self.source == "aged" else 0
        return self._worlds.at(max(self.period - late, 0))

    def move_seconds(self) -> Floats:
        """Return how long it takes to bring the server to each edge node, shape (edges,)."""
        takes = np.full(self.config.edges, 8 * self.config.job.state_bytes / float(self.world.between_bps))
        if self.edge < 0:
            takes[:] = 0.0
        else:
            takes[self.edge] = 0.0
        return takes

    def step(self, action: NDArray[np.int64]) -> tuple[NDArray[np.float32], SupportsFloat, bool, bool, dict[str, Any]]:
        """Run the job for a period by this choice; see the class.

        Raises:
            ValueError: The action is no triple of places; nothing has happened.
            RuntimeError: Before the first reset, or after the end of an episode.
        """
        if self.period >= self.config.horizon or self.progress >= DONE:
            msg = "step: got one outside an episode; call reset(seed=...) first"
            raise RuntimeError(msg)
        batch, coder, edge = self._checked(action)
        config, job = self.config, self.config.job
        moved = 0 <= self.edge != edge
        move_s = float(self.move_seconds()[edge])
        takes_s = float(self.round_s[batch, coder, edge])
        gain = float(job.gains(self.progress)[batch, coder])
        left_s = config.period_s - self.overrun_s - move_s
        rounds = max(min(ceil(left_s / takes_s), ceil((DONE - self.progress) / gain)), 0)
        up, down = job.message_bytes(job.coders[coder])
        moved_bytes = job.state_bytes if moved else 0
        sent = rounds * job.round_bytes(job.coders[coder], config.clients) + moved_bytes
        before, busy_s = self.progress, self.overrun_s + move_s + rounds * takes_s
        self.progress = min(before + rounds * gain, 1.0)
        done = self.progress >= DONE
        used_s = busy_s if done else config.period_s
        late_s = max(self.time_s + used_s - max(config.deadline_s, self.time_s), 0.0)
        self.time_s += used_s
        self.overrun_s = 0.0 if done else max(busy_s - config.period_s, 0.0)
        self.edge, self.sent_bytes = edge, self.sent_bytes + sent
        self.period += 1
        parts = {
            "progress": config.progress_worth * (self.progress - before),
            "time": -config.second_price * used_s,
            "bytes": -config.gigabyte_price * sent / 1e9,
        }
        info = {
            "reward": parts, "cost": {"late": late_s}, "time_s": self.time_s, "rounds": rounds, "round_s": takes_s,
            "up_bytes": rounds * config.clients * up, "down_bytes": rounds * config.clients * down,
            "moved_bytes": moved_bytes, "done": done,
        }  # fmt: skip
        truncated = not done and self.period >= config.horizon
        return self._observe(), parts["progress"] + parts["time"] + parts["bytes"], done, truncated, info

    def _checked(self, action: object) -> Choice:
        sizes = self.action_space.nvec  # type: ignore[attr-defined]
        numbers = np.asarray(action)
        meaning = "expected three whole numbers (batch, coder, edge)"
        if numbers.shape != (3,) or not np.issubdtype(numbers.dtype, np.integer):
            msg = f"action: got {action!r}, {meaning}"
            raise ValueError(msg)
        if (numbers < 0).any() or (numbers >= sizes).any():
            msg = f"action: got {numbers.tolist()}, {meaning} from 0 to at most {(sizes - 1).tolist()}"
            raise ValueError(msg)
        return int(numbers[0]), int(numbers[1]), int(numbers[2])

    # --- what is seen, and written down ------------------------------------------------------------------------

    def _observe(self) -> NDArray[np.float32]:
        config, seen = self.config, self.seen
        at = np.zeros(config.edges)
        if self.edge >= 0:
            at[self.edge] = 1.0
        late = {"aged": min(self.age_periods, self.period), "none": 0}.get(self.source, 0)
        shown = np.concatenate([
            [self.progress, (config.horizon - self.period) * config.period_s, self.overrun_s],
            [config.job.noise_scale(self.progress), seen.share],
            at, seen.up_bps.min(axis=0), seen.edge_operations_per_s, [late * config.period_s],
        ])  # fmt: skip
        return np.minimum(shown, self.observation_space.high).astype(np.float32)  # type: ignore[attr-defined]

    def snapshot(self) -> dict[str, Any]:
        """See `task.Recorded`."""
        return {
            "of": dict(self._of), "moves": self._moves.copy(), "period": self.period, "edge": self.edge,
            "progress": self.progress, "overrun_s": self.overrun_s, "time_s": self.time_s,
            "sent_bytes": self.sent_bytes, "generator": self.np_random.bit_generator.state,
        }  # fmt: skip

    def restore(self, snapshot: Mapping[str, Any], /) -> None:
        """See `task.Recorded`.

        Raises:
            ValueError: It is of another config or source.
        """
        same_setting(snapshot, self._of)
        self._take(snapshot["moves"].copy())
        self.period, self.edge = int(snapshot["period"]), int(snapshot["edge"])
        self.progress, self.overrun_s = float(snapshot["progress"]), float(snapshot["overrun_s"])
        self.time_s, self.sent_bytes = float(snapshot["time_s"]), int(snapshot["sent_bytes"])
        self.np_random.bit_generator.state = snapshot["generator"]
