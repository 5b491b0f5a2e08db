"""Who speaks: every law has the activity that the scenario states, in its own pattern."""

import numpy as np
import pytest
from scipy.stats import beta as beta_law

from tests.mmtc.cells import STANDARD_ERRORS, within_standard_errors
from wirelesslab.mmtc import ActivityTrace, BetaBurst, Clustered, Independent, Scenario, load_activity, simulate
from wirelesslab.rng import stream

LAWS = (Independent(), BetaBurst(), BetaBurst(alpha=2, beta=2), Clustered(), Clustered(cluster_size=7, wake_prob=0.9))


@pytest.mark.parametrize("activity_prob", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_mean_activity_is_the_activity_of_the_scenario(law, activity_prob):
    bursts = np.array([law.draw(stream(1, burst), 20, 60, activity_prob).mean() for burst in range(400)])
    assert within_standard_errors(bursts, activity_prob)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_nobody_speaks_at_activity_zero(law):
    assert not law.draw(stream(2), 20, 60, 0.0).any()


def test_everybody_speaks_at_activity_one():
    assert Independent().draw(stream(3), 20, 60, 1.0).all()
    assert Clustered(wake_prob=1.0).draw(stream(3), 20, 60, 1.0).all()


def test_a_busier_cell_wakes_a_superset_of_devices():
    quiet, busy = (Independent().draw(stream(4), 50, 100, p) for p in (0.1, 0.2))
    assert np.all(busy[quiet])


def test_a_burst_has_the_beta_3_4_shape_of_the_standard():
    num_frames, activity_prob, num_devices = 10, 0.1, 200_000
    heard = BetaBurst().draw(stream(5), num_frames, num_devices, activity_prob)
    edges = np.linspace(0, 1, num_frames + 1)
    expected = activity_prob * num_frames * np.diff(beta_law(3, 4).cdf(edges))
    np.testing.assert_allclose(activity_prob * BetaBurst().intensity(num_frames), expected, rtol=1e-10)
    error = np.sqrt(expected * (1 - expected) / num_devices)
    assert np.all(np.abs(heard.mean(axis=1) - expected) < STANDARD_ERRORS * error)


def test_a_burst_of_one_frame_is_its_mean():
    np.testing.assert_allclose(BetaBurst().intensity(1), 1, rtol=1e-12)


def test_neighbours_of_a_cluster_wake_together_and_strangers_do_not():
    law, activity_prob = Clustered(cluster_size=5, wake_prob=0.5), 0.1
    heard = law.draw(stream(6), 100_000, 10, activity_prob).astype(float)
    centred = heard - activity_prob
    # Both speak when their cluster wakes (probability eps/w) and both follow (w^2).
    together = activity_prob * law.wake_prob - activity_prob**2
    assert together > 0
    assert within_standard_errors(centred[:, 0] * centred[:, 4], together)
    assert within_standard_errors(centred[:, 4] * centred[:, 5], 0.0)


def test_the_last_cluster_may_be_smaller():
    assert Clustered(cluster_size=10).draw(stream(7), 3, 23, 0.2).shape == (3, 23)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (
            lambda: BetaBurst().draw(stream(1), 20, 5, 0.7),
            r"at the burst's peak that is .* > 1; expected at most 0\.\d+",
        ),
        (lambda: Clustered(wake_prob=0.2).draw(stream(1), 20, 5, 0.3), "expected at most wake_prob=0.2"),
        (lambda: BetaBurst(alpha=0), "alpha: got 0, expected a number above 0"),
        (lambda: Clustered(wake_prob=50), "write 50 % as 0.5"),
        (lambda: Clustered(cluster_size=0), "cluster_size: got 0"),
    ],
)
def test_impossible_activity_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


# --- traces ---------------------------------------------------------------------------------------

TRACE = np.array([[1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]])
CELL = {"num_devices": 4, "pilot_length": 8}


