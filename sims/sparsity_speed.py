"""How much faster is a net that has learned to do without filters or blocks, and what does that cost?

wirelesslab run sparsity_speed     (some 45 minutes on two cores; --parts gemm: two minutes; --quick: 20 seconds)

Expect: LeNet on drawn digits keeps its accuracy within half a point at some 7 % of the multiply-adds and is 4 times
faster at batch 256. A ResNet-20 of half the usual width on weaves is 18 points better than a ResNet-8; with two blocks
less it is 2.9 points (2.1 to 3.6) better than its baseline, which was trained less, and 0.4 points (-0.2 to 1.0) below
a whole one that was trained as long. Blocks that group lasso on depth makes smallest are better ones to drop than
chance's, by 3.9 points (1.8 to 5.9): some of chance's choices are ruin, others harmless. A product without rows and
columns, of which a tenth of the weights is left, is 8 to 10 times faster than the dense one, one image at a time as the
paper counts, and 5.2 to 6.8 times faster than as many single weights in SciPy's CSR, which pays only where some 15 %
or fewer are kept. Take CSR's weights four at a time and it is 3.1 to 3.6 times; with 64 images at once, where making
the operands ready weighs more, 4.3 and 1.5 times.
Strengths are tuned on validation pictures, under seeds that are not used again; every net is compared with a dense one
that was trained as long, at the same rates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from wirelesslab_sims._sparse_nets import BLOCKS, CSR, WAYS, Case, Product, lenet, product, resnet

from wirelesslab import check
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import Mean, difference, mean
from wirelesslab.session import Session, Table
from wirelesslab.vision.structured_sparsity import ProductShape

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

PARTS = ("lenet", "resnet", "gemm")
SLACK = 0.25  # points of validation accuracy that the chosen strength may cost in the mean; our choice
LAYERS = (  # one image at a time, as Caffe multiplies and the paper counts; and many at once for comparison
    ProductShape(name="LeNet conv 2", filters=50, places=500, pixels=64),
    ProductShape(name="ConvNet conv 2", filters=64, places=1600, pixels=144),
    ProductShape(name="ResNet-20 stage 3", filters=64, places=576, pixels=64),
    ProductShape(name="AlexNet conv 3", filters=384, places=2304, pixels=169),
    ProductShape(name="LeNet conv 2, 64 images", filters=50, places=500, pixels=64 * 64),
)
AT = 0.1  # kept share at which structured and single weights are compared


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is trained and timed.

    Attributes:
        parts: Of "lenet", "resnet" and "gemm".
        replicas: Seeds, each with its own pictures.
        tuning_replicas: Seeds for every strength that is tried.
        lenet_train: Digits to learn from.
        lenet_test: Digits for the last word.
        lenet_passes: Over them: baseline, with group lasso, after the cut.
        lenet_strengths: lambda of filters, tried.
        resnet_train: Weaves to learn from.
        resnet_test: Weaves for the last word.
        resnet_passes: As LeNet's.
        resnet_strengths: lambda of depth, tried.
        blocks: How many are dropped at least, by rank.
        choices: Random choices of as many blocks.
        shares: Of the weights that are kept in matrix products.
        rounds: Interleaved timings, of which the median (nets) or the least (products) is taken.
    """

    parts: tuple[str, ...] = PARTS
    replicas: int = 10
    tuning_replicas: int = 2
    lenet_train: int = 4000
    lenet_test: int = 4000
    lenet_passes: tuple[int, ...] = (10, 10, 8)
    lenet_strengths: tuple[float, ...] = (0.038, 0.048, 0.06)
    resnet_train: int = 4000
    resnet_test: int = 3000
    resnet_passes: tuple[int, ...] = (8, 4, 2)
    resnet_strengths: tuple[float, ...] = (0.02, 0.028)
    blocks: int = 2
    choices: int = 5
    shares: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
    rounds: int = 30

    def __post_init__(self) -> None:
        check.positive_integer(
            replicas=self.replicas, tuning_replicas=self.tuning_replicas, lenet_train=self.lenet_train,
            lenet_test=self.lenet_test, resnet_train=self.resnet_train, resnet_test=self.resnet_test,
            blocks=self.blocks, choices=self.choices, rounds=self.rounds,
        )  # fmt: skip
        for name in self.parts:
            check.one_of(PARTS, parts=name)
        for name, passes in (("lenet_passes", self.lenet_passes), ("resnet_passes", self.resnet_passes)):
            check.array(passes, (3,), "baseline, learning, tuning", name=name)
            check.positive_integer(**{f"{name}[{k}]": count for k, count in enumerate(passes)})


