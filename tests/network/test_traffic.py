"""What a traffic model promises, for every model; and what each model alone does."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from wirelesslab.network.diurnal_traffic import day_of_rates
from wirelesslab.network.packet_sizes import SIZE_LAWS
from wirelesslab.network.source_streams import begin_streams, philox, uniforms
from wirelesslab.network.traffic import (
    TRAFFIC_MODELS,
    BetaBurst,
    Diurnal,
    ExponentialSize,
    FixedSize,
    Ftp3,
    Haptics,
    HyperexponentialSize,
    OnOff,
    ParetoSize,
    Periodic,
    Poisson,
    TrafficTrace,
    XrVideo,
    due,
    load_trace,
)

TRACE_S, TRACE_BYTES = np.array([0.0, 0.25, 0.25, 1.5, 2.0]), np.array([10, 1, 2, 700, 5])
MODELS = [
    Poisson(rate_per_s=5.0, num_bytes=100),
    Poisson(rate_per_s=5.0, num_bytes=HyperexponentialSize(500.0, 4.0)),
    Ftp3(rate_per_s=0.5),
    Periodic(period_s=0.3, num_bytes=ExponentialSize(80.0), jitter_s=0.3),
    Periodic(period_s=0.1, num_bytes=20, random_phase=False),
    OnOff(mean_on_s=0.4, mean_off_s=0.6, rate_bps=64_000, num_bytes=160),
    OnOff(mean_on_s=0.02, mean_off_s=0.05, rate_bps=64_000, num_bytes=1_600),
    BetaBurst(duration_s=6.0, num_bytes=ParetoSize(2.0, 40, 1_500)),
    Diurnal(period_s=0.8, rates_per_s=(2.0, 0.0, 9.0, 5.0), num_bytes=ExponentialSize(300.0)),
    Diurnal(period_s=2.4, rates_per_s=(1.0, 8.0, 0.0), num_bytes=90, random_phase=True),
    XrVideo(rate_bps=10e6),
    XrVideo(rate_bps=100e6, frames_per_s=90, size_std=0.25, size_min=0.25, size_max=3.0),
    Haptics(),
    TrafficTrace(times_s=TRACE_S, num_bytes=TRACE_BYTES),
    TrafficTrace(times_s=TRACE_S, num_bytes=TRACE_BYTES, source_of=np.array([0, 1, 1, 0, 1]), repeat_s=2.5),
]
LASTING = [m for m in MODELS if m.mean_rate_bps is not None]
SIZES = [FixedSize(7), ExponentialSize(30.0), HyperexponentialSize(500.0, 4.0), ParetoSize(7.0, 63, 217)]
every_model = pytest.mark.parametrize("model", MODELS, ids=repr)


def rng(seed=7):
    return np.random.default_rng(seed)


def population(model, wanted=40):
    known = getattr(model, "num_sources", None)
    return wanted if known is None else known


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def joined(parts):
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def test_every_model_and_every_size_law_is_under_test():
    assert {type(m) for m in MODELS} == set(TRAFFIC_MODELS)
    assert {type(s) for s in SIZES} == set(SIZE_LAWS)


# --- all models -----------------------------------------------------------------------------------


@every_model
def test_due_returns_each_arrival_once_in_time_order_and_leaves_the_later_ones(model):
    generator = rng()
    memory = model.begin(generator, population(model))
    users, num_bytes, times_s = due(model, generator, memory, 3.0)
    assert users.size == num_bytes.size == times_s.size > 0
    assert (users.dtype, num_bytes.dtype, times_s.dtype) == (np.int64, np.int64, np.float64)
    assert num_bytes.min() >= 1
    assert times_s.min() >= 0
    assert times_s.max() < 3.0
    assert memory["next_s"].min() >= 3.0
    steps = np.diff(times_s)
    assert (steps >= 0).all()
    assert (np.diff(users)[steps == 0] >= 0).all()


@every_model
def test_due_agrees_with_one_arrival_at_a_time_from_a_heap_of_sources(model):
    whole, single = model.begin(rng(), population(model, 9)), model.begin(rng(), population(model, 9))
    expected = []
    while single["next_s"].min() < 2.0:
        user = int(np.argmin(single["next_s"]))
        when = single["next_s"][user]
        size = model.advance(rng(), single, np.array([user]))
        expected.append((user, int(size[0]), float(when)))
    got = [(int(u), int(b), float(t)) for u, b, t in zip(*due(model, rng(), whole, 2.0), strict=True)]
    assert got == expected


@every_model
def test_cutting_the_horizon_changes_no_arrival(model):
    whole, cut = model.begin(rng(), population(model)), model.begin(rng(), population(model))
    generator = rng(8)
    parts = [due(model, generator, cut, t) for t in (0.0, 0.001, 0.25, 0.25, 1.0, 1.7, 4.0)]
    assert same(joined(parts), due(model, rng(9), whole, 4.0))
    assert all(np.array_equal(cut[name], whole[name]) for name in whole)


@every_model
def test_the_same_seed_gives_the_same_arrivals_and_another_seed_gives_others(model):
    runs = []
    for seed in (7, 7, 8):
        generator = rng(seed)
        runs.append(due(model, generator, model.begin(generator, population(model)), 4.0))
    assert same(runs[0], runs[1])
    if not isinstance(model, TrafficTrace) and model != MODELS[4]:  # those two leave nothing to chance
        assert not same(runs[0], runs[2])


@every_model
def test_a_copy_of_the_memory_has_the_same_future(model):
    generator = rng()
    memory = model.begin(generator, population(model))
    due(model, generator, memory, 1.0)
    kept, state = copy.deepcopy(memory), generator.bit_generator.state
    first = due(model, generator, memory, 4.0)
    generator.bit_generator.state = state
    assert same(first, due(model, generator, kept, 4.0))


@every_model
def test_ahead_gives_to_the_bit_what_due_gives(model):
    generator = rng()
    memory = model.begin(generator, population(model, 5))
    due(model, generator, memory, 0.5)
    for user in range(memory["next_s"].size):
        alone = {name: rows[user : user + 1].copy() for name, rows in memory.items()}
        twin = copy.deepcopy(alone)
        parts = [model.ahead(generator, alone, num) for num in (1, 0, 30)]
        times_s, num_bytes = joined(parts)
        until_s = np.nextafter(times_s[-1], np.inf) if times_s.size else 1e3
        _, twin_bytes, twin_s = due(model, generator, twin, until_s)
        assert np.array_equal(times_s, twin_s)
        assert np.array_equal(num_bytes, twin_bytes)
        assert all(np.array_equal(alone[name], twin[name]) for name in alone)


@every_model
def test_a_source_says_the_same_whoever_is_asked_beside_it(model):
    together, apart = model.begin(rng(), population(model, 6)), model.begin(rng(), population(model, 6))
    users, num_bytes, times_s = due(model, rng(), together, 3.0)
    alone = {name: rows[1:2].copy() for name, rows in apart.items()}
    _, own_bytes, own_s = due(model, rng(), alone, 3.0)
    assert np.array_equal(own_s, times_s[users == 1])
    assert np.array_equal(own_bytes, num_bytes[users == 1])


@pytest.mark.parametrize("model", LASTING, ids=repr)
def test_the_offered_rate_is_the_stated_one(model):
    known, generator = getattr(model, "num_sources", None), rng(11)
    num_sources = 200 if known is None else known
    memory = model.begin(generator, num_sources)
    horizon_s, rates_bps = None, []
    for user in range(num_sources):
        alone = {name: rows[user : user + 1].copy() for name, rows in memory.items()}
        times_s, num_bytes = model.ahead(generator, alone, 3_000)
        horizon_s = horizon_s or times_s[1_999]
        assert times_s[-1] > horizon_s or known is not None
        rates_bps.append(8 * num_bytes[times_s < horizon_s].sum() / horizon_s)
    mean, error = np.mean(rates_bps), np.std(rates_bps, ddof=1) / np.sqrt(num_sources)
    assert mean == pytest.approx(model.mean_rate_bps, rel=0.02)
    if known is None:  # a trace leaves nothing to chance, its sources differ by design
        assert mean == pytest.approx(model.mean_rate_bps, abs=3 * error + 1e-3 * mean)  # 2 packets of 2,000 at the ends


@pytest.mark.parametrize(
    "model",
    [m for m in LASTING if not isinstance(m, TrafficTrace) and getattr(m, "random_phase", True)],
    ids=repr,
)
def test_sources_begin_in_the_stationary_regime(model):
    num, generator = 20_000, rng(3)
    memory = model.begin(generator, num)
    # what a clock's tick before time 0 would have sent late is missing: one period, and it is stationary
    begin_s = 2 * model.period_s if isinstance(model, XrVideo | Periodic) else 0.0
    due(model, generator, memory, begin_s)
    users, num_bytes, _ = due(model, generator, memory, begin_s + 0.04)
    bits_per_s = np.bincount(users, weights=8.0 * num_bytes, minlength=num) / 0.04
    assert bits_per_s.mean() == pytest.approx(model.mean_rate_bps, abs=3.5 * bits_per_s.std() / np.sqrt(num))


# --- streams and sizes ----------------------------------------------------------------------------


@given(st.tuples(*[st.integers(0, 2**64 - 1)] * 2), st.integers(0, 2**62), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_the_streams_are_those_of_numpys_philox(key, count, lane):
    # NumPy counts before it draws: hence the 1
    block = philox(np.array([key], np.uint64), np.array([count + 1], np.uint64), lane)[0]
    theirs = np.random.Philox(
        counter=np.array([count, lane, 0, 0], np.uint64), key=np.array(key, np.uint64)
    ).random_raw(4)
    assert np.array_equal(block, theirs)


def test_draws_of_neighbouring_sources_and_of_one_source_are_uniform_and_uncorrelated():
    memory = begin_streams(rng(), 2_000)
    draws = np.stack([uniforms(memory, np.arange(2_000)) for _ in range(20)])  # (20, 2000, 4)
    assert 0 < draws.min() < draws.max() < 1
    assert kstest(draws.ravel(), "uniform").pvalue > 1e-4
    for first, second in ((draws[:-1], draws[1:]), (draws[:, :-1], draws[:, 1:]), (draws[..., :-1], draws[..., 1:])):
        size = first.size
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4.5 / np.sqrt(size)


@pytest.mark.parametrize("law", SIZES, ids=repr)
def test_sizes_are_whole_bytes_with_the_stated_moments(law):
    num = 400_000
    sizes = law.quantile((np.arange(num) + 0.5) / num)  # midpoints: the error is that of the tail alone
    assert sizes.dtype == np.int64
    assert sizes.min() >= 1
    assert (np.diff(sizes) >= 0).all() or isinstance(law, HyperexponentialSize)
    assert sizes.mean() == pytest.approx(law.mean_bytes, rel=1e-4)
    assert (sizes.astype(float) ** 2).mean() == pytest.approx(law.second_moment, rel=1e-3)
    extreme = law.quantile(np.array([2.0**-53, 1 - 2.0**-53]))
    assert 1 <= extreme.min() <= extreme.max() < 10**6


def test_hyperexponential_sizes_have_the_asked_variation():
    law = HyperexponentialSize(1_000.0, 4.0)
    assert law.second_moment / law.mean_bytes**2 - 1 == pytest.approx(4.0, rel=2e-3)  # off by 1/mean: whole bytes


# --- each model -----------------------------------------------------------------------------------


def test_poisson_gaps_are_exponential():
    times_s, _ = (model := MODELS[0]).ahead(rng(), model.begin(rng(), 1), 20_000)
    assert kstest(np.diff(times_s), "expon", args=(0, 1 / 5.0)).pvalue > 1e-3


def test_a_diurnal_source_is_a_poisson_process_of_its_own_rate_in_every_step():
    model = Diurnal(period_s=4.0, rates_per_s=(5.0, 0.0, 20.0, 10.0), num_bytes=100)
    times_s, _ = model.ahead(rng(), model.begin(rng(), 1), 70_000)
    periods = int(times_s[-1] / 4.0)
    counts = np.histogram(times_s, np.arange(4 * periods + 1))[0].reshape(periods, 4)
    # each count is Poisson: its mean within 4 standard errors, its variance within 10 % (standard error 2.1 %)
    assert counts[:, 1].sum() == 0
    assert counts.mean(axis=0) == pytest.approx([5, 0, 20, 10], abs=4 * np.sqrt(20 / periods))
    assert counts[:, [0, 2, 3]].var(axis=0) == pytest.approx([5, 20, 10], rel=0.1)
    inside = times_s[(times_s % 4.0 >= 2.0) & (times_s % 4.0 < 3.0)] % 1.0
    assert kstest(inside, "uniform").pvalue > 1e-3


def test_a_diurnal_source_of_one_rate_has_exponential_gaps():
    model = Diurnal(period_s=3.0, rates_per_s=(5.0, 5.0), num_bytes=1)
    times_s, _ = model.ahead(rng(), model.begin(rng(), 1), 20_000)
    assert kstest(np.diff(times_s), "expon", args=(0, 1 / 5.0)).pvalue > 1e-3


def test_a_day_of_rates_has_its_mean_its_swing_and_its_peak():
    rates = np.array(day_of_rates(40.0, 0.75, 20.5 / 24))
    assert rates.mean() == pytest.approx(40.0, abs=1e-6)
    assert (rates.argmax(), rates.argmin()) == (20, 8)
    assert (rates.max(), rates.min()) == pytest.approx((70.0, 10.0), abs=1e-6)


@pytest.mark.parametrize("rates", [(), (0.0, 0.0), (1.0, -1.0), (np.nan,)])
def test_a_diurnal_source_needs_rates_that_can_be(rates):
    with pytest.raises(ValueError, match="rates_per_s"):
        Diurnal(period_s=1.0, rates_per_s=rates, num_bytes=1)


def test_a_periodic_source_without_jitter_ticks_without_drift():
    model = Periodic(period_s=0.1, num_bytes=1)
    times_s, _ = model.ahead(rng(), model.begin(rng(), 1), 1_000_000)
    assert times_s[-1] - times_s[0] == pytest.approx(99_999.9, abs=1e-9)


@pytest.mark.parametrize("model", MODELS[5:7], ids=repr)
def test_on_off_gaps_have_the_law_of_a_source_simulated_state_by_state(model):
    generator, gaps_s = rng(5), []
    left_s = generator.exponential(model.mean_on_s)
    for _ in range(15_000):
        need_s, gap_s = model.packet_s, model.packet_s
        while left_s < need_s:
            need_s -= left_s
            gap_s += generator.exponential(model.mean_off_s)
            left_s = generator.exponential(model.mean_on_s)
        left_s -= need_s
        gaps_s.append(gap_s)
    times_s, _ = model.ahead(rng(), model.begin(rng(), 1), 15_001)
    # ties (no silence) are common to both: compare how often, then the law of the silences
    ours, theirs = np.diff(times_s) - model.packet_s, np.array(gaps_s) - model.packet_s
    silent, expected = (ours > 1e-9).mean(), -np.expm1(-model.packet_s / model.mean_on_s)
    assert silent == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 15_000))
    assert kstest(ours[ours > 1e-9], theirs[theirs > 1e-9]).pvalue > 1e-3


def test_a_beta_burst_peaks_where_and_as_the_closed_form_says():
    model, num = BetaBurst(), 30_000
    assert model.arrivals_per_s(np.array([4.0]), num)[0] == pytest.approx(6220.8, abs=0.05)
    grid = np.linspace(0, 10, 2_001)
    assert model.arrivals_per_s(grid, num).max() == model.arrivals_per_s(np.array([4.0]), num)[0]
    assert np.trapezoid(model.arrivals_per_s(grid, num), grid) == pytest.approx(num, rel=1e-5)
    generator = rng()
    counts = np.zeros((20, 20))
    for replica in range(20):
        _, _, times_s = due(model, generator, model.begin(generator, num), 10.0)
        assert times_s.size == num  # each speaks once
        counts[replica] = np.histogram(times_s, np.linspace(3.0, 5.0, 21))[0]
    expected = [
        np.trapezoid(model.arrivals_per_s(x := np.linspace(a, a + 0.1, 101), num), x) for a in 3 + 0.1 * np.arange(20)
    ]
    error = np.sqrt(expected) / np.sqrt(20)
    assert np.abs((counts.mean(axis=0) - expected) / error).max() < 4  # 20 bins: false alarm 1e-3
    at_peak = counts[:, 9:11].mean() / 0.1
    assert at_peak == pytest.approx(6220.8, rel=0.02)
    assert at_peak == pytest.approx(6220.8, abs=3 * np.sqrt(6220.8 / 0.1 / 40))


def test_a_source_of_a_burst_is_silent_afterwards():
    model, generator = BetaBurst(), rng()
    memory = model.begin(generator, 3)
    due(model, generator, memory, 11.0)
    assert np.isinf(memory["next_s"]).all()
    assert due(model, generator, memory, 1e6)[0].size == 0
    alone = {name: rows[:1].copy() for name, rows in memory.items()}
    assert [column.size for column in model.ahead(generator, alone, 5)] == [0, 0]


def test_video_frames_keep_their_bounds_and_never_overtake():
    model = XrVideo(rate_bps=30e6)
    times_s, num_bytes = model.ahead(rng(), model.begin(rng(), 1), 60_000)
    assert num_bytes.min() >= 0.5 * model.frame_bytes - 0.5
    assert num_bytes.max() <= 1.5 * model.frame_bytes + 0.5
    assert num_bytes.std() / num_bytes.mean() == pytest.approx(0.105, rel=0.02)
    jitter_s = times_s - np.arange(60_000) / 60
    jitter_s -= jitter_s.mean()
    assert np.diff(times_s).min() > 1 / 60 - 0.0081
    assert np.abs(jitter_s).max() <= 0.0041
    # a Gaussian cut at two standard deviations has this one left
    cut = np.sqrt(1 - 2 * 2 * norm.pdf(2) / (norm.cdf(2) - norm.cdf(-2)))
    assert jitter_s.std() == pytest.approx(0.002 * cut, rel=0.02)


def test_haptic_gaps_are_whole_quanta_of_a_rounded_exponential_law():
    model = Haptics()
    times_s, num_bytes = model.ahead(rng(), model.begin(rng(), 1), 100_001)
    quanta = np.rint(np.diff(times_s) / 0.032)
    assert np.diff(times_s) == pytest.approx(0.032 * quanta, abs=1e-9)
    for least in (2, 3, 5):
        expected = np.exp(-15 * 0.032 * (least - 0.5))
        assert (quanta >= least).mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / 100_000))
    assert quanta.min() == 1
    assert 63 <= num_bytes.min() <= num_bytes.max() <= 217
    assert np.diff(times_s).mean() == pytest.approx(model.mean_gap_s, rel=0.02)


# --- traces ---------------------------------------------------------------------------------------


def test_a_trace_is_replayed_by_its_sources_and_begins_anew():
    model = TrafficTrace(times_s=TRACE_S, num_bytes=TRACE_BYTES, source_of=np.array([0, 1, 1, 0, 1]), repeat_s=2.5)
    users, num_bytes, times_s = due(model, rng(), model.begin(rng(), 2), 5.0)
    assert users.tolist() == [0, 1, 1, 0, 1] * 2
    assert num_bytes.tolist() == TRACE_BYTES.tolist() * 2
    assert times_s.tolist() == [*TRACE_S, *(TRACE_S + 2.5)]


def test_a_trace_comes_back_from_its_file(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("time_s,num_bytes,source\n0.5,100,1\n0.75,20,0\n")
    trace = load_trace(path, repeat_s=1.0)
    assert trace.times_s.tolist() == [0.5, 0.75]
    assert trace.num_bytes.tolist() == [100, 20]
    assert trace.source_of.tolist() == [1, 0]
    assert trace.repeat_s == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: got the header ''"),
        ("time,num_bytes\n", "line 1: got the header 'time,num_bytes'"),
        ("time_s,num_bytes\n0.5,100\n0.6,x\n", "line 3, column num_bytes: got 'x', expected whole bytes"),
        ("time_s,num_bytes\n0.5,0\n", "line 2, column num_bytes: got '0'"),
        ("time_s,num_bytes\nnan,1\n", "line 2, column time_s: got 'nan', expected seconds"),
        ("time_s,num_bytes\n1,1\n0.5,1\n", "line 3, column time_s: got 0.5 after 1"),
        ("time_s,num_bytes\n1,1,3\n", "line 2: got 3 columns"),
        ("time_s,num_bytes,source\n1,1,-1\n", "line 2, column source: got '-1'"),
    ],
)
def test_a_broken_trace_file_is_refused_with_line_and_column(tmp_path, text, message):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"trace\.csv") as error:
        load_trace(path)
    assert message in str(error.value)


def test_a_trace_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        load_trace(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Poisson(rate_per_s=0, num_bytes=1), "rate_per_s: got 0"),
        (lambda: Poisson(rate_per_s=1, num_bytes=0), "num_bytes: got 0"),
        (lambda: Periodic(period_s=1, num_bytes=1, jitter_s=2), "jitter_s: got 2"),
        (lambda: OnOff(mean_on_s=1, mean_off_s=-1, rate_bps=1, num_bytes=1), "mean_off_s: got -1"),
        (lambda: XrVideo(frames_per_s=200), "jitter_max_s: got 0.004"),
        (lambda: XrVideo(size_max=0.9), "size_max: got 0.9"),
        (lambda: ExponentialSize(1.0), "mean: got 1.0 bytes, expected above 1"),
        (lambda: HyperexponentialSize(100.0, 0.5), "scv: got 0.5"),
        (lambda: ParetoSize(7.0, 10, 10), "high: got 10"),
        (lambda: TrafficTrace(times_s=[1.0, 0.5], num_bytes=[1, 1]), "times_s: got 0.5 after 1 at index 1"),
        (lambda: TrafficTrace(times_s=[1.0], num_bytes=[1], repeat_s=1.0), "repeat_s: got 1.0"),
        (lambda: TrafficTrace(times_s=[1.0], num_bytes=[1.5]), "num_bytes: got 1.5"),
        (lambda: TrafficTrace(times_s=[1.0], num_bytes=[1], source_of=[0]).begin(rng(), 2), "num_sources: got 2"),
        (lambda: due(MODELS[0], rng(), MODELS[0].begin(rng(), 1), np.inf), "until_s: got inf"),
        (lambda: MODELS[0].ahead(rng(), MODELS[0].begin(rng(), 2), 1), "memory: got 2 sources, expected one"),
    ],
)
def test_nonsense_is_refused_at_the_door(make, message):
    with pytest.raises(ValueError, match=r".") as error:
        make()
    assert message in str(error.value)
