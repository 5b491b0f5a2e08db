"""TernGrad's mathematics: what is drawn, what its mean and variance are, and what clipping costs."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from tests.references.wires import philox, ternary_codes
from wirelesslab.rng import stream
from wirelesslab.vision.philox import fill, key_of, uniforms
from wirelesslab.vision.terngrad import TernGradConfig, average, clip, scalers, ternarize

DRAWS = 2000
CLIPPED, SHORTER, ANGLE_DEG = 0.0124, 0.0114, 2.78  # Gaussian entries clipped at 2.5 sigma, by their integrals


def gradient(size: int = 5000, seed: int = 0) -> np.ndarray:
    """Heavy-tailed entries, as gradients have."""
    return (stream(seed, "gradient").standard_t(4, size) * 1e-3).astype(np.float32)


def numbers_of(place: int, lane: int, step: int, key: tuple[int, int]) -> list[int]:
    found = np.empty((4, 1), np.uint32)
    fill(place, lane, step, np.array(key, np.uint64), found)
    return [int(v) for v in found[:, 0]]


# --- the generator --------------------------------------------------------------------------------------------


def test_philox_gives_the_known_answers_of_random123():
    assert philox((0, 0, 0, 0), (0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    assert philox(pi, (0xA4093822, 0x299F31D0)) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


@settings(deadline=None)
@given(*[st.integers(0, 2**32 - 1)] * 5)
def test_the_kernel_is_philox(place, lane, step, first, second):
    assert numbers_of(place, lane, step, (first, second)) == philox((place, lane, step, 0), (first, second))


@pytest.mark.parametrize(("worker", "lane", "step"), [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_numbers_are_uniform_and_know_nothing_of_their_neighbours(worker, lane, step):
    drawn = uniforms(200_000, key_of(7, "wire", worker), lane, step).astype(float)
    assert stats.kstest(drawn, "uniform").pvalue > 1e-6
    low_byte = np.bincount((drawn * 2**24).astype(np.int64) & 0xFF, minlength=256)
    assert stats.chisquare(low_byte).pvalue > 1e-6
    pairs = np.histogram2d(drawn[:-1:2], drawn[1::2], bins=16)[0].ravel()
    assert stats.chisquare(pairs).pvalue > 1e-6


def test_streams_of_workers_steps_and_tensors_are_uncorrelated():
    names = [(w, lane, step) for w in range(3) for lane in range(2) for step in range(3)]
    drawn = np.array([uniforms(20_000, key_of(1, "wire", w), lane, step) for w, lane, step in names])
    off = np.corrcoef(drawn)[np.triu_indices(len(names), 1)]
    assert np.abs(off).max() < 6 / np.sqrt(20_000)  # 153 pairs: false alarm 3e-7


# --- (a) to (d), (g): what is drawn -----------------------------------------------------------------------------


def test_only_minus_s_zero_and_s_are_sent():  # (a)
    g = gradient()
    (s,) = scalers([g])
    codes = ternarize(g, s, key=(1, 2))
    assert set(np.unique(codes)) == {-1, 0, 1}
    sent = average([codes], s)
    assert set(np.unique(sent)) == {np.float32(-s), np.float32(0), np.float32(s)}
    assert np.all((codes == 0) | (np.sign(codes) == np.sign(g)))


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(-8, 8, width=32)), st.integers(0, 2**32 - 1))
def test_the_kernel_keeps_what_the_formula_keeps(g, key):
    s = 3.0  # a power of two times 1.5: u s is exact in float64, and rounded once in float32
    drawn = uniforms(g.size, (key, 1))
    rounded = (drawn * np.float32(2**24)) * (np.float32(s) * np.float32(2.0**-24))
    expected = ternary_codes(g, 1.0, rounded)
    np.testing.assert_array_equal(ternarize(g, s, key=(key, 1)), expected)


def drawn_often(g: np.ndarray, s: float) -> np.ndarray:
    return np.array([ternarize(g, s, key_of(3, "draw"), step=m) for m in range(DRAWS)]) * s


def test_the_mean_of_many_draws_is_the_clipped_gradient():  # (b)
    g = gradient(400)
    (s,) = scalers([g])
    mean = drawn_often(g, s).mean(axis=0)
    size = np.abs(clip(g, s)).astype(float)
    allowed = 5 * np.sqrt(size * (s - size) / DRAWS) + 2.0**-23 * s  # 400 entries at 5 sigma: false alarm 2e-4
    assert np.all(np.abs(mean - clip(g, s)) <= allowed)
    assert np.any(np.abs(g) > s)  # some entries were clipped


def test_the_variance_is_size_times_what_it_lacks_to_the_scaler():  # (c)
    g = gradient(2000)
    (s,) = scalers([g])
    size = np.abs(clip(g, s)).astype(float)
    measured = ((drawn_often(g, s) - clip(g, s)) ** 2).mean(axis=0).sum()
    assert measured / (size * (s - size)).sum() == pytest.approx(1.0, abs=0.01)  # standard error about 0.001


def test_the_mean_energy_is_the_largest_entry_times_the_sum_of_sizes():  # (d)
    g = gradient(2000)
    (s,) = scalers([g], TernGradConfig(clip_c=0))
    assert s == np.abs(g).max()
    energy = (drawn_often(g, s) ** 2).sum(axis=1)
    standard_error = energy.std(ddof=1) / np.sqrt(DRAWS)
    assert energy.mean() == pytest.approx(s * np.abs(g).sum(dtype=float), abs=5 * standard_error)


def test_entries_as_large_as_the_scaler_are_always_kept():  # (g)
    g = np.float32(0.7) * np.sign(stream(1, "signs").standard_normal(1000)).astype(np.float32)
    (s,) = scalers([g], TernGradConfig(clip_c=0))
    for key in range(20):
        np.testing.assert_array_equal(ternarize(g, s, key=(key, 0)), np.sign(g))


@settings(deadline=None)
@given(st.floats(2.0**-149, 2.0**120, width=32), st.integers(0, 2**32 - 1))
def test_they_are_kept_however_small_or_large_the_scaler(s, key):
    g = np.full(64, s, np.float32)
    assert np.all(ternarize(g, s, key=(key, 0)) == 1)
    assert np.all(ternarize(-g, s, key=(key, 0)) == -1)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_zeros_are_never_sent(key):
    assert not ternarize(np.zeros(100), 1.0, key=(key, 0)).any()


def test_a_shared_average_is_a_whole_multiple_of_the_scaler_over_the_workers():  # (i)
    g = gradient()
    (s,) = scalers([g])
    codes = [ternarize(g, s, key_of(1, "wire", worker)) for worker in range(4)]
    steps = average(codes, s).astype(float) / (s / 4)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-6)
    assert set(np.unique(np.round(steps))) <= set(range(-4, 5))


# --- (j) clipping ------------------------------------------------------------------------------------------------


def test_clipping_a_gaussian_at_two_and_a_half_sigma_costs_one_per_cent_of_length_and_three_degrees():  # (j)
    n = 400_000
    g = stream(2, "gaussian").standard_normal(n).astype(np.float32)
    (s,) = scalers([g])
    assert s == pytest.approx(2.5, abs=2.5 * 5 / np.sqrt(2 * n))
    cut = clip(g, s).astype(float)
    share = np.mean(np.abs(g) > s)
    assert share == pytest.approx(2 * stats.norm.sf(2.5), abs=5 * np.sqrt(CLIPPED / n))
    assert share == pytest.approx(CLIPPED, abs=1e-3)
    lengths = np.linalg.norm(cut), np.linalg.norm(g.astype(float))
    assert 1 - lengths[0] / lengths[1] == pytest.approx(SHORTER, abs=3e-4)
    angle = np.degrees(np.arccos(cut @ g / (lengths[0] * lengths[1])))
    assert angle == pytest.approx(ANGLE_DEG, abs=0.05)


# --- the rules for tensors that sigma cannot describe ------------------------------------------------------------


def test_a_constant_tensor_keeps_its_largest_entry_as_scaler():
    g = np.full(200, 0.3, np.float32)
    assert scalers([g]) == [np.float32(0.3)]
    assert np.all(ternarize(g, scalers([g])[0], key=(5, 5)) == 1)


def test_a_tensor_of_large_mean_is_not_clipped_to_almost_nothing():
    g = np.array([1, 1.01, 0.99, 1.02], np.float32)
    assert 2.5 * g.std() < 0.03  # what the paper's sigma alone would leave of it
    assert scalers([g]) == [np.float32(1.02)]


def test_a_scalar_tensor_keeps_itself():
    assert scalers([np.float32(-0.25)]) == [0.25]
    assert ternarize(np.float32(-0.25), 0.25, key=(1, 1)) == -1


def test_zeros_have_no_scaler_and_nothing_is_divided():
    assert scalers([np.zeros(100), np.zeros(0)]) == [0.0, 0.0]
    assert not ternarize(np.zeros(100), 0.0, key=(1, 1)).any()


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)))
def test_a_scaler_is_positive_and_finite_unless_all_is_zero(g):
    (s,) = scalers([g])
    assert np.isfinite(s)
    assert (s > 0) == bool(np.any(g != 0))


def test_the_scaler_is_two_and_a_half_population_standard_deviations():
    g = gradient()
    assert scalers([g]) == [pytest.approx(2.5 * g.astype(float).std(), rel=1e-6)]


def test_one_scaler_for_all_is_that_of_their_concatenation():
    parts = [gradient(300, 1), 50 * gradient(700, 2)]
    together = scalers([np.concatenate(parts)])[0]
    assert scalers(parts, TernGradConfig(layerwise=False)) == [together, together]
    own = scalers(parts)
    assert own[0] < together < own[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_refused_and_says_where(bad):
    g = gradient(100)
    g[37] = bad
    with pytest.raises(ValueError, match=r"1 of 100 entries that are NaN or infinite, the first at \(37,\)"):
        scalers([g])
    with pytest.raises(ValueError, match="NaN or infinite"):
        ternarize(g, 1.0, key=(0, 0))


def test_nonsense_configs_are_refused():
    for options, word in (
        ({"clip_c": -1.0}, "clip_c"), ({"min_size": 0}, "min_size"), ({"share_scaler": "mean"}, "share_scaler"),
        ({"code": "base4"}, "code"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=word):
            TernGradConfig(**options)
    with pytest.raises(TypeError, match="float_names"):
        TernGradConfig(float_names="logits")


def test_more_clipping_means_smaller_scalers():
    g = gradient()
    found = [scalers([g], TernGradConfig(clip_c=c))[0] for c in (1.0, 2.5, 4.0)]
    assert all(a < b for a, b in pairwise(found))
