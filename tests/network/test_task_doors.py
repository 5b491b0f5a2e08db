"""Specs of what tasks do alike at the door: seeds of vectors, steps before a reset, snapshots of other settings."""

import gymnasium
import numpy as np
import pytest

from wirelesslab.network.tasks import TASKS
from wirelesslab.network.tasks.admission_vector import AdmissionVector
from wirelesslab.network.tasks.ai_slice import AISlice
from wirelesslab.network.tasks.ai_slice_world import AISliceConfig
from wirelesslab.network.tasks.handover import Handover, HandoverUsers
from wirelesslab.network.tasks.handover_world import HandoverSetting
from wirelesslab.network.tasks.placement import Placement
from wirelesslab.network.tasks.placement_services import PlacementConfig, placement_metro
from wirelesslab.network.tasks.slice_alloc_reduced import SliceAllocReducedVector
from wirelesslab.network.tasks.task import checked_box
from wirelesslab.network.tasks.twin_sync import TwinSync
from wirelesslab.network.tasks.twin_sync_reduced import TwinSyncReducedVector
from wirelesslab.network.tasks.twin_sync_setting import SyncSetting

SMALL = HandoverSetting(users=3)
VECTORS = {
    "admission": lambda: AdmissionVector(3),
    "twins": lambda: TwinSyncReducedVector(3),
    "slices": lambda: SliceAllocReducedVector(3),
    "users": lambda: HandoverUsers(3, SMALL),
}


def played(env, seed):
    """Return what five steps of one action show."""
    env.reset(seed=seed)
    action = env.action_space.sample()
    action[...] = action.dtype.kind == "f"
    return [env.step(action)[0].copy() for _ in range(5)]


@pytest.mark.parametrize("make", VECTORS.values(), ids=VECTORS)
def test_a_number_seeds_a_vector_as_the_list_of_its_followers_does(make):
    first = played(make(), 7)
    for seeds in ([7, 8, 9], (7, 8, 9), np.array([7, 8, 9]), np.int64(7)):
        np.testing.assert_array_equal(played(make(), seeds), first)
    assert not np.array_equal(played(make(), [7, 8, 10]), first)


@pytest.mark.parametrize("make", VECTORS.values(), ids=VECTORS)
def test_what_is_no_seed_for_a_vector_is_refused(make):
    env = make()
    with pytest.raises(ValueError, match="seed: got 2 seeds, expected one number, or one for each of the 3"):
        env.reset(seed=[1, 2])
    for wrong in ("a", -1, 0.5, [1, 2, "c"], [1, 2, -3]):
        with pytest.raises(ValueError, match=r"seed: got .* expected whole numbers of at least 0"):
            env.reset(seed=wrong)
    env.reset(seed=[1, None, 3])


@pytest.mark.parametrize("make", VECTORS.values(), ids=VECTORS)
def test_a_vector_s_own_stream_gives_seeds_where_none_are_given(make):
    seen = []
    for _ in range(2):
        env = make()
        env.reset(seed=5)
        seen.append([env.reset(seed=[1, None, None])[0], env.reset(seed=[1, None, None])[0]])
    np.testing.assert_array_equal(seen[0], seen[1])


def test_every_task_refuses_a_step_before_the_first_reset_with_what_to_do():
    made = [gymnasium.make(task.id).unwrapped for task in TASKS]
    for env in [*made, *(make() for make in VECTORS.values())]:
        with pytest.raises(RuntimeError, match=r"step: got .*; call reset\(seed=\.\.\.\) first"):
            env.step(env.action_space.sample())
    for env in (Handover(SMALL), HandoverUsers(3, SMALL), Placement(), TwinSync()):
        with pytest.raises(RuntimeError, match=r"call reset\(seed=\.\.\.\) first"):
            env.snapshot()


@pytest.mark.parametrize(("one", "others"), [
    (Placement, [lambda: Placement(PlacementConfig(horizon=7)), lambda: Placement(graph=placement_metro(6, 3)),
                 lambda: Placement(source="aged"), lambda: Placement(source="none")]),
    (AISlice, [lambda: AISlice(AISliceConfig(horizon=7)), lambda: AISlice(source="aged")]),
    (TwinSync, [lambda: TwinSync(SyncSetting(num_steps=7)), lambda: TwinSync(source="aged")]),
    (Handover, [lambda: Handover(SMALL)]),
    (lambda: HandoverUsers(2, SMALL), [lambda: HandoverUsers(2), lambda: HandoverUsers(3, SMALL)]),
], ids=["Placement", "AISlice", "TwinSync", "Handover", "HandoverUsers"])  # fmt: skip
def test_a_snapshot_goes_only_into_a_task_of_the_same_setting(one, others):
    env = one()
    env.reset(seed=1)
    kept = env.snapshot()
    one().restore(kept)
    for make in others:
        with pytest.raises(ValueError, match=r"snapshot: got one of another setting: .* expected .* build the task as"):
            make().restore(kept)
    with pytest.raises(ValueError, match="does not say what it is of"):
        env.restore({name: value for name, value in kept.items() if name != "of"})


@pytest.mark.parametrize(
    ("action", "said"), [("a", "'a'"), (None, "None"), (0.5, "0.5"), (np.zeros(3), r"shape \(3,\)")]
)
def test_what_is_no_action_of_a_box_is_told_as_it_came(action, said):
    box = gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32)
    with pytest.raises(ValueError, match=rf"action: got {said}, expected numbers of shape \(2,\): two weights"):
        checked_box(box, action, "two weights")
