"""What the sim of few shots judges, and what it makes of the differences that it keeps."""

from dataclasses import fields

import numpy as np
import pytest
import xarray as xr
from wirelesslab_sims._few_shots import BASES, MAIN, NEAREST, OURS, RULES, SAMPLED, TARGETS, UNTUNED, Case, world
from wirelesslab_sims.few_shot_calibration import Config, case_of, compared, over_bends, table

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
    nearest, ours, untuned = (judged[:, [RULES.index(name)]] for name in (NEAREST, OURS, UNTUNED))
    found = {"base_accuracy": ("world", [90.0, 91.0]), f"{MAIN} accuracy": (("world", "rule"), judged.mean(axis=2))}
    against = (judged - nearest, ours - judged, untuned - judged)
    for what, values in zip(BASES, against, strict=True):
        found[f"{MAIN} {what}"] = (("world", "rule"), values.mean(axis=2))
        error = values.std(axis=2, ddof=1) / np.sqrt(EPISODES)
        found[f"{MAIN} {what} error"] = (("world", "rule"), error)
    parts = {f"{part} {name}": value for part in ("conv4", "bend 0.12") for name, value in found.items()}
    told = f'{{"episodes": {EPISODES}, "fewer": {EPISODES}, "bends": [0.12]}}'
    return xr.Dataset(parts, attrs={"sim_config": told, "bend": 0.08})


@pytest.mark.parametrize("what", ["ours_minus", "untuned_minus"])
@pytest.mark.parametrize("rule", ["power of shots, tuned", "centred"])
def test_pooled_differences_are_those_of_the_episodes_themselves(judged, result, what, rule):
    pairs = judged[:, RULES.index(BASES[what])] - judged[:, RULES.index(rule)]
    found = compared(result, "conv4", MAIN, what, rule)
    assert found["pooled"] == pytest.approx(pooled(list(pairs)))
    assert found["worlds"][1] == pytest.approx(pooled([pairs[1]]))
    assert found["over worlds"].high - found["over worlds"].low > found["pooled"].high - found["pooled"].low


def test_against_itself_a_rule_gains_nothing(result):
    for what, rule in BASES.items():
        found = compared(result, "conv4", MAIN, what, rule)
        assert found["pooled"][:3] == found["over worlds"][:3] == (0, 0, 0)
        assert found["wholly above 0 in"] == 0


def test_the_table_says_where_the_worlds_were_chosen_and_shows_the_others(result):
    shown = table(result)
    assert {row[0] for row in shown.rows} == {f"conv4: {MAIN}", f"bend 0.12: {MAIN}"}
    assert "0.08 and the warp of 0.14 are those at which calibration gained most on validation" in shown.note
    assert list(over_bends(result, NEAREST)) == [0.08, 0.12]


def test_every_world_has_its_own_episodes_and_none_is_tuned_on():
    case, labels = case_of(Config(fewer=3, episodes=3, sampled=3, tuning=3)), np.repeat(np.arange(16), 60)
    asked = [case.judged(target, seed) for seed in (7, 8) for target in TARGETS]
    asked += [case.chosen_on(shots, seed) for seed in (7, 8) for shots in (1, 5)]
    digests = [episodes.draw(labels).digest() for episodes in asked]
    # in a world, targets of as many shots share them: they are drawn among other pictures
    assert len(set(digests)) == 2 * 2 + 2 * 2
    assert set(digests[: 2 * len(TARGETS)]).isdisjoint(digests[2 * len(TARGETS) :])


def test_a_case_takes_its_numbers_from_the_sim_s():
    case, shared = case_of(Config(bend=0.3, sampled=5)), {f.name for f in fields(Case)} - {"kind", "targets"}
    assert shared <= {f.name for f in fields(Config)}
    assert (case.bend, case.judged(SAMPLED[0], 1).count) == (0.3, 5)


def test_a_world_is_computed_on_one_thread_whatever_the_machine_has(monkeypatch):
    asked = []

    def stop(number):
        asked.append(number)
        raise InterruptedError

    monkeypatch.setattr("wirelesslab.tensorflow.use_threads", stop)
    with pytest.raises(InterruptedError):  # before anything is computed
        world(case_of(Config()), 1)
    assert asked == [1]  # with two, a net's last bits differ


@pytest.mark.parametrize(
    ("wrong", "words"), [({"sampled": 1}, "sampled: got 1"), ({"fewer": 1}, "fewer"), ({"bends": (0.08, 0.2)}, "bends")]
)
def test_what_could_not_be_told_is_refused_before_an_hour_of_training(wrong, words):
    with pytest.raises(ValueError, match=words):
        Config(**wrong)
