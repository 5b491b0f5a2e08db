"""Figures can be read: axes with units, a legend, one colour per detector, intervals; and they refuse nonsense."""

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from tests.trials import ANNA, BERT, CARL, Coin, Player, TossTrial
from wirelesslab import plot
from wirelesslab.mmtc.report import frame_picture
from wirelesslab.stats import Count
from wirelesslab.study import Stop, Study

SNRS = [-6.0, 0.0, 6.0]
DEVICES = [40, 80]


def made_up(detectors=("AMP", "covariance", "genie")) -> xr.Dataset:
    """A result over SNR and devices whose rates fall with the SNR; the genie has no error at 6 dB."""
    dims = ("detector", "num_devices", "snr_db")
    shape = (len(detectors), len(DEVICES), len(SNRS))
    rates = np.array([0.2, 0.05, 0.004])[None, None, :] / (1 + np.arange(shape[0]))[:, None, None]
    attempts = np.full(shape, 2000)
    errors = np.round(np.broadcast_to(rates, shape) * attempts).astype(int)
    if "genie" in detectors:
        errors[detectors.index("genie"), :, -1] = 0
    bounds = np.array([Count(int(e), 2000).interval() for e in errors.ravel()]).reshape(*shape, 2)
    data = {"errors": errors, "attempts": attempts, "ser": errors / attempts}
    data |= {"ser_low": bounds[..., 0], "ser_high": bounds[..., 1], "seconds_per_frame": np.ones(shape)}
    return xr.Dataset(
        {name: (dims, values) for name, values in data.items()},
        coords={"detector": list(detectors), "num_devices": DEVICES, "snr_db": SNRS},
        attrs={"confidence": 0.95},
    )


@pytest.fixture
def figure():
    return plot.waterfall(made_up(), title="A title")


def panels(figure) -> list:
    return [axis for axis in figure.axes if axis.get_visible()]


def curves(axis) -> dict:
    return {line.get_label(): line for line in axis.get_lines() if not line.get_label().startswith("_")}


def test_a_waterfall_has_one_panel_per_point_of_the_other_dims(figure):
    assert [axis.get_title() for axis in panels(figure)] == ["number of devices 40", "number of devices 80"]


def test_the_axes_of_a_waterfall_say_what_they_show_and_in_which_unit(figure):
    for axis in panels(figure):
        assert axis.get_xlabel() == "SNR (dB)"
        assert axis.get_yscale() == "log"
    assert panels(figure)[0].get_ylabel().startswith("symbol error rate")
    assert "95% interval" in panels(figure)[0].get_ylabel()


def test_every_detector_has_one_entry_in_the_legend(figure):
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["AMP", "covariance", "genie"]


def test_a_detector_has_one_colour_in_all_panels_and_shares_it_with_no_other(figure):
    colors = [{name: to_hex(line.get_color()) for name, line in curves(axis).items()} for axis in panels(figure)]
    assert colors[0] == colors[1]
    assert len(set(colors[0].values())) == 3
    assert colors[0]["genie"] == "#000000"


def test_all_detectors_of_a_large_family_have_colours_of_their_own():
    names = tuple(f"detector {i}" for i in range(12))
    (axis, *_) = panels(plot.waterfall(made_up(names)))
    assert len({to_hex(line.get_color()) for line in curves(axis).values()}) == 12


def test_a_curve_goes_through_the_rates_and_a_bar_spans_each_interval(figure):
    result, axis = made_up(), panels(figure)[0]
    at = result.isel(num_devices=0).sel(detector="AMP")
    np.testing.assert_allclose(curves(axis)["AMP"].get_ydata(), at["ser"])
    np.testing.assert_allclose(curves(axis)["AMP"].get_xdata(), SNRS)
    segments = [s for c in axis.collections if hasattr(c, "get_segments") for s in c.get_segments()]
    for i in range(3):
        expected = [[SNRS[i], float(at["ser_low"][i])], [SNRS[i], float(at["ser_high"][i])]]
        assert any(np.allclose(segment, expected) for segment in segments)


def test_a_point_without_errors_is_a_mark_at_the_upper_end_and_not_on_the_curve(figure):
    result, axis = made_up(), panels(figure)[0]
    assert len(curves(axis)["genie"].get_xdata()) == 2
    high = float(result["ser_high"].sel(detector="genie", num_devices=40, snr_db=6.0))
    marks = np.vstack(
        [c.get_offsets() for c in axis.collections if len(c.get_offsets()) and not hasattr(c, "get_segments")]
    )
    assert any(np.allclose(mark, [6.0, high]) for mark in marks)


def test_limits_that_the_result_carries_are_drawn_and_named():
    result = made_up()
    said = {"limit_of": "ser", "long_name": "single user", "linestyle": ":"}
    result["single_user"] = (("num_devices", "snr_db"), np.full((2, 3), 1e-3), said)
    figure = plot.waterfall(result)
    assert "single user" in [text.get_text() for text in figure.legends[0].get_texts()]
    np.testing.assert_allclose(curves(panels(figure)[1])["single user"].get_ydata(), 1e-3)


def test_a_waterfall_may_be_drawn_over_another_dim():
    figure = plot.waterfall(made_up(), x="num_devices")
    assert len(panels(figure)) == 3
    assert panels(figure)[0].get_xlabel() == "number of devices"


def test_a_real_study_with_a_failed_point_can_be_drawn():
    over = {"trouble": ["", "fails"], "bias": [0.05, 0.1, 0.3]}
    result = Study(TossTrial(players=(ANNA, BERT, CARL)), Coin(), over, Stop(max_batches=3), 7).run(workers=1)
    figure = plot.waterfall(result, x="bias")
    figure.canvas.draw()
    assert len(panels(figure)) == 2


