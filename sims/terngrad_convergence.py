"""What do clipping, a scaler per layer and shared scalers each do for TernGrad?

wirelesslab run terngrad_convergence            (about 6 minutes on two cores; --quick: 30 seconds)

Expect: clipping does most. Without it what a draw adds to a gradient's energy is several times larger, and at a rate
that suits float32 training suffers, on shards of few classes badly; without layer-wise scalers as well it fails. One
scaler with clipping, and scalers that are not shared, lose little accuracy here; sharing makes the way down integers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab import check
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import difference, mean
from wirelesslab.session import Session, Table
from wirelesslab.vision.crews import crew_of, digits, train_alike
from wirelesslab.vision.plain_nets import DIGITS
from wirelesslab.vision.terngrad import TernGradConfig, clip
from wirelesslab.vision.tuning import choose, trials_of
from wirelesslab.vision.wires import Float32, Ternary, Wire
from wirelesslab.vision.wires.messages import parse

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

VARIANTS: Mapping[str, Wire] = {
    "float32": Float32(),
    "both tricks, shared": Ternary(),
    "both tricks, not shared": Ternary(TernGradConfig(share_scaler="none")),
    "no clipping": Ternary(TernGradConfig(clip_c=0)),
    "one scaler for all": Ternary(TernGradConfig(layerwise=False)),
    "neither": Ternary(TernGradConfig(clip_c=0, layerwise=False)),
}
RATES = (0.02, 0.04, 0.08, 0.16)
SHARED_RATE = 0.08
EVERY = 10


@dataclass(frozen=True, kw_only=True)
class Config:
    """How long and how often is trained.

    Attributes:
        replicas: Seeds, each with its own split of the digits.
        tuning_replicas: Seeds for every rate that is tried.
        steps: Steps of a training; the rate falls to 0 linearly.
        num_workers: N.
        concentration: Of the Dirichlet law of shards that are not alike.
    """

    replicas: int = 10
    tuning_replicas: int = 2
    steps: int = 200
    num_workers: int = 4
    concentration: float = 0.3

    def __post_init__(self) -> None:
        check.positive_integer(
            replicas=self.replicas, tuning_replicas=self.tuning_replicas, steps=self.steps, num_workers=self.num_workers
        )
        check.positive(concentration=self.concentration)
        if self.steps < EVERY or self.steps % EVERY:
            msg = f"steps: got {self.steps}, expected a multiple of {EVERY}"
            raise ValueError(msg)


QUICK: Mapping[str, Any] = {"replicas": 2, "tuning_replicas": 1, "steps": 20}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training.

    Attributes:
        wire: How gradients travel.
        workers: N.
        rate: Learning rate.
        steps: Steps.
        concentration: Of the shards' Dirichlet law; 0 mixes evenly.
        purpose: Keeps the seeds of tuning and of the final runs apart.
    """

    wire: Wire
    workers: int
    rate: float
    steps: int
    concentration: float = 0.0
    purpose: str = "final"


def train(case: Case, seed: int) -> Mapping[str, Any]:
    """Train once; returns accuracies in per cent, the loss over time, and what drawing adds to a gradient's energy."""
    own = 2 * seed + (case.purpose == "tuning")
    parts = digits(own)
    net = replace(DIGITS, rate=case.rate, decay_steps=case.steps)
    crew = crew_of(
        net, case.wire, parts["train"], workers=case.workers, batch=64, seed=own,
        concentration=case.concentration or None,
    )  # fmt: skip
    losses, energies = [], []

    def look(step: int, exchange: int, messages: Sequence[bytes], answer: bytes) -> None:
        del answer
        if exchange + 1 == case.wire.exchanges and step % EVERY == 0:
            loss, _ = net.loss_and_accuracy(crew[0].state, parts["train"].images, parts["train"].labels)
            losses.append(min(loss, 1e3) if loss >= 0 else 1e3)
            energies.append(
                energy(crew[0].gradients(), [t.scale for t in parse(messages[0], crew[0].layout()).tensors])
            )

    train_alike(crew, case.steps, look)
    state = crew[0].state
    scores = {n: net.loss_and_accuracy(state, parts[n].images, parts[n].labels) for n in ("validation", "test")}
    return {
        "test": 100 * scores["test"][1], "validation": 100 * scores["validation"][1],
        "validation_loss": min(scores["validation"][0], 1e3) if scores["validation"][0] >= 0 else 1e3,
        "loss": losses, "energy": float(np.exp(np.mean(np.log(energies)))),
    }  # fmt: skip


