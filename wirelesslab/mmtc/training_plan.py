"""How an unfolded network is trained, in numbers, and what a training shows and gives."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.mmtc.weight_files import Network


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
        seconds: Spent training so far, by earlier processes too.
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