QUICK: Mapping[str, Any] = {
    "parts": ("lenet", "gemm"), "replicas": 2, "tuning_replicas": 1, "lenet_train": 300, "lenet_test": 200,
    "lenet_passes": (3, 3, 2), "lenet_strengths": (0.6,), "shares": (0.02, 0.1, 0.4), "rounds": 3,
}  # fmt: skip


def cases(config: Config) -> dict[str, Case]:
    """Return the trainings by part."""
    made = {}
    for part, rate in (("lenet", 0.02), ("resnet", 0.05)):
        own = {name: getattr(config, f"{part}_{name}") for name in ("train", "test", "strengths", "passes")}
        epochs, learning, tuning = own.pop("passes")
        made[part] = Case(
            epochs=epochs, learning=learning, tuning=tuning, rate=rate, rounds=config.rounds, choices=config.choices,
            least=config.blocks, validation=min(1000, own["train"]), **own,
        )  # fmt: skip
    return {part: case for part, case in made.items() if part in config.parts}


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Tune strengths, train under fresh seeds, time products.

    Returns:
        Variables by part: "lenet ..." and "resnet ..." over `replica` (accuracies in per cent; shares that are left of
        multiply-adds, parameters and bytes; milliseconds for a batch of 1 and 256), with "tuning" over strengths and
        the chosen strength; "gemm ..." over layers, replicas and shares, times faster than dense.
    """
    import xarray as xr

    session = session or Session()
    found: list[xr.Dataset] = []
    for part, case in cases(config).items():
        run = {"lenet": lenet, "resnet": resnet}[part]
        tried = session.replicate(
            run, {part: replace(case, purpose="tuning")}, config.tuning_replicas, name=f"{part}_tuning"
        )
        strength = chosen(tried.isel(experiment=0), case.strengths)
        final = session.replicate(run, {part: replace(case, strengths=(strength,))}, config.replicas, name=part)
        found.append(_named(tried, f"{part} tuning").rename(replica="tuning replica"))
        found.append(_named(final, part).assign({f"{part} strength": strength}))
    if "gemm" in config.parts:
        products = {shape.name: Product(shape=shape, shares=config.shares, rounds=config.rounds) for shape in LAYERS}
        timed = session.replicate(product, products, config.replicas, name="gemm")
        found.append(_named(timed.rename(experiment="layer"), "gemm"))
    result = xr.merge(found, combine_attrs="drop_conflicts")
    return result.assign_attrs({**found[-1].attrs, "shares": list(config.shares)})


def chosen(tried: "xr.Dataset", strengths: tuple[float, ...]) -> float:
    """Return the strength that leaves least, among those that cost no more than `SLACK` in the mean; else the best.

    Of those that leave the same, it is the one that costs least.
    """
    lost = np.asarray((tried["dense_validation"] - tried["validation"]).mean("replica"))
    left = np.asarray(tried["macs_left"].mean("replica"))
    cheap = lost <= max(SLACK, lost.min())
    return strengths[int(np.lexsort((lost, np.where(cheap, left.round(3), np.inf)))[0])]


def _named(result: "xr.Dataset", part: str) -> "xr.Dataset":
    """Return the result of one part, its variables and lists named by it."""
    one = result.isel(experiment=0, drop=True) if "experiment" in result.dims else result
    own = [name for name in (*one.data_vars, *one.dims) if name not in ("replica", "layer")]
    return one.rename({name: f"{part} {name}" for name in own})


def table(result: "xr.Dataset") -> Table:
    """Return what is left, what it costs and how fast it is."""
    rows: list[list[str]] = []
    for name, value in figures(result).items():
        part, _, what = name.partition(": ")
        rows.append([part, what, str(value) if isinstance(value, Mean) else f"{value:.4g}"])
    note = (
        "'Learned blocks' and random ones are taken from one dense net and tuned alike; 'sparse' went through group "
        "lasso. 'CSR' is SciPy's, 'CSR by four' a kernel of ours. "
        f"Means over {result.sizes['replica']} seeds, each with its own pictures, with 95 % intervals (of ratios: "
        "geometric); differences are of pairs, in points of test accuracy. 'Dense' was trained as long as "
        "what it is compared with."
    )
    return Table("Nets that do without filters, blocks or weights", ["part", "figure", "value"], rows, note)


def figures(result: "xr.Dataset") -> dict[str, Mean | float]:
    """Return all figures of merit by name."""
    found: dict[str, Mean | float] = {}
    for part, title in (("lenet", "LeNet, digits"), ("resnet", "ResNet-20, weaves")):
        if f"{part} strength" not in result:
            continue
        one = {
            name.removeprefix(f"{part} "): result[name]
            for name in map(str, result.data_vars)
            if name.startswith(f"{part} ") and "tuning" not in name
        }
        found |= {f"{title}: {what}": value for what, value in _of_net(part, one).items()}
    if "gemm csr" in result:
        shares = np.atleast_1d(result.attrs["shares"])  # a file gives one alone back as a number
        at = int(np.abs(np.log(shares / AT)).argmin())
        kept = f"{100 * shares[at]:.0f} % kept"
        for layer in map(str, result["layer"].values):
            s, g, *csr = (np.asarray(result[f"gemm {way}"].sel(layer=layer))[:, at] for way in WAYS)
            found[f"{layer}: structured, times faster, {kept}"] = _ratio(s)
            found[f"{layer}: with gathering, times faster, {kept}"] = _ratio(g)
            for way, name, c in zip(CSR, ("CSR", "CSR by four"), csr, strict=True):
                pays = result[f"gemm {way}_pays_at"].sel(layer=layer)
                found |= {
                    f"{layer}: {name}, times faster, {kept}": _ratio(c),
                    f"{layer}: structured over {name}, {kept}": _ratio(s / c),
                    f"{layer}: share below which {name} pays": mean(pays),
                }
    return found


def _of_net(part: str, one: Mapping[str, "xr.DataArray"]) -> dict[str, Mean | float]:
    found: dict[str, Mean | float] = {"strength, tuned": float(one["strength"])}
    if part == "resnet":
        random = one["random_accuracies"].mean(one["random_accuracies"].dims[-1])
        found |= {
            "ResNet-8, %": mean(one["shallow_accuracy"]),
            "ResNet-20 minus ResNet-8": difference(one["dense_accuracy"], one["shallow_accuracy"]),
            "blocks dropped": mean(one["dropped"]), "blocks dropped, fewest": float(one["dropped"].min()),
            "blocks with kernels of 0": mean((one["kernel_norms"] == 0).sum(one["kernel_norms"].dims[-1])),
            "learned blocks minus random ones": difference(one["chosen_accuracy"], random),
            "sparse minus random blocks": difference(one["tuned_accuracy"], random),
        }  # fmt: skip
    found |= {
        "dense, %": mean(one["dense_accuracy"]), "baseline, %": mean(one["baseline_accuracy"]),
        "sparse minus dense": difference(one["tuned_accuracy"], one["dense_accuracy"]),
        "sparse minus baseline": difference(one["tuned_accuracy"], one["baseline_accuracy"]),
    }  # fmt: skip
    for what, title in (("macs", "multiply-adds"), ("parameters", "parameters"), ("bytes", "bytes of the file")):
        found[f"{title} left, %"] = mean(100 * one[f"{what}_left"])
    for batch in (1, 256):
        found[f"times faster, batch {batch}"] = _ratio(one[f"dense_ms_{batch}"] / one[f"small_ms_{batch}"])
    if part == "lenet":
        found |= {f"filters left, layer {k + 1}": mean(one["filters"][:, k]) for k in range(2)}
    return found


def _ratio(values: Any) -> Mean:
    """Return the geometric mean of ratios with its interval."""
    logs = mean(np.log(np.asarray(values, float)))
    return Mean(*(float(np.exp(end)) for end in logs[:3]), logs.replicas)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw accuracy differences, which blocks go, and products over the kept share."""
    made = {}
    if "lenet strength" in result or "resnet strength" in result:
        made["accuracy"] = _draw_accuracy(result)
    if "gemm csr" in result:
        made["products"] = _draw_products(result)
    return made


