"""Shares of slices on a declared reduced model: every slice an M/M/1 queue that is served at its share.

What is left out beside the simulator: sizes of packets (loads are counts of flows), propagation, several links, radio
and computing, and the way of decisions. What stays is exact: with dedicated shares of one link, Poisson arrivals and
exponential sizes the simulator's queues follow the same law (`slice_alloc_worlds.LinkWorld`).

rules: `slice_alloc_rules.rules_of(env.model.interface)`
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.agents.interfaces import ShareInterface, shares_of
from wirelesslab.network.tasks import slice_alloc_kernels as kernels
from wirelesslab.network.tasks.draws import counters
from wirelesslab.network.tasks.task import begun, checked_box, seed_of, vector_infos, vector_seeds

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
WHAT = "a weight for each slice; shares are weights over their sum"


@dataclass(frozen=True, kw_only=True)
class MovingQueues:
    """Loads that move between slices, and how they are seen. Time is in mean service times of the whole capacity.

    Attributes:
        num_slices: Queues.
        step: Length of a step.
        horizon: Steps of an episode.
        phase_steps: Steps from one change of the loads to the next; their mean, if loads are drawn.
        loads: Of each phase and slice, parts of the capacity, in turn; () draws each phase's loads.
        total_load: Range from which the load of all slices is drawn, divided among them uniformly.
        memory: Windows that the means of loads remember; see `ShareInterface`.
        queues: Whether queues are seen too.
        regret: Whether the reward is beside one queue of all slices, served by the whole capacity under the same
            arrivals: no action changes that part, so the best policy is the same, and chance is halved.
        least: Smallest share of a slice.
        promised_jobs: Mean jobs of a slice in a step beyond which its promise is broken.
        service_s: A mean service time in seconds; only queues that are seen are reckoned in it.
    """

    num_slices: int = 2
    step: float = 50.0
    horizon: int = 200
    phase_steps: int = 100
    loads: tuple[tuple[float, ...], ...] = ()
    total_load: tuple[float, float] = (0.3, 0.85)
    memory: tuple[int, ...] = (1, 2, 4, 16)
    queues: bool = False
    regret: bool = False
    least: float = 0.001
    promised_jobs: float = 10.0
    service_s: float = 2e-3

    def __post_init__(self) -> None:
        check.positive_integer(num_slices=self.num_slices, horizon=self.horizon, phase_steps=self.phase_steps)
        check.positive(step=self.step, promised_jobs=self.promised_jobs, service_s=self.service_s)
        check.within(0, 1, **{f"total_load[{i}]": load for i, load in enumerate(self.total_load)})
        if len(self.total_load) != 2 or self.total_load[0] > self.total_load[1]:
            msg = f"total_load: got {self.total_load}, expected (least, most)"
            raise ValueError(msg)
        for phase, loads in enumerate(self.loads):
            check.within(0, 4, **{f"loads[{phase}][{i}]": load for i, load in enumerate(loads)})
            if len(loads) != self.num_slices:
                msg = f"loads[{phase}]: got {loads}, expected one for each of the {self.num_slices} slices"
                raise ValueError(msg)
        _ = self.interface

    @property
    def interface(self) -> ShareInterface:
        """What is seen and done, as an agent in a network sees and does it: loads are counts of flows."""
        flow_bytes = 1000.0  # any: only the product with the rate counts
        return ShareInterface(
            slices=tuple(f"slice_{i + 1}" for i in range(self.num_slices)),
            capacity_bps=8 * flow_bytes / self.service_s, memory=self.memory, flow_bytes=flow_bytes, least=self.least,
            shows=("queues",) if self.queues else (),
        )  # fmt: skip

    def law(self) -> kernels.Law:
        """Return it in the kernel's terms."""
        return kernels.Law(
            step=float(self.step),
            loads=np.array(self.loads, float).reshape(len(self.loads), self.num_slices),
            phase_steps=float(self.phase_steps),
            least_total=float(self.total_load[0]),
            most_total=float(self.total_load[1]),
            memory=np.array(self.memory, float),
        )


