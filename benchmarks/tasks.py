"""Tasks for agents: steps per second of one core, one station and a thousand at once."""

import time
from collections.abc import Callable

import numpy as np

from benchmarks.timing import verdict
from wirelesslab.network.tasks.admission import Admission
from wirelesslab.network.tasks.admission_vector import AdmissionVector
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


def main() -> bool:
    """Print every figure beside its bar; return whether all hold."""
    with one_thread():
        return all([*admission(), *twin_sync()])


if __name__ == "__main__":
    main()
