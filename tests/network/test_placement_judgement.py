"""Specs of judging learners on placements and learning jobs: short trainings beat chance, pairs, refusals."""

from dataclasses import replace

import numpy as np
import pytest

from wirelesslab.network.learners import PPO, evaluate, load_policy, save_policy
from wirelesslab.network.tasks.ai_slice import AISlice
from wirelesslab.network.tasks.ai_slice_choices import AISliceChoices
from wirelesslab.network.tasks.ai_slice_judgement import LearnedAISlice, judge_ai_slice, train_ai_slice
from wirelesslab.network.tasks.placement import Placement
from wirelesslab.network.tasks.placement_judgement import LearnedPlacement, judge_placement, train_placement
from wirelesslab.network.tasks.placement_rows import PlacementRows
from wirelesslab.network.tasks.placement_services import PlacementConfig, placement_metro
from wirelesslab.network.tasks.twin_sync_judgement import asked

QUICK = PPO(discount=0.9, rollout=64, hidden=(32,))
PLACES = train_placement(1, steps=4096, learner=QUICK)
RUNS = train_ai_slice(1, steps=4096, learner=QUICK)


def test_a_short_training_places_better_than_chance():
    judged = judge_placement([PLACES], episodes=50, seed=5)
    assert judged.learned.shape == (1, 50)
    assert judged.gains("random")[0].low > 0


def test_nobody_exceeds_the_bound_of_an_episode():
    judged = judge_placement([PLACES], episodes=4, seed=6, bounds=True)
    assert judged.bounds is not None
    for returns in (*judged.learned, *judged.rules.values()):
        assert (returns < judged.bounds).all()
    assert judged.best_rule == max(judged.rules, key=lambda name: judged.rules[name].mean())


def test_a_short_training_runs_a_job_better_than_chance_and_one_who_foresees_is_no_rule():
    judged = judge_ai_slice([RUNS], episodes=12, seed=5)
    assert judged.gains("random")[0].low > 0
    assert judged.rules["foresees"].mean() > judged.rules["best fixed"].mean()
    assert judged.best_rule != "foresees"


def test_a_policy_plays_the_same_through_its_rows_and_as_a_rule():
    rule = evaluate(LearnedPlacement(PLACES), Placement(), episodes=2, seed=3)
    assert np.array_equal(rule, evaluate(PLACES, PlacementRows(Placement()), episodes=2, seed=3))
    env = AISlice()
    rule = evaluate(LearnedAISlice(RUNS, env.config), env, episodes=2, seed=3)
    assert np.array_equal(rule, evaluate(RUNS, AISliceChoices(AISlice()), episodes=2, seed=3))


def test_a_policy_places_on_a_topology_that_it_has_not_seen():
    config = PlacementConfig(arrivals_per_s=1.5, horizon=100)
    judged = judge_placement([PLACES], episodes=4, seed=5, config=config, graph=placement_metro(12, 6))
    assert np.isfinite(judged.learned).all()


def test_a_place_that_is_no_number_is_refused_not_taken_for_the_first_host():
    seen, info = Placement().reset(seed=1)
    seen["nodes"][:, 2] = np.nan
    with pytest.raises(ValueError, match="observation: "):
        LearnedPlacement(PLACES)(seen, info)


def test_policies_come_back_from_files(tmp_path):
    kept = load_policy(save_policy(PLACES, tmp_path / "places"), task="wirelesslab/Placement-v0")
    env = Placement()
    first = evaluate(LearnedPlacement(kept), env, episodes=1, seed=2)
    assert np.array_equal(first, evaluate(LearnedPlacement(PLACES), env, episodes=1, seed=2))


def test_a_policy_of_another_task_is_refused():
    with pytest.raises(ValueError, match="got a policy of wirelesslab/AISlice-v0, expected one of wirelesslab/Placeme"):
        LearnedPlacement(RUNS)
    with pytest.raises(ValueError, match="got a policy of wirelesslab/Handover-v0, expected"):
        LearnedPlacement(replace(PLACES, task="wirelesslab/Handover-v0"))  # were it of as many features
    with pytest.raises(
        ValueError, match="got a policy of wirelesslab/Placement-v0, expected one of wirelesslab/AISlic"
    ):
        LearnedAISlice(PLACES, AISlice().config)
    with pytest.raises(
        ValueError, match="got a policy of wirelesslab/Placement-v0, expected one of wirelesslab/TwinSy"
    ):
        asked(PLACES)
    small = replace(AISlice().config, edge_operations_per_s=(1e12,), edge_propagation_s=(1e-4,))
    with pytest.raises(ValueError, match="72 choices, expected 24"):
        LearnedAISlice(RUNS, small)
