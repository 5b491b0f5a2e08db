"""Procedural worlds: pictures whose class, box and mask are known, and splits that share nothing."""

from dataclasses import replace

import numpy as np
import pytest

from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.formats import read_cifar, read_folders, read_mnist, write_cifar, write_folders, write_mnist
from wirelesslab.vision.worlds.glyphs import Glyphs
from wirelesslab.vision.worlds.shapes import OUTLINES, Shapes, boxes_of
from wirelesslab.vision.worlds.weaves import Weaves

SMALL = {"train": 60, "validation": 30, "test": 30}
WORLDS = [
    Shapes(**SMALL), Shapes(**SMALL, classes=tuple(OUTLINES), most=4), Glyphs(**SMALL), Glyphs(**SMALL, invented=30),
    Glyphs(**SMALL, digits=True), Weaves(**SMALL),
]  # fmt: skip
NAMES = ["shapes", "many shapes", "letters", "signs", "digits", "weaves"]


@pytest.mark.parametrize("world", WORLDS, ids=NAMES)
def test_no_picture_is_in_two_splits_or_under_two_seeds_to_the_last_bit(world):
    seen = []
    for seed in (1, 2):
        data = world.data(seed)
        for split, count in SMALL.items():
            assert len(data.only(split)) == count
            seen += [image.tobytes() for image in data.only(split).images]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("world", WORLDS, ids=NAMES)
def test_equal_seeds_draw_equal_worlds_and_a_larger_one_begins_with_the_smaller(world):
    one, same, larger = world.data(3), world.data(3), replace(world, train=70).data(3)
    assert one.digest() == same.digest() != world.data(4).digest()
    for split in SMALL:
        np.testing.assert_array_equal(larger.only(split).images[: SMALL[split]], one.only(split).images)


@pytest.mark.parametrize("world", WORLDS, ids=NAMES)
def test_a_box_is_the_smallest_that_holds_its_mask(world):
    truth = world.data(5).truth
    masks, boxes = (truth[name].reshape(-1, *truth[name].shape[end:]) for name, end in (("masks", -2), ("boxes", -1)))
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows):
            assert (left, top, right, bottom) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        else:
            assert (left, top, right, bottom) == (0, 0, 0, 0)


def test_objects_hide_one_another_so_that_no_pixel_has_two():
    data = WORLDS[1].data(6)
    masks, kinds = data.truth["masks"], data.truth["kinds"]
    assert masks.sum(axis=1).max() == 1
    assert np.array_equal(masks.any(axis=(2, 3)), kinds >= 0)  # every object is seen, and nothing else is
    areas = masks.sum(axis=(2, 3))
    assert np.array_equal(data.labels, kinds[np.arange(len(data)), areas.argmax(axis=1)])
    assert {1, 2, 3, 4} == set((kinds >= 0).sum(axis=1))


def test_the_area_of_a_disc_is_that_of_its_radius():
    world = Shapes(train=200, validation=0, test=0, classes=("disc",), radius=(0.2, 0.2))
    areas = world.data(1).truth["masks"].sum(axis=(1, 2, 3))
    exact = np.pi * (0.2 * 64) ** 2  # 514.7 pixels; a boundary of 80 pixels counts each to half a pixel at worst
    assert np.abs(areas - exact).max() < 40
    assert abs(areas.mean() / exact - 1) < 0.02


def test_colour_does_not_tell_the_class():
    # The mean colour of objects, by class: under independence the F statistics of 3 channels are F(3, 1496) each;
    # 7.1 is its quantile at 1 - 1e-4, so a false alarm has probability 3e-4 for a seed drawn at random.
    data = Shapes(train=1500, validation=0, test=0, side=32).data(2)
    inside = data.truth["masks"][:, 0]
    colour = np.einsum("nhwc,nhw->nc", data.images, inside) / inside.sum(axis=(1, 2))[:, None]
    groups = [colour[data.labels == label] for label in range(4)]
    between = sum(len(g) * (g.mean(axis=0) - colour.mean(axis=0)) ** 2 for g in groups) / 3
    within = sum(((g - g.mean(axis=0)) ** 2).sum(axis=0) for g in groups) / (len(data) - 4)
    assert np.all(between / within < 7.1)


def test_the_colours_of_a_weave_do_not_tell_the_class():
    # As above, of whole pictures: mean and spread of 3 channels, 6 statistics F(7, 1592); 4.2 is the quantile at
    # 1 - 1e-4, so a false alarm has probability below 6e-4 for a seed drawn at random. Small and large outlines differ
    # in area, so pictures whose figure has a tint of its own are left out.
    data = Weaves(train=1600, validation=0, test=0, tint=0).data(3)
    seen = np.concatenate([data.images.mean(axis=(1, 2)), data.images.std(axis=(1, 2))], axis=1)
    groups = [seen[data.labels == label] for label in range(8)]
    between = sum(len(g) * (g.mean(axis=0) - seen.mean(axis=0)) ** 2 for g in groups) / 7
    within = sum(((g - g.mean(axis=0)) ** 2).sum(axis=0) for g in groups) / (len(data) - 8)
    assert np.all(between / within < 4.2)


