"""Specs of `Handover`: PettingZoo's own checks, users as one vector, what a change of cell costs, and the rules."""

import warnings

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from wirelesslab.network.tasks.handover import FEATURES, Handover, HandoverUsers, utility
from wirelesslab.network.tasks.handover_rules import AnyCell, BestRate, Strongest, served, tuned
from wirelesslab.network.tasks.handover_world import HandoverSetting, HandoverWorld

SMALL = HandoverSetting(users=6, horizon=40)
STEADY = HandoverSetting(users=6, error_db=0.0, report_steps=1)


def test_pettingzoo_finds_nothing_wrong():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(Handover(SMALL), num_cycles=60)
        parallel_seed_test(lambda: Handover(SMALL))


def same(first, second):
    return all(np.array_equal(first[a][k], second[a][k]) for a in first for k in ("observation", "action_mask"))


def test_one_seed_is_one_episode_whatever_was_before():
    env = Handover(SMALL)
    first, _ = env.reset(seed=3)
    after = env.step(dict.fromkeys(env.agents, 1))
    env.reset(seed=4)
    again, _ = env.reset(seed=3)
    assert same(first, again)
    assert same(after[0], env.step(dict.fromkeys(env.agents, 1))[0])


def test_an_episode_that_was_written_down_goes_on_to_the_last_bit():
    env, other = Handover(SMALL), Handover(SMALL)
    env.reset(seed=3)
    for _ in range(5):
        env.step(dict.fromkeys(env.agents, 1))
    kept = env.snapshot()
    other.reset(seed=9)
    other.restore(kept)
    for _ in range(10):
        one, two = (e.step(dict.fromkeys(e.agents, 1)) for e in (env, other))
        assert same(one[0], two[0])
        assert one[1] == two[1]


def test_all_users_of_a_world_are_one_vector_bit_for_bit():
    env, users = Handover(SMALL), HandoverUsers(2, SMALL)
    seen, _ = env.reset(seed=12)
    rows, infos = users.reset(seed=11)
    rng = np.random.default_rng(1)
    for _ in range(SMALL.horizon):
        np.testing.assert_array_equal(rows[6:], [seen[a]["observation"] for a in env.agents])
        np.testing.assert_array_equal(infos["action_mask"][6:], [seen[a]["action_mask"] for a in env.agents])
        choices = rng.integers(4, size=12)
        agents = list(env.agents)
        seen, rewards, _, truncated, told = env.step(dict(zip(agents, map(int, choices[6:]), strict=True)))
        rows, paid, _, over, infos = users.step(choices)
        np.testing.assert_array_equal(paid[6:], [rewards[a] for a in agents])
        outcome = infos["final_info"] if over.all() else infos
        np.testing.assert_array_equal(outcome["cost"]["ping-pong"][6:], [told[a]["cost"]["ping-pong"] for a in agents])
        assert outcome["_cost"].all()
        assert over[6:].tolist() == [truncated[a] for a in agents]
        assert all(sum(told[a]["reward"].values()) == pytest.approx(rewards[a], abs=1e-12) for a in agents)
    assert over.all()
    np.testing.assert_array_equal(infos["final_obs"][6], seen["user-1"]["observation"])


def test_observations_stay_within_their_bounds_and_the_own_cell_comes_first():
    env = Handover(SMALL)
    seen, _ = env.reset(seed=5)
    for _ in range(20):
        for agent in env.agents:
            assert env.observation_space(agent).contains(seen[agent])
            rows = seen[agent]["observation"]
            assert rows[0, FEATURES.index("serving")] == 1
            assert rows[0, FEATURES.index("margin_db")] == 0
            assert np.all(np.diff(rows[1:, 0]) <= 0)  # the others by measured power
        seen, *_ = env.step({a: i % 4 for i, a in enumerate(env.agents)})


