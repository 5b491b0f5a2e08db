"""Which parts of DL-mAMPnet earn their keep? Variants trained alike, each for a minute or two.

wirelesslab run mampnet_ablation          (about 10 minutes on two cores; --quick: 1 minute)

Expect: the covariance passes bring most. Without them (no refinement, or one that sees the block, or all
blocks) the network is a well-tuned AMP: in the overloaded cell 2.4 times the errors of three passes, in the
light cell those of AMP; one pass brings half of the way, six a fifth more. Once they are there, 4, 8 or 16 layers,
row or block prior, layer-wise or end-to-end training, and a narrow or wide range make no difference that one
training each could show; controls from the context save a tenth or two over fixed ones in the overloaded cell.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from wirelesslab_sims._test_points import excluded

from wirelesslab import check
from wirelesslab.mmtc import Scenario, error_counts, simulate
from wirelesslab.mmtc.detection import Detector
from wirelesslab.mmtc.detectors import AMP, Covariance, Genie
from wirelesslab.mmtc.mixture import Mixture
from wirelesslab.mmtc.unfolded import Architecture
from wirelesslab.naming import slug
from wirelesslab.results import describe
from wirelesslab.rng import substreams
from wirelesslab.session import Session, Table
from wirelesslab.stats import Count
from wirelesslab.study import Stop

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

# The two cells of the comparison; no training sees their pilots.
CELLS: Mapping[str, Scenario] = {
    "overloaded": Scenario(num_devices=100, bits_per_device=1, pilot_length=20, num_antennas=8, snr_db=0.0),
    "light": Scenario(num_devices=100, bits_per_device=2, pilot_length=36, num_antennas=3, activity_prob=0.08),
}
WIDE = Mixture(crowded_below=3.0, excluded=excluded())
NARROW = Mixture(
    num_devices=(80, 120), bits_per_device=(1,), pilot_length=(16, 25), num_antennas=(6, 10),
    activity_prob=(0.08, 0.12), snr_db=(-2.0, 2.0), excluded=excluded(),
)  # fmt: skip
CLASSICAL: Mapping[str, Detector] = {
    "AMP row": AMP(prior="row"), "AMP block": AMP(), "AMP re-tuned": AMP(retuned=True), "covariance": Covariance(),
}  # fmt: skip
GENIE = "genie"
# Changes to the base: fields of the architecture, and "schedule" or "mixture".
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "base": {},
    "4 layers": {"num_layers": 4},
    "16 layers": {"num_layers": 16},
    "no refinement": {"refinement": "none", "num_passes": 0},
    "block refinement only": {"refinement": "block", "num_passes": 1},
    "refinement across blocks": {"refinement": "across", "num_passes": 1},
    "1 covariance pass": {"num_passes": 1},
    "6 covariance passes": {"num_passes": 6},
    "row prior": {"prior": "row"},
    "controls per layer": {"controls": "layer"},
    "controls shared": {"controls": "shared"},
    "layer-wise training": {"schedule": "layer-wise"},
    "narrow training range": {"mixture": NARROW},
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is trained, and how long.

    Attributes:
        variants: Names of variants, see `VARIANTS`; "all" takes every one.
        steps: Gradient steps of each training.
        layers: Layers of the base.
        passes: Refinement passes of the base.
        seeds: Trainings of each variant, with other initial parameters and data.
        draws: Sets of pilots in which each trained network is judged.
        frames: Frames with each set of pilots.
    """

    variants: tuple[str, ...] = ("all",)
    steps: int = 500
    layers: int = 8
    passes: int = 3
    seeds: int = 1
    draws: int = 60
    frames: int = 64


