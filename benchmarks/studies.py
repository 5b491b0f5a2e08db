"""What the study engine costs beside the work itself, and what a second worker brings."""

import tempfile
import time
from pathlib import Path

from benchmarks.timing import verdict
from wirelesslab import Stop, Study
from wirelesslab.executors import local_executor
from wirelesslab.mmtc import Scenario, symbol_error_trial
from wirelesslab.mmtc.detectors import AMP, Covariance
from wirelesslab.schedule import Status


def study() -> Study:
    """Return a study of equal batches, each of about a second."""
    trial = symbol_error_trial(AMP(), Covariance(), frames_per_batch=512)
    return Study(trial, Scenario(), {"snr_db": (-4.0, 0.0)}, Stop(errors=None, max_batches=10), seed=3)


def wall_seconds(workers: int) -> tuple[float, float]:
    """Return wall seconds of the whole study on warm workers, and seconds spent inside batches."""
    plan = study()
    with local_executor(plan.trial, workers) as pool, tempfile.TemporaryDirectory() as folder:
        warm = Study(plan.trial, plan.base, {"snr_db": (0.0,)}, Stop(errors=None, max_batches=2 * workers), seed=4)
        warm.run(executor=pool)
        statuses: list[Status] = []
        start = time.perf_counter()
        plan.run(Path(folder), executor=pool, watch=statuses.append)
        return time.perf_counter() - start, statuses[-1].busy_seconds


def main() -> bool:
    """Print every ratio beside its bar; return whether all hold."""
    one, busy = wall_seconds(1)
    two, _ = wall_seconds(2)
    print(f"      20 batches: one worker {one:.2f} s, of which {busy:.2f} s in batches; two workers {two:.2f} s")
    overhead = verdict("journal and scheduling, share of a study's time", 1 - busy / one, 0.05, at_least=False)
    return verdict("speed of two workers over one", one / two, 1.7, at_least=True) and overhead
