"""What `rare_classes` trains: segmenters of scenes and rooms, with center collapse, without, and by its rivals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.vision.data import Data
from wirelesslab.vision.keras_files import export_keras
from wirelesslab.vision.neural_collapse.collapse import CenterCollapse
from wirelesslab.vision.schedules import Schedule
from wirelesslab.vision.segmentation import Segmenter
from wirelesslab.vision.segmentation_losses import (
    CrossEntropy,
    Dice,
    Focal,
    LogitAdjusted,
    Lovasz,
    WeightedCrossEntropy,
)
from wirelesslab.vision.update_rules import UpdateRule
from wirelesslab.vision.worlds.point_scenes import PointScenes
from wirelesslab.vision.worlds.scenes import Scenes

Figures = Mapping[str, float | Sequence[float]]
GROUPS = ("mIoU", "head mIoU", "common mIoU", "tail mIoU", "pixel accuracy")
GEOMETRY = ("NC1", "NC2 norms", "NC2 cosines", "ETF deviation", "NC3")
SHOWN = 4  # pictures whose masks are kept
METHODS: Mapping[str, tuple[str, tuple[float, ...]]] = {  # a parameter of each, and what is tried; as many for all
    "center collapse": ("weight", (0.05, 0.1, 0.3, 1.0)),
    "weighted": ("power", (0.25, 0.35, 0.5, 1.0)),
    "focal": ("gamma", (0.5, 1.0, 1.5, 2.0)),
    "logit adjusted": ("tau", (0.25, 0.35, 0.5, 1.0)),
    "dice": ("cross_entropy", (0.03, 0.1, 0.3, 1.0)),
    "lovasz": ("cross_entropy", (0.03, 0.1, 0.3, 1.0)),
}
ABLATIONS: Mapping[str, Mapping[str, Any]] = {  # of center collapse, at its weight
    "prior off": {"prior": None},
    "learned classifier": {"classifier": "learned"},
    "frozen projection": {"projection": "frozen_random"},
    "learned projection": {"projection": "learned"},
}
# Center collapse beside the loss of another method, which has its own chosen value: what is tried of the weight; where
# nothing is, it is what center collapse has alone.
TOGETHER: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "collapse and weights": ("weighted", ()), "collapse and dice": ("dice", (0.01, 0.03, 0.1, 0.3)),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training.

    Attributes:
        net: "unet", "deeplab" or "points".
        method: "cross entropy", one of `METHODS` or of `ABLATIONS`, or `TOGETHER`.
        value: Of the method's parameter; of center collapse's weight in `TOGETHER`.
        steps: Of training.
        rate: Of Adam at its beginning; it falls along half a cosine.
        train: Pictures (or rooms) to learn from.
        validation: Pictures for choices.
        test: Pictures for the last word.
        purpose: Keeps the seeds of tuning and of the final runs apart.
        other: Of the parameter of the loss beside it in `TOGETHER`.
    """

    net: Any
    method: str
    value: float
    steps: int
    rate: float
    train: int
    validation: int
    test: int
    purpose: str = "final"
    other: float = 0.0


def trained(case: Case, seed: int) -> Figures:
    """Train once; judge on validation pictures when tuning, else on test pictures, in per cent.

    With the scores come the geometry of the judged pictures' features, what an export weighs, and the masks that are
    said of a few pictures which are the same for all seeds.
    """
    from wirelesslab.tensorflow import use_threads

    use_threads(1)  # so that sums do not depend on the machine's cores
    own = 2 * seed + (case.purpose == "tuning")
    data = world(case.net, case.train, case.validation, case.test, own)
    method = segmenter(case, data)
    state = method.fit(method.build(own), Data(
        data.images, data.labels, data.classes, {"train": data.splits["train"]}, data.value_range, data.truth,
    ), own).state  # fmt: skip
    judged = data.only("validation" if case.purpose == "tuning" else "test")
    scores = method.evaluate(state, judged)
    found: dict[str, float | Sequence[float]] = {name: 100 * scores[name] for name in GROUPS}
    found["IoU"] = [100 * scores[f"IoU {name}"] for name in data.classes]
    if case.purpose == "tuning":
        return found
    found |= method.geometry(state, judged).scores()
    masks = method.predict(state, shown(case.net).images)
    return {**found, **exported(method, state), "masks": masks.ravel().tolist()}


def segmenter(case: Case, data: Data) -> Segmenter:
    """Return what learns in a case."""
    losses: dict[str, Any] = {
        "weighted": WeightedCrossEntropy, "focal": Focal, "logit adjusted": LogitAdjusted, "dice": Dice,
        "lovasz": Lovasz,
    }  # fmt: skip
    name, value = (TOGETHER[case.method][0], case.other) if case.method in TOGETHER else (case.method, case.value)
    loss = losses[name](**{METHODS[name][0]: value}) if name in losses else CrossEntropy()
    collapse = None
    if case.method in ("center collapse", *TOGETHER, *ABLATIONS):
        collapse = CenterCollapse(weight=case.value, **ABLATIONS.get(case.method, {}))
    return Segmenter(
        net=case.net, num_classes=data.num_classes, shape=tuple(data.images.shape[1:]), loss=loss, collapse=collapse,
        update=UpdateRule(rule="adam", rate=case.rate), schedule=Schedule(kind="cosine"), steps=case.steps,
    )  # fmt: skip


@lru_cache(maxsize=1)  # the trainings of a seed follow one another
def world(net: str, train: int, validation: int, test: int, seed: int) -> Data:
    """Return the pictures (or rooms) of a seed."""
    made = PointScenes if net == "points" else Scenes
    return made(train=train, validation=validation, test=test).data(seed)


@lru_cache(maxsize=2)
def shown(net: str) -> Data:
    """Return the pictures whose masks are kept: of a world of their own, the first with two classes of the tail."""
    data = (PointScenes if net == "points" else Scenes)(train=0, validation=0, test=400).data(0)
    masks = data.truth["pixel_labels"]
    tail = range(data.num_classes - 4, data.num_classes)
    kinds = sum((masks == k).any(axis=(1, 2)).astype(int) for k in tail)
    return data.at(np.flatnonzero(np.asarray(kinds) >= 2)[:SHOWN])


def exported(method: Segmenter, state: Any) -> Figures:
    """Return what a download of the net is: a number that stands for its graph, its weights, and the file's bytes."""
    with TemporaryDirectory() as folder:
        path = export_keras(Path(folder) / "net.keras", method, state)
        size = path.stat().st_size
    model = method.model(state)
    graph = int(sha256(model.to_json().encode()).hexdigest()[:12], 16)  # fits a float exactly
    return {"graph": float(graph), "weights": float(model.count_params()), "file_bytes": float(size)}


def masks_of(values: Any, net: str) -> NDArray[np.uint8]:
    """Return kept masks, shape (pictures, h, w)."""
    return np.asarray(values, np.uint8).reshape(shown(net).images.shape[:3])
