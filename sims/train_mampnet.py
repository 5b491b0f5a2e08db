"""How far does an unfolded AMP come when it is trained? The curve of one training, and its weights.

wirelesslab run train_mampnet                          (about 45 minutes on one core; --quick: 1 minute)
wirelesslab run train_mampnet --setting distribution   (about 50 minutes)
wirelesslab run train_mampnet --setting one-cell       (about 3 minutes)
wirelesslab run train_mampnet --setting asynchronous   (about 9 minutes; goes on from the shipped network)

Expect: most of the gain within the first thousand steps, then a slow fall. From the shipped network on, frames
whose devices come late or off the carrier teach little: layers and first passes err a quarter less and the
validation's cross-entropy falls by a sixth, but the last pass errs as before (2.1e-3 to 2.2e-3). The folder receives a
checkpoint every few seconds, from which the same command goes on after a crash, and at the end
`network.npz` with `network.json`, which `MAMPNet.load` reads. With one thread the same seed gives the
same curve.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from wirelesslab_sims._test_points import excluded

from wirelesslab import check
from wirelesslab.mmtc import CarrierOffset, Delayed, EqualGain, PathLoss, Synchronous, UniformGainDb, weight_files
from wirelesslab.mmtc.mixture import ONE_CELL, Mixture, OneCell, Source
from wirelesslab.mmtc.unfolded import Architecture, Parameters
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from wirelesslab.mmtc.training import Plan

Setting = Literal["known", "distribution", "one-cell", "asynchronous"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is trained, on what, and for how long.

    Attributes:
        setting: What the network is for: gains "known" in cells of the whole range, gains known by
            their "distribution", "one-cell" with one set of pilots and parameters per device, or
            "asynchronous" with known gains, where most cells have devices that come late or off the carrier.
        steps: Gradient steps; 0 takes the setting's own number.
        frames_per_step: Frames of a step, all in one cell; 0 takes the setting's own number.
        layers: AMP iterations; 0 takes the setting's own number.
        passes: Refinement passes; -1 takes the setting's own number.
        refinement: What a pass sees; "setting" takes the setting's own.
        prior: What the denoiser supposes.
        controls: Where a layer's controls come from; "setting" takes the setting's own.
        schedule: All outputs at once, or one after the other.
        context_width: Hidden units of the context networks.
        block_width: Hidden units of the block refinement.
        learning_rate: Of Adam; 0 takes the setting's own number.
        patience: Validations without a new best before the training stops; 0 never does.
        start: A trained network to start from; "setting" takes the setting's own, which is plain AMP but for
            "asynchronous", which starts from the shipped network for known gains; "" starts from plain AMP.
        threads: Threads of TensorFlow; 0 takes one per core. Two bring little, and one makes two
            trainings with one seed equal.
        tensorboard: Write event files for TensorBoard into the folder.
    """

    setting: Setting = "known"
    steps: int = 0
    frames_per_step: int = 0
    layers: int = 0
    passes: int = -1
    refinement: Literal["setting", "none", "block", "across", "covariance"] = "setting"
    prior: Literal["block", "row"] = "block"
    controls: Literal["setting", "shared", "layer", "device", "context"] = "setting"
    schedule: Literal["end-to-end", "layer-wise"] = "end-to-end"
    context_width: int = 48
    block_width: int = 16
    learning_rate: float = 0.0
    patience: int = 0
    start: str = "setting"
    threads: int = 1
    tensorboard: bool = False


QUICK: Mapping[str, Any] = {"steps": 200, "layers": 4, "frames_per_step": 24}

