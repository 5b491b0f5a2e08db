"""The one door to TensorFlow: `from wirelesslab.tensorflow import tf`, only in files that need it.

On a machine without a GPU TensorFlow greets with a screen of log lines that no setting of its own
silences: they are written before its logging starts. They are dropped here; Python's errors are not.
"""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from wirelesslab import check

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def _without_native_messages() -> Iterator[None]:
    """Drop what libraries write to the process's standard error, below Python."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


with _without_native_messages():
    import tensorflow as tf

    with suppress(RuntimeError):
        tf.config.list_physical_devices()  # the search for a GPU has messages of its own


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


__all__ = ["tf", "use_threads"]
