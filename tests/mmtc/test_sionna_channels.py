"""3GPP channels: power, delay spread and correlation of each agree with its model; a draw depends on its seed only.

False alarms: a mean is held to 5 standard errors of samples, stated correlations that are estimates themselves to
5 errors of the difference; with about 300 statistics the seeds that pass had a chance of 2e-4 to be unlucky.
"""

import subprocess
import sys

import numpy as np
import pytest

from tests.mmtc.cells import within_standard_errors
from tests.references import cluster_delays
from tests.trials import ROOT
from wirelesslab.mmtc import CDL, SIONNA_FADINGS, TDL, RMa, Scenario, UMa, UMi, UniformPlanar, simulate, sionna_channels
from wirelesslab.mmtc.antennas import positions
from wirelesslab.mmtc.impulse_responses import rms_delay_spread_s
from wirelesslab.rng import stream

UMI_INDOORS = UMi(indoor_prob=1.0)
UMA_IN_SIGHT = UMa(indoor_prob=0.0, line_of_sight=True)
RMA_HIDDEN = RMa(indoor_prob=0.0, line_of_sight=False)
SYSTEM_LEVEL = (UMI_INDOORS, UMA_IN_SIGHT, RMA_HIDDEN)
LINKS = (
    TDL(),
    TDL(model="D", delay_spread_s=30e-9),
    TDL(model="C", correlation_coefficient=0.8),
    CDL(),
    CDL(model="D"),
    CDL(model="B", array=UniformPlanar(num_rows=2)),
)
LAWS = (*LINKS, *SYSTEM_LEVEL)
NUM_ANTENNAS = 4
NUM_DRAWS = 2048

_drawn: dict[object, sionna_channels.Taps] = {}


@pytest.fixture(params=LAWS, ids=repr)
def law(request):
    return request.param


def taps(law):
    """Impulse responses that the specs of a law share."""
    if law not in _drawn:
        _drawn[law] = law.taps(stream(38901, type(law).__name__), NUM_DRAWS, NUM_ANTENNAS)
    return _drawn[law]


def test_every_model_of_the_standard_is_tried():
    assert {type(law) for law in LAWS} == set(SIONNA_FADINGS)


def test_every_antenna_receives_unit_power(law):
    assert np.all(within_standard_errors(np.abs(taps(law).at()) ** 2, 1.0))
    assert np.all(within_standard_errors(np.abs(taps(law).at(offset_hz=2e6)) ** 2, 1.0))


def test_antennas_correlate_as_stated(law):
    h = taps(law).at()
    products = (h[:, :, None] * h[:, None, :].conj()).reshape(NUM_DRAWS, -1)
    expected = law.correlation(NUM_ANTENNAS).ravel()
    # An estimate from equally many draws doubles the variance at most.
    error = products.std(axis=0) / np.sqrt(NUM_DRAWS) * (np.sqrt(2) if law in SYSTEM_LEVEL else 1)
    assert np.all(np.abs(products.mean(axis=0) - expected) <= 5 * error + 1e-6)  # 1e-6: single precision


def test_the_stated_correlation_is_hermitian_positive_with_a_diagonal_of_ones(law):
    correlation = law.correlation(NUM_ANTENNAS)
    np.testing.assert_allclose(np.diag(correlation), 1, rtol=1e-12)
    np.testing.assert_allclose(correlation, correlation.conj().T, atol=1e-12)
    assert np.linalg.eigvalsh(correlation).min() > -1e-9


def test_the_phase_is_uniform_and_devices_fade_independently(law):
    h = taps(law).at()
    for means in (h**2, h, h[:, :1] * h, h[0::2] * h[1::2].conj()):
        assert np.all(within_standard_errors(means.real, 0.0))
        assert np.all(within_standard_errors(means.imag, 0.0))


@pytest.mark.parametrize("law", LINKS, ids=repr)
def test_delays_and_powers_of_the_taps_are_those_of_the_table(law):
    table, found = law.table(), taps(law)
    power = 10 ** (np.array(table["powers"]) / 10)
    delays = np.array(table["delays"])
    if table["los"]:  # the specular part and the first cluster arrive together
        power, delays = np.array([power[0] + power[1], *power[2:]]), delays[1:]
    order = np.argsort(delays, kind="stable")  # Sionna sorts the paths of its CDL by delay, those of its TDL not
    power, delays = power[order] / power.sum(), delays[order]
    paths = np.argsort(found.delays_s[0], kind="stable")
    np.testing.assert_allclose(found.delays_s[0, paths], delays * law.delay_spread_s, rtol=1e-5)
    assert np.all(within_standard_errors(found.power_delay_profile[:, paths], power))
    # The tables have two to four digits: 1 % for the nominal spread, whose definition includes the line of sight.
    assert rms_delay_spread_s(power, delays * law.delay_spread_s) == pytest.approx(law.delay_spread_s, rel=0.01)
    profile = found.power_delay_profile
    parts = [rms_delay_spread_s(part.mean(axis=0), found.delays_s[0]) for part in np.array_split(profile, 16)]
    error = np.std(parts, ddof=1) / 4
    whole = rms_delay_spread_s(profile.mean(axis=0), found.delays_s[0])
    assert whole == pytest.approx(law.delay_spread_s, abs=6 * error + 0.01 * law.delay_spread_s)  # t of 15: 6 for 2e-5