def _draw_accuracy(result: "xr.Dataset") -> "Figure":
    from matplotlib.figure import Figure

    points = [
        (name, value)
        for name, value in figures(result).items()
        if isinstance(value, Mean) and " minus " in name and "ResNet-8" not in name
    ]
    blocks = "resnet strength" in result
    figure = Figure(figsize=(11.5 if blocks else 7, 1.6 + 0.42 * len(points)), layout="constrained")
    left, *rest = np.atleast_1d(figure.subplots(1, 1 + blocks))
    left.axvspan(-0.5, 0, color="0.9", zorder=0)
    left.axvline(0, color="0.6", linewidth=1)
    for place, (name, value) in enumerate(points):
        low, high = (end if np.isfinite(end) else value.value for end in (value.low, value.high))
        left.errorbar(
            value.value, -place, xerr=[[value.value - low], [high - value.value]], marker="o", capsize=3,
            color=COLORS[1 if "random" in name else 0],
        )  # fmt: skip
    left.set_yticks(-np.arange(len(points)), [name.replace(": ", "\n") for name, _ in points], fontsize=8)
    left.set_ylim(0.6 - len(points), 0.6)
    left.set(xlabel="difference in test accuracy (points)")
    left.set_title("Paired, 95 % intervals; grey: half a point lost", fontsize=10)
    left.grid(visible=True, axis="x", color="0.9")
    for axis in rest:
        share = np.asarray(result["resnet block_dropped"].mean("replica"))
        axis.bar(range(len(BLOCKS)), 100 * share, color=COLORS[2])
        axis.set_xticks(range(len(BLOCKS)), [b.replace("stage_", "").replace("_block_", ".") for b in BLOCKS])
        axis.set(xlabel="stage.block; 2.1 and 3.1 have projections", ylabel="dropped (% of seeds)", ylim=(0, 100))
        axis.set_title("Which blocks group lasso drops from a ResNet-20", fontsize=10)
    return figure