def test_a_dim_of_words_can_be_the_abscissa():
    result = Study(TossTrial(), Coin(), {"label": ["one", "two"]}, Stop(max_batches=3), 7).run(workers=1)
    for options in ({"x": "label"}, {}):
        axis = panels(plot.waterfall(result, **options))[0]
        assert [tick.get_text() for tick in axis.get_xticklabels()] == ["one", "two"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "sre"}, r"metric: got 'sre', expected one of ser; did you mean 'ser'\?"),
        ({"metric": "seconds_per_frame"}, r"metric: got 'seconds_per_frame', expected one of ser"),
        ({"metric": "errors"}, r"metric: got 'errors', expected one of ser"),
        ({"x": "snr"}, r"x: got 'snr', expected one of num_devices, snr_db; did you mean 'snr_db'\?"),
        ({"x": "detector"}, "x: got 'detector', expected one of num_devices, snr_db"),
    ],
)
def test_a_waterfall_of_an_unknown_metric_or_dim_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plot.waterfall(made_up(), **options)


# heat maps


def test_heat_maps_have_a_column_per_detector_labels_and_one_scale():
    figure = plot.heat_maps(made_up(), x="snr_db", y="num_devices")
    maps = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in maps] == ["AMP", "covariance", "genie"]
    assert {axis.get_xlabel() for axis in maps} == {"SNR (dB)"}
    assert maps[0].get_ylabel() == "number of devices"
    scales = {(m.norm.vmin, m.norm.vmax) for axis in maps for m in axis.collections}
    assert len(scales) == 1
    assert any(axis.get_ylabel() == "symbol error rate" for axis in figure.axes)


def test_every_cell_of_a_heat_map_prints_its_rate_and_marks_where_no_error_was_seen():
    figure = plot.heat_maps(made_up(), x="snr_db", y="num_devices", detectors=["AMP", "genie"])
    amp, genie = ([text.get_text() for text in axis.texts] for axis in figure.axes[:2])
    assert amp[:2] == [".20", "5e-2"]
    assert genie[2].startswith("<")


def test_heat_maps_have_a_row_per_point_of_the_other_dims():
    result = made_up().expand_dims(num_antennas=[2, 8], axis=3)
    figure = plot.heat_maps(result, x="snr_db", y="num_devices")
    assert len([axis for axis in figure.axes if axis.get_title()]) == 3
    assert len(figure.axes) == 2 * 3 + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": "snr", "y": "num_devices"}, r"x: got 'snr', expected one of"),
        ({"x": "snr_db", "y": "devices"}, r"y: got 'devices', expected one of"),
        ({"x": "snr_db", "y": "num_devices", "metric": "sre"}, r"metric: got 'sre', expected one of ser"),
        ({"x": "snr_db", "y": "num_devices", "detectors": ["APM"]}, r"detectors: got 'APM', expected one of AMP"),
    ],
)
def test_heat_maps_of_an_unknown_dim_metric_or_detector_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        plot.heat_maps(made_up(), **options)


# one frame


def test_a_picture_of_a_frame_counts_what_was_heard_missed_and_imagined():
    energy = np.random.default_rng(1).random((5, 4))
    figure = frame_picture(energy, symbols=[0, 1, 2, 0, 3], detected=[0, 1, 0, 4, 2], title="Frame 0")
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["sent and heard (1)", "sent, not heard (2)", "heard, not sent (2)"]
    assert figure.axes[0].get_xlabel() == "device"


@pytest.mark.parametrize(
    ("energy", "symbols", "detected", "message"),
    [
        (np.ones(5), np.zeros(5, int), np.zeros(5, int), r"energy: got shape \(5,\), expected \(N, Q\)"),
        (np.ones((5, 2)), np.zeros(4, int), np.zeros(5, int), r"symbols: got shape \(4,\), expected \(N=5\)"),
        (np.ones((5, 2)), np.zeros(5, int), np.zeros((5, 1), int), r"detected: got shape \(5, 1\), expected \(N=5\)"),
        (np.full((5, 2), np.nan), np.zeros(5, int), np.zeros(5, int), "energy: got 10 of 10 entries that are NaN"),
    ],
    ids=["energy", "symbols", "detected", "NaN"],
)
def test_a_picture_of_arrays_that_do_not_fit_is_refused(energy, symbols, detected, message):
    with pytest.raises(ValueError, match=message):
        frame_picture(energy, symbols, detected)


# words


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("snr_db", "SNR (dB)"),
        ("delay_s", "delay (s)"),
        ("num_devices", "number of devices"),
        ("ser", "symbol error rate"),
        ("activity_prob", "activity probability"),
        ("rate_bps", "rate (bit/s)"),
    ],
)
def test_a_name_of_the_code_becomes_a_label_with_its_unit(name, shown):
    assert plot.axis_label(name) == shown


def test_a_coordinate_may_bring_its_own_label():
    coordinate = xr.DataArray([1], attrs={"long_name": "pilot length L", "units": "symbols"})
    assert plot.axis_label("pilot_length", coordinate) == "pilot length L (symbols)"


def test_drawing_touches_no_global_state():
    before = dict(mpl.rcParams)
    plot.waterfall(made_up()).canvas.draw()
    assert dict(mpl.rcParams) == before
    if "matplotlib.pyplot" in __import__("sys").modules:
        import matplotlib.pyplot as plt

        assert plt.get_fignums() == []


def test_a_name_with_a_comma_is_still_a_name():
    players = (Player("anna, late"), Player("bert"))
    result = Study(TossTrial(players=players), Coin(), {"bias": [0.1, 0.2]}, Stop(max_batches=2), 7).run(workers=1)
    assert set(curves(panels(plot.waterfall(result))[0])) == {"anna, late", "bert"}