@pytest.mark.parametrize("law", LINKS, ids=repr)
def test_subcarriers_correlate_by_the_fourier_transform_of_the_power_delay_profile(law):
    found, offset = taps(law), 0.3 / law.delay_spread_s
    products = found.at(offset) * found.at().conj()
    expected = found.power_delay_profile.mean(axis=0) @ np.exp(-2j * np.pi * offset * found.delays_s[0])
    error = 5 * products.std(axis=0) / np.sqrt(NUM_DRAWS)
    assert np.all(np.abs(products.mean(axis=0) - expected) <= np.sqrt(2) * error)
    assert np.abs(expected) < 0.97  # so the offset is not within the coherence bandwidth


@pytest.mark.parametrize(
    ("law", "row"),
    [
        (UMI_INDOORS, cluster_delays.UMI_INDOORS),
        (UMA_IN_SIGHT, cluster_delays.uma_in_sight(3.5)),
        (RMA_HIDDEN, cluster_delays.RMA_HIDDEN),
    ],
    ids=["UMi", "UMa", "RMa"],
)
def test_log_delay_spreads_have_the_mean_and_deviation_of_the_standard_s_steps(law, row):
    found = taps(law)
    one = np.abs(found.coefficients[:, 0]) ** 2
    drawn = np.log10(rms_delay_spread_s(one, found.delays_s))
    expected = np.log10(cluster_delays.delay_spreads_s(row, 2 * NUM_DRAWS, stream(11)))
    error = np.sqrt(drawn.var() / drawn.size + expected.var() / expected.size)
    assert drawn.mean() == pytest.approx(expected.mean(), abs=5 * error)
    # relative error of a deviation: sqrt((κ-1)/4n), with a kurtosis of at most 5 here
    assert drawn.std() == pytest.approx(expected.std(), rel=5 * np.sqrt(1 / drawn.size + 1 / expected.size))


@pytest.mark.parametrize("array", [UniformPlanar(num_rows=2), UniformPlanar(num_rows=3, row_spacing_wavelengths=0.7)])
def test_antennas_stand_where_sionna_puts_them(array):
    from sionna.phy.channel import tr38901

    _, station = sionna_channels._panels(tr38901, array, 6, 3e8)
    metres_per_wave = 299792458 / 3e8
    np.testing.assert_allclose(station.ant_pos.numpy(), positions(array, 6) * metres_per_wave, atol=1e-6)


def test_a_draw_depends_on_its_seed_only():
    for law in (TDL(), UMI_INDOORS):
        first, again, other = (law.draw(stream(seed), 5, NUM_ANTENNAS) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).min() > 0


def test_a_fresh_process_draws_the_same_bits_also_when_tensorflow_insists_on_determinism():
    program = (
        "from wirelesslab.mmtc import CDL, TDL\n"
        "from wirelesslab.rng import stream\n"
        "from wirelesslab.tensorflow import tf\n"
        "tf.config.experimental.enable_op_determinism()\n"
        "print(*(law.draw(stream(5), 3, 4).tobytes().hex() for law in (TDL(), CDL())))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    assert ended.stdout.split() == [law.draw(stream(5), 3, NUM_ANTENNAS).tobytes().hex() for law in (TDL(), CDL())]


def test_sionna_s_own_numbers_are_neither_read_nor_moved():
    from sionna.phy import config

    config.seed = 3
    undisturbed = config.tf_rng.normal([4]).numpy()
    config.seed = 3
    TDL(delay_spread_s=7e-9).draw(stream(1), 2, 1)
    np.testing.assert_array_equal(config.tf_rng.normal([4]).numpy(), undisturbed)


def test_a_graph_is_traced_once_and_serves_any_number_of_channels(monkeypatch):
    law, traced = TDL(delay_spread_s=11e-9), []
    build = TDL._sampler
    monkeypatch.setattr(TDL, "_sampler", lambda self, *size: traced.append(size) or build(self, *size))
    assert [law.draw(stream(9), n, 2).shape for n in (0, 1, 700, 1500)] == [(0, 2), (1, 2), (700, 2), (1500, 2)]
    assert len(traced) == 1
    assert np.unique(law.draw(stream(9), 1500, 2)[:, 0]).size == 1500  # no chunk comes twice


def test_a_thousand_devices_speak_at_once_through_3gpp_air():
    scenario = Scenario(num_devices=1000, bits_per_device=0, pilot_length=10, activity_prob=1.0, fading=TDL())
    observation, truth = simulate(scenario, stream(4), num_frames=2)
    assert observation.received.shape == (2, 10, 4)
    assert truth.active_channels.shape == (2000, 4)


@pytest.mark.parametrize("kind", SIONNA_FADINGS)
def test_without_sionna_a_config_is_made_and_a_draw_says_how_to_get_it(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "sionna.phy.channel", None)
    law = kind(carrier_hz=2.123e9)  # traced by nobody yet
    with pytest.raises(ImportError, match=rf"{kind.__name__} is drawn by Sionna .* pip install 'sionna-no-rt"):
        law.draw(stream(1), 1, 1)


def test_impossible_channels_are_refused():
    with pytest.raises(ValueError, match="model: got 'F'"):
        TDL(model="F")
    with pytest.raises(ValueError, match=r"correlation_coefficient: got 0.5 for model 'D'"):
        TDL(model="D", correlation_coefficient=0.5)
    with pytest.raises(ValueError, match="max_distance_m: got 5"):
        UMi(max_distance_m=5)
    with pytest.raises(ValueError, match="max_distance_m: got inf, expected a finite number"):
        UMi(max_distance_m=float("inf"))
    with pytest.raises(ValueError, match="indoor_prob: got 2"):
        RMa(indoor_prob=2)
    with pytest.raises(ValueError, match="num_antennas: got 3, expected a multiple"):
        CDL(array=UniformPlanar(num_rows=2)).correlation(3)
