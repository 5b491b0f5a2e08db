"""P3DC-Shot as a service: backbone and prior travel once, as real files; new classes are learned on the device.

A release has two parts: the backbone as Keras' own file, and what the rule keeps of base classes (of `P3DC` the
prototypes, C x d values of single precision) as a file of arrays. They travel in one frame that names them. Whoever has
an older release gets the parts that differ alone: a new prior without the backbone. Shots and queries never leave the
device, so that a further episode sends nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import array_files, check
from wirelesslab.services.delivery_files import Release
from wirelesslab.services.inference_images import EncodedImages
from wirelesslab.services.inference_models import OPERATIONS_PER_MAC, ServedModel
from wirelesslab.vision.data import Data
from wirelesslab.vision.few_shot.episodes import Drawn
from wirelesslab.vision.few_shot.learning import FewShot, decision_macs, shot_macs
from wirelesslab.vision.few_shot.rules import Prior, Rule
from wirelesslab.vision.keras_files import export_keras, import_keras
from wirelesslab.vision.method import Array, State
from wirelesslab.vision.operations import forward_macs

BACKBONE, PRIOR = "backbone.keras", "prior.npz"  # names of files and of parts
FORMAT = "wirelesslab few-shot prior 1"


def write_files(folder: Path, method: FewShot, state: State) -> Path:
    """Write backbone and prior of a fitted state into a folder, and return it."""
    export_keras(folder / BACKBONE, method, state)
    return write_prior(folder, method.prior(state))


def write_prior(folder: Path, prior: Prior) -> Path:
    """Write a prior in single precision into a folder, beside a backbone that stays as it is; return the folder."""
    arrays = {name: np.asarray(array, np.float32) for name, array in prior.items()}
    array_files.write_one(folder / PRIOR, arrays, {"format": FORMAT})
    return folder


def release_of(name: str, version: str, folder: Path) -> Release:
    """Return a release of the two files in a folder, each a part, to the byte.

    Raises:
        FileNotFoundError: One is missing.
    """
    for part in (BACKBONE, PRIOR):
        if not (folder / part).is_file():
            msg = f"release: no file {folder / part}; write it first with services.few_shots.write_files"
            raise FileNotFoundError(msg)
    return Release(name, version, {part: (folder / part).read_bytes() for part in (BACKBONE, PRIOR)})


@dataclass(frozen=True, eq=False)
class FewShotDevice:
    """What a device does with a release that came: it learns new classes from a few pictures, and answers.

    Attributes:
        net: The Keras backbone, from pictures to features.
        prior: What the rule keeps of base classes.
        rule: How shots are calibrated; it comes with the application, as code does.
    """

    net: Any
    prior: Prior
    rule: Rule

    @classmethod
    def of(cls, release: Release, rule: Rule, folder: Path) -> "FewShotDevice":
        """Return the device that has a release.

        Args:
            release: That came, such as `Delivery.held_release` gives.
            rule: The method's.
            folder: Where the device keeps its files.

        Raises:
            ValueError: It has other parts.
            WeightFileError: A file is damaged, or could run code.
        """
        if set(release.parts) != {BACKBONE, PRIOR}:
            msg = f"release: got parts {sorted(release.parts)}, expected {[BACKBONE, PRIOR]}"
            raise ValueError(msg)
        for name, content in release.parts.items():
            array_files.replace(folder / name, content)
        return cls(import_keras(folder / BACKBONE), array_files.read_one(folder / PRIOR, FORMAT).arrays, rule)

    def features(self, images: Array) -> Array:
        """Return features of pictures, shape (n, d)."""
        return np.asarray(self.net(images, training=False))

    def answers(self, data: Data, drawn: Drawn) -> NDArray[np.int64]:
        """Return what it answers in each episode: labels of the data, shape (episodes, ways * queries).

        Each episode's shots are calibrated alone, and forgotten when the next begins.
        """
        features = self.features(data.images)
        chosen = self.rule.calibrate(self.prior, drawn.support(features)).predict(drawn.queries(features))
        return np.take_along_axis(drawn.classes, chosen, axis=1)

    def query_macs(self, drawn: Drawn) -> int:
        """Return multiply-adds of one answer: features, shots calibrated anew, and the decision.

        Features of shots are taken once in an episode, when the shots are shown; they are no part of an answer.
        """
        ways, shots = drawn.episodes.ways, drawn.episodes.shots
        anew = ways * shots * shot_macs(self.rule, self.prior)
        decided = decision_macs(ways, shots, int(self.net.output.shape[-1]))
        return sum(forward_macs(self.net).values()) + anew + decided


def served_episodes(
    device: FewShotDevice, data: Data, drawn: Drawn, *, name: str = "few-shot", accuracy: float = float("nan")
) -> tuple[ServedModel, EncodedImages]:
    """Return a model that devices answer with, and its pictures: the queries of all episodes, one after another.

    Query q of episode e is picture e * ways * queries + q of the service. What the device says of each it has really
    said. For `AlwaysDevice`: only a device that has shots can answer, and it sees its pictures as they are, so the
    encoded ones only say what they would take on a way that they do not go.

    Args:
        device: That has what came.
        data: Pictures of new classes.
        drawn: Episodes among them.
        name: Of the model, under which its release is delivered.
        accuracy: On classes kept for choices.

    Raises:
        ValueError: Episodes were drawn among other pictures.
    """
    if not np.array_equal(data.labels[drawn.places], np.broadcast_to(drawn.classes[..., None], drawn.places.shape)):
        msg = "drawn: its pictures have other classes in data than when episodes were drawn; draw among data.labels"
        raise ValueError(msg)
    places = drawn.places[:, :, drawn.episodes.shots :].ravel()
    check.positive_integer(queries=len(places))
    said = device.answers(data, drawn).ravel()
    right = said == data.labels[places]
    operations = OPERATIONS_PER_MAC * device.query_macs(drawn)
    return ServedModel.of_answers(name, list(said), right, operations, accuracy), EncodedImages.of(data.at(places))
