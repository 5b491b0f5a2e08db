"""Where the pixels of each class lie on average, in a mini-batch: all that the center collapse loss looks at.

TensorFlow functions, to be traced. Sums are of float32 whatever features are; classes without a pixel have count 0.
"""

from typing import Any, Literal

from wirelesslab.vision.segmentation_metrics import IGNORED

Matching = Literal["features", "labels"]
MATCHINGS = ("features", "labels")


def matched(features: Any, labels: Any, resize: Matching = "features") -> tuple[Any, Any]:
    """Return features and labels of one size.

    Args:
        features: Shape (n, h, w, d).
        labels: Whole numbers, shape (n, H, W).
        resize: "features": up to the labels' size, bilinear between pixel centres; "labels": down to the features'
            size, each the label of the pixel nearest to the centre (the later one of two).
    """
    from wirelesslab.tensorflow import tf

    h, w, rows, columns = features.shape[1], features.shape[2], labels.shape[1], labels.shape[2]
    if (h, w) == (rows, columns):
        return features, labels
    if resize == "features":
        return tf.image.resize(features, (rows, columns)), labels
    kept = [[(2 * i + 1) * many // (2 * few) for i in range(few)] for few, many in ((h, rows), (w, columns))]
    return features, tf.gather(tf.gather(labels, kept[0], axis=1), kept[1], axis=2)


def class_centers(features: Any, labels: Any, num_classes: int, resize: Matching = "features") -> tuple[Any, Any]:
    """Return the mean feature of each class over all labelled pixels of the batch, and how many pixels that are.

    Args:
        features: Shape (n, h, w, d), of any float type.
        labels: 0 to K - 1 or `IGNORED`, shape (n, H, W).
        num_classes: K.
        resize: What gives way where sizes differ, see `matched`.

    Returns:
        Centers, float32, shape (K, d), zeros for absent classes; and counts, float32, shape (K,). A pixel's feature
        gets 1 / count of its class's slope.
    """
    from wirelesslab.tensorflow import tf

    features, labels = matched(features, labels, resize)
    flat = tf.reshape(tf.cast(features, tf.float32), (-1, features.shape[-1]))
    known = tf.reshape(labels, (-1,))
    places = tf.where(known == IGNORED, -1, tf.cast(known, tf.int32))  # a segment below 0 is dropped
    sums = tf.math.unsorted_segment_sum(flat, places, num_classes)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(places, tf.float32), places, num_classes)
    return sums / tf.maximum(counts, 1.0)[:, None], counts