QUICK: Mapping[str, Any] = {
    "variants": ("base", "no-refinement"), "steps": 60, "layers": 4, "passes": 1, "seeds": 1, "draws": 4,
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One row of the comparison.

    Attributes:
        variant: A variant's or a classical detector's name, or the genie's.
    """

    variant: str = "base"


@dataclass(frozen=True)
class TrainAndCount:
    """Trains a variant once and counts its errors in each cell; the seed comes from the batch.

    Attributes:
        config: Sizes.
    """

    config: Config

    def describe(self) -> dict[str, Any]:
        """Return what every row depends on: sizes, cells and variants."""
        return {
            "class": "TrainAndCount",
            "config": describe(self.config),
            "cells": describe(CELLS),
            "variants": describe(VARIANTS),
            "mixture": describe(WIDE),
        }

    def __call__(self, variant: Variant, rng: np.random.Generator) -> dict[str, dict[str, Count]]:
        """Return the counts of one training (or of a classical detector) in each cell."""
        streams = substreams(rng, "training", *CELLS)
        classical = CLASSICAL.get(variant.variant)
        if classical is None and variant.variant != GENIE:
            classical = self._train(VARIANTS[variant.variant], int(streams["training"].integers(2**31)))
        outcome = {}
        for name, cell in CELLS.items():
            counts: dict[str, Count] = {}
            for _ in range(self.config.draws):
                observation, truth = simulate(cell, streams[name], num_frames=self.config.frames)
                detector = Genie(truth) if classical is None else classical
                for metric, count in error_counts(detector.detect(observation), truth).items():
                    counts[metric] = counts[metric] + count if metric in counts else count
            outcome[name] = counts
        return outcome

    def _train(self, changes: Mapping[str, Any], seed: int) -> Detector:
        from wirelesslab.mmtc import training
        from wirelesslab.mmtc.detectors import MAMPNet
        from wirelesslab.tensorflow import use_threads

        use_threads(1)
        fields = {"num_layers": self.config.layers, "num_passes": self.config.passes, **changes}
        mixture = fields.pop("mixture", WIDE)
        schedule = fields.pop("schedule", "end-to-end")
        plan = training.Plan(
            steps=self.config.steps, schedule=schedule, seed=seed, validate_every=self.config.steps, validation_cells=4
        )
        trained = training.fit(Architecture(**fields), mixture, plan)
        return MAMPNet(trained.last, "trained", quiet=True)


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Train every variant and count errors in both cells."""
    session = session or Session()
    known = {slug(name): name for name in VARIANTS}
    wanted = tuple(known) if config.variants == ("all",) else tuple(slug(name) for name in config.variants)
    for name in wanted:
        check.one_of(known, variants=name)
    names = tuple(known[name] for name in wanted)
    check.positive_integer(steps=config.steps, seeds=config.seeds, draws=config.draws, frames=config.frames)
    over = {"variant": (*names, *CLASSICAL, GENIE)}
    stop = Stop(errors=None, relative_width=None, min_batches=config.seeds, max_batches=config.seeds)
    return session.study(TrainAndCount(config), Variant(), over, stop)


def table(result: "xr.Dataset") -> Table:
    """Return each variant's symbol error rate in both cells."""
    rows = []
    for name in map(str, result["variant"].values):
        row = [name]
        for cell in result["detector"].values:
            point = result.sel(variant=name, detector=cell)
            rate, low, high = (float(point[v]) for v in ("ser", "ser_low", "ser_high"))
            row.append(f"{rate:.2e} ({low:.1e} to {high:.1e})")
        rows.append(row)
    title = "Symbol error rate of variants trained alike"
    note = (
        f"{int(result['batches'].max())} training(s) each; the 95 % interval is over pilot draws of what came out,\n"
        "not over trainings; classical detectors met the same air"
    )
    return Table(title, ["variant", *map(str, result["detector"].values)], rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw every variant's symbol error rate, one panel per cell."""
    from matplotlib.figure import Figure

    names = [str(n) for n in result["variant"].values]
    figure = Figure(figsize=(10, 1.2 + 0.28 * len(names)), layout="constrained")
    panels = figure.subplots(1, result.sizes["detector"], sharey=True)
    rows = np.arange(len(names))
    for axis, cell in zip(np.atleast_1d(panels), result["detector"].values, strict=True):
        part = result.sel(detector=cell)
        rate, low, high = (part[v].values for v in ("ser", "ser_low", "ser_high"))
        trained = np.array([n in VARIANTS for n in names])
        for chosen, color, marker in ((trained, "#0072B2", "o"), (~trained, "0.35", "s")):
            axis.errorbar(
                rate[chosen], rows[chosen], xerr=[(rate - low)[chosen], (high - rate)[chosen]], fmt=marker, color=color,
                lw=1,
            )  # fmt: skip
        if "base" in names:
            axis.axvline(rate[names.index("base")], color="#0072B2", lw=0.8, ls=":")
        axis.set(xscale="log", xlabel="symbol error rate", title=f"{cell} cell", yticks=rows, yticklabels=names)
        axis.grid(True, axis="x", which="both", alpha=0.25)
        axis.set_ylim(len(names) - 0.5, -0.5)
    return {"ablation": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return every rate with its interval and counts."""
    figures = {}
    for name in map(str, result["variant"].values):
        for cell in map(str, result["detector"].values):
            point = result.sel(variant=name, detector=cell)
            figures[f"ser | {name} | {cell}"] = {
                **{key: float(point[v]) for key, v in (("value", "ser"), ("low", "ser_low"), ("high", "ser_high"))},
                **{v: int(point[v]) for v in ("errors", "attempts")},
            }
    return figures


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
