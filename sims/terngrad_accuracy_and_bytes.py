"""What accuracy is left when gradients travel as signs, and how many bytes does that save?

wirelesslab run terngrad_accuracy_and_bytes     (about 7 minutes on two cores; --quick: 30 seconds)

Expect: TernGrad (a scaler per layer, clipped at 2.5 sigma, shared) is at most a point below float32 in the mean, for
2, 4 and 8 workers, with momentum and Adam (ten seeds tell it to about a point), at 16 (2-bit), 20 (base-3) and more
than 40 times (entropy-coded) fewer bytes up on LeNet. The way down is integer sums, 6 to 10 times shorter.
Without both tricks, at the same rate, training loses half of its accuracy; with a rate of its own it comes back.
Learning rates are tuned for every row alike, on validation images, under seeds that are not used again.
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
from wirelesslab.vision.parallel import Replica
from wirelesslab.vision.plain_nets import DIGITS, LENET
from wirelesslab.vision.terngrad import TernGradConfig
from wirelesslab.vision.tuning import choose, trials_of
from wirelesslab.vision.wires import QSGD, Float32, SignSGD, Ternary, TopK, Wire
from wirelesslab.vision.wires.messages import Mode, parse
from wirelesslab.vision.wires.ternary import read_codes

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

RATES = {"momentum": (0.02, 0.04, 0.08, 0.16), "adam": (1e-3, 2e-3, 4e-3, 8e-3)}
SHARED = {"momentum": 0.08, "adam": 4e-3}  # the rate at which removing the tricks is shown, our choice
TERNGRAD = Ternary()
BARE = Ternary(TernGradConfig(clip_c=0, layerwise=False))
RIVALS: Mapping[str, Wire] = {
    "TernGrad, no sharing": Ternary(TernGradConfig(share_scaler="none")), "QSGD, 3 levels": QSGD(),
    "EF-signSGD": SignSGD(), "EF-top-1 %": TopK(),
}  # fmt: skip
LOOK_EVERY = 20
NAMES = ("not_zero", "base3", "entropy")


@dataclass(frozen=True, kw_only=True)
class Config:
    """How long and how often is trained.

    Attributes:
        replicas: Seeds, each with its own split of the digits.
        tuning_replicas: Seeds for every rate that is tried.
        steps: Steps of a training; the rate falls to 0 linearly.
        batch: Images of a step, of all workers together.
        num_workers: Workers, for float32 and TernGrad.
        optimizers: Of "momentum" and "adam".
        rivals: Whether the other wires are trained as well (4 workers, momentum).
        lenet_steps: Steps of LeNet during which bytes are counted, 4 workers.
    """

    replicas: int = 10
    tuning_replicas: int = 2
    steps: int = 200
    batch: int = 64
    num_workers: tuple[int, ...] = (2, 4, 8)
    optimizers: tuple[str, ...] = ("momentum", "adam")
    rivals: bool = True
    lenet_steps: int = 25

    def __post_init__(self) -> None:
        check.positive_integer(
            replicas=self.replicas, tuning_replicas=self.tuning_replicas, steps=self.steps, batch=self.batch,
            lenet_steps=self.lenet_steps,
        )  # fmt: skip
        for name in self.optimizers:
            check.one_of(RATES, optimizers=name)


QUICK: Mapping[str, Any] = {
    "replicas": 2, "tuning_replicas": 1, "steps": 60, "num_workers": (2,), "optimizers": ("momentum",),
    "rivals": False, "lenet_steps": 3,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training.

    Attributes:
        wire: How gradients travel.
        workers: N.
        optimizer: See `PlainNet`.
        rate: Learning rate; 0 is tuned.
        steps: Steps.
        batch: Of all workers.
        purpose: Keeps the seeds of tuning and of the final runs apart.
        lenet: Whether it is LeNet on large digits.
    """

    wire: Wire
    workers: int
    optimizer: str
    rate: float
    steps: int
    batch: int
    purpose: str = "final"
    lenet: bool = False


def train(case: Case, seed: int) -> Mapping[str, Any]:
    """Train once; returns accuracies in per cent, and a worker's mean bytes per step up and down."""
    own = 2 * seed + (case.purpose == "tuning")
    parts = digits(own, side=28 if case.lenet else 8)
    net = replace(LENET if case.lenet else DIGITS, optimizer=case.optimizer, rate=case.rate, decay_steps=case.steps)
    crew = crew_of(net, case.wire, parts["train"], workers=case.workers, batch=case.batch, seed=own)
    up, down, answers = np.zeros(case.wire.exchanges), 0, {-1: b""}
    looked: list[Mapping[str, float]] = []

    def look(step: int, exchange: int, messages: Sequence[bytes], answer: bytes) -> None:
        nonlocal down
        up[exchange] += sum(map(len, messages)) / case.workers
        down += len(answer)
        if exchange + 1 == case.wire.exchanges and isinstance(case.wire, Ternary) and step % LOOK_EVERY == 0:
            looked.append(codings(crew[0], exchange, answers[exchange - 1], messages[0]))
        answers[exchange] = answer

    train_alike(crew, case.steps, look)
    state = crew[0].state
    validation = net.loss_and_accuracy(state, parts["validation"].images, parts["validation"].labels)
    scalers = up[:-1].sum() / case.steps
    means = {name: float(np.mean([one[name] for one in looked])) if looked else np.nan for name in NAMES}
    return {
        "test": 100 * net.loss_and_accuracy(state, parts["test"].images, parts["test"].labels)[1],
        "validation": 100 * validation[1], "validation_loss": min(validation[0], 1e3) if validation[0] >= 0 else 1e3,
        "up_bytes": up.sum() / case.steps, "down_bytes": down / case.steps, "not_zero": means["not_zero"],
        "base3_bytes": means["base3"] + scalers, "entropy_bytes": means["entropy"] + scalers,
    }  # fmt: skip


