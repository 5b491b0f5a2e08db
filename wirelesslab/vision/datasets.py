"""Data that needs no download: scikit-learn's digits."""

from dataclasses import replace

import numpy as np

from wirelesslab import check
from wirelesslab.vision.data import Data


def digits(seed: int, *, side: int = 8, validation: float = 0.2, test: float = 0.2) -> Data:
    """Return scikit-learn's 1,797 handwritten digits in [0, 1], split by `seed`.

    Args:
        seed: Of the split; another seed redraws it.
        side: Pixels, 8 as they are; larger ones are linearly interpolated, such as 28 for LeNet.
        validation: Share of images for choices.
        test: Share of images for the last word.

    Raises:
        ImportError: scikit-learn is not there.
    """
    check.positive_integer(side=side)
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        msg = "digits: scikit-learn is not installed; pip install 'wirelesslab[vision]'"
        raise ImportError(msg) from error
    loaded = load_digits()
    images = (loaded.images / 16).astype(np.float32)[..., None]
    data = Data(images, loaded.target.astype(np.int64), tuple("0123456789"), name="digits")
    data = data.split(seed, validation=validation, test=test)  # before resizing: a split does not depend on the side
    if side == 8:
        return data
    place = np.clip((np.arange(side) + 0.5) * 8 / side - 0.5, 0, 7)
    low = np.minimum(place.astype(int), 6)
    share = (place - low).astype(np.float32)
    matrix = np.zeros((side, 8), np.float32)
    matrix[np.arange(side), low] = 1 - share
    matrix[np.arange(side), low + 1] = share
    larger = np.einsum("ia,nabc,jb->nijc", matrix, images, matrix, optimize=True)
    return replace(data, images=np.clip(larger, 0, 1).astype(np.float32))