def test_a_cell_divides_its_time_and_a_change_costs_the_interruption():
    world = HandoverWorld(STEADY, 7)
    before, cells = world.serving.copy(), world.candidates()
    efficiency = 10 ** (world.powers_db / 10)
    got = world.step(np.array([1, 0, 0, 0, 0, 0]))
    assert world.serving[0] == cells[0, 1]
    assert got["changed"].tolist() == [1, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(got["rate_bps"][0], got["whole_bps"][0] / 2)  # 50 ms of 100 ms
    np.testing.assert_array_equal(got["rate_bps"][1:], got["whole_bps"][1:])
    busy = np.bincount(world.serving, minlength=7)
    for user in range(6):
        cell = world.serving[user]
        others = sum(efficiency[user, c] for c in range(7) if c != cell and busy[c])
        sinr = efficiency[user, cell] / (STEADY.budget.noise_mw + others)
        rate = 20e6 * min(7.4, 0.75 * np.log2(1 + sinr)) * (sinr >= 0.1) / busy[cell]
        assert got["whole_bps"][user] == pytest.approx(rate, rel=1e-6)
    assert before[0] == world.left[0]
    back = int(np.flatnonzero(world.candidates()[0] == before[0])[0])
    assert world.step(np.array([back, 0, 0, 0, 0, 0]))["returned"][0] == 1


def test_out_of_turn_a_wish_is_not_heard():
    world = HandoverWorld(HandoverSetting(users=8), 7)
    turn = world.masks()[:, 1] == 1
    assert turn.sum() == 2
    got = world.step(np.ones(8, int))
    np.testing.assert_array_equal(got["changed"] == 1, turn)


@pytest.mark.parametrize(("source", "told"), [("physical", 0), ("fresh", 0), ("aged", 10), ("none", None)])
def test_the_numbers_of_users_are_seen_as_old_as_said(source, told):
    world = HandoverWorld(HandoverSetting(users=12, source=source, report_steps=1), 3)
    counts = [np.bincount(world.serving, minlength=7)]
    for _ in range(15):
        world.step(np.ones(12, int))
        counts.append(np.bincount(world.serving, minlength=7))
    expected = np.zeros(7) if told is None else counts[-1 - told]
    shown = world.observations()[..., FEATURES.index("users")]
    np.testing.assert_array_equal(shown, expected[world.candidates()])


@pytest.mark.parametrize(
    "change", [{"user-1": 9}, {"user-1": np.nan}, {"user-1": "best"}, {"user-1": 0.5}], ids=["9", "nan", "word", "half"]
)
def test_an_action_that_is_none_is_refused_and_nothing_has_happened(change):
    env = Handover(SMALL)
    env.reset(seed=3)
    kept = env.snapshot()
    with pytest.raises(ValueError, match="user-1: a place among the cells"):
        env.step(dict.fromkeys(env.agents, 0) | change)
    with pytest.raises(ValueError, match=r"miss or add \['user-1'\]"):
        env.step({a: 0 for a in env.agents if a != "user-1"})
    users = HandoverUsers(1, SMALL)
    users.reset(seed=3)
    with pytest.raises(ValueError, match="expected"):
        users.step(np.full(6, 9))
    np.testing.assert_array_equal(kept["world"]["users_m"], env.snapshot()["world"]["users_m"])
    assert env.snapshot()["world"]["step_number"] == 0


def test_strongest_waits_for_its_margin_and_best_rate_minds_the_crowd():
    row = np.zeros((1, 3, len(FEATURES)))
    row[0, :, FEATURES.index("margin_db")] = [0, 2.5, -5]
    row[0, :, FEATURES.index("sinr_db")] = [5, 7.5, 0]
    row[0, :, FEATURES.index("users")] = [3, 10, 1]
    row[0, :, FEATURES.index("serving")] = [1, 0, 0]
    masks = np.ones((1, 3))
    assert Strongest(margin_db=2).act_many(row, masks).tolist() == [1]
    assert Strongest(margin_db=3).act_many(row, masks).tolist() == [0]
    assert Strongest(margin_db=2).act_many(row, [[1, 0, 1]]).tolist() == [0]
    # log2(1+3.16)/3 = 0.69, log2(1+5.6)/11 = 0.25, log2(2)/2 = 0.5
    assert BestRate(gain=0.0).act_many(row, masks).tolist() == [0]
    row[0, 0, FEATURES.index("users")] = 8
    assert BestRate(gain=0.2).act_many(row, masks).tolist() == [2]
    assert BestRate(gain=1.5).act_many(row, masks).tolist() == [0]


def test_waiting_for_a_margin_spares_ping_pongs():
    """Four seeds of 30 s; the counts differ by a factor of ten or more."""
    eager, patient = (served(Strongest(margin_db=m), HandoverSetting(), range(4)) for m in (0.0, 4.0))
    assert patient.ping_pongs_per_s.mean() < 0.3 * eager.ping_pongs_per_s.mean()
    assert (patient.handovers_per_s < eager.handovers_per_s).all()
    anywhere = served(AnyCell(1), HandoverSetting(), range(4))
    assert (anywhere.utility < eager.utility).all()


def test_tuning_takes_the_number_that_serves_best():
    chosen = tuned(lambda m: Strongest(margin_db=m), (0.0, 30.0, 4.0), HandoverSetting(), range(3))
    scores = {m: served(Strongest(margin_db=m), HandoverSetting(), range(3)).utility.mean() for m in (0.0, 30.0, 4.0)}
    assert chosen.margin_db == max(scores, key=scores.get)


def test_utility_is_that_of_proportional_fairness():
    np.testing.assert_allclose(utility(np.array([1e6, np.e * 1e6, 0.0])), [0, 1, np.log(0.01)])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"candidates": 8}, "expected from 2 to 7"),
        ({"interruption_s": 0.2}, "interruption_s"),
        ({"source": "late"}, "source"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        HandoverSetting(**given)