STEPS: Mapping[Setting, int] = {"known": 10_000, "distribution": 10_000, "one-cell": 4_000, "asynchronous": 1_500}
RATES: Mapping[Setting, float] = {"known": 5e-3, "distribution": 5e-3, "one-cell": 5e-3, "asynchronous": 1e-3}
FRAMES: Mapping[Setting, int] = {"known": 48, "distribution": 48, "one-cell": 48, "asynchronous": 24}
STARTS: Mapping[Setting, str] = {"asynchronous": "known"}
# Layers, passes and what a pass sees, as chosen on validation cells.
SHAPES: Mapping[Setting, tuple[int, int, str]] = {
    "known": (6, 6, "covariance"), "distribution": (6, 5, "covariance"), "one-cell": (10, 1, "block"),
    "asynchronous": (6, 6, "covariance"),
}  # fmt: skip
KNOWN_LAWS = (
    *(EqualGain(),) * 7, UniformGainDb(low_db=-3, high_db=3), UniformGainDb(low_db=-8, high_db=8), PathLoss(),
)  # fmt: skip
UNKNOWN_LAWS = (
    UniformGainDb(low_db=-3, high_db=3), UniformGainDb(low_db=-5, high_db=5), UniformGainDb(low_db=-10, high_db=10),
    PathLoss(), PathLoss(),
)  # fmt: skip
# Delays more often than offsets, and still some cells in step, which are not to be forgotten.
ARRIVALS = (
    Synchronous(), Delayed(max_delay_symbols=1), Delayed(max_delay_symbols=2), Delayed(max_delay_symbols=4),
    Delayed(max_delay_symbols=4), CarrierOffset(max_offset=0.02, num_frequencies=3),
)  # fmt: skip


def source(setting: Setting) -> Source:
    """Return the cells that a setting is trained on."""
    if setting == "one-cell":
        return ONE_CELL
    if setting == "known":
        return Mixture(gain_laws=KNOWN_LAWS, crowded_below=3.0, excluded=excluded())
    if setting == "asynchronous":
        return Mixture(
            arrivals=ARRIVALS, most_columns=1400, gain_laws=KNOWN_LAWS, crowded_below=3.0, excluded=excluded(),
            least_symbols_per_speaker=1.6,
        )  # fmt: skip
    return Mixture(gain_laws=UNKNOWN_LAWS, gain_knowledge="distribution", crowded_below=3.0, excluded=excluded())


def architecture(config: Config) -> Architecture:
    """Return the network's shape."""
    layers, usual_passes, sees = SHAPES[config.setting]
    refinement = sees if config.refinement == "setting" else config.refinement
    usual_controls = "device" if config.setting == "one-cell" else "context"
    controls = usual_controls if config.controls == "setting" else config.controls
    passes = (0 if refinement == "none" else usual_passes) if config.passes == -1 else config.passes
    return Architecture(
        num_layers=config.layers or layers, num_passes=passes, prior=config.prior,
        controls=controls, refinement=refinement,  # type: ignore[arg-type]
        context_width=config.context_width, block_width=config.block_width,
        num_devices=ONE_CELL.scenario.num_devices if controls == "device" else 0,
    )  # fmt: skip


def plan(config: Config, seed: int, quick: bool = False) -> "Plan":
    """Return how long and how."""
    from wirelesslab.mmtc.training import Plan

    steps = config.steps or STEPS[config.setting]
    sizes = {"validate_every": 50, "validation_cells": 8} if quick else {}
    return Plan(
        steps=steps, frames_per_step=config.frames_per_step or FRAMES[config.setting], schedule=config.schedule,
        learning_rate=config.learning_rate or RATES[config.setting], patience=config.patience, seed=seed, **sizes,
    )  # fmt: skip


