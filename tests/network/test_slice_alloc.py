"""SliceAlloc on the simulator: what an agent sees is what the network shows, and what it does is done."""

import itertools
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from wirelesslab.network import Network
from wirelesslab.network.tasks.slice_alloc import TWIN, SliceAlloc
from wirelesslab.network.tasks.slice_alloc_rules import LateRule, MaxWeightRule, PlanRule, rules_of
from wirelesslab.network.tasks.slice_alloc_worlds import CellsWorld, LinkWorld
from wirelesslab.network.theory import square_root_capacities

LINK = LinkWorld(phase_steps=20)
SMALL = CellsWorld(num_cells=2, users_per_slice=6)


def played(env, steps, seed=3, rng_seed=1):
    rng = np.random.default_rng(rng_seed)
    observation, _ = env.reset(seed=seed)
    rows = [observation]
    for _ in range(steps):
        observation, reward, *_, info = env.step(rng.uniform(0.2, 1.0, env.action_space.shape))
        assert not info["refused"]
        rows += [observation, reward]
    return rows


@pytest.mark.parametrize("world", [LINK, SMALL], ids=["link", "cells"])
def test_nothing_is_lost_and_little_holds_whatever_the_shares(world):
    env = SliceAlloc(world)
    played(env, 15)
    env.network.check()


@pytest.mark.parametrize("world", [LINK, SMALL], ids=["link", "cells"])
def test_a_fresh_twin_shows_what_the_network_shows(world):
    physical, fresh = (played(SliceAlloc(world, source=source), 12) for source in ("physical", "fresh"))
    for one, other in zip(physical, fresh, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_aged_twin_shows_the_loads_of_some_windows_ago():
    # told every step and heard two and a half steps later: the last window's load, three steps later
    world = replace(LINK, memory=(1,))
    aged = SliceAlloc(world, source="aged", period_s=world.step_s, delay_s=2.5 * world.step_s)
    seen = played(SliceAlloc(world), 20)[1::2]
    late = played(aged, 20)[1::2]
    np.testing.assert_allclose(late[4:], seen[1:-3], rtol=1e-6)
    assert not np.any(late[:3])
    assert aged.network.actors[TWIN].ages_s()["slices"] == pytest.approx(3 * world.step_s)


def test_a_twin_that_is_told_rarely_shows_the_same_window_again_and_counts_it_once():
    world = replace(LINK, memory=(1, 2))
    rows = played(SliceAlloc(world, source="aged", period_s=4 * world.step_s, delay_s=0.0), 20)[1::2]
    changes = [not np.array_equal(one, other) for one, other in itertools.pairwise(rows)]
    assert sum(changes) == 5  # at the 4th, 8th, 12th, 16th and 20th step
    assert np.any(rows[3])


def test_without_a_source_what_is_seen_never_changes():
    observations = played(SliceAlloc(SMALL, source="none"), 6)[::2]
    first = played(SliceAlloc(SMALL, source="none"), 1)[0]
    for one in observations[:1] + played(SliceAlloc(SMALL, source="none"), 6)[1::2]:
        np.testing.assert_array_equal(one, first)


def test_actions_change_no_arrival_and_no_channel():
    def offered(answer):
        env = SliceAlloc(SMALL)
        env.reset(seed=5)
        for _ in range(12):
            env.step(answer)
        return [(view.offered_flows, view.offered_bytes) for view in env.network.view().slices.values()]

    # what reached the links is offered there again: only slices that end in the air are counted once
    even, uneven = offered(np.ones(9)), offered(np.array([1.0, 0.2, 0.1] * 3))
    assert even[1] == uneven[1]


def test_the_shares_of_an_action_hold_in_all_three_domains():
    env = SliceAlloc(SMALL)
    env.reset(seed=1)
    action = np.array([0.5, 0.3, 0.2, 0.1, 0.8, 0.1, 1.0, 1.0, 1.0])
    env.step(action)
    shares = env.interface.shares(action)
    assert shares.sum(axis=1) == pytest.approx(1.0)
    for domain, row in zip(("radio", "transport", "compute"), shares, strict=True):
        held = [ratio.dedicated for ratio in env.network.ratios[domain].values()]
        assert held == pytest.approx(row, abs=2e-9)


def test_the_reward_of_a_link_is_minus_its_jobs_and_broken_promises_are_costs():
    env = SliceAlloc(replace(LINK, promised_jobs=1.0))
    env.reset(seed=2)
    for _ in range(30):
        reward, *_, info = env.step([0.5, 0.5])[1:]
    inside = env.network.links["edge-1", "edge-2"].book.inside
    assert reward == info["reward"]["jobs"] < 0
    assert set(info["cost"]) == {"embb", "urllc"}
    assert sum(info["cost"].values()) <= -reward
    assert min(inside) >= 0


def test_changing_shares_costs_what_is_said_and_keeping_them_nothing():
    env = SliceAlloc(SMALL)
    env.reset(seed=1)
    one_sided = np.array([1.0, 0.0, 0.0] * 3)
    *_, first = env.step(one_sided)
    *_, second = env.step(one_sided)
    moved = 0.5 * np.abs(env.interface.shares(one_sided)[0] - 1 / 3).sum()
    assert first["reward"]["changed"] == pytest.approx(-SMALL.change_weight * moved)
    assert second["reward"]["changed"] == 0


def test_a_snapshot_of_another_world_is_refused():
    env, other = SliceAlloc(LINK), SliceAlloc(LINK, source="fresh")
    env.reset(seed=1)
    other.reset(seed=1)
    with pytest.raises(ValueError, match=r"snapshot: got one of LinkWorld.*seen through fresh.*expected one of"):
        env.restore(other.snapshot())


def test_an_aged_twin_is_written_down_with_the_task():
    env = SliceAlloc(LINK, source="aged", period_s=0.25, delay_s=0.13)
    played(env, 7)
    kept = env.snapshot()
    first = [env.step([0.7, 0.3])[:2] for _ in range(10)]
    env.restore(kept)
    again = [env.step([0.7, 0.3])[:2] for _ in range(10)]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1] == other[1]
    assert isinstance(env.network, Network)


