"""Shares of slices on the simulator: an agent divides radio, transport and compute every 100 ms.

rules: `slice_alloc_rules.rules_of(env.interface)`
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.agents.interfaces import LoadMemory
from wirelesslab.network.simulation import Network
from wirelesslab.network.tasks.slice_alloc_worlds import CellsWorld, World
from wirelesslab.network.tasks.task import SOURCES, Source, begun, checked_box, seed_of
from wirelesslab.network.twins.infrastructure import DigitalTwin
from wirelesslab.network.view import View

Floats32 = NDArray[np.float32]
WHAT = "a weight for each slice in each domain; shares are weights over their sum"
TWIN, BY = "twin", "agent"


@dataclass
class _Episode:
    """All of an episode that changes, beside its network."""

    memory: LoadMemory
    reading: Any
    shares: NDArray[np.float64]
    step: int = 0
    before: View | None = None
    last: View | None = None


class SliceAlloc(gymnasium.Env[Floats32, NDArray[Any]]):
    """Divide a network among its slices while their loads move.

    * State: the whole simulated network. The agent sees what its world's `ShareInterface` shows, rows of loads and
      what else is asked for, with units and bounds there; it is partially observed.
    * Action: a number in [0, 1] for each slice in each domain; shares are these over their sum in the domain, none
      below the interface's `least`, dedicated. They hold at once, and for the step that begins.
    * Transition: the simulator lives for `step_s`. Arrivals and channels do not depend on actions: two policies under
      one seed meet the same.
    * Reward, with its parts in ``info["reward"]``: in a `CellsWorld` "delivered" (bits per second over the capacity
      that loads are reckoned by), "late" (minus the mean over slices of the share late or lost of what ended or
      should have) and "changed" (minus a weight times half the sum of changes of shares); in a `LinkWorld` "jobs",
      minus the mean jobs on the link.
    * Costs: ``info["cost"]``, for each slice by how much its promise is broken: the late share beyond what its level
      allows (`CellsWorld`), or mean jobs beyond `promised_jobs` (`LinkWorld`).
    * Horizon: `horizon` steps, then truncated; it never terminates. Discount hint: 0.9 at steps of 100 ms.
    * Source of what is seen: "physical" is the network itself; "fresh" a twin that is told at each step's end without
      delay; "aged" one that is told every `period_s`, `delay_s` late; "none" shows what is seen before anything has
      come, always. Twins are told beside the network, at no cost of capacity.

    Args:
        world: The network; `CellsWorld()` when None.
        source: What the agent looks at.
        period_s: Of an aged twin.
        delay_s: Of an aged twin.
        horizon: Steps of an episode.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        world: World | None = None,
        *,
        source: Source = "physical",
        period_s: float = 1.0,
        delay_s: float = 0.5,
        horizon: int = 100,
    ) -> None:
        check.one_of(SOURCES, source=source)
        check.positive(period_s=period_s)
        check.within(0, inf, delay_s=delay_s)
        check.positive_integer(horizon=horizon)
        self.world: World = world or CellsWorld()
        self.source, self.period_s, self.delay_s, self.horizon = source, period_s, delay_s, horizon
        self.interface = self.world.interface
        high = self.interface.high
        self.observation_space = gymnasium.spaces.Box(np.zeros_like(high), high, dtype=np.float32)
        self.action_space = gymnasium.spaces.Box(0.0, 1.0, self.interface.answer_shape, np.float32)
        self._network: Network | None = None
        self._episode: _Episode | None = None

    # --- Gymnasium's ------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats32, dict[str, Any]]:
        """Build the network anew, empty; what is seen is what is seen before anything has come."""
        super().reset(seed=seed, options=options)
        network = self.world.network(seed_of(self, seed))
        if self.world.start_s > 0:
            network.agenda.run(self.world.start_s)
        equal = np.ones(self.interface.answer_shape)
        self._network = network
        self._episode = _Episode(self.interface.begin(), None, self.interface.shares(equal))
        self._put_in_force(equal)
        twin = twin_of(self.source, self.world.step_s, self.period_s, self.delay_s, self.interface.reads)
        if twin is not None:
            network.add(twin)
            network.agenda.run(self.world.start_s)
        self._episode.reading = self.world.reading(network)
        return self._observation(), {}

    def step(self, action: NDArray[Any]) -> tuple[Floats32, float, bool, bool, dict[str, Any]]:
        """Put the shares in force and let the network live for a step.

        Raises:
            ValueError: The action is no number, outside its bounds or of another shape; nothing has happened.
            RuntimeError: Before the first reset.
        """
        network, episode = self._begun()
        answer = checked_box(self.action_space, action, WHAT)  # type: ignore[arg-type]
        refused, moved = self._put_in_force(answer)
        episode.step += 1
        network.agenda.run(self.world.start_s + episode.step * self.world.step_s)
        before, episode.reading = episode.reading, self.world.reading(network)
        parts, costs = self.world.judged(before, episode.reading, moved)
        info = {"reward": parts, "cost": costs, "refused": refused}
        return self._observation(), float(sum(parts.values())), False, episode.step >= self.horizon, info

    def _put_in_force(self, answer: NDArray[np.float64]) -> tuple[tuple[str, ...], float]:
        """Return why actions were refused, and how much was changed."""
        network, episode = self._begun()
        records = [network.apply(one, by=BY) for one in self.interface.actions(answer)]
        shares = self.interface.shares(answer)
        moved = float(np.abs(shares - episode.shares).sum() / (2 * len(shares)))
        episode.shares = shares
        return tuple(record.refused for record in records if record.refused), moved

    def _observation(self) -> Floats32:
        network, episode = self._begun()
        if self.source == "none":
            return self._unseen()
        seen = network if self.source == "physical" else network.actors[TWIN]
        view = seen.view(episode.last)
        if view.ages_s and min(view.ages_s.values()) == inf:
            return self._unseen()  # a twin that has heard nothing yet
        if episode.last is not None and view.time_s <= episode.last.time_s:  # it has heard nothing since
            view = replace(view, before=episode.before)
        else:
            episode.before, episode.last = episode.last, replace(view, before=None)
        return self.interface.observe(view, episode.memory)

    def _unseen(self) -> Floats32:
        return self.interface.rows(self.interface.begin().means)

    def _begun(self) -> tuple[Network, _Episode]:
        return begun(self._network), begun(self._episode)

    @property
    def network(self) -> Network:
        """The network of the running episode, to look at."""
        return self._begun()[0]

    # --- written down and built again ---------------------------------------------------------------------------

    def snapshot(self) -> Mapping[str, Any]:
        """Return the episode: the network written down, and what the agent remembers."""
        network, episode = self._begun()
        generator = self.np_random.bit_generator.state  # of the seeds of episodes to come
        return {
            "of": self._of(), "network": network.snapshot(), "episode": deepcopy(episode), "generator": generator,
        }  # fmt: skip

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot of a task of the same world and source, to the last bit.

        Raises:
            ValueError: It is of another one.
        """
        if snapshot.get("of") != self._of():
            msg = f"snapshot: got one of {snapshot.get('of')}, expected one of {self._of()}"
            raise ValueError(msg)
        self._network = Network.restored(snapshot["network"])
        self._episode = deepcopy(snapshot["episode"])
        self.np_random.bit_generator.state = snapshot["generator"]

    def _of(self) -> str:
        aged = f", every {self.period_s:g} s, {self.delay_s:g} s late" if self.source == "aged" else ""
        return f"{self.world!r} seen through {self.source}{aged}, {self.horizon} steps"


def twin_of(
    source: Source, step_s: float, period_s: float, delay_s: float, attributes: tuple[str, ...] = ("slices",)
) -> DigitalTwin | None:
    """Return the twin that a source means, None for the network itself and for nothing."""
    if source == "fresh":
        return DigitalTwin(step_s, 0.0, attributes=attributes, name=TWIN)
    if source == "aged":
        return DigitalTwin(period_s, delay_s, attributes=attributes, name=TWIN)
    return None
