"""What `sparsity_speed` trains, cuts and times: LeNet on digits, residual nets on weaves, bare matrix products."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from wirelesslab.rng import stream
from wirelesslab.vision.backbones import Architecture, backbone
from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.data import Data
from wirelesslab.vision.keras_files import export_keras
from wirelesslab.vision.method import State
from wirelesslab.vision.operations import forward_macs
from wirelesslab.vision.structured_sparsity import (
    GroupLasso,
    ProductShape,
    StructuredSparsity,
    csr_pays_at,
    export,
    measure,
    random_products,
)
from wirelesslab.vision.update_rules import UpdateRule
from wirelesslab.vision.worlds.glyphs import Glyphs
from wirelesslab.vision.worlds.weaves import Weaves

Figures = Mapping[str, float | Sequence[float]]
BLOCKS = tuple(f"stage_{stage}_block_{block}" for stage in (1, 2, 3) for block in (1, 2, 3))
DROPPABLE = tuple(block for block in BLOCKS if block not in ("stage_2_block_1", "stage_3_block_1"))  # others project
CSR: tuple[Literal["csr", "csr_by_four"], ...] = ("csr", "csr_by_four")
WAYS = ("structured", "gathered", *CSR)  # of `ProductTimes`, beside the dense one
SLOW = 0.1  # times the rate, in the last quarter of every training


@dataclass(frozen=True, kw_only=True)
class Case:
    """One net with its trainings.

    Attributes:
        train: Pictures to learn from.
        test: Pictures for the last word.
        validation: Pictures for choices.
        epochs: Passes of the baseline.
        learning: Passes with group lasso.
        tuning: Passes after the cut.
        rate: Learning rate of momentum.
        strengths: lambda_g; several are tried one by one.
        purpose: Keeps the seeds of tuning and of the final runs apart.
        rounds: Interleaved timings, of which medians are taken.
        least: Blocks that are dropped in any case, those with the smallest kernels; more, if group lasso made more 0.
        choices: Random choices of blocks that are compared with the learned one.
    """

    train: int
    test: int
    validation: int = 1000
    epochs: int
    learning: int
    tuning: int
    rate: float
    strengths: tuple[float, ...]
    purpose: str = "final"
    rounds: int = 30
    least: int = 2
    choices: int = 5


def lenet(case: Case, seed: int) -> Figures:
    """Teach LeNet digits, make it sparse in filters, export it, tune it; and teach the dense one just as long."""
    own = _begun(case, seed)
    data = Glyphs(
        train=case.train, validation=case.validation, test=case.test, digits=True, warp=0.16
    ).data(own)  # fmt: skip
    net = Classifier(backbone="lenet", update=UpdateRule(rate=case.rate, weight_decay=5e-4), batch_size=64)
    base = _taught(net, net.build(own), data, own, "baseline", case.epochs)
    longer = _taught(net, base, data, own, "learning", case.learning)
    dense = _taught(net, longer, data, own, "tuning", case.tuning)
    if case.purpose == "tuning":
        return _tried(case, net, base, dense, data, own, "filters")
    method = _method(case, net, "filters", case.strengths[0])
    learned = _learned(case, method, base, data, own)
    cut = export(net, method.prune(learned))
    tuned = _taught(cut.classifier, cut.state, data, own, "tuning", case.tuning)
    layers = {layer.name: layer for layer in cut.classifier.model().layers}
    scores = {"baseline": (net, base), "dense": (net, dense), "learned": (net, learned),
              "cut": (cut.classifier, cut.state), "tuned": (cut.classifier, tuned)}  # fmt: skip
    return {
        **{f"{name}_accuracy": _accuracy(*one, data) for name, one in scores.items()},
        "filters": [layers["conv_1"].filters, layers["conv_2"].filters],
        "gap": [c.gap for c in method.cut(learned).cuts],
        **_size_and_speed((net, dense), (cut.classifier, tuned), case.rounds),
    }


def resnet(case: Case, seed: int) -> Figures:
    """Teach residual nets weaves, learn which blocks to drop, and compare with blocks that chance drops."""
    own = _begun(case, seed)
    data = Weaves(train=case.train, validation=case.validation, test=case.test).data(own)
    deep, shallow = _residual("resnet20", case), _residual("resnet8", case)
    base = _taught(deep, deep.build(own), data, own, "baseline", case.epochs)
    longer = _taught(deep, base, data, own, "learning", case.learning)
    dense = _taught(deep, longer, data, own, "tuning", case.tuning)
    if case.purpose == "tuning":
        return _tried(case, deep, base, dense, data, own, "depth")
    small = shallow.build(own)
    for purpose, passes in (("baseline", case.epochs), ("learning", case.learning), ("tuning", case.tuning)):
        small = _taught(shallow, small, data, own, purpose, passes)
    method = _method(case, deep, "depth", case.strengths[0])
    learned = _learned(case, method, base, data, own)
    gone = smallest(learned, case.least)
    cut = export(deep, without(learned, gone))
    tuned = _taught(cut.classifier, cut.state, data, own, "tuning", case.tuning)
    choices = (gone, *_chances(len(gone), gone, case.choices, stream(own, "blocks")))
    after = [_tuned_without(case, deep, longer, blocks, data, own) for blocks in choices]
    after += [float("nan")] * (1 + case.choices - len(after))  # nothing was dropped, so there is nothing to compare
    scores = {"shallow": (shallow, small), "baseline": (deep, base), "dense": (deep, dense), "learned": (deep, learned),
              "tuned": (cut.classifier, tuned)}  # fmt: skip
    return {
        **{f"{name}_accuracy": _accuracy(*one, data) for name, one in scores.items()},
        "dropped": float(len(gone)), "block_dropped": [float(block in gone) for block in BLOCKS],
        "kernel_norms": list(_norms(learned).values()),
        "chosen_accuracy": after[0], "random_accuracies": after[1:],
        **_size_and_speed((deep, dense), (cut.classifier, tuned), case.rounds),
    }  # fmt: skip


def _begun(case: Case, seed: int) -> int:
    """Hold TensorFlow to one thread, so that sums do not depend on cores; return the seed of all randomness."""
    from wirelesslab.tensorflow import use_threads

    use_threads(1)
    return 2 * seed + (case.purpose == "tuning")


def _residual(name: str, case: Case) -> Classifier:
    """Return a residual net of half the usual width."""
    net = Architecture.of(backbone(name, num_classes=8, widths=(8, 16, 32)))
    update = UpdateRule(rate=case.rate, weight_decay=1e-4)
    return Classifier(backbone=net, num_classes=8, update=update, batch_size=32)


def _method(case: Case, net: Classifier, kind: Any, strength: float) -> StructuredSparsity:
    spared = tuple((f"{block}_*", 0.0) for block in BLOCKS if block not in DROPPABLE) if kind == "depth" else ()
    penalties = (GroupLasso(kind=kind, strength=strength, multipliers=spared),)
    # A short training needs the full rate: the authors' tenth of it is for a schedule ten times as long.
    return StructuredSparsity(
        classifier=net, penalties=penalties, mode="proximal", rate_factor=1.0, epochs=case.learning,
        first_share=_passes(case.learning)[0] / case.learning, later_factor=SLOW,
    )  # fmt: skip


def _learned(case: Case, method: StructuredSparsity, base: State, data: Data, own: int) -> State:
    """Return what group lasso makes of a baseline."""
    return method.fit_stage(method.begin(base, method.steps(case.train)), _unjudged(data), own).state


def _tried(case: Case, net: Classifier, base: State, dense: State, data: Data, own: int, kind: str) -> Figures:
    """Return what validation pictures say of each strength, beside the dense net that is trained as long."""
    found: dict[str, list[float]] = {"validation": [], "macs_left": [], "blocks": []}
    whole = sum(forward_macs(net.model()).values())
    for strength in case.strengths:
        method = _method(case, net, kind, strength)
        learned = _learned(case, method, base, data, own)
        pruned = method.prune(learned) if kind == "filters" else without(learned, smallest(learned, case.least))
        cut = export(net, pruned)
        tuned = _taught(cut.classifier, cut.state, data, own, "tuning", case.tuning)
        found["validation"].append(_accuracy(cut.classifier, tuned, data, "validation"))
        found["macs_left"].append(sum(forward_macs(cut.classifier.model()).values()) / whole)
        found["blocks"].append(len(cut.blocks))
    return {"dense_validation": _accuracy(net, dense, data, "validation"), **found}


def _tuned_without(
    case: Case, net: Classifier, state: State, blocks: Sequence[str], data: Data, own: int
) -> float:  # fmt: skip
    """Return the accuracy of a net from which blocks are taken, after tuning."""
    left = export(net, without(state, blocks))
    return _accuracy(left.classifier, _taught(left.classifier, left.state, data, own, "tuning", case.tuning), data)


def _passes(number: int) -> tuple[int, int]:
    """Return how many of so many passes are at the full rate, and how many are slow."""
    slow = round(number / 4) if number > 2 else number // 2
    return number - slow, slow


def _taught(net: Classifier, state: State, data: Data, own: int, purpose: str, passes: int) -> State:
    """Return the state after so many passes; what the optimizer remembered is forgotten first."""
    seeds = stream(own, "order", purpose).integers(2**31, size=2)
    state = state.with_part("optimizer", net.update.memory(state.part("weights")))
    for count, factor, seed in zip(_passes(passes), (1.0, SLOW), seeds, strict=True):
        if count:
            update = replace(net.update, rate=net.update.rate * factor)
            state = replace(net, update=update, epochs=count).fit(state, _unjudged(data), int(seed)).state
    return state


def _unjudged(data: Data) -> Data:
    return replace(data, splits={"train": data.splits["train"]})


def _accuracy(net: Classifier, state: State, data: Data, split: str = "test") -> float:
    """Return the accuracy in per cent."""
    return 100 * net.evaluate(state, data.only(split))["accuracy"]


def without(state: State, blocks: Sequence[str]) -> State:
    """Return a residual net's state in which the branches of blocks say nothing."""

    def part(name: str) -> Mapping[str, Any]:
        gone = {key for key in state.part(name) if key.startswith(tuple(f"{block}_" for block in blocks))}
        return {key: np.zeros_like(a) if key in gone else a for key, a in state.part(name).items()}

    return state.with_part("weights", part("weights")).with_part("statistics", part("statistics"))


