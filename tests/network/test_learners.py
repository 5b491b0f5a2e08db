"""The mathematics of learners: advantages, targets, laws, masks, rows, and policies as files."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from wirelesslab.array_files import WeightFileError
from wirelesslab.network.dense_nets import DenseNet
from wirelesslab.network.learners import DQN, PPO, SAC, Interface, Trained, load_policy, save_policy
from wirelesslab.network.learners import dqn as dqn_file
from wirelesslab.network.learners import ppo as ppo_file
from wirelesslab.network.learners import sac as sac_file
from wirelesslab.network.learners.moments import Moments
from wirelesslab.network.learners.nets import Layout, numpy_outputs, outputs
from wirelesslab.network.learners.replay import Replay, SeveralSteps, Transitions
from wirelesslab.network.learners.steps import Step
from wirelesslab.tensorflow import tf

CHOICES = Interface(observation_shape=(3,), num_actions=4)
NUMBERS = Interface(observation_shape=(3,), low=(0.0, -2.0), high=(1.0, 6.0))
ROWS_CHOICES = Interface(observation_shape=(5, 2), num_actions=5)
ROWS_NUMBERS = Interface(observation_shape=(5, 2), low=(0.0,) * 5, high=(1.0,) * 5)
INTERFACES = [CHOICES, NUMBERS, ROWS_CHOICES, ROWS_NUMBERS]


def net(inputs, num_outputs, seed=0):
    rng = np.random.default_rng(seed)
    sizes = [inputs, 7, 6, num_outputs]
    arrays = {"input middle": rng.normal(size=inputs), "input spread": rng.uniform(0.5, 2, inputs)}
    for i in range(3):
        arrays[f"kernel {i}"] = rng.normal(size=(sizes[i], sizes[i + 1]))
        arrays[f"bias {i}"] = rng.normal(size=sizes[i + 1])
    return DenseNet(arrays)


def policy(interface=CHOICES, seed=0):
    size = 1 if interface.rows else interface.size
    return Trained(
        task="a/Task-v0", learner="PPO", interface=interface, net=net(interface.features, size, seed),
        record={"seed": 3},
    )  # fmt: skip


def some_steps(rng, num_envs=3, time=60, ends=0.15, choices=2):
    """Steps of environments that end at random, for either reason, and sometimes do nothing but begin anew."""
    steps, resting = [], np.zeros(num_envs, bool)
    seen = rng.normal(size=(num_envs, 2)).astype(np.float32)
    for _ in range(time):
        following = rng.normal(size=seen.shape).astype(np.float32)
        terminated = (rng.random(num_envs) < ends / 2) & ~resting
        truncated = (rng.random(num_envs) < ends / 2) & ~resting & ~terminated
        masks = rng.random((num_envs, choices)) < 0.7
        steps.append(Step(
            seen, masks, rng.integers(choices, size=num_envs), rng.normal(size=num_envs).astype(np.float32) * ~resting,
            terminated, truncated, following, masks, ~resting,
        ))  # fmt: skip
        resting = terminated | truncated
        seen = following
    return steps


# --- advantages -------------------------------------------------------------------------------------


def slow_advantages(steps, values, next_values, discount, trace):
    """Sum (discount trace)^k times the k-th later error, until the episode is over."""
    result = np.zeros(values.shape)
    for t, env in np.ndindex(*values.shape):
        weight = 1.0
        for later in range(t, len(values)):
            s = steps[later]
            ahead = 0.0 if s.terminated[env] else next_values[later, env]
            result[t, env] += weight * (s.rewards[env] + discount * ahead - values[later, env])
            if s.ended[env]:
                break
            weight *= discount * trace
    return result


@pytest.mark.parametrize(("discount", "trace"), [(0.9, 0.8), (1.0, 0.95), (0.99, 0.0), (0.9, 1.0)])
def test_advantages_are_those_of_the_sum_written_out(discount, trace):
    rng = np.random.default_rng(1)
    steps = some_steps(rng)
    values, next_values = rng.normal(size=(2, 60, 3))
    fast = ppo_file.advantages(
        np.stack([s.rewards for s in steps]).astype(float), values, next_values,
        np.stack([s.terminated for s in steps]), np.stack([s.ended for s in steps]), discount=discount, trace=trace,
    )  # fmt: skip
    np.testing.assert_allclose(fast, slow_advantages(steps, values, next_values, discount, trace), rtol=1e-10)


def test_a_truncated_step_is_worth_what_comes_next_and_a_terminated_one_is_not():
    one, true, false = np.ones((1, 1)), np.ones((1, 1), bool), np.zeros((1, 1), bool)
    cut = ppo_file.advantages(one, 0 * one, 10 * one, false, true, discount=0.9, trace=0.95)
    over = ppo_file.advantages(one, 0 * one, 10 * one, true, true, discount=0.9, trace=0.95)
    assert cut[0, 0] == pytest.approx(1 + 0.9 * 10, rel=1e-12)
    assert over[0, 0] == 1


# --- transitions over several steps -------------------------------------------------------------------


def slow_transitions(steps, n, discount):
    """For every step that counted: what was collected in up to n steps, and where that ended."""
    found = []
    for env in range(len(steps[0].rewards)):
        for t, first in enumerate(steps):
            if not first.valid[env]:
                continue
            total, weight, k = 0.0, 0.0, 0
            while True:
                if t + k >= len(steps):
                    break
                s = steps[t + k]
                total += discount**k * s.rewards[env]
                weight += discount**k
                k += 1
                if s.ended[env] or k == n:
                    factor = 0.0 if s.terminated[env] else discount**k
                    found.append([*first.observations[env], total, weight, factor, *s.next_observations[env]])
                    break
    return np.array(sorted(found))


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_returns_over_several_steps_are_those_of_the_sum_written_out(n):
    steps = some_steps(np.random.default_rng(2))
    maker = SeveralSteps(n, 0.9)
    made = [maker.see(step) for step in steps]
    rows = [
        [*t.observations[i], t.rewards[i], t.weights[i], t.factors[i], *t.next_observations[i]]
        for t in made
        for i in range(len(t.rewards))
    ]
    slow = slow_transitions(steps, n, 0.9)
    assert len(rows) == len(slow) > 100
    np.testing.assert_allclose(np.array(sorted(rows)), slow, rtol=1e-5, atol=1e-6)  # float32


def test_the_oldest_transitions_are_overwritten_first():
    replay = Replay(5)
    for first in (0, 3):
        numbers = np.arange(first, first + 3, dtype=np.float32)
        replay.add(Transitions(numbers[:, None], *[numbers] * 4, numbers[:, None], np.ones((3, 2), bool)))
    assert sorted(replay.kept.rewards.tolist()) == [1, 2, 3, 4, 5]
    assert replay.size == 5


def test_a_memory_that_no_checkpoint_could_hold_is_refused():
    wide = np.zeros((2, 1000), np.float32)
    flat = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match=r"capacity: got 50000, expected at most 7\d+"):
        Replay(50_000).add(Transitions(wide, flat, flat, flat, flat, wide, np.ones((2, 2), bool)))


# --- DQN ----------------------------------------------------------------------------------------------


def test_double_dqn_chooses_with_the_net_and_judges_with_the_slow_one():
    values = np.array([[1.0, 3.0, 9.0], [1.0, 3.0, 9.0]], np.float32)
    slow = np.array([[10.0, 20.0, 30.0], [10.0, 20.0, 30.0]], np.float32) * [[1], [-1]]
    masks = np.array([[True, True, False], [True, True, False]])  # the third would be best
    rewards, factors = np.array([1.0, 2.0], np.float32), np.array([0.5, 0.5], np.float32)
    double = dqn_file.targets(rewards, factors, values, slow.astype(np.float32), masks, double=True).numpy()
    single = dqn_file.targets(rewards, factors, values, slow.astype(np.float32), masks, double=False).numpy()
    np.testing.assert_allclose(double, [1 + 0.5 * 20, 2 - 0.5 * 20], rtol=1e-6)
    np.testing.assert_allclose(single, [1 + 0.5 * 20, 2 - 0.5 * 10], rtol=1e-6)


@pytest.mark.parametrize("dueling", [True, False])
@pytest.mark.parametrize("interface", [CHOICES, ROWS_CHOICES], ids=["flat", "rows"])
def test_the_policy_that_dqn_gives_prefers_what_its_values_prefer(interface, dueling):
    learning = DQN(dueling=dueling).begin(interface, num_envs=2, steps=100, seed=4)
    rng = np.random.default_rng(0)
    learning.adam.values.assign(rng.normal(size=learning.adam.values.shape).astype(np.float32))
    learning.layers = learning.layout.split(learning.adam.numpy())[0][0]
    learning.moments.see(rng.normal(2, 3, size=(50, *interface.observation_shape)))
    seen = rng.normal(size=(40, *interface.observation_shape)).astype(np.float32)
    layers = learning.layout.tensors(learning.adam.values)[0][0]
    values = dqn_file.values_of(layers, learning.moments.standard(seen), dueling=dueling).numpy()
    told = learning.net()(seen.reshape(-1, interface.features)).reshape(40, interface.size)
    if not interface.rows:
        np.testing.assert_allclose(told, values, rtol=2e-3, atol=1e-4)  # float32 beside float64
    assert (np.argmax(told, axis=1) == np.argmax(values, axis=1)).all()


def test_exploration_falls_from_everything_to_little():
    how = DQN(warmup_steps=100, first_epsilon=0.5, last_epsilon=0.1, explore_share=0.5)
    assert [how.epsilon(step, 1000) for step in (0, 99)] == [1.0, 1.0]
    assert how.epsilon(250, 1000) == pytest.approx(0.3, rel=1e-12)
    assert how.epsilon(900, 1000) == pytest.approx(0.1, rel=1e-12)


# --- laws ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "log_spread"), [(0.0, 0.0), (1.2, -0.7), (-2.0, 0.4)])
def test_the_squeezed_density_adds_up_to_one(mean, log_spread):
    def density(action):
        noise = (np.arctanh(action) - mean) / np.exp(log_spread)
        given = [np.full((1, 1), v) for v in (mean, log_spread, noise)]
        back, log = sac_file.squeezed_log_density(*given)
        assert back.numpy()[0, 0] == pytest.approx(action, abs=1e-9)
        return float(np.exp(log.numpy()[0]))

    assert quad(density, -1, 1, limit=200)[0] == pytest.approx(1, abs=1e-6)


def test_the_squeezed_density_is_finite_far_out_where_tanh_is_one():
    _, log = sac_file.squeezed_log_density(np.full((1, 1), 40.0, np.float32), np.zeros((1, 1), np.float32),
                                           np.zeros((1, 1), np.float32))  # fmt: skip
    # log(1 - tanh²(40)) = log 4 - 80
    assert log.numpy()[0] == pytest.approx(-0.5 * np.log(2 * np.pi) - np.log(4) + 80, rel=1e-6)


def test_density_and_entropy_of_the_normal_law_are_those_of_numerical_integration():
    log_spread = np.array([-0.3])

    def density(x):
        return float(np.exp(ppo_file.normal_law(np.array([[0.4]]), log_spread, np.array([[x]]))[0].numpy()[0]))

    told = float(ppo_file.normal_law(np.array([[0.4]]), log_spread, np.array([[0.0]]))[1].numpy()[0])
    assert quad(density, -8, 8)[0] == pytest.approx(1, abs=1e-7)
    entropy = quad(lambda x: -density(x) * np.log(max(density(x), 1e-300)), -8, 8)[0]
    assert told == pytest.approx(entropy, abs=1e-6)


def test_choices_that_are_forbidden_have_no_probability_and_no_entropy():
    scores = np.array([[1.0, 2.0, 50.0]])
    masks = np.array([[True, True, False]])
    logs = [ppo_file.choice_law(scores, masks, np.array([a]))[0].numpy()[0] for a in range(3)]
    p = 1 / (1 + np.exp(1.0))
    np.testing.assert_allclose(np.exp(logs), [p, 1 - p, 0], atol=1e-12)
    entropy = ppo_file.choice_law(scores, masks, np.array([0]))[1].numpy()[0]
    assert entropy == pytest.approx(-p * np.log(p) - (1 - p) * np.log(1 - p), rel=1e-10)


@pytest.mark.parametrize(("log_ratio", "gain", "moves"), [
    (0.3, 1.0, False), (-0.3, 1.0, True), (0.1, 1.0, True),
    (-0.3, -1.0, False), (0.3, -1.0, True), (-0.1, -1.0, True),
])  # fmt: skip
def test_beyond_the_clip_nothing_more_is_to_be_earned(log_ratio, gain, moves):
    log = tf.Variable([log_ratio])
    with tf.GradientTape() as tape:
        earned = tf.reduce_sum(ppo_file.clipped_gain(log, tf.constant([gain]), 0.2))
    slope = tape.gradient(earned, log).numpy()[0]
    expected = gain * np.exp(log_ratio) if moves else 0.0
    assert slope == pytest.approx(expected, rel=1e-6, abs=0)


def test_the_temperature_rises_when_the_policy_is_less_random_than_wanted_and_falls_when_more():
    # the gradient is gone down: entropy is minus the mean log-density
    too_sure = sac_file.heat_gradient(tf.constant([3.0, 3.0]), -1.0).numpy()  # entropy -3
    too_wild = sac_file.heat_gradient(tf.constant([-0.5, -0.5]), -1.0).numpy()  # entropy 0.5
    assert too_sure == pytest.approx(-2, rel=1e-6)
    assert too_wild == pytest.approx(1.5, rel=1e-6)


def test_ppo_draws_choices_as_often_as_their_probability_says():
    learning = PPO().begin(CHOICES, num_envs=20_000, steps=100, seed=3)
    kernel, bias = learning.layers[-1]
    kernel[:], bias[:] = 0.0, np.log([0.1, 0.2, 0.3, 0.4])
    masks = np.ones((20_000, 4), bool)
    masks[:, 3] = False
    drawn = np.bincount(learning.act(np.zeros((20_000, 3), np.float32), masks), minlength=4) / 20_000
    # five standard errors of the largest share: false alarm 2e-6
    np.testing.assert_allclose(drawn, np.array([1, 2, 3, 0]) / 6, atol=5 * np.sqrt(0.25 / 20_000))
    assert drawn[3] == 0


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2))
@settings(max_examples=50, deadline=None)
def test_actions_stay_within_their_bounds(raw):
    actions = NUMBERS.actions(np.array(raw))
    assert (actions >= NUMBERS.low).all()
    assert (actions <= NUMBERS.high).all()
    assert np.array_equal(NUMBERS.actions(np.zeros(2)), [0.5, 2.0])


# --- nets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interface", [ROWS_CHOICES, ROWS_NUMBERS], ids=["choices", "numbers"])
def test_a_net_of_rows_does_not_care_in_which_order_items_come(interface):
    rng = np.random.default_rng(5)
    one, order = policy(interface), rng.permutation(5)
    for _ in range(20):
        seen = rng.normal(size=(5, 2))
        if interface.discrete:
            assert order[one.act(seen[order])] == one.act(seen)
        else:
            np.testing.assert_allclose(one.act(seen[order]), one.act(seen)[order], rtol=1e-12)


def test_a_critic_of_rows_gives_one_number_whatever_their_order():
    rng = np.random.default_rng(6)
    layout = Layout(((3, 8, 8, 1),))
    layers = layout.tensors(tf.constant(layout.initial(1, [1.0])))[0][0]
    seen = rng.normal(size=(4, 5, 3)).astype(np.float32)
    pooled = outputs(layers, seen, pool=True).numpy()
    assert pooled.shape == (4, 1)
    np.testing.assert_allclose(outputs(layers, seen[:, rng.permutation(5)], pool=True).numpy(), pooled, atol=1e-6)


def test_numpy_and_tensorflow_give_one_answer():
    layout = Layout(((3, 8, 8, 2), (3, 4, 1)), free=2)
    flat = layout.initial(1, [1.0, 1.0], free=0.5)
    seen = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    for ours, theirs in zip(layout.split(flat)[0], layout.tensors(tf.constant(flat))[0], strict=True):
        np.testing.assert_allclose(numpy_outputs(ours, seen), outputs(theirs, seen).numpy(), atol=1e-5)
    assert layout.split(flat)[1].tolist() == layout.tensors(tf.constant(flat))[1].numpy().tolist() == [0.5, 0.5]


@pytest.mark.parametrize("hidden", [(64, 64), ()], ids=["two layers", "none"])
@pytest.mark.parametrize("interface", [NUMBERS, ROWS_NUMBERS], ids=["flat", "rows"])
def test_ppo_values_what_was_cut_off_as_it_values_all_else(interface, hidden):
    learning, rng = PPO(hidden=hidden).begin(interface, num_envs=2, steps=100, seed=4), np.random.default_rng(1)
    seen = rng.normal(3, 2, size=(9, *interface.observation_shape)).astype(np.float32)
    learning.moments.see(seen)
    learning.value_middle, learning.value_spread = 50.0, 7.0
    raw, masks = np.zeros((9, interface.size), np.float32), np.ones((9, interface.size), bool)
    told = learning._judge(learning.moments.standard(seen), masks, raw)[1].numpy()
    np.testing.assert_allclose(learning._values(seen), 50 + 7 * told, rtol=1e-5)  # float32


def test_a_value_net_keeps_saying_what_it_said_when_its_units_change():
    learning, rng = PPO().begin(NUMBERS, num_envs=2, steps=100, seed=4), np.random.default_rng(1)
    learning.rollouts, seen = 2, rng.normal(size=(9, 3)).astype(np.float32)
    before = learning._values(seen)
    learning._restandardise(rng.normal(100, 20, size=500), 0.5)
    learning._take()
    assert learning.value_middle == pytest.approx(50, abs=3)
    np.testing.assert_allclose(learning._values(seen), before, atol=1e-4)  # float32 of numbers around 50


def test_moments_are_those_of_all_observations_at_once():
    rng = np.random.default_rng(7)
    parts = [rng.normal((1e6, -3), (5, 1e-3), size=(n, 2)) for n in (1, 4, 0, 100, 37)]
    moments = Moments(2)
    for part in parts:
        moments.see(part)
    whole = np.concatenate(parts)
    np.testing.assert_allclose(moments.mean, whole.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.spread, whole.std(axis=0), rtol=1e-5)  # float32
    standard = moments.standard(whole)
    np.testing.assert_allclose(standard.std(axis=0), 1, rtol=1e-5)


def test_what_never_varied_is_left_as_it_is():
    moments = Moments(2)
    moments.see(np.array([[7.0, 1.0], [7.0, 2.0]]))
    assert moments.spread[0] == 1
    assert np.isfinite(moments.standard(np.array([[8.0, 1.0]]))).all()


# --- policies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("interface", [ROWS_CHOICES, ROWS_NUMBERS], ids=["choices", "numbers"])
def test_a_policy_of_rows_is_one_for_any_number_of_items(interface):
    trained = policy(interface)
    wider = trained.for_items(8)
    seen = np.random.default_rng(3).normal(size=(8, 2))
    assert wider.net.digest == trained.net.digest
    if interface.discrete:
        assert wider.act(seen) == np.argmax(trained.net(seen)[:, 0])
    else:
        assert wider.act(seen)[:5] == pytest.approx(trained.act(seen[:5]), abs=1e-12)
        assert wider.act(seen).shape == (8,)
    again = wider.for_items(5)
    assert again.interface == trained.interface
    for flat in (CHOICES, NUMBERS):
        with pytest.raises(ValueError, match=r"expected one that sees \(items, features\)"):
            policy(flat).for_items(8)


@pytest.mark.parametrize("interface", INTERFACES)
def test_what_is_saved_is_what_is_loaded_to_the_last_bit(interface, tmp_path):
    before = policy(interface)
    after = load_policy(save_policy(before, tmp_path / "policy"), "a/Task-v0")
    assert after.net.digest == before.net.digest
    assert (after.task, after.learner, after.interface, after.record) == (
        before.task, before.learner, before.interface, before.record,
    )  # fmt: skip
    seen = np.random.default_rng(0).normal(size=(30, *interface.observation_shape))
    assert np.array_equal(after.act_many(seen), before.act_many(seen))
    assert np.array_equal([after.act(one) for one in seen], [before.act(one) for one in seen])
    np.testing.assert_allclose([after.act(one) for one in seen], before.act_many(seen), rtol=1e-12)


def test_a_policy_of_another_task_is_refused(tmp_path):
    path = save_policy(policy(), str(tmp_path / "policy"))
    with pytest.raises(WeightFileError, match="is of 'a/Task-v0', expected one of 'another/Task-v0'"):
        load_policy(path, "another/Task-v0")


def test_a_policy_that_was_cut_short_or_changed_is_refused(tmp_path):
    path = save_policy(policy(), tmp_path / "policy")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        WeightFileError, match=r"policy: .*holds no network.*cut short.*copy it again, or train and save"
    ):
        load_policy(path)
    place = content.index(b"kernel 1.npy") + 200
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(WeightFileError):
        load_policy(path)
    with pytest.raises(WeightFileError, match="no file"):
        load_policy(tmp_path / "nothing")


@pytest.mark.parametrize("interface", INTERFACES)
def test_observations_that_are_nan_or_of_another_shape_are_refused(interface):
    one = policy(interface)
    seen = np.zeros(interface.observation_shape)
    seen.flat[0] = np.nan
    with pytest.raises(ValueError, match=r"observation: got 1 of .* NaN or infinite"):
        one.act(seen)
    with pytest.raises(ValueError, match="it is a policy of a/Task-v0"):
        one.act(np.zeros(9))


@pytest.mark.parametrize("interface", [CHOICES, ROWS_CHOICES], ids=["flat", "rows"])
def test_a_forbidden_choice_is_never_taken(interface):
    rng, one = np.random.default_rng(8), policy(interface)
    seen = rng.normal(size=(300, *interface.observation_shape))
    masks = rng.random((300, interface.size)) < 0.4
    masks[np.arange(300), rng.integers(interface.size, size=300)] = True
    taken = one.act_many(seen, masks.astype(np.int8))
    assert masks[np.arange(300), taken].all()
    assert len(set(taken)) > 1
    with pytest.raises(ValueError, match="mask: allows nothing in row 0"):
        one.act(seen[0], np.zeros(interface.size))


def test_choices_are_counted_from_the_first_action():
    shifted = dataclasses.replace(CHOICES, first_action=3)
    seen = np.zeros(3)
    assert policy(shifted).act(seen) == policy().act(seen) + 3


@pytest.mark.parametrize("nonsense", [
    {"observation_shape": (3,)}, {"observation_shape": (3,), "num_actions": 2, "low": (0.0,), "high": (1.0,)},
    {"observation_shape": (3,), "low": (1.0,), "high": (1.0,)}, {"observation_shape": (3, 2), "num_actions": 2},
    {"observation_shape": (3, 2, 2), "num_actions": 3},
])  # fmt: skip
def test_an_interface_that_makes_no_sense_is_refused(nonsense):
    with pytest.raises(ValueError, match="got"):
        Interface(**nonsense)


@pytest.mark.parametrize(("kind", "nonsense"), [
    (DQN, {"target_rate": 0.1, "target_every": 10}), (DQN, {"discount": 1.5}), (DQN, {"n_steps": 0}),
    (PPO, {"discount": 1.0}), (PPO, {"clip": 0.0}), (PPO, {"hidden": (0,)}),
    (SAC, {"target_entropy": 3.0}), (SAC, {"target_rate": 0.0}), (SAC, {"learning_rate": np.nan}),
])  # fmt: skip
def test_learners_refuse_nonsense(kind, nonsense):
    with pytest.raises(ValueError, match="expected"):
        kind(**nonsense)


@pytest.mark.parametrize("kind", [DQN, PPO, SAC])
@pytest.mark.parametrize("wrong", [1.5, 0.0, -0.1])
def test_a_discount_is_no_percentage(kind, wrong):
    with pytest.raises(ValueError, match=f"discount: got {wrong}, expected a number above 0 and up to 1") as refused:
        kind(discount=wrong)
    assert "%" not in str(refused.value)


def test_a_learner_of_choices_refuses_numbers_and_the_other_way_round():
    with pytest.raises(TypeError, match="take SAC or PPO"):
        DQN().begin(NUMBERS, num_envs=1, steps=10, seed=1)
    with pytest.raises(TypeError, match="take DQN or PPO"):
        SAC().begin(CHOICES, num_envs=1, steps=10, seed=1)