def test_threads_of_a_figure_run_another_way_than_the_ground_s():
    # The direction of threads is that of the structure tensor, summed inside and outside. Threads swing and the border
    # of a figure is steep in its own direction, so one picture is off by some 10 degrees; the mean of 100 is not.
    data = Weaves(train=100, validation=0, test=0, tint=0, noise=0, classes=("disc", "square")).data(4)
    down, across = np.gradient(data.images.mean(axis=-1), axis=(1, 2))
    inside = data.truth["masks"]
    angle = [
        np.arctan2((2 * across * down * part).sum(axis=(1, 2)), ((across**2 - down**2) * part).sum(axis=(1, 2))) / 2
        for part in (inside, ~inside)
    ]
    apart = np.degrees(np.abs(np.angle(np.exp(2j * (angle[0] - angle[1]))) / 2))
    assert abs(apart.mean() - 75) < 5  # uniform from 60 to 90 degrees: standard error 0.9, and the border's pull
    assert apart.min() > 35


def test_weaves_of_32_pixels_stand_where_cifar_s_files_do(tmp_path):
    weaves = Weaves(**SMALL).data(7)
    back = read_cifar(write_cifar(tmp_path, weaves), validation=0)
    assert back.classes == (*weaves.classes, "unused_8", "unused_9")
    one, other = weaves.only("test"), back.only("test")
    assert np.abs(one.images - other.images).max() <= 0.5 / 255 + 1e-6  # rounded to bytes
    assert np.array_equal(one.labels, other.labels)
    learned = np.concatenate([weaves.splits["train"], weaves.splits["validation"]])
    assert np.array_equal(back.only("train").labels, weaves.labels[learned])
    assert np.abs(back.only("train").images - weaves.images[learned]).max() <= 0.5 / 255 + 1e-6


def test_digits_are_ten_and_are_learned_better_than_by_their_nearest_mean():
    data = Glyphs(train=600, validation=0, test=300, side=16, digits=True).data(1)
    assert data.classes == tuple("0123456789")
    train, test = data.only("train"), data.only("test")
    means = np.array([train.images[train.labels == label].mean(axis=0) for label in range(10)])
    away = np.square(test.images[:, None] - means).sum(axis=(2, 3, 4))
    nearest = (away.argmin(axis=1) == test.labels).mean()
    method = Classifier(backbone="digits", shape=(16, 16, 1), epochs=10)
    scores = method.evaluate(method.fit(method.build(1), data, 1).state, test)
    assert scores["accuracy low"] > nearest > 0.3  # chance is 0.1


def test_letters_can_be_learned():
    data = Glyphs(train=650, validation=0, test=200, side=16, noise=0.02).data(1)
    method = Classifier(backbone="digits", shape=(16, 16, 1), num_classes=13, epochs=10)
    fit = method.fit(method.build(1), data, 1)
    assert method.evaluate(fit.state, data.only("test"))["accuracy low"] > 0.5  # chance is 0.077


def test_an_alphabet_does_not_depend_on_the_seed_of_the_pictures_and_its_signs_differ():
    signs = Glyphs(invented=200).signs()
    assert len(signs) == len(set(signs.values())) == 200
    assert list(Glyphs(invented=50).signs().items()) == list(signs.items())[:50]
    assert Glyphs(invented=50, alphabet=1).signs() != Glyphs(invented=50).signs()


def test_worlds_go_to_disk_in_the_field_s_formats(tmp_path):
    shapes = Shapes(**SMALL).data(7)
    back = read_folders(write_folders(tmp_path / "shapes", shapes))
    assert back.classes == tuple(sorted(shapes.classes))
    for split in SMALL:
        one, other = shapes.only(split), back.only(split)
        order = np.argsort([shapes.classes[label] for label in one.labels], kind="stable")
        assert np.abs(one.images[order] - other.images).max() <= 0.5 / 255 + 1e-6  # rounded to bytes
        assert [shapes.classes[k] for k in one.labels[order]] == [back.classes[k] for k in other.labels]
    glyphs = Glyphs(**SMALL).data(7)
    assert np.array_equal(read_mnist(write_mnist(tmp_path / "glyphs", glyphs)).only("test").labels, np.arange(30) % 13)


def test_worlds_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="classes: got 'disk', expected one of disc"):
        Shapes(classes=("disk",))
    with pytest.raises(ValueError, match="expected different names, and least not above most"):
        Shapes(least=3, most=2)
    with pytest.raises(ValueError, match="digits: got digits and 30 invented signs"):
        Glyphs(digits=True, invented=30)
    with pytest.raises(ValueError, match="classes: got 'disk', expected one of disc"):
        Weaves(classes=("disk",))
    with pytest.raises(ValueError, match="expected different names, at least one"):
        Weaves(classes=())
    with pytest.raises(ValueError, match="longest_wave: got 3, expected"):
        Weaves(wave=(4, 3))
    with pytest.raises(ValueError, match="pictures: got 0"):
        Glyphs(train=0, validation=0, test=0).data(1)
    assert boxes_of(np.zeros((2, 4, 4), bool)).tolist() == [[0] * 4] * 2
