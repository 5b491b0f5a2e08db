"""Who learns from which images: shards that part a training set among workers, every image once.

`crews.shards_of` deals shards of one size and leaves a remainder to nobody, which synchronous training wants; here
sizes follow from the law, as studies of learning from uneven data draw them.

References:
    Hsu, Qi and Brown, "Measuring the effects of non-identical data distribution for federated visual classification",
    2019 (a Dirichlet law for each worker's classes); Li et al., "Federated learning on non-IID data silos: an
    experimental study", ICDE 2022 (each class dealt to the workers by a Dirichlet law, which is the form used here).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.rng import stream

Places = NDArray[np.int64]


def iid(num: int, workers: int, seed: int) -> list[Places]:
    """Return each worker's places, drawn without regard to classes; sizes differ by one at most.

    Args:
        num: How many images there are.
        workers: How many shards.
        seed: Of the draw.

    Raises:
        ValueError: There are fewer images than workers.
    """
    check.positive_integer(workers=workers)
    check.non_negative_integer(num=num)
    shards = [np.sort(part) for part in np.array_split(stream(seed, "shards", "iid").permutation(num), workers)]
    return _not_empty(shards, "take fewer workers")


def dirichlet(labels: ArrayLike, workers: int, alpha: float, seed: int, *, least: int = 1) -> list[Places]:
    """Return each worker's places: every class is dealt to the workers in shares of a Dirichlet(alpha, ..., alpha) law.

    Args:
        labels: Shape (n,).
        workers: How many shards.
        alpha: 100 is nearly even; 0.1 gives most classes to one or two workers. Sizes become uneven too.
        seed: Of the draw.
        least: Images that a shard must have, such as a batch.

    Raises:
        ValueError: A shard would be smaller than `least`: with an alpha this low, a worker may get nothing.
    """
    check.positive_integer(workers=workers, least=least)
    check.positive(alpha=alpha)
    known = check.array(labels, (None,), "n", name="labels")
    dealt: list[list[Places]] = [[] for _ in range(workers)]
    for label in np.unique(known):
        rng = stream(seed, "shards", "dirichlet", int(label))
        places = rng.permutation(np.flatnonzero(known == label))
        shares = rng.dirichlet(np.full(workers, alpha))
        ends = np.rint(np.cumsum(shares)[:-1] * len(places)).astype(int)
        for worker, part in enumerate(np.split(places, ends)):
            dealt[worker].append(part)
    shards = [np.sort(np.concatenate([np.zeros(0, np.int64), *parts])) for parts in dealt]
    return _not_empty(shards, f"raise alpha above {alpha:g}, take fewer workers, or another seed", least)


def class_skew(labels: ArrayLike, shards: Sequence[Places]) -> list[float]:
    """Return each shard's total variation distance from the whole's mix of classes: 0 alike, towards 1 apart.

    Examples:
        >>> class_skew([0, 0, 1, 1], [np.array([0, 2]), np.array([1]), np.array([3])])
        [0.0, 0.5, 0.5]
    """
    known = np.asarray(labels)
    size = int(known.max()) + 1
    whole = np.bincount(known, minlength=size) / len(known)
    return [float(np.abs(np.bincount(known[shard], minlength=size) / len(shard) - whole).sum() / 2) for shard in shards]


def _not_empty(shards: list[Places], mend: str, least: int = 1) -> list[Places]:
    sizes = [len(shard) for shard in shards]
    if min(sizes) < least:
        msg = f"shards: worker {int(np.argmin(sizes))} of {len(shards)} would get {min(sizes)} of {sum(sizes)} images, "
        msg += f"expected at least {least}; {mend}"
        raise ValueError(msg)
    return shards