def beginning(config: Config, shape: Architecture) -> Parameters | None:
    """Return the parameters to start from; None for plain AMP."""
    own = STARTS.get(config.setting, "")
    if config.start not in ("", "setting"):
        return weight_files.load(Path(config.start)).parameters
    if config.start == "" or not own:
        return None
    shipped = weight_files.load(weight_files.SHIPPED / own)
    # Another shape than the shipped one, as a quick look has it, starts from plain AMP.
    return shipped.parameters if shipped.architecture == shape else None


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Train, save the network, and return the validation curve of every layer and pass."""
    session = session or Session()
    check.non_negative_integer(steps=config.steps, layers=config.layers, threads=config.threads)
    if config.controls == "device" and not isinstance(source(config.setting), OneCell):
        msg = f"controls: got 'device' with setting={config.setting!r}, expected 'one-cell', whose devices it needs"
        raise ValueError(msg)
    shape = architecture(config)

    from wirelesslab.mmtc import training
    from wirelesslab.tensorflow import use_threads

    if config.threads:
        use_threads(config.threads)
    trained = training.fit(
        shape,
        source(config.setting),
        plan(config, session.seed, session.quick),
        folder=session.out,
        start=beginning(config, shape),
        watch=training.Watcher(quiet=session.quiet),
        tensorboard=session.out / "tensorboard" if config.tensorboard and session.out is not None else None,
    )
    if session.out is not None:
        weight_files.save(trained.network, session.out / "network")
    return training.curve(trained, config, session.seed)


def table(result: "xr.Dataset") -> Table:
    """Return the symbol error rate of every layer and pass at a few points of the training."""
    last = result.sizes["step"] - 1
    chosen = sorted({0, *(round(last * share) for share in (0.02, 0.1, 0.3, 0.6, 1.0))})
    columns = ["output", *(f"step {int(result['step'][i])}" for i in chosen)]
    rows = [
        [str(name), *(f"{float(result['ser_geometric'].sel(detector=name)[i]):.2e}" for i in chosen)]
        for name in result["detector"].values
    ]
    title = "Validation symbol error rate, geometric mean over cells"
    counts = (
        f"{int(result['attempts'].max())} labels in {result.attrs['validation_cells']} cells, the same at each step"
    )
    return Table(title, columns, rows, counts)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw the fall of every output's symbol error rate, and the fall from layer to layer."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps, ser = result["step"].values, result["ser_geometric"]
    colours = colormaps["viridis"](np.linspace(0.05, 0.9, ser.sizes["detector"]))
    for name, colour in zip(result["detector"].values, colours, strict=True):
        left.semilogy(np.maximum(steps, 1), ser.sel(detector=name), color=colour, lw=1.2)
    left.set(xscale="log", xlabel="training step", ylabel="validation SER (geometric mean over cells)")
    left.set_title("one line per output, dark: first layer, bright: last pass", fontsize=9)
    best = int(result.attrs["best"])
    numbers = np.arange(1, ser.sizes["detector"] + 1)
    config = json.loads(result.attrs["config"])["config"]
    fresh = config["start"] == "" or (config["start"] == "setting" and config["setting"] not in STARTS)
    at_first = "untrained: plain AMP, then nothing" if fresh else "as it started: trained for another setting"
    right.semilogy(numbers, ser.isel(step=0), "o--", color="0.5", label=at_first)
    right.semilogy(numbers, ser.isel(step=best), "o-", color="C0", label=f"trained, step {steps[best]}")
    right.axvspan(result.attrs["num_layers"] + 0.5, numbers[-1] + 0.5, color="0.93", label="refinement passes")
    right.set(xlabel="layer, then pass", xticks=numbers)
    right.legend(fontsize=8)
    for axes in (left, right):
        axes.grid(True, which="both", alpha=0.25)
    return {"training": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return the best validation with its counts, and the size of the network."""
    best = int(result.attrs["best"])
    final = result.isel(step=best, detector=-1)
    return {
        "validation_ser_geometric_mean": float(final["ser_geometric"]),
        "validation_ser_pooled": [float(final[k]) for k in ("ser", "ser_low", "ser_high")],
        "errors": int(final["errors"]),
        "attempts": int(final["attempts"]),
        "best_step": int(result["step"][best]),
        "training": json.loads(result.attrs["record"]),
        "num_parameters": int(result.attrs["num_parameters"]),
    }


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
