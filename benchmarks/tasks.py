"""Tasks for agents: steps per second of one core, one station and a thousand at once."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import verdict
from wirelesslab.network.tasks.admission import Admission
from wirelesslab.network.tasks.admission_vector import AdmissionVector
from wirelesslab.network.tasks.ai_slice import AISlice
from wirelesslab.network.tasks.ai_slice_rules import CompressWhenSendingDominates
from wirelesslab.network.tasks.placement import Placement
from wirelesslab.network.tasks.placement_rules import least_loaded
from wirelesslab.network.tasks.slice_alloc import SliceAlloc
from wirelesslab.network.tasks.slice_alloc_reduced import SliceAllocReducedVector
from wirelesslab.network.tasks.slice_alloc_worlds import CellsWorld, LinkWorld
from wirelesslab.network.tasks.twin_sync import TwinSync
from wirelesslab.network.tasks.twin_sync_reduced import TwinSyncReducedVector
from wirelesslab.threads import one_thread

TURN_S, TURNS = 1.0, 3
VECTOR = 1024


def steps_per_s(step: Callable[[], int]) -> float:
    """Return steps per second of processor time, the median over turns; `step` says how many it has done."""
    step()  # compiled before it is timed
    rates = []
    for _ in range(TURNS):
        done, begin = 0, time.thread_time()
        while time.thread_time() - begin < TURN_S:
            done += step()
        rates.append(done / (time.thread_time() - begin))
    return float(np.median(rates))


def admission() -> list[bool]:
    """Play `Admission`, letting in whoever fits: the vector with all that Gymnasium asks for, and one station."""
    envs, env = AdmissionVector(VECTOR), Admission()
    masks, mask = envs.reset(seed=1)[1]["action_mask"], env.reset(seed=1)[1]["action_mask"]

    def many() -> int:
        nonlocal masks
        masks = envs.step(masks[:, 1])[-1]["action_mask"]
        return VECTOR

    def one() -> int:
        nonlocal mask
        _, _, _, over, info = env.step(int(mask[1]))
        mask = (env.reset()[1] if over else info)["action_mask"]
        return 1

    return [
        verdict(f"Admission, {VECTOR} stations, steps per second", steps_per_s(many), 1e6, at_least=True),
        verdict("Admission, one station, steps per second", steps_per_s(one), 2_000, at_least=True),
    ]


def twin_sync() -> list[bool]:
    """Play `TwinSync` at rates drawn anew: a step holds the rates of 16 twins, and 4 messages on average."""
    envs, env = TwinSyncReducedVector(VECTOR), TwinSync()
    actions = np.random.default_rng(1).random((VECTOR, env.setting.num_twins)).astype(np.float32)
    envs.reset(seed=1)
    env.reset(seed=1)
    at = 0

    def many() -> int:
        envs.step(actions)
        return VECTOR

    def one() -> int:
        nonlocal at
        at += 1
        *_, over, _ = env.step(actions[at % VECTOR])
        if over:
            env.reset()
        return 1

    return [
        verdict(f"TwinSync, {VECTOR} models of 16 twins, steps per second", steps_per_s(many), 1e6, at_least=True),
        verdict("TwinSync, one network of 16 twins, steps per second", steps_per_s(one), 2_000, at_least=True),
    ]


def placement() -> list[bool]:
    """Play `Placement` by the least loaded host: four edge nodes in a ring and a cloud, 200 services."""
    env = Placement()
    observation, info = env.reset(seed=1)

    def one() -> int:
        nonlocal observation, info
        observation, _, _, over, info = env.step(least_loaded(observation, info))
        if over:
            observation, info = env.reset()
        return 1

    return [verdict("Placement, one network, steps per second", steps_per_s(one), 2_000, at_least=True)]


def ai_slice() -> list[bool]:
    """Play `AISlice` by the bandwidth rule: a step is a period of some twenty rounds of eight clients."""
    env = AISlice()
    rule = CompressWhenSendingDominates(env.config)
    observation, info = env.reset(seed=1)

    def one() -> int:
        nonlocal observation, info
        observation, _, done, over, info = env.step(rule(observation, info))
        if done or over:
            observation, info = env.reset()
        return 1

    return [verdict("AISlice, one job, steps per second", steps_per_s(one), 2_000, at_least=True)]


def slice_alloc() -> list[bool]:
    """Play `SliceAlloc` at rates drawn anew: cells slot by slot, a link of short steps, and the reduced model."""
    rng, held = np.random.default_rng(1), []
    cells = SliceAlloc(CellsWorld(), horizon=10**6)
    link = SliceAlloc(LinkWorld(step_s=0.01, loads=((0.3, 0.2), (0.2, 0.3)), least=0.4), horizon=10**6)
    for env, what, bar in (
        (cells, "SliceAlloc, 300 users and 100 slots a step, steps per second", 100),
        (link, "SliceAlloc, one link and 5 mean service times a step, steps per second", 2_000),
    ):
        env.reset(seed=1)
        actions = rng.uniform(0.5, 1.0, (64, *env.action_space.shape))

        def one(env: SliceAlloc = env, actions: NDArray[np.float64] = actions) -> int:
            for action in actions:
                env.step(action)
            return len(actions)

        held.append(verdict(what, steps_per_s(one), bar, at_least=True))
    for step in (25.0, 50.0):
        envs = SliceAllocReducedVector(VECTOR, step=step)
        envs.reset(seed=1)
        shares = rng.random((VECTOR, 2))

        def many(envs: SliceAllocReducedVector = envs, shares: NDArray[np.float64] = shares) -> int:
            envs.step(shares)
            return VECTOR

        what = f"SliceAlloc, {VECTOR} reduced models of {step:g} mean service times a step, steps per second"
        held.append(verdict(what, steps_per_s(many), 1e6, at_least=True))
    return held


def main() -> bool:
    """Print every figure beside its bar; return whether all hold."""
    with one_thread():
        return all([*admission(), *slice_alloc(), *twin_sync(), *placement(), *ai_slice()])


if __name__ == "__main__":
    main()
