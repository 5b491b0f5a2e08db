"""How long a net takes to see, measured: one thread, in a process of its own, nets taking turns.

TensorFlow's threads can only be chosen before it does anything, hence the process; it is also held to one core, where
the system allows that. Nets take turns and medians are told, so that other work on the machine hits all alike.
It is started by `measure`, reads `main`'s arguments and says its times as JSON.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.keras_files import import_keras
from wirelesslab.vision.structured_sparsity.products import interleaved

ONE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@dataclass(frozen=True)
class SeeingTimes:
    """Median seconds of a batch, by net.

    Attributes:
        batch: Images in it.
        seconds: By the net's name.
        runs: Turns.
    """

    batch: int
    seconds: Mapping[str, float]
    runs: int

    def speed_up(self, dense: str, small: str) -> float:
        """Return how many times faster `small` is than `dense`."""
        return self.seconds[dense] / self.seconds[small]


def measure(
    models: Mapping[str, Path], batches: Sequence[int] = (1, 256), *, runs: int = 30
) -> tuple[SeeingTimes, ...]:
    """Return measured times of `.keras` files, all in one fresh process with one thread.

    Args:
        models: Files by name.
        batches: Images at a time.
        runs: Turns per batch size.

    Raises:
        RuntimeError: The process failed; what it said last is in the message.
    """
    check.positive_integer(runs=runs, models=len(models), batches=len(batches))
    command = [sys.executable, "-c", f"from {__name__} import main; main()", *(str(path) for path in models.values())]
    command += ["--batch", *(str(batch) for batch in batches), "--runs", str(runs)]
    said = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | dict.fromkeys(ONE, "1")
    )
    if said.returncode:
        last = (said.stderr.strip() or "it said nothing").splitlines()[-1]
        msg = f"timing: the measuring process ended with {said.returncode}: {last}"
        raise RuntimeError(msg)
    rows = json.loads(said.stdout.splitlines()[-1])
    return tuple(SeeingTimes(row["batch"], dict(zip(models, row["seconds"], strict=True)), runs) for row in rows)


def _measure_here(paths: Sequence[Path], batches: Sequence[int], runs: int) -> list[dict[str, Any]]:
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})
    from wirelesslab.tensorflow import tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    models = [import_keras(path) for path in paths]
    found = []
    for batch in batches:
        ways = {str(number): _seeing(model, batch) for number, model in enumerate(models)}
        times = interleaved(ways, runs)
        found.append({"batch": batch, "seconds": [float(np.median(times[name])) for name in ways]})
    return found


def _seeing(model: Any, batch: int) -> Callable[[], Any]:
    """Return a call that lets a net see the same images again, as one traced graph."""
    from wirelesslab.tensorflow import tf

    images = tf.constant(stream(0, "images", batch).random((batch, *model.inputs[0].shape[1:]), dtype=np.float32))
    seen = tf.function(lambda x: model(x, training=False)).get_concrete_function(images)
    return lambda: seen(images).numpy()


def main() -> None:
    """Measure the files that the command line names."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("models", nargs="+", type=Path)
    reader.add_argument("--batch", nargs="+", type=int, default=[1, 256])
    reader.add_argument("--runs", type=int, default=30)
    asked = reader.parse_args()
    sys.stdout.write(json.dumps(_measure_here(asked.models, asked.batch, asked.runs)) + "\n")
