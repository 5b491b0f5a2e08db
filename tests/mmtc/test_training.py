"""Training: one seed gives one curve, a killed training goes on as if nothing had been, and it helps."""

import json
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tests.mmtc.trainings import CELL, LAYERS, WHOLE, plan
from tests.trials import ROOT
from wirelesslab.mmtc import Delayed, DelayedAndOffset, simulate, symbol_errors, training
from wirelesslab.mmtc.detectors import AMP, MAMPNet
from wirelesslab.mmtc.mixture import OneCell
from wirelesslab.mmtc.training import CHECKPOINT, CheckpointError, Plan, fit
from wirelesslab.mmtc.weight_files import load
from wirelesslab.rng import stream

PROGRAM = [sys.executable, "-m", "tests.mmtc.trainings"]
TINY = replace(LAYERS, num_layers=2)


class Until:
    """A watcher that is interrupted at a step, as by Ctrl-C."""

    def __init__(self, step):
        self.step = step

    def __call__(self, progress):
        if progress.step == self.step:
            raise KeyboardInterrupt


def kept(folder):
    """What a checkpoint keeps."""
    with np.load(folder / CHECKPOINT, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(arrays.pop("notes").tobytes()), arrays


def curve(history):
    """A history without its clock."""
    return [(v.step, v.log_loss, v.errors, v.log_ser, v.attempts) for v in history]


# --- one seed, one curve ----------------------------------------------------------------------------


def trained_in_a_process(folder):
    subprocess.run([*PROGRAM, str(folder)], cwd=ROOT, check=True, capture_output=True, timeout=300)
    return json.loads((folder / "history.json").read_text(encoding="utf-8")), load(folder / "network").parameters


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return trained_in_a_process(tmp_path_factory.mktemp("undisturbed"))


def test_two_trainings_with_one_seed_on_one_thread_give_the_same_curve(undisturbed, tmp_path):
    history, parameters = trained_in_a_process(tmp_path)
    assert [v["step"] for v in history] == [0, 6, 12, 18, 24]
    assert history == undisturbed[0]
    for name, values in undisturbed[1].items():
        assert values.tobytes() == parameters[name].tobytes(), name
    assert len({v["log_loss"] for v in history}) == 5  # something was learned in between


def test_a_training_killed_with_kill_9_ends_where_an_undisturbed_one_does(undisturbed, tmp_path):
    child = subprocess.Popen(
        [*PROGRAM, str(tmp_path), "--hang", "13"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (tmp_path / CHECKPOINT).exists():
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=0.02)
            pytest.fail(f"the training ended with code {child.returncode} before its first checkpoint")
    child.send_signal(signal.SIGKILL)
    assert child.wait(timeout=60) == -signal.SIGKILL
    assert kept(tmp_path)[0]["step"] in (5, 10)  # in mid-run: at 13 the child waits
    assert not (tmp_path / "history.json").exists()
    history, parameters = trained_in_a_process(tmp_path)
    assert [v["step"] for v in history] == [v["step"] for v in undisturbed[0]]
    for found, expected in zip(history, undisturbed[0], strict=True):
        assert found["log_loss"] == pytest.approx(expected["log_loss"], abs=1e-6)
        assert found["errors"] == expected["errors"]
    for name, values in undisturbed[1].items():
        np.testing.assert_allclose(parameters[name], values, rtol=0, atol=1e-6, err_msg=name)


def test_another_seed_gives_another_curve(tmp_path):
    one, other = (fit(TINY, CELL, plan(steps=2, seed=seed)) for seed in (3, 4))
    assert one.history[-1].log_loss != other.history[-1].log_loss


# --- it helps ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def helpful():
    sizes = {"frames_per_step": 32, "validation_cells": 4, "validation_frames": 64}
    return fit(LAYERS, CELL, plan(steps=60, learning_rate=3e-2, validate_every=20, **sizes))


def test_training_lowers_the_validation_loss_of_amp_in_an_overloaded_cell(helpful):
    before, after = helpful.history[0], min(helpful.history, key=lambda v: v.log_loss)
    assert before.step == 0
    # Half the cross-entropy of untrained AMP; about a third was measured.
    assert after.log_loss < before.log_loss + np.log(0.5)
    assert after.errors[-1] < 0.7 * before.errors[-1]
    assert helpful.network.record["best_step"] == after.step


def test_a_trained_network_errs_less_than_amp_on_frames_that_it_has_not_seen(helpful):
    # 20,000 labels: AMP errs some 1,300 times, so 0.7 of that is more than 8 standard errors away.
    observation, truth = simulate(CELL.fixed(), stream(77, "unseen"), num_frames=500)
    learned = symbol_errors(MAMPNet(helpful.network).detect(observation), truth)
    for iterations in (LAYERS.num_layers, 20):
        amp = symbol_errors(AMP(iterations=iterations).detect(observation), truth)
        assert learned.errors < 0.7 * amp.errors


@pytest.mark.parametrize(
    "arrival", [Delayed(max_delay_symbols=2), DelayedAndOffset(max_delay_symbols=1, num_frequencies=2)], ids=repr
)
def test_where_devices_come_late_the_loss_is_of_labels_and_starts_at_amp_s(arrival):
    late = replace(CELL, scenario=replace(CELL.scenario, arrival=arrival))
    sizes = plan(steps=1, validation_cells=2, validation_frames=32)
    first = fit(LAYERS, late, sizes).history[0]
    errors = attempts = 0
    for number in range(2):
        rng = stream(sizes.seed, "validation", number)
        observation, truth = simulate(late.cell(rng), rng, num_frames=32)
        found = MAMPNet.untrained(LAYERS).detect(observation)
        amp = AMP(iterations=LAYERS.num_layers).detect(observation)
        np.testing.assert_allclose(found.posteriors, amp.posteriors, atol=2e-3)
        errors, attempts = errors + symbol_errors(amp, truth).errors, attempts + truth.symbols.size
    assert first.attempts == attempts
    # Of some 300 errors; single precision may turn a label or two that are on the edge.
    assert abs(first.errors[-1] - errors) <= 3


def test_a_trained_network_says_what_it_has_seen(helpful):
    assert helpful.network.trained_for == CELL.trained_for()
    assert helpful.network.record["steps"] == 60
    assert helpful.network.record["plan"]["seed"] == 3
    assert not helpful.stopped_early


def test_training_starts_from_the_parameters_that_it_is_given(helpful):
    again = fit(LAYERS, CELL, plan(steps=1, validation_cells=4, validation_frames=64), start=helpful.network.parameters)
    best = min(v.log_loss for v in helpful.history)
    # The same validation stream and parameters, in one process: rounding only.
    assert again.history[0].log_loss == pytest.approx(best, abs=1e-5)
    with pytest.raises(ValueError, match="start: lacks the parameters"):
        fit(WHOLE, CELL, plan(), start=helpful.network.parameters)


# --- schedules --------------------------------------------------------------------------------------


def test_the_learning_rate_warms_up_and_falls_along_a_cosine():
    p = Plan(steps=1000, learning_rate=2e-3, final_share=0.1, warmup_steps=50)
    rates = np.array([p.rate(step) for step in range(1000)])
    np.testing.assert_allclose(rates[:4] / 2e-3, [0.02, 0.04, 0.06, 0.08], rtol=1e-3)  # the cosine has hardly begun
    assert np.all(np.diff(rates[:49]) > 0)
    assert np.all(np.diff(rates[50:]) < 0)
    assert rates[500] == pytest.approx(2e-3 * (0.1 + 0.9 / 2), rel=1e-12)
    assert rates[-1] == pytest.approx(2e-3 * 0.1, rel=1e-4)  # one step before the end of the cosine


def test_layer_wise_every_output_has_a_warm_up_and_a_cosine_of_its_own():
    p = Plan(steps=1200, schedule="layer-wise", learning_rate=2e-3, final_share=0.1, warmup_steps=50)
    rates = np.array([p.rate(step, num_outputs=4) for step in range(1200)])
    np.testing.assert_allclose(rates.reshape(4, 300), np.tile(rates[:300], (4, 1)), rtol=1e-12)
    assert rates[:300].max() > 1.8e-3
    assert rates[299] < 2.1e-4


def test_tensorboard_that_is_not_installed_is_refused_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match=r"TensorBoard is not installed; pip install"):
        fit(LAYERS, CELL, Plan(steps=2), tensorboard=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_plan_without_warmup_starts_at_its_learning_rate():
    assert Plan(warmup_steps=0, learning_rate=2e-3).rate(0) == pytest.approx(2e-3, rel=1e-12)


def test_end_to_end_weighs_the_last_output_most_and_all_others_alike():
    weights = Plan(steps=10, early_weight=0.3).output_weights(4, 5)
    np.testing.assert_allclose(weights, [0.075, 0.075, 0.075, 0.075, 1], rtol=1e-6)
    np.testing.assert_allclose(Plan(steps=10).output_weights(0, 1), [1])


@pytest.mark.parametrize(("steps", "num_outputs"), [(12, 4), (13, 4), (3, 5), (7, 1)])
def test_layer_wise_goes_through_the_outputs_one_after_the_other(steps, num_outputs):
    p = Plan(steps=steps, schedule="layer-wise")
    weights = np.array([p.output_weights(step, num_outputs) for step in range(steps)])
    assert np.all(np.sort(weights, axis=1)[:, :-1] == 0)
    assert np.all(weights.max(axis=1) == 1)
    trained = weights.argmax(axis=1)
    assert trained[0] == 0
    assert np.all(np.diff(trained) >= 0)
    shares = np.bincount(trained, minlength=num_outputs)
    assert shares.max() - shares.min() <= 1  # an equal share of the steps each
    if steps >= num_outputs:
        assert shares.min() >= 1


def test_a_layer_wise_training_leaves_later_layers_as_they_are(tmp_path):
    p = plan(steps=8, schedule="layer-wise")
    for step, touched in ((4, [True, False]), (6, [True, True])):
        with pytest.raises(KeyboardInterrupt):
            fit(TINY, CELL, p, folder=tmp_path, watch=Until(step))
        bias = kept(tmp_path)[1]["variable.layer.bias"]
        assert [bool(np.any(row)) for row in bias] == touched


def test_training_stops_when_patience_is_out():
    # So small a rate changes no parameter in float32: no validation is better than the first.
    p = plan(steps=1000, learning_rate=1e-30, validate_every=2, patience=3)
    trained = fit(TINY, CELL, p)
    assert trained.stopped_early
    assert [v.step for v in trained.history] == [0, 2, 4, 6]
    assert trained.network.record["steps"] == 6
    assert trained.network.record["best_step"] == 0


def test_a_training_that_has_stopped_early_does_not_go_on(tmp_path):
    p = plan(steps=1000, learning_rate=1e-30, validate_every=2, patience=1)
    first = fit(TINY, CELL, p, folder=tmp_path)
    steps = []
    again = fit(TINY, CELL, p, folder=tmp_path, watch=lambda progress: steps.append(progress.step))
    assert steps == []
    assert again.stopped_early
    assert curve(again.history) == curve(first.history)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps: got 0"),
        ({"learning_rate": 0.0}, "learning_rate: got 0"),
        ({"final_share": 1.5}, "final_share: got 1.5"),
        ({"schedule": "layerwise"}, "schedule: got 'layerwise'.*did you mean 'layer-wise'"),
        ({"patience": -1}, "patience: got -1"),
    ],
)
def test_plans_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Plan(**options)


