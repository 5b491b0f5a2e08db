r"""Center collapse: class centers of a mini-batch are pulled to the corners of a fixed simplex.

$L = L_{pixel} + \lambda L_{CR}$ with, over the classes $k$ that are in the batch,
$L_{CR} = -\mathrm{mean}_k \log \mathrm{softmax}_k(s\,\bar z_k^\top W + \log\pi)$, where $\bar z_k$ is the mean feature
of the pixels of class $k$ and $W$ a simplex equiangular tight frame. Every class that is there weighs the same, however
few its pixels: $\partial L/\partial z_i = \frac1{n_k}\,\partial L/\partial\bar z_k$. The branch is for training alone.

References:
    Zhong et al., "Understanding imbalanced semantic segmentation through neural collapse", CVPR 2023. The form with
    normalised centers, scale 5 and a prior is that of the authors' partial release for ADE20K.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.neural_collapse.centers import MATCHINGS, Matching, class_centers
from wirelesslab.vision.neural_collapse.simplex import simplex_etf
from wirelesslab.vision.segmentation_losses import Counted, log_prior

PRIORS = (None, "image", "pixel")
PROJECTIONS = (None, "frozen_random", "learned")
CLASSIFIERS = ("etf", "learned")


@dataclass(frozen=True, kw_only=True)
class CenterCollapse:
    """The regularizer of class centers, and its ablations.

    The paper's form is ``CenterCollapse(normalize=False, scale=1.0, prior=None)``. "frozen_random" is our reading of
    the released branch without its reduction, BatchNorm and dropout: one random layer with ReLU that nobody trains.

    Attributes:
        weight: lambda, times this loss beside the pixels'. The release has 0.8 and 0.2 for large nets and 150
            classes; the default is our choice, on validation pictures of scenes, where 0.4 cost the head some 0.6
            points of IoU and 0.1 at most 0.3.
        scale: s, times the centers' scores.
        normalize: Whether centers are brought to length 1.
        prior: Whose logarithm is added to the scores, of the training split: "image": shares of images that hold a
            class; "pixel": shares of pixels; None: nothing.
        projection: What is between centers and W: None: nothing; "frozen_random"; "learned": a linear map, for
            features of fewer than K - 1 dimensions.
        width: Dimensions after a projection; when None, 4 times the features' for "frozen_random" (the release goes
            from 128 to 512) and the larger of K - 1 and theirs for "learned".
        smooth: Target of a center's own class; the others share the rest. 1 smooths nothing (our reading of the
            release's word).
        classifier: "etf": the fixed simplex; "learned": a linear layer of K columns that start at random directions
            (the ablation).
        resize: What gives way where features are smaller than labels: "features" are enlarged, bilinear, or "labels"
            reduced to the nearest pixel.
        seed: Of simplex and frozen projection, which are the same in every training.
    """

    weight: float = 0.1
    scale: float = 5.0
    normalize: bool = True
    prior: Literal["image", "pixel"] | None = "image"
    projection: Literal["frozen_random", "learned"] | None = None
    width: int | None = None
    smooth: float = 1.0
    classifier: Literal["etf", "learned"] = "etf"
    resize: Matching = "features"
    seed: int = 0

    def __post_init__(self) -> None:
        check.within(0, 1e6, weight=self.weight)
        check.positive(scale=self.scale)
        check.probability(smooth=self.smooth)
        for name, choices in (("prior", PRIORS), ("projection", PROJECTIONS)):
            if getattr(self, name) is not None:
                check.one_of([c for c in choices if c is not None], **{name: getattr(self, name)})
        check.one_of(CLASSIFIERS, classifier=self.classifier)
        check.one_of(MATCHINGS, resize=self.resize)
        if self.width is not None:
            check.positive_integer(width=self.width)
            if self.projection is None:
                msg = f"width: got {self.width} without a projection, expected None; give projection='learned'"
                raise ValueError(msg)

    @property
    def needs_counts(self) -> bool:
        """Whether pixels and images of each class in the training split must be known."""
        return self.prior is not None

    def check_fits(self, dimension: int, num_classes: int) -> None:
        """Refuse features in which K corners cannot lie.

        Raises:
            ValueError: d < K - 1 before the simplex, or a single class.
        """
        if self.classifier == "etf":
            simplex_etf(self.out_width(dimension, num_classes), num_classes, self.seed)

    def out_width(self, dimension: int, num_classes: int) -> int:
        """Return the dimensions in which centers meet the classifier."""
        if self.projection is None:
            return dimension
        usual = 4 * dimension if self.projection == "frozen_random" else max(dimension, num_classes - 1)
        return self.width or usual

    def learned(self, dimension: int, num_classes: int, seed: int) -> dict[str, NDArray[np.float32]]:
        """Return what the branch learns, as it begins: "projection" (d, width), "classifier" (width, K), or nothing.

        Args:
            dimension: d, of features.
            num_classes: K.
            seed: Of the training's initial weights.
        """
        width = self.out_width(dimension, num_classes)
        found = {}
        if self.projection == "learned":
            drawn = stream(seed, "branch", "projection").standard_normal((dimension, width))
            found["projection"] = (drawn / np.sqrt(dimension)).astype(np.float32)
        if self.classifier == "learned":
            drawn = stream(seed, "branch", "classifier").standard_normal((width, num_classes))
            found["classifier"] = (drawn / np.linalg.norm(drawn, axis=0)).astype(np.float32)
        return found

    def fixed(self, dimension: int, num_classes: int) -> dict[str, NDArray[np.float32]]:
        """Return what nobody learns, by the same names: it follows from the settings and is in no state."""
        width = self.out_width(dimension, num_classes)
        found = {}
        if self.projection == "frozen_random":
            drawn = stream(self.seed, "branch", "frozen").standard_normal((dimension, width))
            found["projection"] = (drawn * np.sqrt(2 / dimension)).astype(np.float32)
        if self.classifier == "etf":
            found["classifier"] = simplex_etf(width, num_classes, self.seed).astype(np.float32)
        return found

    def loss(self, features: Any, labels: Any, parts: dict[str, Any], counts: Counted) -> Any:
        """Return the weighted loss of a batch, a scalar of TensorFlow; 0 where no pixel is labelled.

        Args:
            features: Shape (n, h, w, d).
            labels: Shape (n, H, W), 0 to K - 1 or `IGNORED`.
            parts: "classifier" and, if there is one, "projection": `fixed` and what `learned` became.
            counts: Of the training split; not looked at without a prior.
        """
        centers, there = class_centers(features, labels, parts["classifier"].shape[-1], self.resize)
        return self.weight * self.center_loss(centers, there, parts, counts)

    def center_loss(self, centers: Any, there: Any, parts: dict[str, Any], counts: Counted) -> Any:
        """Return the loss without its weight.

        Args:
            centers: Shape (K, d).
            there: Shape (K,); classes of 0 are left out.
            parts: As in `loss`.
            counts: As in `loss`.
        """
        from wirelesslab.tensorflow import tf

        if "projection" in parts:
            centers = tf.matmul(centers, parts["projection"])
            if self.projection == "frozen_random":
                centers = tf.nn.relu(centers)
        if self.normalize:
            centers = tf.math.l2_normalize(centers, axis=-1)  # of an absent class 0, with no slope
        scores = self.scale * tf.matmul(centers, parts["classifier"])
        if self.prior is not None:
            scores += log_prior(counts.images if self.prior == "image" else counts.pixels)
        num = scores.shape[-1]
        targets = tf.eye(num) * self.smooth + (1 - tf.eye(num)) * ((1 - self.smooth) / (num - 1))
        nats = tf.nn.softmax_cross_entropy_with_logits(targets, scores)
        present = tf.cast(there > 0, tf.float32)
        return tf.reduce_sum(nats * present) / tf.maximum(tf.reduce_sum(present), 1.0)

    def macs(self, dimension: int, num_classes: int, pixels: int) -> tuple[int, int]:
        """Return multiply-adds forward, of one image (sums of its pixels) and of one batch (what centers meet)."""
        width = self.out_width(dimension, num_classes)
        projected = num_classes * dimension * width if self.projection else 0
        return pixels * dimension, projected + num_classes * width * num_classes
