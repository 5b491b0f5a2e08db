"""Small trainings for the tests: run as a program, so that threads can be held and a process can be killed.

``python -m tests.mmtc.trainings <folder>`` trains in <folder> and writes ``network.npz`` and ``history.json``
there; with ``--hang STEP`` it waits for ever at that step, to be killed.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from wirelesslab.mmtc import PathLoss, Scenario
from wirelesslab.mmtc.mixture import Mixture, OneCell
from wirelesslab.mmtc.unfolded import Architecture

# L/(eps N) = 2.5: AMP gets lost, and a few controls help at once.
CELL = OneCell(
    scenario=Scenario(num_devices=40, bits_per_device=1, pilot_length=10, num_antennas=6, snr_db=3.0), cell_seed=1
)
MIXTURE = Mixture(
    num_devices=(20, 30), bits_per_device=(1,), pilot_length=(8, 12), num_antennas=(2, 4), snr_db=(0.0, 6.0),
    gain_laws=(PathLoss(),), gain_knowledge="distribution",
)  # fmt: skip
WHOLE = Architecture(num_layers=2, num_passes=1, context_width=4, block_width=3)
LAYERS = Architecture(num_layers=3, num_passes=0, refinement="none", controls="layer")


def plan(**changes):
    """A training of a second or two."""
    from wirelesslab.mmtc.training import Plan

    sizes = {
        "steps": 24, "frames_per_step": 8, "learning_rate": 1e-2, "warmup_steps": 4, "validate_every": 6,
        "validation_cells": 2, "validation_frames": 8, "checkpoint_every": 5, "gain_nodes": 4, "seed": 3,
    }  # fmt: skip
    return Plan(**(sizes | changes))


def main(folder: Path, hang: int) -> None:
    """Train on one thread."""
    from wirelesslab.mmtc import training, weight_files
    from wirelesslab.tensorflow import use_threads

    def watch(progress):
        if progress.step == hang:
            sys.stdin.read()  # the parent never writes: only a signal ends this

    use_threads(1)
    trained = training.fit(WHOLE, MIXTURE, plan(), folder=folder, watch=watch)
    weight_files.save(trained.network, folder / "network")
    history = [{name: value for name, value in asdict(v).items() if name != "seconds"} for v in trained.history]
    (folder / "history.json").write_text(json.dumps(history), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hang", type=int, default=-1)
    main(**vars(parser.parse_args()))