def codings(replica: Replica, exchange: int, received: bytes, message: bytes) -> Mapping[str, float]:
    """Return the share of a message's codes that are not 0, and its length in the other codings."""
    assert isinstance(replica.wire, Ternary)
    codes = [read_codes(t) for t in parse(message, replica.layout()).tensors if t.mode is not Mode.FLOATS]
    found = {"not_zero": float(np.mean(np.concatenate(codes) != 1))}
    for code in ("base3", "entropy"):
        again = replace(replica.wire, config=replace(replica.wire.config, code=code))
        assert replica.end is not None
        found[code] = len(again.encode(replica.end, replica.gradients(), replica.step, exchange, received))
    return found


def cases(config: Config) -> dict[str, Case]:
    """Return the trainings by name; a rate of 0 is tuned."""
    common = {"steps": config.steps, "batch": config.batch}
    found = {}
    for optimizer in config.optimizers:
        for workers in config.num_workers:
            for name, wire in (("float32", Float32()), ("TernGrad", TERNGRAD)):
                found[f"{name}, {optimizer}, N={workers}"] = Case(
                    wire=wire, workers=workers, optimizer=optimizer, rate=0.0, **common
                )
    optimizer, workers = config.optimizers[0], config.num_workers[len(config.num_workers) // 2]
    where = f"{optimizer}, N={workers}"
    bare = Case(wire=BARE, workers=workers, optimizer=optimizer, rate=0.0, **common)
    for name, wire in (("float32", Float32()), ("TernGrad", TERNGRAD), ("without both tricks", BARE)):
        found[f"{name}, {where}, shared rate"] = replace(bare, wire=wire, rate=SHARED[optimizer])
    found[f"without both tricks, {where}"] = bare
    if config.rivals:
        found |= {f"{name}, {where}": replace(bare, wire=wire) for name, wire in RIVALS.items()}
    return found


def reference(name: str) -> str:
    """Return the name of the float32 training that a training is compared with."""
    method = name[: max(name.find(f", {optimizer}") for optimizer in RATES)]
    return ("LeNet float32" if method.startswith("LeNet") else "float32") + name[len(method) :]


def tuned(config: Config, session: Session) -> dict[str, Case]:
    """Try every rate for every training under seeds of their own; return the trainings at their best rate."""
    wanted = cases(config)
    trials = {
        f"{name} | {rate:g}": replace(case, rate=rate, purpose="tuning")
        for name, case in wanted.items() if not case.rate for rate in RATES[case.optimizer]
    }  # fmt: skip
    tried = session.replicate(train, trials, config.tuning_replicas, name="tuning")
    settings = {trial: (trial.rpartition(" | ")[0], {"rate": case.rate}) for trial, case in trials.items()}
    best = choose(trials_of(tried, settings, loss="validation_loss"), session.out and session.out / "tuning.jsonl")
    return wanted | {name: replace(wanted[name], **setting) for name, setting in best.items()}


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Tune, then train under fresh seeds.

    Returns:
        Over `experiment` and `replica`: test accuracy in per cent, bytes up and down per worker and step, the same
        codes' bytes in the other codings, the share of codes that are not zero; the tuned `rate` and `num_workers` by
        experiment. "LeNet" rows were trained only as long as bytes were counted.
    """
    session = session or Session()
    final = tuned(config, session)
    for name, wire in (("float32", Float32()), ("TernGrad", TERNGRAD)):
        final[f"LeNet {name}, momentum, N=4"] = Case(
            wire=wire, workers=4, optimizer="momentum", rate=0.02, steps=config.lenet_steps, batch=config.batch,
            lenet=True,
        )  # fmt: skip
    result = session.replicate(train, final, config.replicas)
    names = [str(name) for name in result["experiment"].values]
    result["rate"] = "experiment", [final[name].rate for name in names]
    result["num_workers"] = "experiment", [final[name].workers for name in names]
    return result


def table(result: "xr.Dataset") -> Table:
    """Return accuracy, the difference to float32, and bytes."""
    rows = []
    for name in map(str, result["experiment"].values):
        one, other = result.sel(experiment=name), result.sel(experiment=reference(name))
        same = name == reference(name)
        down, up = float(one["down_bytes"].mean()), float(one["up_bytes"].mean())
        ratio = float(other["up_bytes"].mean()) / up
        whole = float((other["up_bytes"] + other["down_bytes"]).mean()) / (up + down)
        shorter = [float(other["up_bytes"].mean() / one[f"{code}_bytes"].mean()) for code in ("base3", "entropy")]
        rows.append([
            name, f"{float(one['rate']):g}", "-" if name.startswith("LeNet") else str(mean(one["test"])),
            "-" if same or name.startswith("LeNet") else str(difference(one["test"], other["test"])),
            f"{up:.0f}", f"{ratio:.2f}", *["-" if np.isnan(s) else f"{s:.2f}" for s in shorter],
            f"{float(other['down_bytes'].mean()) / down:.2f}", f"{whole:.2f}",
            "-" if np.isnan(float(one["not_zero"].mean())) else f"{100 * float(one['not_zero'].mean()):.1f}",
        ])  # fmt: skip
    columns = ["training", "rate", "test, %", "points beside float32", "bytes up", "times fewer", "base-3", "entropy",
               "down", "both", "not 0, %"]  # fmt: skip
    note = (
        f"Means over {result.sizes['replica']} seeds, each with its own split, with 95 % intervals; differences are of "
        "pairs. Bytes: a worker's, per step, headers and scalers included; times fewer than float32. One test image "
        "is 0.28 points."
    )
    return Table("Digits learned by several workers", columns, rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw the difference to float32, and accuracy over bytes."""
    from matplotlib.figure import Figure

    names = [str(name) for name in result["experiment"].values if not str(name).startswith("LeNet")]
    compared = [name for name in names if name != reference(name)]
    figure = Figure(figsize=(11.5, 1.8 + 0.36 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    for place, name in enumerate(compared):
        d = difference(result["test"].sel(experiment=name), result["test"].sel(experiment=reference(name)))
        color = COLORS[1] if "without" in name else COLORS[0] if name.startswith("TernGrad,") else COLORS[2]
        left.errorbar(d.value, -place, xerr=[[d.value - d.low], [d.high - d.value]], color=color, marker="o",
                      markersize=5, capsize=3)  # fmt: skip
    left.axvspan(-1, 1, color="0.93", zorder=0)
    left.set_xscale("symlog", linthresh=2)
    left.set_yticks(-np.arange(len(compared)), compared, fontsize=8)
    ticks = (-50, -20, -10, -5, -2, -1, 0, 1, 2, 5)
    left.set_xticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks], fontsize=8)
    left.set_xticks([], minor=True)
    left.set(xlabel="test accuracy beside float32 (points)")
    left.set_title("Paired differences, 95 % intervals; grey: within 1 point", fontsize=10)
    bare = next(name for name in names if name.startswith("without"))
    where = bare.split("tricks", 1)[1].removesuffix(", shared rate")
    for place, name in enumerate(n for n in names if n.endswith(where)):
        one = result.sel(experiment=name)
        m = mean(one["test"])
        right.errorbar(
            float(one["up_bytes"].mean()), m.value, yerr=[[m.value - m.low], [m.high - m.value]], label=name, capsize=2,
            color=COLORS[place % len(COLORS)], marker=MARKERS[place % len(MARKERS)], markersize=5, linestyle="",
        )  # fmt: skip
    right.set(xlabel="bytes up per worker and step", ylabel="test accuracy (%), 95 % interval", xscale="log")
    right.set_xticks([500, 2000, 10_000, 50_000], ["500", "2 k", "10 k", "50 k"])
    right.set_xticks([], minor=True)
    right.legend(fontsize=7, loc="lower right", frameon=False)
    right.set_title(f"Rates tuned{where}", fontsize=10)
    for axis in (left, right):
        axis.grid(visible=True, color="0.9")
        axis.set_axisbelow(True)
    return {"accuracy_and_bytes": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return accuracies, paired differences and byte ratios."""
    figures: dict[str, Any] = {}
    for name in map(str, result["experiment"].values):
        one, other = result.sel(experiment=name), result.sel(experiment=reference(name))
        ratios = {
            f"{coding}, times fewer bytes up": float(other["up_bytes"].mean() / one[variable].mean())
            for coding, variable in (("as sent", "up_bytes"), ("base-3", "base3_bytes"), ("entropy", "entropy_bytes"))
            if not np.isnan(float(one[variable].mean()))
        }
        ratios["times fewer bytes down"] = float(other["down_bytes"].mean() / one["down_bytes"].mean())
        figures[name] = {"rate": float(one["rate"]), **ratios}
        if not name.startswith("LeNet"):
            figures[name] |= {
                "test accuracy, %": mean(one["test"])._asdict(),
                "minus float32, points": difference(one["test"], other["test"])._asdict(),
            }
    return figures


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
