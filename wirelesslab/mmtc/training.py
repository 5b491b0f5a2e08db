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
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from wirelesslab import __version__, check, results
from wirelesslab.mmtc import unfolded_graph
from wirelesslab.mmtc.gains import gain_prior
from wirelesslab.mmtc.mixture import Source
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


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a network is trained; every number is our choice.

    Attributes:
        steps: Gradient steps, one cell each.
        frames_per_step: Frames of a step.
        schedule: "end-to-end" trains all outputs at once; "layer-wise" goes through the outputs, an
            equal share of the steps each, with the loss at the newest one.
        learning_rate: Of Adam, after a warm-up; it falls to `final_share` of this along a cosine.
        final_share: See `learning_rate`.
        warmup_steps: Steps of linear warm-up.
        clip_norm: Largest norm of all gradients together.
        early_weight: Weight of the mean loss of all outputs but the last.
        validate_every: Steps between validations.
        validation_cells: Cells of the validation stream, the same each time.
        validation_frames: Frames in each of them.
        patience: Validations without a new best before the training stops early; 0 never does.
        checkpoint_every: Steps between checkpoints.
        gain_nodes: Nodes of the quadrature over unknown gains; fewer than in detection, for speed.
        seed: Of everything: initial parameters, data and validation data.
    """

    steps: int = 20_000
    frames_per_step: int = 48
    schedule: Literal["end-to-end", "layer-wise"] = "end-to-end"
    learning_rate: float = 5e-3
    final_share: float = 0.01
    warmup_steps: int = 50
    clip_norm: float = 0.5
    early_weight: float = 0.3
    validate_every: int = 500
    validation_cells: int = 48
    validation_frames: int = 64
    patience: int = 0
    checkpoint_every: int = 100
    gain_nodes: int = 16
    seed: int = 1

    def __post_init__(self) -> None:
        check.positive_integer(
            gain_nodes=self.gain_nodes, steps=self.steps, frames_per_step=self.frames_per_step,
            validate_every=self.validate_every,
            validation_cells=self.validation_cells, validation_frames=self.validation_frames,
            checkpoint_every=self.checkpoint_every,
        )  # fmt: skip
        check.non_negative_integer(warmup_steps=self.warmup_steps, patience=self.patience, seed=self.seed)
        check.positive(learning_rate=self.learning_rate, clip_norm=self.clip_norm)
        check.within(0, 1, final_share=self.final_share)
        check.within(0, 100, early_weight=self.early_weight)
        check.one_of(("end-to-end", "layer-wise"), schedule=self.schedule)

    def rate(self, step: int, num_outputs: int = 1) -> float:
        """Return the learning rate of a step; layer-wise, every output has a cosine of its own."""
        length = self.steps if self.schedule == "end-to-end" else self.steps / num_outputs
        step = int(step % length)
        warm = min(1.0, (step + 1) / max(1, min(self.warmup_steps, length / 4)))
        fall = 0.5 * (1 + np.cos(np.pi * step / length))
        return float(self.learning_rate * warm * (self.final_share + (1 - self.final_share) * fall))

    def output_weights(self, step: int, num_outputs: int) -> NDArray[np.float32]:
        """Return the weight of each output's loss in a step."""
        weights = np.zeros(num_outputs, np.float32)
        if self.schedule == "layer-wise":
            weights[min(step * num_outputs // self.steps, num_outputs - 1)] = 1
            return weights
        weights[:-1] = self.early_weight / max(1, num_outputs - 1)
        weights[-1] = 1
        return weights


@dataclass(frozen=True)
class Validation:
    """One look at the validation stream.

    Attributes:
        step: Gradient steps done.
        log_loss: Mean over cells of log(cross-entropy in nats per device) of the last output.
        errors: Wrong labels after each output, summed over cells.
        log_ser: Mean over cells of log(SER + half an error) of each output.
        attempts: Labels that were judged.
        seconds: Training time so far.
    """

    step: int
    log_loss: float
    errors: list[int]
    log_ser: list[float]
    attempts: int
    seconds: float


@dataclass(frozen=True)
class Progress:
    """What a watcher of the training is shown after every step.

    Attributes:
        step: Steps done.
        steps: Steps planned.
        loss: Smoothed log loss of the last output in training.
        seconds: Since this process began to train.
        seconds_left: Estimated.
        validation: The latest one.
    """

    step: int
    steps: int
    loss: float
    seconds: float
    seconds_left: float | None
    validation: Validation | None

    def __str__(self) -> str:
        v = self.validation
        rate = "" if v is None else f", validation SER {np.exp(v.log_ser[-1]):.2e} (geometric mean)"
        left = "?" if self.seconds_left is None else f"{self.seconds_left / 60:.1f} min"
        pace = self.seconds / max(1, self.step)
        return f"step {self.step}/{self.steps}, {1e3 * pace:.0f} ms a step, loss {self.loss:.3f}{rate}, {left} left"


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training gave.

    Attributes:
        network: The network of the best validation.
        history: Every validation.
        last: The network after the last step.
        stopped_early: Whether patience ran out.
    """

    network: Network
    history: list[Validation] = field(repr=False)
    last: Network = field(repr=False)
    stopped_early: bool = False


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


def use_threads(number: int) -> None:
    """Hold TensorFlow to so many threads; too late, and said so, once it has computed something."""
    check.positive_integer(threads=number)
    try:
        tf.config.threading.set_intra_op_parallelism_threads(number)
        tf.config.threading.set_inter_op_parallelism_threads(number)
    except RuntimeError:
        now = tf.config.threading.get_intra_op_parallelism_threads()
        if now != number:
            msg = f"threads: TensorFlow already runs with {now or 'all'} threads, not {number}; start a new process"
            warnings.warn(msg, stacklevel=2)


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
    files = (Path(__file__), Path(unfolded_graph.__file__))
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
