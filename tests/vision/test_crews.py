"""Crews: splits never overlap, shards are equal, and a crew that shares its state trains as one that does not."""

import numpy as np
import pytest

from wirelesslab.vision.crews import crew_of, digits, shards_of, train_alike
from wirelesslab.vision.parallel import train_in_one_process
from wirelesslab.vision.plain_nets import DIGITS
from wirelesslab.vision.wires import SignSGD, Ternary


def test_every_seed_divides_the_digits_anew_and_no_image_is_in_two_parts():
    first, second = digits(1), digits(2)
    assert [len(part) for part in first.values()] == [1077, 360, 360]
    assert not np.array_equal(first["test"].labels, second["test"].labels)
    whole = np.concatenate([part.images.reshape(len(part), -1) for part in first.values()])
    again = np.concatenate([part.images.reshape(len(part), -1) for part in second.values()])
    np.testing.assert_array_equal(np.unique(whole, axis=0), np.unique(again, axis=0))
    assert len(np.unique(whole, axis=0)) == 1797  # and so no image twice


def test_lenet_sees_the_same_digits_larger():
    small, large = digits(3)["test"], digits(3, side=28)["test"]
    assert large.images.shape == (360, 28, 28, 1)
    np.testing.assert_array_equal(large.images[:, 3:27:3, 3:27:3], small.images)
    assert not large.images[:, :2].any()


@pytest.mark.parametrize("concentration", [None, 0.1, 10.0])
def test_shards_are_equal_and_disjoint(concentration):
    labels = digits(1)["train"].labels
    shards = shards_of(labels, 8, 5, concentration)
    assert {len(shard) for shard in shards} == {1077 // 8}
    assert len(np.unique(np.concatenate(shards))) == 8 * (1077 // 8)


def test_a_low_concentration_gives_every_worker_few_classes():
    labels = digits(1)["train"].labels

    def largest_class(concentration):
        shards = shards_of(labels, 8, 5, concentration)
        return np.mean([np.bincount(labels[s], minlength=10).max() / len(s) for s in shards])

    assert largest_class(None) < 0.2
    assert largest_class(0.1) > 0.5


@pytest.mark.parametrize("wire", [Ternary(), SignSGD()], ids=["ternary", "signs"])
def test_sharing_the_state_changes_no_bit(wire):
    train = digits(1)["train"]
    one, other = (crew_of(DIGITS, wire, train, workers=4, batch=32, seed=7) for _ in range(2))
    train_in_one_process(one, 12)
    train_alike(other, 12)
    assert {r.weights() for r in [*one, *other]} == {one[0].weights()}


def test_a_batch_that_cannot_be_divided_is_refused():
    with pytest.raises(ValueError, match="expected a multiple"):
        crew_of(DIGITS, Ternary(), digits(1)["train"], workers=3, batch=32, seed=1)