def test_worlds_and_tasks_refuse_nonsense():
    with pytest.raises(ValueError, match="source: got 'old'"):
        SliceAlloc(LINK, source="old")
    with pytest.raises(ValueError, match="loads: got"):
        LinkWorld(loads=((0.1, 0.2), (0.3,)))
    with pytest.raises(RuntimeError, match="call reset"):
        SliceAlloc(LINK).step([1.0, 1.0])


def test_the_task_is_made_by_its_name_with_a_world():
    env = gymnasium.make("wirelesslab/SliceAlloc-v0", world=LINK, source="aged", period_s=0.3)
    observation, _ = env.reset(seed=1)
    assert observation.shape == LINK.interface.observation_shape


# --- rules over the same observation ---------------------------------------------------------------------


def test_rules_answer_what_their_closed_forms_say():
    interface = replace(LINK, queues=True).interface
    seen = interface.rows(np.tile([0.6, 0.1], (len(interface.memory), 1)), {"queues": np.array([0.01, 0.03])})
    rules = rules_of(interface)
    shares = {name: interface.shares(rule(seen, {}))[0] for name, rule in rules.items()}
    assert shares["static"] == pytest.approx([0.5, 0.5])
    assert shares["proportional"] == pytest.approx([6 / 7, 1 / 7], abs=1e-6)
    assert shares["square root"] == pytest.approx(square_root_capacities([0.6, 0.1], 1.0), abs=1e-6)
    assert shares["convex"] == pytest.approx(shares["square root"], abs=1e-4)
    assert shares["max-min"] == pytest.approx([0.75, 0.25], abs=1e-6)  # what is left over is split evenly
    assert shares["max-weight"] == pytest.approx([interface.least, 1 - interface.least])


def test_a_rule_that_cannot_see_what_it_needs_is_refused():
    with pytest.raises(ValueError, match="expected queues too"):
        MaxWeightRule(LINK.interface)
    with pytest.raises(ValueError, match="expected what is late too"):
        LateRule(LINK.interface)
    with pytest.raises(ValueError, match="memory"):
        PlanRule(rules_of(LINK.interface)["static"].plan, LINK.interface, memory=7)


def test_who_is_late_gets_more_and_so_fewer_are_late():
    rule = LateRule(SMALL.interface)
    seen = np.zeros(SMALL.interface.observation_shape)
    seen[:, 0], seen[:, len(SMALL.memory)] = 0.2, 0.6  # three slices of one load
    seen[[0, 3, 6], SMALL.interface.features.index("late")] = 0.5  # the first is late
    shares = SMALL.interface.shares(rule(seen))
    assert (shares[:, 0] > shares[:, 1]).all()
    np.testing.assert_allclose(shares[:, 1], shares[:, 2])

    def late(rule):
        env = SliceAlloc(replace(SMALL, users_per_slice=20, phase_s=2.0))
        observation, _ = env.reset(seed=1)
        found = []
        for _ in range(60):
            observation, *_, info = env.step(rule(observation))
            found.append(info["reward"]["late"])
        return np.mean(found)

    assert late(rule) > 0.5 * late(lambda _: np.ones(9))  # rewards are negative: less than half as many are late