def energy(gradients: Sequence[Any], scales: Sequence[float]) -> float:
    """Return the mean energy of the codes sent over that of their tensors: 1 adds nothing, floats are left out."""
    ternary = [(gradient.astype(float), scale) for gradient, scale in zip(gradients, scales, strict=True) if scale]
    sent = sum(scale * np.abs(clip(g, scale)).sum(dtype=float) for g, scale in ternary)
    return float(sent / sum((g**2).sum() for g, _ in ternary)) if ternary else 1.0


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Tune every variant on even and on uneven shards, then train at its own and at a shared rate.

    Returns:
        Over `experiment` and `replica`: `test` accuracy in per cent, training `loss` every few steps, `energy` of the
        codes that were sent over that of their tensors; the `rate` by experiment.
    """
    session = session or Session()
    shards = {"even": 0.0, "uneven": config.concentration}
    base = {
        f"{name}, {kind}": Case(wire=wire, workers=config.num_workers, rate=SHARED_RATE, steps=config.steps,
                                concentration=concentration)
        for kind, concentration in shards.items() for name, wire in VARIANTS.items()
    }  # fmt: skip
    trials = {f"{n} | {r:g}": replace(c, rate=r, purpose="tuning") for n, c in base.items() for r in RATES}
    tried = session.replicate(train, trials, config.tuning_replicas, name="tuning")
    settings = {f"{name} | {rate:g}": (name, {"rate": rate}) for name in base for rate in RATES}
    best = choose(trials_of(tried, settings, loss="validation_loss"), session.out and session.out / "tuning.jsonl")
    final = {}
    for name, case in base.items():
        final[f"{name}, tuned"] = replace(case, **best[name])
        final[f"{name}, shared rate"] = case
    result = session.replicate(train, final, config.replicas)
    result["rate"] = "experiment", [final[str(name)].rate for name in result["experiment"].values]
    steps = np.arange(0, config.steps, EVERY)
    return result.rename({"loss_at": "step"}).assign_coords(step=steps) if "loss_at" in result.dims else result


def reference(name: str) -> str:
    """Return the float32 training of the same shards and kind of rate."""
    return ", ".join(["float32", *name.split(", ")[-2:]])


def table(result: "xr.Dataset") -> Table:
    """Return accuracy, its difference to float32, the last loss, and energy."""
    rows = []
    for name in map(str, result["experiment"].values):
        one, other = result.sel(experiment=name), result.sel(experiment=reference(name))
        *_, kind, rate = name.split(", ")
        rows.append([
            f"{kind} shards, {rate}", name.removesuffix(f", {kind}, {rate}"), f"{float(one['rate']):g}",
            str(mean(one["test"])), "-" if name == reference(name) else str(difference(one["test"], other["test"])),
            f"{float(one['loss'][..., -1].mean()):.3g}", f"{float(one['energy'].mean()):.3g}",
        ])  # fmt: skip
    rows.sort(key=lambda row: row[0])
    columns = ["where", "variant", "rate", "test, %", "points beside float32", "last loss", "energy"]
    note = (
        f"Means over {result.sizes['replica']} seeds, each with its own split, with 95 % intervals; differences are of "
        "pairs. Energy: of what is sent over the gradient's, geometric mean over a training."
    )
    return Table("What each part of TernGrad does", columns, rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw losses over steps at the shared rate, and accuracy beside float32."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 7.6), layout="constrained")
    axes = figure.subplots(2, 2, width_ratios=(1.15, 1))
    for (left, right), kind in zip(axes, ("even", "uneven"), strict=True):
        for number, variant in enumerate(VARIANTS):
            losses = result["loss"].sel(experiment=f"{variant}, {kind}, shared rate")
            steps = EVERY * np.arange(losses.shape[-1])
            ms = [mean(np.log(losses.values[:, i])) for i in range(losses.shape[-1])]
            left.plot(steps, np.exp([m.value for m in ms]), color=COLORS[number], label=variant,
                      marker=MARKERS[number], markersize=3)  # fmt: skip
            left.fill_between(steps, np.exp([m.low for m in ms]), np.exp([m.high for m in ms]), color=COLORS[number],
                              alpha=0.15, linewidth=0)  # fmt: skip
            for rate, marker, shift in (("tuned", "o", 0.12), ("shared rate", "s", -0.12)):
                name = f"{variant}, {kind}, {rate}"
                if variant == "float32":
                    continue
                d = difference(result["test"].sel(experiment=name), result["test"].sel(experiment=reference(name)))
                right.errorbar(d.value, -number + shift, xerr=[[d.value - d.low], [d.high - d.value]], capsize=3,
                               color=COLORS[number], marker=marker, markersize=5)  # fmt: skip
        left.set(xlabel="step", ylabel="training loss, geometric mean, 95 %", yscale="log")
        left.set_title(f"{kind} shards, all at rate {SHARED_RATE:g}", fontsize=10)
        ticks = (-50, -20, -10, -5, -2, -1, 0, 1, 2)
        right.set_xscale("symlog", linthresh=2)
        right.set_xticks(ticks, [f"{t:+d}" if t else "0" for t in ticks], fontsize=8)
        right.set_xticks([], minor=True)
        right.set_yticks(-np.arange(1, len(VARIANTS)), list(VARIANTS)[1:], fontsize=8)
        right.axvspan(-1, 1, color="0.93", zorder=0)
        right.set(xlabel="test accuracy beside float32 (points)")
        right.set_title(f"{kind} shards: circles tuned, squares at rate {SHARED_RATE:g}", fontsize=10)
        for axis in (left, right):
            axis.grid(visible=True, color="0.9")
            axis.set_axisbelow(True)
    axes[0, 0].legend(fontsize=7, frameon=False)
    return {"convergence": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return accuracies, paired differences and energies."""
    return {
        name: {
            "rate": float(result["rate"].sel(experiment=name)),
            "test accuracy, %": mean(result["test"].sel(experiment=name))._asdict(),
            "minus float32, points": difference(
                result["test"].sel(experiment=name), result["test"].sel(experiment=reference(name))
            )._asdict(),
            "energy": float(result["energy"].sel(experiment=name).mean()),
        }
        for name in map(str, result["experiment"].values)
    }


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