def _draw_products(result: "xr.Dataset") -> "Figure":
    from matplotlib.figure import Figure

    layers = [str(layer) for layer in result["layer"].values]
    figure = Figure(figsize=(2.8 * len(layers), 3.4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(layers), sharey=True))
    labels = ("structured", "structured, gathering", "single weights (CSR)", "the same, four at a time")
    for axis, layer in zip(axes, layers, strict=True):
        for place, (name, label) in enumerate(zip(WAYS, labels, strict=True)):
            found = np.asarray(result[f"gemm {name}"].sel(layer=layer))
            kept = 100 * np.asarray(result["gemm kept"].sel(layer=layer).mean("replica"))
            middles = [_ratio(found[:, k]) for k in range(found.shape[1])]
            ends = [np.abs([m.value - m.low, m.high - m.value]) for m in middles]
            axis.errorbar(
                kept, [m.value for m in middles], yerr=np.where(np.isfinite(ends), ends, 0).T, label=label, capsize=2,
                color=COLORS[place], marker=MARKERS[place], markersize=4,
            )  # fmt: skip
        axis.axhline(1, color="0.5", linewidth=1)
        axis.set(xscale="log", yscale="log", xlabel="weights kept (%)", xlim=(0.8, 100), ylim=(0.1, 200))
        axis.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
        axis.set_yticks([0.1, 0.3, 1, 3, 10, 30, 100], ["0.1", "0.3", "1", "3", "10", "30", "100"])
        axis.minorticks_off()
        axis.set_title(layer, fontsize=10)
        axis.grid(visible=True, color="0.9")
    axes[0].set_ylabel("times faster than dense")
    axes[0].legend(fontsize=7, frameon=False, loc="lower left")
    return figure


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return all figures of merit with their intervals."""
    return {n: v._asdict() if isinstance(v, Mean) else v for n, v in figures(result).items()}


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
