"""A training in a process of its own: says when it wrote a checkpoint, and what came out.

Its arguments are the step at which it is killed (-1: never) and paths of checkpoints, or "none": it trains once for
each.
"""

import os
import signal
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np

from wirelesslab.rng import stream
from wirelesslab.vision import fitting
from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.datasets import digits
from wirelesslab.vision.saving import Keeping, save_checkpoint
from wirelesslab.vision.update_rules import UpdateRule

METHOD = Classifier(epochs=3, batch_size=32, update=UpdateRule(rule="adam", rate=1e-3))
EVERY, STEPS = 7, 99
SEED = 5


def said(*words):
    """Print at once."""
    print(*words, flush=True)  # noqa: T201


def digest(arrays):
    """Return one word for arrays in order."""
    return sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def main(last: int, paths: list[str]) -> None:
    """Train; on one thread, so that sums have one order."""
    from wirelesslab.tensorflow import tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def noted(*args):
        save_checkpoint(*args)
        said("checkpoint", args[1].state.numbers["step"])

    def killed(seed, *name):
        if name == ("step", last):
            os.kill(os.getpid(), signal.SIGKILL)
        return stream(seed, *name)

    fitting.save_checkpoint, fitting.stream = noted, killed
    data = digits(1)
    state = METHOD.build(SEED)
    batch = data.images[:32], data.labels[:32]
    said("gradients", digest(METHOD.gradients(state, batch, np.random.default_rng(0))))
    for path in paths:
        keep = None if path == "none" else Keeping(path=Path(path), every_steps=EVERY)
        fit = METHOD.fit(state, data, SEED, keep=keep)
        history = [(epoch.step, dict(epoch.scores)) for epoch in fit.history]
        said("state", digest([*fit.state.arrays.values()]), fit.state.numbers["step"], history)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