class Fleet:
    """Many networks of queues side by side: what the task and its vector form are made of.

    Args:
        model: What moves, and how it is seen.
        seeds: One for each network.
    """

    def __init__(self, model: MovingQueues, seeds: Sequence[int]) -> None:
        num, slices = len(seeds), model.num_slices
        self.model, self.law, self.high = model, model.law(), model.interface.high
        self.queues = kernels.Queues(
            jobs=np.zeros((num, slices), np.int64), together=np.zeros(num, np.int64), load=np.zeros((num, slices)),
            means=np.zeros((num, len(model.memory), slices)), shares=np.zeros((num, slices)),
            counts=np.zeros((num, 3), np.int64), draws=counters(seeds, "events", "phases"),
        )  # fmt: skip
        self.jobs = np.zeros((num, slices + 1))  # in the last step: of each slice, and of one queue for all
        for env in range(num):
            self.begin(env)

    def begin(self, env: int) -> None:
        """Begin an episode of one network; its randomness goes on where it was."""
        kernels.begin(env, self.queues, self.law)

    def step(self, answers: Floats) -> dict[str, Floats]:
        """Live through a step; returns the parts of the rewards, each of shape (networks,)."""
        self.queues.shares[:] = shares_of(answers, self.model.least)
        kernels.advance(self.queues, self.law, self.jobs)
        parts = {"jobs": -_over_slices(self.jobs[:, :-1])}
        return parts | {"together": self.jobs[:, -1].copy()} if self.model.regret else parts

    def observations(self) -> Floats32:
        """Return what is seen, shape (networks, slices, features)."""
        means = self.queues.means
        num, windows, slices = means.shape
        out = np.empty((num, slices, 2 * windows + self.model.queues), np.float32)
        out[:, :, :windows] = means.transpose(0, 2, 1)
        out[:, :, windows : 2 * windows] = _over_slices(means)[:, None, :]
        if self.model.queues:
            out[:, :, -1] = self.queues.jobs * self.model.service_s
        return np.minimum(out, self.high, out=out)

    def costs(self) -> dict[str, Floats]:
        """Return by how many jobs each slice broke its promise in the last step, each of shape (networks,)."""
        over = np.maximum(self.jobs[:, :-1] - self.model.promised_jobs, 0.0)
        return {f"slice_{i + 1}": over[:, i] for i in range(over.shape[1])}

    def ended(self) -> NDArray[np.bool_]:
        """Return whose time is up, shape (networks,)."""
        return self.queues.counts[:, 0] >= self.model.horizon

    def state(self) -> dict[str, NDArray[Any]]:
        """Return a copy of all that changes."""
        return {name: values.copy() for name, values in self.queues._asdict().items()}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what was copied.

        Raises:
            ValueError: It is of other networks; nothing has changed.
        """
        for name, values in self.queues._asdict().items():
            if name not in state or np.shape(state[name]) != values.shape:
                got = np.shape(state[name]) if name in state else "none"
                msg = (
                    f"snapshot: got {name} of shape {got}, expected {values.shape}; build the task with the same model"
                )
                raise ValueError(msg)
        for name, values in self.queues._asdict().items():
            values[...] = state[name]


class SliceAllocReduced(gymnasium.Env[Floats32, NDArray[Any]]):
    """Divide a link among slices whose loads move: the reduced model.

    * State: jobs of each slice's M/M/1 queue, its load in the running phase, and what was measured. The agent sees
      loads (of the last windows; rows as in `ShareInterface`), and queues only if the model says so: it is partially
      observed.
    * Action: a number in [0, 1] for each slice; shares are these over their sum, none below `least`, and dedicated:
      an idle share is not lent. They hold for the step that begins.
    * Transition: birth and death within the step at these shares, sampled exactly (`slice_alloc_kernels`); loads are
      independent of actions, so that two policies under one seed meet the same arrivals.
    * Reward: minus the mean number of jobs in the step, all slices together, ``info["reward"]["jobs"]``. By Little's
      law that is minus the delay per arriving job times the load. With `regret` the jobs that one queue for all would
      have had come on top, ``info["reward"]["together"]``.
    * Costs: ``info["cost"]``, for each slice its mean jobs beyond `promised_jobs`.
    * Horizon: `horizon` steps, then truncated; it never terminates. Discount hint: 0.8 at the default step of 50
      service times, for a queue forgets its past in about 60.
    * Units: time in mean service times of the whole capacity, loads in parts of it.

    Args:
        model: What moves, and how it is seen.
        options: Fields of `MovingQueues`, instead of a model.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, model: MovingQueues | None = None, **options: Any) -> None:
        self.model = _model_of(model, options)
        self.observation_space, self.action_space = _spaces(self.model)
        self._fleet: Fleet | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats32, dict[str, Any]]:
        """Begin an episode: empty queues, nothing measured. Without a seed randomness goes on where it was."""
        super().reset(seed=seed, options=options)
        if seed is not None or self._fleet is None:
            self._fleet = Fleet(self.model, [seed_of(self, seed)])
        else:
            self._fleet.begin(0)
        return self._fleet.observations()[0], {}

    def step(self, action: NDArray[Any]) -> tuple[Floats32, float, bool, bool, dict[str, Any]]:
        """Live through a step at these shares.

        Raises:
            ValueError: The action is no number, outside its bounds or of another shape.
            RuntimeError: Before the first reset.
        """
        fleet = self._begun()
        answer = checked_box(self.action_space, action, WHAT)  # type: ignore[arg-type]
        parts = {name: float(part[0]) for name, part in fleet.step(answer[None]).items()}
        reward = sum(parts.values())
        info = {"reward": parts, "cost": {name: float(cost[0]) for name, cost in fleet.costs().items()}}
        return fleet.observations()[0], reward, False, bool(fleet.ended()[0]), info

    def _begun(self) -> Fleet:
        return begun(self._fleet)

    def snapshot(self) -> Mapping[str, Any]:
        """Return the state as plain data."""
        return {"model": asdict(self.model), "queues": self._begun().state()}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot of a task with the same model.

        Raises:
            ValueError: It is of another model.
        """
        self._fleet = _restored(self.model, snapshot, 1, self._fleet)


class SliceAllocReducedVector(VectorEnv[Floats32, NDArray[Any], NDArray[Any]]):
    """Many `SliceAllocReduced` at once, compiled; network i is bit for bit the task reset with the seed plus i.

    Who has ended begins anew in the same step (`SAME_STEP`); ``infos["final_obs"]`` holds the last observations,
    shape (networks, slices, features), ``infos["final_info"]`` the last parts of rewards and costs, and
    ``infos["_final_obs"]`` says whose are meant: as Gymnasium's SyncVectorEnv has it.

    Args:
        num_envs: How many.
        model: What moves, and how it is seen.
        options: Fields of `MovingQueues`, instead of a model.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, num_envs: int = 1, model: MovingQueues | None = None, **options: Any) -> None:
        check.positive_integer(num_envs=num_envs)
        self.num_envs, self.model = num_envs, _model_of(model, options)
        self.single_observation_space, self.single_action_space = _spaces(self.model)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._fleet: Fleet | None = None

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats32, dict[str, Any]]:
        """Begin an episode in every network, with the seeds `seed`, `seed` + 1 and so on."""
        del options
        if seed is not None or self._fleet is None:
            self._fleet = Fleet(self.model, vector_seeds(self, seed, what="networks"))
        else:
            for env in range(self.num_envs):
                self._fleet.begin(env)
        return self._fleet.observations(), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Floats32, Floats, NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Live through a step in every network.

        Raises:
            ValueError: An action is no number, outside its bounds or of another shape; nothing has happened.
            RuntimeError: Before the first reset.
        """
        fleet = self._begun()
        parts = fleet.step(checked_box(self.action_space, actions, WHAT))  # type: ignore[arg-type]
        rewards = np.asarray(sum(parts.values()))
        told: dict[str, Any] = {"reward": parts, "cost": fleet.costs()}
        observations, ended = fleet.observations(), fleet.ended()
        infos = {} if ended.all() else vector_infos(told, ~ended)
        if ended.any():
            infos |= {"final_obs": observations, "final_info": vector_infos(told, ended)}
            infos |= {"_final_obs": ended, "_final_info": ended}
            for env in np.flatnonzero(ended).tolist():
                fleet.begin(env)
            observations = fleet.observations()
        return observations, rewards, np.zeros(self.num_envs, bool), ended, infos

    def _begun(self) -> Fleet:
        return begun(self._fleet)

    def snapshot(self) -> Mapping[str, Any]:
        """Return the state as plain data."""
        return {"model": asdict(self.model), "queues": self._begun().state()}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot of a vector of as many networks with the same model.

        Raises:
            ValueError: It is of another model, or of more or fewer networks.
        """
        self._fleet = _restored(self.model, snapshot, self.num_envs, self._fleet)


