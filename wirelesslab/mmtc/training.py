"""Fit an unfolded network: fresh data from the simulator in every step, exact resume, one curve per seed.

A step draws one cell from the source and a batch of frames in it, keyed by (seed, step): data never
depend on how fast they are made. The loss adds up the log of the mean cross-entropy of every layer and
pass, the last one weighing most: a tenth fewer errors count alike in an easy and in a hard cell (our
choice).
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from wirelesslab import __version__, results
from wirelesslab.mmtc import training_plan, unfolded_graph
from wirelesslab.mmtc.gains import gain_prior
from wirelesslab.mmtc.mixture import Source
from wirelesslab.mmtc.training_plan import Plan, Progress, Trained, Validation
from wirelesslab.mmtc.unfolded import Architecture, Parameters
from wirelesslab.mmtc.unfolded_graph import Inputs, Tensor, real_inputs, signature, unfolded
from wirelesslab.mmtc.uplink import simulate
from wirelesslab.mmtc.weight_files import Network
from wirelesslab.rng import stream
from wirelesslab.stats import Count
from wirelesslab.tensorflow import tf

Batch = tuple[Inputs, NDArray[np.int32], np.int32]  # inputs, labels sent (F, N), states of a pilot
CHECKPOINT = "checkpoint.npz"
MOST_NATS = 20.0  # cross-entropy of one device; a confident error in a broken frame must not rule a step
LOSS_FLOOR = 2e-4  # nats per device below which a cell counts as learned


class CheckpointError(ValueError):
    """A checkpoint is damaged or belongs to another training."""


def fit(
    architecture: Architecture,
    source: Source,
    plan: Plan,
    *,
    folder: Path | None = None,
    start: Parameters | None = None,
    watch: Callable[[Progress], None] | None = None,
    tensorboard: Path | None = None,
) -> Trained:
    """Train a network, going on from the checkpoint in `folder` if there is one.

    Args:
        architecture: Of the network.
        source: Where cells come from.
        plan: How long and how.
        folder: Where the checkpoint lives; None keeps none.
        start: Parameters to start from; those of plain AMP when None.
        watch: Called after every step.
        tensorboard: Folder for TensorBoard's event files.

    Raises:
        CheckpointError: The folder's checkpoint is damaged or of another training.
        RuntimeError: TensorBoard is asked for and not installed.
    """
    if tensorboard is not None and find_spec("tensorboard") is None:
        msg = "tensorboard: TensorBoard is not installed; pip install 'wirelesslab[tensorboard]', or leave the flag out"
        raise RuntimeError(msg)
    return _Training(architecture, source, plan, folder, start, tensorboard).run(watch)


class Watcher:
    """Writes a line every few seconds, for a person who waits."""

    def __init__(self, *, quiet: bool = False, every_s: float = 5.0) -> None:
        self._quiet, self._every_s, self._next = quiet, every_s, 0.0

    def __call__(self, progress: Progress, /) -> None:
        """Write a line when it is time."""
        if not self._quiet and (time.monotonic() >= self._next or progress.step == progress.steps):
            self._next = time.monotonic() + self._every_s
            sys.stderr.write(f"{progress}\n")
            sys.stderr.flush()


def curve(trained: Trained, config: Any, seed: int) -> xr.Dataset:
    """Return the validations as a labelled result: outputs (as `detector`) by steps."""
    history, network = trained.history, trained.network
    layers, passes = network.architecture.num_layers, network.architecture.num_passes
    names = [f"layer {t + 1}" for t in range(layers)] + [f"pass {s + 1}" for s in range(passes)]
    errors = np.array([v.errors for v in history]).T
    attempts = np.full(errors.shape, history[0].attempts)
    bounds = np.array([[Count(int(e), history[0].attempts).interval(0.95) for e in row] for row in errors])
    dims = ("detector", "step")
    return xr.Dataset(
        {
            "errors": (dims, errors),
            "attempts": (dims, attempts),
            "ser": (dims, errors / attempts),
            "ser_low": (dims, bounds[..., 0]),
            "ser_high": (dims, bounds[..., 1]),
            "ser_geometric": (dims, np.exp(np.array([v.log_ser for v in history]).T)),
            "log_loss": ("step", [v.log_loss for v in history]),
            "seconds": ("step", [v.seconds for v in history]),
        },
        coords={"detector": names, "step": [v.step for v in history]},
        attrs={
            **results.provenance(),
            "config": json.dumps({"config": results.describe(config), "seed": seed}),
            "record": json.dumps(network.record),
            "best": int(np.argmin([v.log_loss for v in history])),
            "num_layers": layers,
            "num_parameters": network.num_parameters,
            "validation_cells": network.record["plan"]["validation_cells"],
        },
    )


def _code() -> str:
    """Digest of the code that a step runs: a checkpoint goes on only where it would have gone on."""
    files = (Path(__file__), Path(training_plan.__file__), Path(unfolded_graph.__file__))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl+C back until the end of the block, so that a step is done whole or not at all."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals come to the main thread only
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: held.append(number))  # noqa: ARG005
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


class _Training:
    """The state of one training, all of which a checkpoint keeps."""

    def __init__(
        self,
        architecture: Architecture,
        source: Source,
        plan: Plan,
        folder: Path | None,
        start: Parameters | None,
        tensorboard: Path | None,
    ) -> None:
        self.architecture, self.source, self.plan, self.folder = architecture, source, plan, folder
        initial = architecture.initial(plan.seed) if start is None else architecture.checked(start, where="start")
        self.names = sorted(initial)
        self.variables = {name: tf.Variable(initial[name], name=name) for name in self.names}
        self.optimizer = tf.keras.optimizers.Adam(plan.learning_rate, beta_2=0.99, global_clipnorm=plan.clip_norm)
        self.optimizer.build(list(self.variables.values()))
        self.step, self.smoothed, self.seconds = 0, float("nan"), 0.0
        self.history: list[Validation] = []
        self.best: Parameters = dict(initial)
        self.identity = sha256(
            json.dumps(
                [results.describe(part) for part in (architecture, source, plan)]
                + [
                    __version__,
                    tf.__version__,
                    _code(),
                    {k: sha256(v.tobytes()).hexdigest() for k, v in initial.items()},
                ],
                sort_keys=True,
            ).encode()
        ).hexdigest()
        self.writer = None if tensorboard is None else tf.summary.create_file_writer(str(tensorboard))
        symbols, scalar = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([], tf.float32)
        states = tf.TensorSpec([], tf.int32)
        weights = tf.TensorSpec([architecture.num_outputs], tf.float32)
        self._train = tf.function(
            self._train_step, input_signature=[*signature(), symbols, states, weights, scalar], autograph=False
        )
        self._judge = tf.function(self._judge_cell, input_signature=[*signature(), symbols, states], autograph=False)

    # --- one step and one validation ---------------------------------------------------------------

    def _losses(self, outputs: list[Tensor], symbols: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Mean capped cross-entropy in nats per device, and errors, of each output; states are summed over."""
        losses, errors = [], []
        labels = tf.transpose(symbols)  # (N, F)
        for columns in outputs:
            n, q, f = tf.unstack(tf.shape(columns))
            logits = tf.reduce_logsumexp(tf.reshape(columns, [n, q // states, states, f]), 2)
            whole = tf.transpose(tf.concat([tf.zeros_like(logits[:, :1]), logits], 1), [0, 2, 1])
            nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, whole)
            losses.append(tf.reduce_mean(tf.minimum(nats, MOST_NATS)))
            wrong = tf.argmax(whole, 2, output_type=tf.int32) != labels
            errors.append(tf.reduce_sum(tf.cast(wrong, tf.int32)))
        return tf.stack(losses), tf.stack(errors)

    def _train_step(self, *arguments: Tensor) -> Tensor:
        *inputs, symbols, states, weights, rate = arguments
        with tf.GradientTape() as tape:
            outputs = unfolded(self.variables, self.architecture, Inputs(*inputs))
            losses, _ = self._losses(outputs, symbols, states)
            loss = tf.reduce_sum(weights * tf.math.log(losses + LOSS_FLOOR))
        variables = list(self.variables.values())
        gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        finite = [tf.where(tf.math.is_finite(g), g, tf.zeros_like(g)) for g in gradients]
        self.optimizer.learning_rate.assign(rate)
        self.optimizer.apply_gradients(zip(finite, variables, strict=True))
        return losses[-1]

    def _judge_cell(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        *inputs, symbols, states = arguments
        return self._losses(unfolded(self.variables, self.architecture, Inputs(*inputs)), symbols, states)

    def _batch(self, purpose: str, number: int, frames: int) -> Batch:
        rng = stream(self.plan.seed, purpose, number)
        cell = self.source.cell(rng)
        observation, truth = simulate(cell, rng, num_frames=frames)
        law, knowledge = cell.scenario.gain_law, cell.scenario.gain_knowledge
        gains = gain_prior(knowledge, law, cell.path_gain, self.plan.gain_nodes)
        inputs = real_inputs(replace(observation, gains=gains))
        return inputs, truth.symbols.astype(np.int32), np.int32(observation.states_per_pilot)

    def validate(self) -> None:
        """Judge the validation stream, note it, and keep the parameters if they are the best so far."""
        plan = self.plan
        loss, errors, log_ser, attempts = [], [], [], 0
        for cell in range(plan.validation_cells):
            inputs, symbols, states = self._batch("validation", cell, plan.validation_frames)
            nats, wrong = (part.numpy() for part in self._judge(*inputs, symbols, states))
            loss.append(np.log(nats[-1] + 1e-6))
            errors.append(wrong)
            log_ser.append(np.log((wrong + 0.5) / symbols.size))
            attempts += symbols.size
        self.history.append(
            Validation(
                self.step,
                float(np.mean(loss)),
                [int(e) for e in np.sum(errors, axis=0)],
                [float(s) for s in np.mean(log_ser, axis=0)],
                attempts,
                round(self.seconds, 1),
            )
        )
        if self.history[-1].log_loss < min((v.log_loss for v in self.history[:-1]), default=np.inf):
            self.best = {name: variable.numpy() for name, variable in self.variables.items()}
        if self.writer is not None:
            with self.writer.as_default(step=self.step):
                tf.summary.scalar("validation/log_loss", self.history[-1].log_loss)
                for number, value in enumerate(self.history[-1].log_ser):
                    tf.summary.scalar(f"validation/ser_{number + 1:02d}", np.exp(value))

    def out_of_patience(self) -> bool:
        """Whether the last validations brought nothing better."""
        if not self.plan.patience or not self.history:
            return False
        losses = [v.log_loss for v in self.history]
        return len(losses) - 1 - int(np.argmin(losses)) >= self.plan.patience

    # --- the whole ---------------------------------------------------------------------------------

    def run(self, watch: Callable[[Progress], None] | None) -> Trained:
        """Train to the end of the plan, or until patience is out."""
        self.resume()
        began, first, before = time.perf_counter(), self.step, self.seconds
        done = self.step >= self.plan.steps or (self.step > 0 and self.out_of_patience())
        try:
            if not self.history:
                self.validate()
            with self._prefetched(self.step) as batches:
                while not done:
                    batch = next(batches)
                    with _uninterrupted():
                        self._learn(*batch)
                        self.seconds = before + time.perf_counter() - began
                        done = self.step == self.plan.steps
                        if done or self.step % self.plan.validate_every == 0:
                            self.validate()
                            done |= self.out_of_patience()
                        if done or self.step % self.plan.checkpoint_every == 0:
                            self.checkpoint()
                    if watch is not None:
                        watch(self._progress(time.perf_counter() - began, first))
        except KeyboardInterrupt:
            self.checkpoint()
            raise
        return self._trained()

    def _learn(self, inputs: Inputs, symbols: NDArray[np.int32], states: np.int32) -> None:
        """Take one step."""
        weights = self.plan.output_weights(self.step, self.architecture.num_outputs)
        rate = np.float32(self.plan.rate(self.step, self.architecture.num_outputs))
        loss = float(np.log(self._train(*inputs, symbols, states, weights, rate).numpy() + LOSS_FLOOR))
        self.smoothed = loss if self.step == 0 else 0.99 * self.smoothed + 0.01 * loss
        self.step += 1

    def _progress(self, seconds: float, first: int) -> Progress:
        left = seconds / (self.step - first) * (self.plan.steps - self.step)
        latest = self.history[-1] if self.history else None
        return Progress(self.step, self.plan.steps, self.smoothed, self.seconds, left, latest)

    def _trained(self) -> Trained:
        best = min(self.history, key=lambda v: v.log_loss)
        record = {
            "plan": results.describe(self.plan),
            "source": results.describe(self.source),
            "steps": self.step,
            "best_step": best.step,
            "seconds": round(self.seconds, 1),
            "validation_ser_geometric_mean": float(np.exp(best.log_ser[-1])),
            "versions": results.versions(),
        }
        network = Network(self.architecture, self.best, self.source.trained_for(), record)
        newest = {name: variable.numpy() for name, variable in self.variables.items()}
        last = Network(self.architecture, newest, network.trained_for, record)
        return Trained(network, self.history, last, self.step < self.plan.steps)

    @contextmanager
    def _prefetched(self, first: int) -> Iterator[Iterator[Batch]]:
        """Make the next batches in a thread, in order, while the current one is learned from."""
        ready: queue.Queue[Any] = queue.Queue(maxsize=3)
        stop = threading.Event()

        def put(item: object) -> None:
            while not stop.is_set():
                with suppress(queue.Full):
                    ready.put(item, timeout=0.2)
                    return

        def produce() -> None:
            try:
                for number in range(first, self.plan.steps):
                    if stop.is_set():
                        return
                    put(self._batch("training", number, self.plan.frames_per_step))
            except BaseException as error:
                put(error)

        def take() -> Iterator[Batch]:
            while True:
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item

        thread = threading.Thread(target=produce, daemon=True)
        thread.start()
        try:
            yield take()
        finally:
            stop.set()
            thread.join()

    # --- checkpoints -------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Write everything that the rest of the training depends on; a reader sees the old or the new file."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        notes = {
            "identity": self.identity, "step": self.step, "smoothed": self.smoothed, "seconds": self.seconds,
            "history": [vars(v) for v in self.history],
        }  # fmt: skip
        arrays = {f"variable.{name}": variable.numpy() for name, variable in self.variables.items()}
        arrays |= {f"best.{name}": values for name, values in self.best.items()}
        arrays |= {f"optimizer.{i}": np.asarray(v) for i, v in enumerate(self.optimizer.variables)}
        arrays["notes"] = np.frombuffer(json.dumps(notes).encode(), dtype=np.uint8)
        path, fresh = self.folder / CHECKPOINT, self.folder / f"{CHECKPOINT}.part"
        with fresh.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    def resume(self) -> None:
        """Go on from the folder's checkpoint, if there is one."""
        path = None if self.folder is None else self.folder / CHECKPOINT
        if path is None or not path.exists():
            return
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            notes = json.loads(arrays.pop("notes").tobytes())
            identity = notes["identity"]
        except Exception as error:
            msg = f"checkpoint: {path} is damaged ({error}); remove it to train from the start"
            raise CheckpointError(msg) from None
        if identity != self.identity:
            msg = (
                f"checkpoint: {path} belongs to another training (other flags, seed, start or version); "
                "choose another folder with --out, or remove it"
            )
            raise CheckpointError(msg)
        for name, variable in self.variables.items():
            variable.assign(arrays[f"variable.{name}"])
        for i, variable in enumerate(self.optimizer.variables):
            variable.assign(arrays[f"optimizer.{i}"])
        self.best = {name: arrays[f"best.{name}"] for name in self.names}
        self.step, self.smoothed, self.seconds = notes["step"], notes["smoothed"], notes["seconds"]
        self.history = [Validation(**v) for v in notes["history"]]
