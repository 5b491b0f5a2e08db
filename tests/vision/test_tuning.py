"""Tuning is written down, fair, and blind to the test set."""

import json

import pytest

from wirelesslab.replicas import replicate
from wirelesslab.vision.tuning import Trial, best, choose, effort, read_log, trials_of, tune

RATES = ({"rate": 0.1}, {"rate": 0.2}, {"rate": 0.4})
CANDIDATES = {"float32": RATES, "ternary": RATES}


def score(method, settings, seed):
    """A made-up accuracy: ternary likes low rates; 0.4 diverges under seed 3."""
    wanted = {"float32": 0.2, "ternary": 0.1}[method]
    return float("nan") if settings["rate"] == 0.4 and seed == 3 else 1 - abs(settings["rate"] - wanted) - seed / 1000


def test_every_trial_is_written_down_and_the_best_mean_on_validation_is_chosen(tmp_path):
    log = tmp_path / "tuning.jsonl"
    assert tune(score, CANDIDATES, (1, 2, 3), log) == {"float32": {"rate": 0.2}, "ternary": {"rate": 0.1}}
    trials = read_log(log)
    assert [(t.method, t.settings["rate"], t.seed) for t in trials] == [
        (m, s["rate"], seed) for m in CANDIDATES for s in RATES for seed in (1, 2, 3)
    ]
    assert {(t.method, t.settings["rate"]) for t in trials if t.chosen} == {("float32", 0.2), ("ternary", 0.1)}
    assert sum(t.score == -float("inf") for t in trials) == 2
    assert effort(trials) == {"float32": 9, "ternary": 9}


def test_unequal_effort_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"got \{'float32': 3, 'ternary': 2\}, expected as many for each method"):
        tune(score, {"float32": RATES, "ternary": RATES[:2]}, (1, 2))
    log = tmp_path / "tuning.jsonl"
    tune(score, {"float32": RATES}, (1, 2), log)
    with pytest.raises(ValueError, match="already holds \\['float32'\\]"):
        tune(score, {"float32": RATES}, (4, 5), log)  # more trials for one method alone
    tune(score, {"ternary": RATES}, (1,), log)
    with pytest.raises(ValueError, match=r"got \{'float32': 6, 'ternary': 3\}"):
        effort(read_log(log))
    with pytest.raises(ValueError, match="tried under different seeds"):
        best([Trial("a", {"rate": 1}, 1, 0.5), Trial("a", {"rate": 2}, 2, 0.6)])


def test_a_log_that_judges_on_test_images_or_chooses_the_untried_is_refused(tmp_path):
    log = tmp_path / "tuning.jsonl"
    tune(score, {"float32": RATES}, (1,), log)
    lines = log.read_text().splitlines()
    log.write_text("\n".join([lines[0].replace('"validation"', '"test"'), *lines[1:]]))
    with pytest.raises(ValueError, match=r"line 1 of .* was judged on 'test', expected 'validation'"):
        read_log(log)
    log.write_text("\n".join([*lines, json.dumps({"choice": "float32", "settings": {"rate": 9}, "on": "validation"})]))
    with pytest.raises(ValueError, match="expected a setting that was tried"):
        read_log(log)
    log.write_text("\n".join([*lines, lines[0][:20]]))
    with pytest.raises(ValueError, match=r"line 5 of .* is no trial and no choice"):
        read_log(log)


def test_of_equals_the_first_is_chosen_and_a_method_that_always_diverges_is_said():
    assert tune(lambda *_: 0.5, {"a": RATES}, (1, 2)) == {"a": {"rate": 0.1}}
    with pytest.raises(ValueError, match="every setting of 'a' diverged"):
        tune(lambda *_: float("nan"), {"a": RATES}, (1,))
    with pytest.raises(ValueError, match="none twice"):
        tune(score, {"a": (RATES[0], RATES[0])}, (1,))


def figures(config, seed):
    """What a replicated training would return."""
    method, rate = config["method"], config["rate"]
    return {"validation": score(method, config, 1) - (seed % 7) / 1e6, "validation_loss": rate}


def test_trials_that_ran_on_many_cores_are_chosen_from_and_written_down_alike(tmp_path):
    configs = {f"{m} | {s['rate']}": {"method": m, **s} for m, some in CANDIDATES.items() for s in some}
    result = replicate(figures, configs, 2, workers=1)
    settings = {name: (config["method"], {"rate": config["rate"]}) for name, config in configs.items()}
    trials, log = trials_of(result, settings, loss="validation_loss"), tmp_path / "tuning.jsonl"
    assert choose(trials, log) == {"float32": {"rate": 0.2}, "ternary": {"rate": 0.1}}
    assert [(t.method, t.settings, t.seed, t.score, t.loss) for t in read_log(log)] == [
        (t.method, t.settings, t.seed, t.score, t.loss) for t in trials
    ]
    assert choose([Trial("a", {"rate": r}, 1, 0.5, loss=loss) for r, loss in ((1, 2.0), (2, 1.0), (3, 1.0))]) == {
        "a": {"rate": 2}
    }
    with pytest.raises(ValueError, match="as many for each method"):
        choose(trials[:-1], log)
