"""What the sim of few shots makes of the differences that it keeps."""

import numpy as np
import pytest
import xarray as xr
from wirelesslab_sims._few_shots import MAIN, NEAREST, OURS, RULES
from wirelesslab_sims.few_shot_calibration import UNTUNED, compared

from wirelesslab.vision.few_shot import pooled

EPISODES = 400


@pytest.fixture(scope="module")
def judged():
    """Accuracies of all rules in two worlds, shape (worlds, rules, episodes); rules share most of an episode's luck."""
    rng = np.random.default_rng(1)
    shape = (2, len(RULES), EPISODES)
    return 80 + rng.normal(0, 10, (2, 1, EPISODES)) + rng.normal(0, 1, shape) + np.linspace(0, 2, len(RULES))[:, None]


@pytest.fixture(scope="module")
def result(judged):
    nearest, ours = (judged[:, [RULES.index(name)]] for name in (NEAREST, OURS))
    found = {}
    for what, values in (("minus_nearest", judged - nearest), ("ours_minus", ours - judged)):
        found[f"conv4 {MAIN} {what}"] = (("world", "rule"), values.mean(axis=2))
        error = values.std(axis=2, ddof=1) / np.sqrt(EPISODES)
        found[f"conv4 {MAIN} {what} error"] = (("world", "rule"), error)
    return xr.Dataset(found)


def told(result, what, rule):
    return compared(result, "conv4", MAIN, what, rule, EPISODES)


@pytest.mark.parametrize("rule", ["power of shots, tuned", "centred"])
def test_pooled_differences_are_those_of_the_episodes_themselves(judged, result, rule):
    place = RULES.index(rule)
    wanted = pooled(list(judged[:, RULES.index(OURS)] - judged[:, place]))
    # Student's quantiles of 399 and of some 798 degrees of freedom differ by 0.2 %
    assert told(result, "ours_minus", rule)["pooled"][:3] == pytest.approx(wanted[:3], abs=1e-3)


@pytest.mark.parametrize("rule", ["power of shots, tuned", "centred", OURS])
def test_an_interval_of_the_untuned_variant_holds_the_one_that_pairs_would_give(judged, result, rule):
    exact = pooled(list(judged[:, RULES.index(UNTUNED)] - judged[:, RULES.index(rule)]))
    found = told(result, "untuned_minus", rule)
    assert found["pooled"].value == pytest.approx(exact.value)
    assert found["pooled"].low < exact.low < exact.high < found["pooled"].high


def test_against_nearest_neighbour_it_is_exact_and_against_itself_nothing(result):
    exact = told(result, "minus_nearest", UNTUNED)
    for name in ("worlds", "pooled", "over worlds", "wholly above 0 in"):
        assert told(result, "untuned_minus", NEAREST)[name] == exact[name]
    assert told(result, "untuned_minus", UNTUNED)["pooled"][:3] == (0, 0, 0)
