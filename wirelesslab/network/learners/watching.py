"""What a person sees of a training: how far, how fast, how well."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

import numpy as np

from wirelesslab.units import readable_seconds


@dataclass(frozen=True)
class Progress:
    """What a watcher of a training is shown after every step.

    Attributes:
        step: Steps done, summed over environments.
        steps: Steps planned.
        seconds: Since this process began to train.
        done_here: Steps that this process has done.
        episodes: Episodes that have ended.
        mean_return: Of the latest hundred of them; NaN before the first.
        mean_reward: Per step, since the last point of the curve.
        figures: Of the learner.
    """

    step: int
    steps: int
    seconds: float
    done_here: int
    episodes: int
    mean_return: float
    mean_reward: float
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def steps_per_s(self) -> float:
        """Rate of training; NaN before the first step."""
        return self.done_here / self.seconds if self.seconds > 0 and self.done_here else float("nan")

    @property
    def seconds_left(self) -> float:
        """Estimated from the rate so far."""
        return (self.steps - self.step) / self.steps_per_s

    def __str__(self) -> str:
        left = readable_seconds(self.seconds_left) if np.isfinite(self.seconds_left) else "?"
        scores = f"{self.episodes} episodes, mean return {self.mean_return:.4g}, reward a step {self.mean_reward:.4g}"
        own = "".join(f", {name} {value:.3g}" for name, value in self.figures.items())
        done = f"{self.step / self.steps:4.0%}  {self.step} of {self.steps} steps"
        return f"{done}, {self.steps_per_s:.4g} steps/s, {left} left; {scores}{own}"


class Lines:
    """Writes a line now and then, for a person who waits; on a terminal in the place of the one before.

    Args:
        out: Where to.
        every_s: Seconds between lines.
        name: What is trained, when it is one of several.
    """

    def __init__(self, out: TextIO, every_s: float = 5.0, name: str = "") -> None:
        self.out, self.every_s, self.name, self._next = out, every_s, name, 0.0

    def __call__(self, progress: Progress, /) -> None:
        """Write a line when it is time."""
        now = time.monotonic()
        if now < self._next and progress.step < progress.steps:
            return
        self._next = now + self.every_s
        text = f"{self.name}{progress}"
        self.out.write(f"\r{text}\x1b[K" if self.out.isatty() else f"{text}\n")
        self.out.flush()


@contextmanager
def lines(out: TextIO, name: str = "") -> Iterator[Lines]:
    """Give a watcher that fits where the output goes."""
    try:
        yield Lines(out, 0.3 if out.isatty() else 5.0, name)
    finally:
        if out.isatty():
            out.write("\n")
