"""What every law of movement promises, and what each alone does."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirelesslab.network.areas import AREAS, Disc, Hexagon, Rectangle
from wirelesslab.network.mobility import (
    MOBILITY_MODELS,
    Manhattan,
    MobilityTrace,
    RandomWalk,
    RandomWaypoint,
    Static,
)

SHAPES = [Rectangle(low_m=(-50, 20), high_m=(150, 90)), Disc(radius_m=80, center_m=(5, -3)), Hexagon(radius_m=70)]
SURFACES_M2 = [200 * 70, np.pi * 80**2, 1.5 * np.sqrt(3) * 70**2]
TRACE = MobilityTrace(np.array([1.0, 2.0, 4.0]), np.arange(3 * 60 * 2).reshape(3, 60, 2) ** 1.5)
MODELS = [
    Static(),
    RandomWalk(diffusion_m2_per_s=3.0),
    RandomWalk(diffusion_m2_per_s=30.0, area=SHAPES[2]),
    *(RandomWaypoint(area=area, speed_mps=(5.0, 20.0), pause_s=(0.0, 3.0)) for area in SHAPES),
    Manhattan(block_m=30.0, num_blocks=(4, 3), origin_m=(-7, 3)),
    Manhattan(block_m=10.0, num_blocks=(1, 1), turn_probs=(1.0, 0.0, 0.0)),
    TRACE,
]
every_model = pytest.mark.parametrize("model", MODELS, ids=repr)
SPLITTABLE = [m for m in MODELS if not isinstance(m, RandomWalk)]


def rng(seed=7):
    return np.random.default_rng(seed)


def start(model, num=60, seed=1):
    uniform = rng(seed).random((num, 2))
    if isinstance(model, MobilityTrace):
        return model.at(0.0)
    if isinstance(model, Manhattan):
        return model.place(uniform)
    area = getattr(model, "area", None) or SHAPES[0]
    return area.place(uniform)


def walk(model, generator, memory, positions_m, steps_s):
    for dt_s in steps_s:
        positions_m = model.advance(generator, memory, positions_m, dt_s)
    return positions_m


def test_every_model_and_every_area_is_under_test():
    assert {type(m) for m in MODELS} == set(MOBILITY_MODELS)
    assert {type(a) for a in SHAPES} == set(AREAS)


# --- areas ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("area", "surface_m2"), list(zip(SHAPES, SURFACES_M2, strict=True)), ids=repr)
def test_places_are_inside_and_spread_evenly(area, surface_m2):
    num = 40_000
    points_m = area.place(rng().random((num, 2)))
    assert area.contains(points_m).all()
    centre = points_m.mean(axis=0)
    for middle in centre + np.array([[0, 0], [30, 12], [-20, -15]]):  # discs of 15 m that all the areas hold
        share = np.pi * 15**2 / surface_m2
        found = (np.hypot(*(points_m - middle).T) < 15).mean()
        assert found == pytest.approx(share, abs=4.5 * np.sqrt(share / num))
    box = points_m.min(axis=0) - 1e-9, points_m.max(axis=0) + 1e-9
    box_points_m = box[0] + rng(2).random((num, 2)) * (box[1] - box[0])
    filled = area.contains(box_points_m).mean()
    assert filled * np.prod(box[1] - box[0]) == pytest.approx(surface_m2, rel=0.03)


@given(st.integers(0, 2**32), st.floats(0.1, 3_000))
@settings(max_examples=40, deadline=None)
def test_mirrored_points_are_inside_and_inner_points_stay(seed, spread_m):
    points_m = rng(seed).normal(scale=spread_m, size=(50, 2))
    for area in SHAPES:
        mirrored = area.reflect(points_m)
        assert area.contains(mirrored).all()
        inside = area.contains(points_m)
        assert mirrored[inside] == pytest.approx(points_m[inside], abs=1e-9)


def test_a_point_just_outside_is_mirrored_to_just_inside():
    square = Rectangle(high_m=(10.0, 10.0))
    assert square.reflect(np.array([[10.5, -0.25]])) == pytest.approx(np.array([[9.5, 0.25]]))
    assert Disc(radius_m=2.0).reflect(np.array([[0.0, 2.5]])) == pytest.approx(np.array([[0.0, 1.5]]))
    side = np.sqrt(3) / 2
    assert Hexagon(radius_m=1.0).reflect(np.array([[side + 0.1, 0.0]])) == pytest.approx(np.array([[side - 0.1, 0.0]]))


# --- all models -----------------------------------------------------------------------------------


@every_model
def test_users_stay_in_their_area_and_the_callers_array_is_left_alone(model):
    generator, positions_m = rng(), start(model)
    memory = model.begin(generator, positions_m)
    for dt_s in (0.0, 0.01, 0.7, 5.0, 100.0, 0.3):
        before = positions_m.copy()
        moved_m = model.advance(generator, memory, positions_m, dt_s)
        assert np.array_equal(before, positions_m)
        assert np.isfinite(moved_m).all()
        if getattr(model, "area", None) is not None:
            assert model.area.contains(moved_m).all()
        positions_m = moved_m


@every_model
def test_the_same_seed_gives_the_same_paths_and_a_copy_of_the_state_continues_alike(model):
    ends = []
    for _ in range(2):
        generator, positions_m = rng(), start(model)
        memory = model.begin(generator, positions_m)
        positions_m = walk(model, generator, memory, positions_m, [0.4] * 5)
        kept, state = copy.deepcopy((memory, positions_m)), generator.bit_generator.state
        ends.append(walk(model, generator, memory, positions_m, [1.3] * 5))
    generator.bit_generator.state = state
    assert np.array_equal(ends[0], ends[1])
    assert np.array_equal(ends[0], walk(model, generator, *kept, [1.3] * 5))


@pytest.mark.parametrize("model", SPLITTABLE, ids=repr)
def test_cutting_time_into_steps_changes_no_path(model):
    for steps_s in ([0.01] * 300 + [57.0], [60.0]):
        positions_m = start(model)
        memory = model.begin(rng(), positions_m)
        end_m = walk(model, rng(3), memory, positions_m, steps_s)
        if len(steps_s) > 1:
            cut_m = end_m
    assert cut_m == pytest.approx(end_m, abs=1e-6)


@pytest.mark.parametrize("model", [m for m in MODELS if hasattr(m, "speed_mps")], ids=repr)
def test_nobody_is_faster_than_the_greatest_speed(model):
    generator, positions_m = rng(), start(model)
    memory = model.begin(generator, positions_m)
    farthest_m = 0.0
    for _ in range(200):
        moved_m = model.advance(generator, memory, positions_m, 0.05)
        farthest_m = max(farthest_m, np.hypot(*(moved_m - positions_m).T).max())
        positions_m = moved_m
    assert 0.5 * model.speed_mps[1] * 0.05 < farthest_m <= model.speed_mps[1] * 0.05 * (1 + 1e-9)


@every_model
def test_no_users_are_users_too(model):
    if isinstance(model, MobilityTrace):
        model = MobilityTrace(np.array([0.0]), np.zeros((1, 0, 2)))
    positions_m = np.zeros((0, 2))
    memory = model.begin(rng(), positions_m)
    assert model.advance(rng(), memory, positions_m, 1.0).shape == (0, 2)


# --- each model -----------------------------------------------------------------------------------


def test_a_random_walk_is_off_by_two_d_t_per_axis_however_time_is_cut():
    model, num = RandomWalk(diffusion_m2_per_s=3.0), 20_000
    for steps_s in ([4.0], [0.1] * 30 + [1.0]):
        generator, begin_m = rng(), np.zeros((num, 2))
        end_m = walk(model, generator, model.begin(generator, begin_m), begin_m, steps_s)
        error_m2 = (end_m**2).mean(axis=0)
        assert error_m2 == pytest.approx(2 * 3.0 * 4.0, rel=0.03)
        assert error_m2 == pytest.approx(2 * 3.0 * 4.0, abs=3 * 24 * np.sqrt(2 / num))


def test_a_mirrored_walk_fills_its_area_evenly():
    model = RandomWalk(diffusion_m2_per_s=200.0, area=Rectangle(high_m=(40.0, 40.0)))
    generator, positions_m = rng(), np.full((20_000, 2), 3.0)
    end_m = walk(model, generator, model.begin(generator, positions_m), positions_m, [0.5] * 60)
    counts, _, _ = np.histogram2d(*end_m.T, bins=4, range=[[0, 40]] * 2)
    assert ((counts - 1_250) ** 2 / 1_250).sum() < 44.3  # chi squared, 15 degrees of freedom: false alarm 1e-4


def waypoint_oracle(model, begin_m, targets_m, speeds_mps, rests_s, end_s):
    """One user, leg by leg, in plain numbers."""
    here, now_s = np.array(begin_m), 0.0
    for target_m, speed_mps, rest_s in zip(targets_m, speeds_mps, rests_s, strict=True):
        length_s = np.hypot(*(target_m - here)) / speed_mps
        if now_s + length_s >= end_s:
            return here + (target_m - here) * (end_s - now_s) / length_s
        here, now_s = target_m, now_s + length_s
        if now_s + rest_s >= end_s:
            return here
        now_s += rest_s
    raise AssertionError("not enough legs")


def test_random_waypoint_goes_leg_by_leg_even_when_one_step_holds_several_legs():
    model, num = MODELS[3], 8
    begin_m = start(model, num)
    memory = model.begin(rng(), begin_m)
    legs = copy.deepcopy(memory)
    targets, speeds, rests = [legs["target_m"].copy()], [legs["speed_mps"].copy()], []
    for _ in range(200):  # read the legs by letting users stand on their target
        legs["rest_s"][:] = 0
        model.advance(rng(), legs, legs["target_m"].copy(), 1e-9)
        targets.append(legs["target_m"].copy())
        speeds.append(legs["speed_mps"].copy())
        rests.append(legs["rest_s"] + 1e-9 * (legs["rest_s"] > 0))
    end_m = model.advance(rng(), memory, begin_m, 300.0)
    assert memory["count"].min() > 10
    for user in range(num):
        path = ([leg[user] for leg in column[:200]] for column in (targets, speeds, rests))
        assert end_m[user] == pytest.approx(waypoint_oracle(model, begin_m[user], *path, 300.0), abs=1e-5)


def test_random_waypoint_gathers_in_the_middle():
    model = RandomWaypoint(area=SHAPES[0], speed_mps=(10.0, 20.0))
    generator, positions_m = rng(), start(model, 20_000)
    end_m = model.advance(generator, model.begin(generator, positions_m), positions_m, 200.0)
    middle = (np.abs((end_m - [50, 55]) / [200, 70]) < 0.25).all(axis=1).mean()
    # product approximation of Bettstetter et al.: density 36 xy(1-x)(1-y) gives (11/16)^2 = 0.473, evenly 0.25
    assert 0.38 < middle < 0.52


def on_streets(model, positions_m):
    blocks = (positions_m - model.origin_m) / model.block_m
    off = np.abs(blocks - np.rint(blocks)).min(axis=1)
    inside = (blocks >= -1e-9).all(axis=1) & (blocks <= np.array(model.num_blocks) + 1e-9).all(axis=1)
    return (off < 1e-9) & inside


@pytest.mark.parametrize("model", [m for m in MODELS if isinstance(m, Manhattan)], ids=repr)
def test_manhattan_users_are_always_on_streets(model):
    generator, positions_m = rng(), start(model, 500)
    memory = model.begin(generator, positions_m)
    assert model.advance(generator, memory, positions_m, 0.0) == pytest.approx(positions_m, abs=1e-4)
    for dt_s in [0.05] * 100 + [3.0] * 50 + [500.0]:
        positions_m = model.advance(generator, memory, positions_m, dt_s)
        assert on_streets(model, positions_m).all()


def test_manhattan_users_cover_speed_times_time_and_turn_with_the_stated_probabilities():
    model = Manhattan(block_m=50.0, num_blocks=(400, 400), speed_mps=(10.0, 10.0), turn_probs=(0.6, 0.3, 0.1))
    num, generator = 4_000, rng()
    positions_m = np.tile([10_025.0, 10_000.0], (num, 1))
    memory = model.begin(generator, positions_m)
    counts = np.zeros(4, np.int64)
    for _ in range(20):
        heading = memory["heading"].copy()
        moved_m = model.advance(generator, memory, positions_m, 5.0)  # one block each: from middle to middle
        counts += np.bincount((memory["heading"] - heading) % 4, minlength=4)
        assert np.abs(moved_m - positions_m).sum(axis=1) == pytest.approx(50.0)
        positions_m = moved_m
    total = counts.sum()
    for turn, prob in ((0, 0.6), (1, 0.3), (2, 0.0), (3, 0.1)):
        assert counts[turn] / total == pytest.approx(prob, abs=4 * np.sqrt(prob * (1 - prob) / total))


def test_users_off_the_streets_are_refused_and_told_the_mend():
    model = MODELS[6]
    off_m = rng().random((5, 2)) * 50
    with pytest.raises(ValueError, match="nearest_street"):
        model.begin(rng(), off_m)
    model.begin(rng(), model.nearest_street(off_m))
    assert on_streets(model, model.nearest_street(rng().normal(scale=500, size=(100, 2)))).all()


def test_a_trace_is_joined_by_straight_lines_and_stands_still_beyond_its_ends():
    trace = MobilityTrace([1.0, 3.0], [[[0.0, 0.0]], [[10.0, 4.0]]])
    assert [trace.at(t)[0].tolist() for t in (0.0, 1.0, 1.5, 3.0, 9.0)] == [[0, 0], [0, 0], [2.5, 1], [10, 4], [10, 4]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomWalk(diffusion_m2_per_s=0), "diffusion_m2_per_s: got 0"),
        (lambda: RandomWaypoint(area=SHAPES[1], speed_mps=(0, 1)), "speed_mps: got 0"),
        (lambda: RandomWaypoint(area=SHAPES[1], speed_mps=(2, 1)), "speed_mps: got (2, 1)"),
        (lambda: RandomWaypoint(area=SHAPES[1], pause_s=(-1, 1)), "pause_s: got (-1, 1)"),
        (lambda: MODELS[3].begin(rng(), np.full((2, 2), 1e4)), "positions_m: got 2 users outside"),
        (lambda: Static().advance(rng(), {}, np.zeros((1, 2)), -1.0), "dt_s: got -1.0"),
        (lambda: Static().begin(rng(), np.zeros((2, 3))), "positions_m: got shape (2, 3)"),
        (lambda: Manhattan(turn_probs=(0.5, 0.5, 0.5)), "turn_probs: got (0.5, 0.5, 0.5)"),
        (lambda: TRACE.begin(rng(), np.zeros((3, 2))), "begin with trace.at(0.0)"),
        (lambda: MobilityTrace([1.0, 1.0], np.zeros((2, 1, 2))), "times_s: got [1.0, 1.0]"),
        (lambda: Rectangle(high_m=(0.0, 1.0)), "high_m: got (0.0, 1.0)"),
    ],
)
def test_nonsense_is_refused_at_the_door(make, message):
    with pytest.raises(ValueError, match=r".") as error:
        make()
    assert message in str(error.value)
