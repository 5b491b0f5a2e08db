"""States and checkpoints: what is read back is what was written, and a killed training goes on to the last bit."""

import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest

from tests.trials import ROOT
from tests.vision.training_to_kill import EVERY, STEPS
from wirelesslab.array_files import WeightFileError
from wirelesslab.rng import stream
from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.data import Data
from wirelesslab.vision.datasets import digits
from wirelesslab.vision.keras_files import export_keras, import_keras, state_from_keras
from wirelesslab.vision.method import State, state_arrays, state_of
from wirelesslab.vision.saving import (
    Checkpoint,
    Keeping,
    load_checkpoint,
    load_state,
    save_checkpoint,
    save_state,
)
from wirelesslab.vision.update_rules import UpdateRule

CHILD = [sys.executable, "-m", "tests.vision.training_to_kill"]


def same(one: State, other: State) -> bool:
    return one.numbers == other.numbers and list(one.arrays) == list(other.arrays) and all(
        a.dtype == other.arrays[n].dtype and np.array_equal(a, other.arrays[n]) for n, a in one.arrays.items()
    )  # fmt: skip


def test_a_training_killed_in_its_midst_and_resumed_equals_the_undisturbed_one_bit_for_bit(tmp_path):
    path = tmp_path / "kept.npz"
    last = 6 * EVERY + 3  # in the second of three epochs, three steps after a checkpoint
    killed = subprocess.run([*CHILD, str(last), str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    second = subprocess.run([*CHILD, "-1", str(path), "none"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = second.stdout.splitlines(keepends=True)
    assert lines[0] == killed.stdout.splitlines(keepends=True)[0]  # the same bits in two fresh processes
    assert lines[1] == f"checkpoint {6 * EVERY}\n"  # it went on, and did not begin again
    resumed, undisturbed = [line for line in lines if line.startswith("state")]  # weights, optimizer, history
    assert resumed == undisturbed
    assert f" {STEPS} " in resumed


@dataclass(frozen=True)
class Averaging:
    """A line through noisy points, with a moving average of its weights and noise from one generator all along."""

    size: int = 5

    def build(self, seed):
        weights = {"slope": stream(seed, "w").standard_normal(self.size).astype(np.float32)}
        state = State({}, {"step": 0}).with_part("weights", weights).with_part("ema", weights)
        return state.with_part("optimizer", UpdateRule(rule="adam").memory(weights))

    def step(self, state, rng):
        rule, weights, number = UpdateRule(rule="adam", rate=0.1), state.part("weights"), state.numbers["step"]
        x = rng.standard_normal((8, self.size)).astype(np.float32)
        gradient = x.T @ (x @ weights["slope"] - 1) / 8
        fresh, memory = rule.step(weights, state.part("optimizer"), [gradient], number)
        ema = {n: np.float32(0.9) * a + np.float32(0.1) * fresh[n] for n, a in state.part("ema").items()}
        after = State(state.arrays, {"step": number + 1}).with_part("weights", fresh)
        return after.with_part("ema", ema).with_part("optimizer", memory)

    def restored(self, arrays, seed):
        state, like = state_of(arrays), self.build(seed)
        if {n: a.shape for n, a in state.arrays.items()} != {n: a.shape for n, a in like.arrays.items()}:
            msg = "another architecture"
            raise ValueError(msg)
        return State({n: state.arrays[n] for n in like.arrays}, state.numbers)


def test_moving_averages_generators_and_the_cursor_go_on_where_they_were(tmp_path):
    method, rng = Averaging(), stream(3, "noise")
    state = method.build(3)
    for step in range(20):
        if step == 11:
            kept = Checkpoint(state, {"noise": rng}, {"epoch": 2, "place": 32}, (), (0.5, 0.1 + 0.2))
            save_checkpoint(tmp_path / "c", kept, method)
        state = method.step(state, rng)
    back = load_checkpoint(tmp_path / "c", method)
    assert (back.cursor, back.losses, back.state.numbers["step"]) == ({"epoch": 2, "place": 32}, (0.5, 0.1 + 0.2), 11)
    resumed = back.state
    for _ in range(9):
        resumed = method.step(resumed, back.generators["noise"])
    assert same(resumed, state)
    assert rng.random() == back.generators["noise"].random()


def test_a_state_is_read_back_to_the_last_bit_and_goes_only_where_it_fits(tmp_path):
    method = Classifier(backbone="resnet8", shape=(8, 8, 1))
    state = method.build(4)
    file = save_state(tmp_path / "net", state, method, {"why": "test"})
    assert same(load_state(file, method), state)
    with pytest.raises(WeightFileError, match=r"net\.npz is of .*resnet8.*another architecture"):
        load_state(file, Classifier())
    with pytest.raises(WeightFileError, match=r"has format 'wirelesslab vision state 1', expected .*checkpoint 1"):
        load_checkpoint(file, method)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightFileError, match=r"net\.npz holds no network"):
        load_state(file, method)


def test_a_training_does_not_go_on_from_another_one_s_checkpoint(tmp_path):
    data = digits(1)
    small = Data(data.images[:64], data.labels[:64], data.classes, {"train": np.arange(64)})
    method, keep = Classifier(epochs=1, batch_size=32), Keeping(path=tmp_path / "c.npz", every_steps=1)
    state = method.build(1)
    done = method.fit(state, small, 1, keep=keep)
    assert same(method.fit(state, small, 1, keep=keep).state, done.state)  # nothing is left to do
    with pytest.raises(WeightFileError, match="another training \\(seed is 1, got 2\\)"):
        method.fit(state, small, 2, keep=keep)
    with pytest.raises(WeightFileError, match="go on with the same"):
        Classifier(epochs=1, batch_size=16).fit(state, small, 1, keep=keep)
    generators = {"odd": np.random.Generator(np.random.MT19937(1))}
    with pytest.raises(TypeError, match="got MT19937 for 'odd', expected PCG64"):
        save_checkpoint(tmp_path / "d", Checkpoint(state, generators), method)


def test_a_net_goes_to_keras_and_comes_back_with_the_same_logits(tmp_path):
    method = Classifier(backbone="resnet8", shape=(8, 8, 1))
    state, images = method.build(2), digits(1).images[:16]
    state = method.apply(state, method.gradients(state, (images, digits(1).labels[:16]), np.random.default_rng(0)))
    path = export_keras(tmp_path / "net.keras", method, state)
    np.testing.assert_allclose(import_keras(path).predict(images, verbose=0), method.logits(state, images), atol=1e-5)
    back = state_from_keras(path, method)
    for part in ("weights", "statistics"):
        assert all(np.array_equal(a, back.part(part)[n]) for n, a in state.part(part).items())
    with pytest.raises(WeightFileError, match="another net than 'digits'"):
        state_from_keras(path, Classifier())
    assert list(tmp_path.iterdir()) == [path]


def test_a_keras_file_that_could_run_code_is_refused_unread(tmp_path):
    from wirelesslab.tensorflow import tf

    inputs = tf.keras.Input((2,))
    path = tmp_path / "bad.keras"
    tf.keras.Model(inputs, tf.keras.layers.Lambda(lambda x: x + 1)(inputs)).save(path)
    with pytest.raises(WeightFileError, match=r"bad\.keras holds a 'Lambda', which runs code"):
        import_keras(path)
    tf.keras.Model(inputs, tf.keras.layers.Dense(2)(inputs)).save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content.replace(b'"module": "keras.layers"', b'"module": "os.path"'))
    with pytest.raises(WeightFileError, match=r"of module 'os\.path', expected classes of keras"):
        import_keras(path)


def test_what_is_no_whole_keras_file_is_refused(tmp_path):
    path = tmp_path / "x.keras"
    with pytest.raises(WeightFileError, match="no file"):
        import_keras(path)
    path.write_bytes(b"something else")
    with pytest.raises(WeightFileError, match=r"x\.keras is not a whole \.keras file"):
        import_keras(path)
    export_keras(path, Classifier(), Classifier().build(1))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(WeightFileError, match="not a whole"):
        import_keras(path)
    with pytest.raises(ValueError, match=r"expected an ending of \.keras"):
        export_keras(tmp_path / "x.h5", Classifier(), Classifier().build(1))


def test_arrays_alone_hold_a_whole_state():
    state = Averaging().build(1)
    assert same(state_of(state_arrays(state)), state)
