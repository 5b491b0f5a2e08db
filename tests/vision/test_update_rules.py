"""Update rules are those of Keras, in NumPy."""

import numpy as np
import pytest

from wirelesslab.vision.update_rules import UpdateRule


def keras_optimizer(rule):
    from wirelesslab.tensorflow import tf

    k = tf.keras.optimizers
    if rule.rule == "adam":
        return k.Adam(rule.rate, rule.beta_1, rule.beta_2, rule.epsilon)
    return k.SGD(rule.rate, momentum=rule.momentum if rule.rule == "momentum" else 0.0)


@pytest.mark.parametrize(
    "rule",
    [
        UpdateRule(rule="sgd", rate=0.05), UpdateRule(rule="momentum", rate=0.05, momentum=0.8),
        UpdateRule(rule="adam", rate=1e-3), UpdateRule(rule="adam", rate=2e-3, beta_1=0.7, beta_2=0.95),
    ],
    ids=lambda rule: f"{rule.rule} {rule.rate:g}",
)  # fmt: skip
def test_twenty_steps_are_keras_own_to_a_millionth(rule):
    # Keras adds Adam's epsilon before the root's bias is mended, we after it: 1e-7 over a root of about 1.
    from wirelesslab.tensorflow import tf

    rng = np.random.default_rng(4)
    weights = {"a": rng.standard_normal((5, 3)).astype(np.float32), "b": rng.standard_normal(4).astype(np.float32)}
    theirs = [tf.Variable(w) for w in weights.values()]
    optimizer, memory = keras_optimizer(rule), rule.memory(weights)
    for step in range(20):
        gradients = [rng.standard_normal(w.shape).astype(np.float32) for w in weights.values()]
        weights, memory = rule.step(weights, memory, gradients, step)
        optimizer.apply_gradients(zip(map(tf.constant, gradients), theirs, strict=True))
    for ours, variable in zip(weights.values(), theirs, strict=True):
        np.testing.assert_allclose(ours, variable.numpy(), rtol=0, atol=1e-6)


def test_weight_decay_is_the_gradient_of_a_penalty_on_matrices_alone():
    rule = UpdateRule(rule="sgd", rate=0.5, weight_decay=0.1)
    weights = {"kernel": np.full((2, 2), 2.0, np.float32), "bias": np.full(2, 2.0, np.float32)}
    after, _ = rule.step(weights, {}, [np.zeros((2, 2)), np.zeros(2)], 0)
    assert after["kernel"] == pytest.approx(2 - 0.5 * 0.1 * 2)
    assert np.array_equal(after["bias"], weights["bias"])


def test_a_schedule_scales_the_rate_and_old_weights_are_left_alone():
    rule, weights = UpdateRule(rule="sgd", rate=1.0), {"w": np.ones(3, np.float32)}
    after, _ = rule.step(weights, {}, [np.ones(3, np.float32)], 0, rate_factor=0.25)
    assert after["w"].tolist() == [0.75] * 3
    assert weights["w"].tolist() == [1.0] * 3
    with pytest.raises(ValueError, match=r"got shape \(2,\) for 'w', expected finite numbers of shape \(3,\)"):
        rule.step(weights, {}, [np.ones(2, np.float32)], 0)