# --- checkpoints ------------------------------------------------------------------------------------


@pytest.fixture
def interrupted(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(TINY, CELL, plan(), folder=tmp_path, watch=Until(7))
    return tmp_path


def test_an_interrupted_training_leaves_a_checkpoint_from_which_it_goes_on(interrupted):
    assert kept(interrupted)[0]["step"] == 7
    steps = []
    resumed = fit(TINY, CELL, plan(), folder=interrupted, watch=lambda progress: steps.append(progress.step))
    assert steps == list(range(8, 25))
    whole = fit(TINY, CELL, plan())
    assert [v.step for v in resumed.history] == [v.step for v in whole.history]
    for found, expected in zip(resumed.history, whole.history, strict=True):
        # Several threads may add in another order from run to run; 24 steps of Adam amplify that little.
        assert found.log_loss == pytest.approx(expected.log_loss, abs=1e-4)


@dataclass(frozen=True, kw_only=True)
class InterruptedInValidation(OneCell):
    """Ctrl-C comes while the second validation is being made: training data are made by another thread."""

    def cell(self, rng):
        if threading.current_thread() is threading.main_thread() and COUNTDOWN:
            COUNTDOWN.pop()
            if not COUNTDOWN:
                signal.raise_signal(signal.SIGINT)
        return super().cell(rng)


COUNTDOWN: list[None] = []


def test_an_interruption_during_a_validation_loses_no_validation(tmp_path):
    source = InterruptedInValidation(scenario=CELL.scenario, cell_seed=1)
    whole = fit(TINY, source, plan())
    COUNTDOWN[:] = [None] * 4  # the first validation has two cells, and the last cell of the second one never comes
    with pytest.raises(KeyboardInterrupt):
        fit(TINY, source, plan(), folder=tmp_path)
    assert not COUNTDOWN
    resumed = fit(TINY, source, plan(), folder=tmp_path)
    assert [v.step for v in resumed.history] == [v.step for v in whole.history]


def test_an_interruption_during_a_step_does_not_make_the_step_count_twice(tmp_path, monkeypatch):
    # Ctrl-C while TensorFlow computes is delivered when it returns: the parameters have moved by then.
    build, pending = training._Training.__init__, [7]

    def with_a_signal_during_step_7(self, *arguments):
        build(self, *arguments)
        step = self._train

        def interrupted_step(*batch):
            loss = step(*batch)
            if pending == [self.step]:
                pending.clear()
                signal.raise_signal(signal.SIGINT)
            return loss

        self._train = interrupted_step

    whole = fit(TINY, CELL, plan(steps=12))
    monkeypatch.setattr(training._Training, "__init__", with_a_signal_during_step_7)
    with pytest.raises(KeyboardInterrupt):
        fit(TINY, CELL, plan(steps=12), folder=tmp_path)
    resumed = fit(TINY, CELL, plan(steps=12), folder=tmp_path)
    # A step more or less moves the loss by 1e-3 or more; several threads move it by far less than 1e-4.
    assert resumed.history[-1].log_loss == pytest.approx(whole.history[-1].log_loss, abs=1e-4)


@pytest.mark.parametrize("change", [{"seed": 4}, {"steps": 25}, {"learning_rate": 2e-2}, {"clip_norm": 1.0}], ids=str)
def test_a_checkpoint_of_another_plan_is_refused(interrupted, change):
    before = (interrupted / CHECKPOINT).read_bytes()
    with pytest.raises(CheckpointError, match="belongs to another training") as caught:
        fit(TINY, CELL, plan(**change), folder=interrupted)
    assert str(interrupted / CHECKPOINT) in str(caught.value)
    assert (interrupted / CHECKPOINT).read_bytes() == before


def test_a_checkpoint_of_another_source_network_or_start_is_refused(interrupted):
    start = TINY.initial(3)
    start["layer.bias"][:] = 0.1
    for architecture, source, options in (
        (TINY, replace(CELL, cell_seed=2), {}),
        (LAYERS, CELL, {}),
        (TINY, CELL, {"start": start}),
    ):
        with pytest.raises(CheckpointError, match="belongs to another training"):
            fit(architecture, source, plan(), folder=interrupted, **options)


def truncated(content):
    return content[: len(content) // 2]


def emptied(content):
    return b""


def flipped(content):
    """A bit in the middle of the archive, in one of the arrays."""
    broken = bytearray(content)
    at = content.find(b"variable.layer.bias.npy") + 160
    broken[at] ^= 4
    return bytes(broken)


def replaced(content):
    return b"this is no archive at all" * 100


@pytest.mark.parametrize("damage", [truncated, emptied, flipped, replaced])
def test_a_damaged_checkpoint_is_refused_with_its_path(interrupted, damage):
    path = interrupted / CHECKPOINT
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"is damaged.*remove it to train from the start") as caught:
        fit(TINY, CELL, plan(), folder=interrupted)
    assert str(path) in str(caught.value)


def test_a_half_written_checkpoint_beside_the_last_one_is_of_no_harm(interrupted):
    (interrupted / f"{CHECKPOINT}.part").write_bytes(b"half")
    steps = []
    fit(TINY, CELL, plan(steps=24), folder=interrupted, watch=lambda progress: steps.append(progress.step))
    assert steps[0] == 8


def test_a_finished_training_is_not_trained_again(tmp_path):
    first = fit(TINY, CELL, plan(steps=3), folder=tmp_path)
    again = fit(TINY, CELL, plan(steps=3), folder=tmp_path, watch=pytest.fail)
    assert curve(again.history) == curve(first.history)
    assert again.network.digest == first.network.digest


# --- data -------------------------------------------------------------------------------------------

DRAWN: list[str] = []


@dataclass(frozen=True, kw_only=True)
class Recording(OneCell):
    """Notes which stream each cell of the training is drawn from; those of a validation come in the main thread."""

    def cell(self, rng):
        if threading.current_thread() is not threading.main_thread():
            DRAWN.append(str(rng.bit_generator.state["state"]))
        return super().cell(rng)


def drawn_in_training(**options):
    """Streams of the training data of a run, in order."""
    DRAWN.clear()
    with suppress(KeyboardInterrupt):
        fit(TINY, Recording(scenario=CELL.scenario, cell_seed=1), plan(steps=9), **options)
    return list(DRAWN)


def test_the_data_of_a_step_depend_on_the_seed_and_the_step_only(tmp_path):
    expected = [str(stream(3, "training", number).bit_generator.state["state"]) for number in range(9)]
    assert drawn_in_training() == expected
    # Interrupted at step 4, when some of the later batches have been made already: they are made again.
    before = drawn_in_training(folder=tmp_path, watch=Until(4))
    assert 4 <= len(before) <= 9
    assert before == expected[: len(before)]
    assert drawn_in_training(folder=tmp_path) == expected[4:]


@dataclass(frozen=True, kw_only=True)
class Troubled(OneCell):
    """Has cells for validations only."""

    def cell(self, rng):
        if threading.current_thread() is not threading.main_thread():
            msg = "no more cells"
            raise ValueError(msg)
        return super().cell(rng)


def test_trouble_in_making_data_ends_the_training_with_that_trouble():
    with pytest.raises(ValueError, match="no more cells"):
        fit(TINY, Troubled(scenario=CELL.scenario), plan())
