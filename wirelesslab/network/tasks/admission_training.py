"""How agents learn `Admission`: one learner and one set of numbers for every load, which none of them is told.

DQN, because letting in and refusing must be learned together. Where small calls abound, keeping room for a large one
pays only if the next small calls are refused too: a policy that is improved one choice at a time (PPO) is soon sure
of letting in whoever fits and never leaves that; values look through the best answers to come.
"""

from collections.abc import Callable

from wirelesslab.network.admission import LossSystem
from wirelesslab.network.learners import DQN, Keep, Progress, Trained, train
from wirelesslab.network.tasks.admission_setting import LIGHT, LOPSIDED, OVERLOADED, AdmissionSetting, Load
from wirelesslab.network.tasks.admission_vector import AdmissionVector

TASK = "wirelesslab/Admission-v0"
STATIONS = 256  # side by side in a training

LEARNER = DQN(
    hidden=(64, 64), discount=0.97, n_steps=1, centre=True, learning_rate=1e-3, final_share=0.05, batch_size=1024,
    steps_per_update=128, capacity=300_000, warmup_steps=20_000, first_epsilon=1.0, last_epsilon=0.1,
    explore_share=0.7, target_rate=0.01,
)  # fmt: skip
"""Found on short explorations with seed 101 and loads along the drift, none of them among those reported."""

MEMORY_S = 6.0
"""Of measured rates: the best for trunk reservation that is re-tuned online under `DRIFT`, of 3, 6, 10, 15 and 25 s on
seeds that are not reported; the agent is given the same."""

DRIFT = Load(period_s=200.0, amplitude=0.8)
"""Sinusoidal drift of both classes against each other, 200 holding times long: our choice."""

ANY_LOAD = Load(low=0.2, high=2.0)
"""Each class's rate drawn for an episode, from a fifth of its system's to twice that."""

STEPS_ONE, STEPS_ALL = 1_500_000, 3_000_000
"""Steps of a training, for `one_station` and for `any_station`."""


def one_station(system: LossSystem, load: Load | None = None) -> AdmissionSetting:
    """Return the setting in which an agent of one system learns; its load is steady unless given."""
    return AdmissionSetting(systems=(system,), load=load or Load(), memory_s=MEMORY_S, relative=True)


def any_station(systems: tuple[LossSystem, ...] = (LIGHT, OVERLOADED, LOPSIDED)) -> AdmissionSetting:
    """Return the setting in which one agent learns to serve all of these systems at any load."""
    return AdmissionSetting(systems=systems, load=ANY_LOAD, memory_s=MEMORY_S, tariffs=True, relative=True)


def train_admission(
    setting: AdmissionSetting, *, seed: int, steps: int = STEPS_ONE, learner: DQN = LEARNER, keep: Keep | None = None,
    show: Callable[[Progress], None] | None = None,
) -> Trained:  # fmt: skip
    """Return an agent that has learned to answer calls; judge it by `gap_reached` and `reward_per_second`."""
    envs = AdmissionVector(STATIONS, setting)
    return train(learner, envs, steps=steps, seed=seed, keep=keep, show=show, task=TASK)
