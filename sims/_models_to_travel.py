"""LeNet, dense and with filters and units learned away, as files and what they say of test images: a sim's models."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wirelesslab.services import EncodedImages, Release, ServedModel
from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.data import Data
from wirelesslab.vision.datasets import digits
from wirelesslab.vision.keras_files import export_keras
from wirelesslab.vision.method import State
from wirelesslab.vision.structured_sparsity import GroupLasso, StructuredSparsity, export
from wirelesslab.vision.update_rules import UpdateRule

SIDE = 28
DENSE = "dense"


@dataclass(frozen=True, eq=False)
class Trained:
    """A model that can travel and answer.

    Attributes:
        served: What it says, and what that costs.
        release: Its ``.keras`` file.
        num_parameters: Weights and biases.
    """

    served: ServedModel
    release: Release
    num_parameters: int

    @property
    def num_bytes(self) -> int:
        """Length of its file."""
        return len(self.release.content())


def train_models(
    seed: int, *, epochs: int, sparse_epochs: int, strengths: Sequence[float]
) -> tuple[EncodedImages, list[Trained]]:
    """Train a dense LeNet and, from it, a sparse one for each strength; every seed draws its own split of the digits.

    Returns:
        The test images, encoded, and the models: "dense", then "sparse 0.1" and so on, by strength.
    """
    data = digits(seed, side=SIDE)
    images = EncodedImages.of(data.only("test"))
    method = Classifier(backbone="lenet", epochs=epochs, update=UpdateRule(rule="momentum", rate=0.01))
    dense = method.fit(method.build(seed), data, seed).state
    found = [card(DENSE, method, dense, data, images)]
    for strength in strengths:
        learner = StructuredSparsity(
            classifier=method, mode="proximal", epochs=sparse_epochs, tuning_epochs=max(1, sparse_epochs // 2),
            penalties=(GroupLasso(kind="filters", strength=strength, dense=True, multipliers=(("conv_*", 0.6),)),),
            rate_factor=1.0,
        )  # fmt: skip
        state = learner.begin(dense, learner.steps(len(data.only("train"))))
        small = export(method, learner.fit(state, data, seed).state)
        found.append(card(f"sparse {strength:g}", small.classifier, small.state, data, images))
    return images, found


def card(name: str, method: Classifier, state: State, data: Data, images: EncodedImages) -> Trained:
    """Return a trained net as a file and as a served model; what a policy knows of it is from validation images."""
    accuracy: Any = method.evaluate(state, data.only("validation"))["accuracy"]
    served = ServedModel.of(method, state, data.only("test"), images, name=name, accuracy=float(accuracy))
    with tempfile.TemporaryDirectory() as folder:
        release = Release.of_file(name, "1", export_keras(Path(folder) / "model.keras", method, state))
    return Trained(served, release, sum(array.size for array in state.part("weights").values()))