def smallest(state: State, least: int) -> tuple[str, ...]:
    """Return the blocks that group lasso makes superfluous: with a kernel that is 0, and at least so many.

    BatchNorm behind a convolution makes a net indifferent to the size of its kernel, and gradients, which turn it but
    do not shorten it, grow as it shrinks: in a training as short as ours kernels do not all come to rest at 0, but far
    apart. So blocks are dropped by rank.
    """
    norms = _norms(state)
    ranked = sorted(DROPPABLE, key=norms.__getitem__)
    return tuple(sorted(ranked[: max(least, sum(norms[block] == 0 for block in ranked))]))


def _norms(state: State) -> dict[str, float]:
    """Return the norm of each block's smaller kernel: a branch is as weak as its weakest convolution."""
    weights = state.part("weights")
    return {
        block: min(float(np.linalg.norm(weights[f"{block}_{layer}_conv/kernel"])) for layer in (1, 2))
        for block in BLOCKS
    }


def _chances(number: int, other_than: Sequence[str], count: int, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Return different random choices of so many blocks, none of them the one that is there; fewer if there are."""
    able = [one for one in combinations(DROPPABLE, number) if set(one) != set(other_than)]
    return [able[place] for place in rng.permutation(len(able))[:count]]


# --- size and speed ---


def _size_and_speed(large: tuple[Classifier, State], small: tuple[Classifier, State], rounds: int) -> Figures:
    """Return multiply-adds, parameters and bytes that are left, as shares, and milliseconds of both nets."""
    nets = {"dense": large, "small": small}
    sizes = [
        (sum(forward_macs(net.model()).values()), sum(w.size for w in state.part("weights").values()))
        for net, state in nets.values()
    ]
    with TemporaryDirectory() as folder:
        paths = {name: export_keras(Path(folder) / f"{name}.keras", *one) for name, one in nets.items()}
        weight = [path.stat().st_size for path in paths.values()]
        times = measure(paths, (1, 256), runs=rounds)
    return {
        "macs_left": sizes[1][0] / sizes[0][0], "parameters_left": sizes[1][1] / sizes[0][1],
        "bytes_left": weight[1] / weight[0],
        **{f"{name}_ms_{one.batch}": 1e3 * one.seconds[name] for one in times for name in nets},
    }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Product:
    """One layer's matrix product, at several shares of kept weights.

    Attributes:
        shape: Of the layer.
        shares: Of the weights, that are kept.
        rounds: Interleaved timings, of which the least is taken.
    """

    shape: ProductShape
    shares: tuple[float, ...]
    rounds: int


def product(case: Product, seed: int) -> Figures:
    """Return how many times faster than dense a product is without rows and columns, and as single weights (CSR)."""
    times = [random_products(case.shape, share, seed, case.rounds) for share in case.shares]
    faster = {way: [t.dense / getattr(t, way) for t in times] for way in WAYS}
    pays = {f"{way}_pays_at": csr_pays_at(case.shares, times, way) for way in CSR}
    return {**faster, "kept": [t.kept for t in times], **pays}
