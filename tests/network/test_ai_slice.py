"""Specs of running a learning job: bytes to the last one, times that the network confirms, laws that are declared."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from wirelesslab.network.simulation import Network
from wirelesslab.network.tasks.ai_slice import AISlice
from wirelesslab.network.tasks.ai_slice_choices import AISliceChoices, features
from wirelesslab.network.tasks.ai_slice_in_network import AI_SLICE, Rounds, star_of
from wirelesslab.network.tasks.ai_slice_job import CODERS, Coder, LearningJob, round_seconds
from wirelesslab.network.tasks.ai_slice_rules import (
    CompressWhenSendingDominates,
    Fixed,
    ForeseesAPeriod,
    RandomChoice,
    middle_choice,
    most_progress,
    scores,
)
from wirelesslab.network.tasks.ai_slice_world import AISliceConfig, drawn_moves, world_of

STILL = AISliceConfig(share_spread=0.0, fade_spread=0.0, way_spread=0.0, load_spread=0.0)


def rules(env):
    return {
        "middle": Fixed(middle_choice(env.config)),
        "random": RandomChoice(env.config, 1),
        "bandwidth": CompressWhenSendingDominates(env.config),
        "foresees": ForeseesAPeriod(env),
    }


def played(env, rule, seed):
    """Return rewards and infos of an episode."""
    observation, info = env.reset(seed=seed)
    rewards, infos, ended = [], [], False
    while not ended:
        observation, reward, terminated, truncated, info = env.step(rule(observation, info))
        rewards.append(reward)
        infos.append(info)
        ended = terminated or truncated
    return rewards, infos


# --- bytes and times ---------------------------------------------------------------------------------------------


def test_the_bytes_of_a_round_are_clients_times_up_and_down():
    job = LearningJob(num_values=1001, header_bytes=10)
    coder = Coder(name="odd", bits_up=3, bits_down=5)
    assert job.message_bytes(coder) == (376 + 10, 626 + 10)  # a byte that is begun is sent
    assert job.round_bytes(coder, 7) == 7 * (386 + 636)


@pytest.mark.parametrize("name", ["middle", "random", "bandwidth", "foresees"])
def test_what_an_episode_sent_is_its_rounds_and_moves_to_the_last_byte(name):
    env = AISlice()
    config, job, rule = env.config, env.config.job, rules(env)[name]
    observation, info = env.reset(seed=3)
    total, before, ended = 0, -1, False
    while not ended:
        action = rule(observation, info)
        observation, _, terminated, truncated, info = env.step(action)
        up, down = job.message_bytes(job.coders[action[1]])
        assert info["up_bytes"] == info["rounds"] * config.clients * up
        assert info["down_bytes"] == info["rounds"] * config.clients * down
        assert info["moved_bytes"] == (job.state_bytes if before not in {-1, action[2]} else 0)
        total += info["rounds"] * job.round_bytes(job.coders[action[1]], config.clients) + info["moved_bytes"]
        before, ended = action[2], terminated or truncated
    assert env.sent_bytes == total


@pytest.mark.parametrize("choice", [(0, 0, 0), (2, 2, 1), (5, 3, 2), (3, 1, 0)])
def test_a_round_takes_in_the_network_what_the_formula_says(choice):
    config = AISliceConfig()
    world = world_of(config, drawn_moves(config, 4)).at(17)
    job, (_, coder, _) = config.job, choice
    network = Network(star_of(world), (AI_SLICE,), segment_bytes=2**30)
    rounds = network.add(Rounds(job, choice, 3, config.clients))
    network.run(3 * 100.0)
    assert len(rounds.rounds_s) == 3
    np.testing.assert_allclose(rounds.rounds_s, round_seconds(job, world)[choice], rtol=1e-10)
    assert rounds.sent_bytes == 3 * job.round_bytes(job.coders[coder], config.clients)
    up, down = job.message_bytes(job.coders[coder])
    edge = f"edge-{choice[2]}"
    for client in range(config.clients):
        assert network.links[f"client-{client}", edge].account().served_bytes.sum() == 3 * up
        assert network.links[edge, f"client-{client}"].account().served_bytes.sum() == 3 * down


def test_rounds_survive_being_written_down():
    world = world_of(STILL, np.zeros(1 + STILL.clients + 2 * STILL.edges))
    network = Network(star_of(world), (AI_SLICE,), segment_bytes=2**20)
    network.add(Rounds(STILL.job, (2, 1, 1), 4, STILL.clients))
    network.run(3.3)
    copy = Network.restored(network.snapshot())
    network.run(30.0)
    copy.run(30.0)
    assert copy.snapshot().digest() == network.snapshot().digest()
    assert len(copy.actors["rounds"].rounds_s) == 4


def test_periods_add_up_to_the_time_of_all_rounds_and_moves():
    env = AISlice()
    _, infos = played(env, RandomChoice(env.config, 2), 5)
    assert infos[-1]["done"]
    moves = [8 * info["moved_bytes"] / env._worlds.between_bps[t] for t, info in enumerate(infos)]
    busy_s = sum(info["rounds"] * info["round_s"] for info in infos) + sum(moves)
    assert infos[-1]["time_s"] == pytest.approx(busy_s, rel=1e-9)  # nothing is idle, nothing counted twice


def test_a_round_longer_than_a_period_goes_on_into_the_next():
    config = replace(STILL, period_s=1.0, horizon=50)
    env = AISlice(config)
    env.reset(seed=1)
    takes_s = float(env.round_s[5, 0, 0])
    assert takes_s > 2.0
    rounds = [env.step(np.array([5, 0, 0]))[4]["rounds"] for _ in range(50)]
    assert set(rounds) == {0, 1}
    assert sum(rounds) == int(np.ceil(50.0 / takes_s))


# --- laws --------------------------------------------------------------------------------------------------------


def test_rounds_to_the_target_follow_the_noise_scale_and_the_coder():
    job = LearningJob(noise_first=100.0, noise_last=100.0)
    rounds = 1 / job.gains(0.3)
    for b, batch in enumerate(job.batches):
        for c, coder in enumerate(job.coders):
            assert rounds[b, c] == pytest.approx(job.steps_least * (1 + 100.0 / batch) * coder.steps_factor)
    grows = LearningJob(noise_first=64.0, noise_last=4096.0)
    assert [grows.noise_scale(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([64.0, 512.0, 4096.0])


def test_in_a_world_that_stands_still_the_best_batch_is_the_square_root_of_noise_times_sending_over_computing():
    steps = tuple(range(64, 4096, 8))
    job = LearningJob(batches=steps, noise_first=800.0, noise_last=800.0, coders=CODERS[:1])
    config = replace(STILL, job=job, gigabyte_price=0.0)
    env = AISlice(config)
    env.reset(seed=1)
    best = steps[int(scores(env)[:, 0, 0].argmax())]
    seconds = env.round_s[:, 0, 0]
    per_sample = (seconds[-1] - seconds[0]) / (steps[-1] - steps[0])  # the slowest client is always the same here
    fixed = seconds[0] - per_sample * steps[0]
    assert best == pytest.approx(np.sqrt(800.0 * fixed / per_sample), abs=8)


def test_a_starved_slice_slows_the_job_in_time_and_not_in_rounds():
    finished = []
    for share in (0.04, 0.3):
        env = AISlice(replace(STILL, share=share, horizon=400))
        _, infos = played(env, lambda observation, info: np.array([3, 1, 0]), 1)
        assert infos[-1]["done"]
        finished.append((sum(info["rounds"] for info in infos), infos[-1]["time_s"]))
    (few_rounds, slow_s), (rounds, fast_s) = finished
    assert slow_s > 1.5 * fast_s
    assert few_rounds == pytest.approx(rounds, rel=0.02)  # the noise scale is that of a period's start


def test_nobody_is_further_after_any_period_than_the_bound():
    env = AISlice()
    for seed in range(3):
        env.reset(seed=seed)
        bound = most_progress(env)
        for rule in rules(env).values():
            observation, info = env.reset(seed=seed)
            ended = False
            while not ended:
                observation, _, terminated, truncated, info = env.step(rule(observation, info))
                assert env.progress <= bound[env.period] + 1e-12
                ended = terminated or truncated


def test_one_who_foresees_a_period_earns_more_than_every_fixed_choice_and_rule():
    env = AISlice()
    fixed = [np.array([*pair, 0]) for pair in product(range(1, 4), range(1, 3))]
    foresees = ForeseesAPeriod(env)
    others = [lambda o, i, a=action: a for action in fixed]
    others += [rule for name, rule in rules(env).items() if name != "foresees"]
    for seed in range(4):
        best = sum(played(env, foresees, seed)[0])
        assert all(best > sum(played(env, rule, seed)[0]) for rule in others)


# --- the task ----------------------------------------------------------------------------------------------------


def test_it_terminates_when_the_job_is_done_and_is_truncated_when_the_time_is_over():
    env = AISlice()
    _, infos = played(env, ForeseesAPeriod(env), 1)
    assert infos[-1]["done"]
    assert env.progress == pytest.approx(1.0, abs=1e-9)
    short = AISlice(replace(env.config, horizon=10))
    short.reset(seed=1)
    ends = [short.step(np.array([2, 1, 0]))[2:4] for _ in range(10)]
    assert ends == [(False, False)] * 9 + [(False, True)]


def test_seconds_after_the_deadline_are_a_cost_and_no_part_of_the_reward():
    env = AISlice(replace(STILL, deadline_s=1000.0))
    _, infos = played(env, Fixed(middle_choice(env.config)), 1)
    late_s = sum(info["cost"]["late"] for info in infos)
    assert late_s == pytest.approx(infos[-1]["time_s"] - 1000.0)
    assert set(infos[0]["reward"]) == {"progress", "time", "bytes"}


def test_what_moves_does_not_depend_on_what_is_done():
    shown = []
    for action in ([0, 0, 0], [3, 2, 2]):
        env = AISlice()
        env.reset(seed=7)
        shown.append([env.step(np.array(action))[0][[4, 8, 9, 10, 11, 12, 13]] for _ in range(30)])
    np.testing.assert_array_equal(shown[0], shown[1])


def test_an_aged_twin_shows_the_world_of_some_periods_ago_and_none_the_middle():
    views = {source: AISlice(source=source, age_periods=3) for source in ("physical", "fresh", "aged", "none")}
    shown = {source: [env.reset(seed=2)[0]] for source, env in views.items()}
    for _ in range(12):
        for source, env in views.items():
            shown[source].append(env.step(np.array([2, 1, 1]))[0])
    moving = [4, *range(8, 14)]
    table = {source: np.array(rows)[:, moving] for source, rows in shown.items()}
    np.testing.assert_array_equal(table["fresh"], table["physical"])
    np.testing.assert_array_equal(table["aged"][3:], table["physical"][:-3])
    assert (table["none"] == table["none"][0]).all()
    assert shown["aged"][-1][-1] == 3 * views["aged"].config.period_s


def test_the_moving_world_has_the_spread_and_memory_that_the_config_says():
    config = AISliceConfig(horizon=40_000)
    moves = drawn_moves(config, 1)[:, 0]
    effective = moves.size * (1 - config.memory**2) / (1 + config.memory**2)  # independent draws worth as much
    error = config.share_spread * np.sqrt(0.5 / effective)
    assert moves.std() == pytest.approx(config.share_spread, abs=4 * error)
    assert np.corrcoef(moves[:-1], moves[1:])[0, 1] == pytest.approx(config.memory, abs=4 * np.sqrt(0.19 / moves.size))


def test_numbered_choices_are_the_triples_and_their_episodes_the_same():
    plain, numbered = AISlice(), AISliceChoices(AISlice())
    sizes = tuple(plain.action_space.nvec)
    seen, _ = numbered.reset(seed=3)
    first, _ = plain.reset(seed=3)
    np.testing.assert_array_equal(seen, features(first, 3))
    assert numbered.action_space.n == np.prod(sizes)
    for number in (0, 17, 71, 40):
        ours, theirs = numbered.step(number), plain.step(np.array(np.unravel_index(number, sizes)))
        assert ours[0] in numbered.observation_space
        np.testing.assert_array_equal(ours[0], features(theirs[0], 3))
        assert ours[1] == theirs[1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AISliceConfig(memory=1.0), r"memory: got 1.0, expected a number in \[0, 0.999\]"),
        (lambda: AISliceConfig(client_bps=(1e6,)), "client_bps: got 1, expected one for each of the clients, 8"),
        (lambda: LearningJob(batches=()), "batches, coders: got"),
        (lambda: Coder(name="x", bits_up=1, bits_down=1, steps_factor=0.5), "steps_factor: got 0.5"),
        (lambda: AISlice(source="old"), "source: got 'old', expected one of"),
        (lambda: reset(AISlice()).step(np.array([0, 9, 0])), r"from 0 to at most \[5, 3, 2\]"),
        (lambda: reset(AISlice()).step(np.array([0.5, 1, 0])), "expected three whole numbers"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def reset(env):
    env.reset(seed=1)
    return env