def written(path, content):
    if path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix == ".csv":
        np.savetxt(path, content, fmt="%g", delimiter=",")
    else:
        np.savetxt(path, content, fmt="%g")
    return ActivityTrace(path=str(path))


@pytest.mark.parametrize("suffix", ["npy", "csv", "txt"])
@pytest.mark.parametrize("dtype", [bool, np.int8, np.float64])
def test_a_trace_decides_who_speaks(tmp_path, suffix, dtype):
    law = written(tmp_path / f"trace.{suffix}", TRACE.astype(dtype))
    _, truth = simulate(Scenario(**CELL, activity_law=law), stream(1), num_frames=3)
    assert any(np.array_equal(truth.activity, np.roll(TRACE, shift, axis=0)) for shift in range(len(TRACE)))


def test_a_trace_is_read_from_a_random_frame_on_and_goes_round(tmp_path):
    law = written(tmp_path / "trace.npy", TRACE)
    seen = set()
    for seed in range(20):
        drawn = law.draw(stream(seed), 7, 4, TRACE.mean())
        starts = [s for s in range(len(TRACE)) if np.array_equal(drawn, np.resize(np.roll(TRACE, -s, axis=0), (7, 4)))]
        assert len(starts) == 1
        seen |= set(starts)
    assert seen == set(range(len(TRACE)))


def test_a_trace_far_from_the_prior_of_the_detectors_warns(tmp_path):
    law = written(tmp_path / "trace.npy", TRACE)
    with pytest.warns(UserWarning, match="activity_prob: 0.01 is what detectors suppose, the trace's mean is"):
        law.draw(stream(1), 2, 4, 0.01)


@pytest.mark.parametrize("suffix", ["npy", "csv"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.where(TRACE == 1, np.nan, 0.0), r"NaN or infinite, the first at \(0, 0\)"),
        (TRACE[:, :3], r"got shape \(3, 3\), expected \(frames=3, N=4\)"),
        (TRACE * 2, "got 2(.0)? in frame 0, device 0, expected 0 or 1"),
    ],
    ids=["NaN", "wrong width", "not 0 or 1"],
)
def test_a_trace_that_does_not_fit_is_refused(tmp_path, suffix, content, message):
    law = written(tmp_path / f"trace.{suffix}", content)
    with pytest.raises(ValueError, match=message) as e:
        simulate(Scenario(**CELL, activity_law=law), stream(1), num_frames=3)
    assert f"trace.{suffix}" in str(e.value)


def test_a_missing_trace_is_refused_by_name(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"activity: no file .*nowhere\.npy.*expected a \.npy array or a text table"
    ):
        load_activity(tmp_path / "nowhere.npy")


def test_a_pickled_array_is_refused_because_it_could_run_code(tmp_path):
    np.save(tmp_path / "trace.npy", np.array([{"code": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="holds no table of 0 and 1 with one frame per line"):
        load_activity(tmp_path / "trace.npy")


@pytest.mark.parametrize("name", ["trace.csv", "trace.npy"])
def test_a_file_of_words_is_refused(tmp_path, name):
    (tmp_path / name).write_text("hello, world\n")
    with pytest.raises(ValueError, match="holds no table of 0 and 1"):
        load_activity(tmp_path / name)


def test_an_array_of_words_is_refused(tmp_path):
    law = written(tmp_path / "trace.npy", np.array([["a"] * 4] * 3))
    with pytest.raises(TypeError, match="expected numbers"):
        law.draw(stream(1), 3, 4, 0.1)


def test_an_empty_file_is_refused_in_our_voice(tmp_path):
    (tmp_path / "trace.npy").touch()
    with pytest.raises(ValueError, match="activity: "):
        load_activity(tmp_path / "trace.npy")


def test_a_trace_without_axes_is_refused_in_our_voice(tmp_path):
    law = written(tmp_path / "trace.npy", np.array(1))
    with pytest.raises(ValueError, match="activity"):
        law.draw(stream(1), 1, 1, 0.1)