def _model_of(model: MovingQueues | None, options: Mapping[str, Any]) -> MovingQueues:
    if model is None:
        return MovingQueues(**options)
    if options or not isinstance(model, MovingQueues):
        msg = f"model: got {model!r} and {sorted(options)}, expected a MovingQueues, or its fields alone"
        raise TypeError(msg)
    return model


def _over_slices(values: Floats) -> Floats:
    """Return the sum over the last axis; one by one, for NumPy is slow along so short an axis."""
    total = values[..., 0].copy()
    for i in range(1, values.shape[-1]):
        total += values[..., i]
    return total


def _spaces(model: MovingQueues) -> tuple[Any, Any]:
    high = model.interface.high
    return (
        gymnasium.spaces.Box(np.zeros_like(high), high, dtype=np.float32),
        gymnasium.spaces.Box(0.0, 1.0, (model.num_slices,), np.float32),
    )


def _restored(model: MovingQueues, snapshot: Mapping[str, Any], num: int, fleet: Fleet | None) -> Fleet:
    if snapshot.get("model") != asdict(model):
        msg = f"snapshot: got one of {snapshot.get('model')}, expected one of {asdict(model)}"
        raise ValueError(msg)
    fleet = fleet or Fleet(model, range(num))
    fleet.set_state(snapshot["queues"])
    return fleet
