"""The runs that are held against theory say what theory says, and their estimates are what they claim to be."""

import numpy as np
import pytest

from wirelesslab.network import theory_runs as queues
from wirelesslab.network import theory_runs_radio as radio

SPECIFIED = [
    (queues.SingleServer(load=0.5), (2.0, 9.210)),
    (queues.SingleServer(load=0.8), (5.0, 23.026)),
    (queues.SingleServer(load=0.8, law="fixed"), (2.0,)),
    (queues.SingleServer(load=0.5, law="hyperexponential"), (2.5,)),
    (queues.ManyServers(), (0.221731, 0.073910)),
    (queues.ManyServers(waiting=False), (0.078741,)),
    (queues.ManyServers(waiting=False, fixed=True), (0.078741,)),
    (queues.JacksonNetwork(), (4.348552,)),
    (radio.SharedCell(load=0.6, sizes_bytes=(1_000_000, 2_000_000)), (2.5, 5.0)),
    (radio.MultiuserGain(num_users=16), (3.38073,)),
    (radio.LossOfTwoClasses(), (0.030374, 0.146660)),
    (radio.BurstPeak(), (31.10,)),
    (radio.Preambles(poisson=False), (0.5708,)),
    (radio.Preambles(mean_contenders=31.10), (0.5622,)),
    (radio.Preambles(num_preambles=1, mean_contenders=1.0), (0.367879,)),
    (radio.Water(), (4.50750,)),
    (radio.LineOfLinks(num_links=2), (0.5, 1 / 3)),
]


@pytest.mark.parametrize(("case", "bars"), SPECIFIED, ids=lambda value: next(iter(getattr(value, "expected", "-"))))
def test_theory_is_that_of_the_specification(case, bars):
    assert tuple(case.expected.values()) == pytest.approx(bars, rel=2e-4)


FAST = [
    queues.SingleServer(load=0.5, num_flows=1500),
    queues.SingleServer(load=0.5, law="fixed", num_flows=1500),
    queues.ManyServers(servers=2, load=1.0, num_jobs=1500),
    queues.ManyServers(servers=2, load=1.0, waiting=False, num_jobs=1500),
    queues.JacksonNetwork(num_jobs=700),
    radio.SharedCell(load=0.5, num_files=3000),
    radio.MultiuserGain(num_users=4, window_slots=1000, num_slots=5000),
    radio.LossOfTwoClasses(num_calls=20_000),
    radio.BurstPeak(num_bursts=1),
    radio.Preambles(num_slots=60),
    radio.Preambles(num_slots=60, poisson=False),
]


@pytest.mark.parametrize("case", FAST, ids=lambda case: next(iter(case.expected)))
def test_a_small_run_is_near_theory_and_its_own_seed_s(case):
    runs = [queues.run_case(case, seed) for seed in range(6)]
    for place, expected in enumerate(case.expected.values()):
        found = queues.estimate([run["measured"][place] for run in runs])
        # six short runs: no more than five standard errors (Student, 5 degrees: 1 in 250) and a fifth away
        assert abs(found.value - expected) < 5 * found.standard_error
        assert found.value == pytest.approx(expected, rel=0.2)
    assert np.array_equal(runs[0]["measured"], queues.run_case(case, 0)["measured"], equal_nan=True)
    assert runs[0]["measured"] != runs[1]["measured"]
    assert all(len(run[name]) == 2 for run in runs for name in ("measured", "controls"))


@pytest.mark.parametrize(
    "case", [radio.Water(), radio.Water(gains=(3.0, 0.2), power=1.0), radio.LineOfLinks(num_links=3)]
)
def test_what_is_not_random_is_right_to_rounding(case):
    assert list(case.measure(1).values) == pytest.approx(list(case.expected.values()), rel=1e-9)


def test_controls_take_luck_off_and_leave_the_mean():
    rng = np.random.default_rng(1)
    luck = rng.normal(size=(400, 2))
    samples = 3.0 + luck @ [2.0, -1.0] + 0.1 * rng.normal(size=400)
    plain, controlled = queues.estimate(samples), queues.estimate(samples, luck)
    assert controlled.standard_error == pytest.approx(0.1 / 20, rel=0.2)  # 400 samples: 4 % of one s.d.
    assert plain.standard_error == pytest.approx(samples.std(ddof=1) / 20)
    assert abs(controlled.value - 3.0) < 4 * controlled.standard_error
    assert controlled.degrees == 397


def test_the_interval_of_a_controlled_mean_covers_as_often_as_it_says():
    rng, hits = np.random.default_rng(2), 0
    for _ in range(1000):
        luck = rng.normal(size=(20, 1))
        found = queues.estimate(1.0 + luck[:, 0] + rng.normal(size=20), luck)
        hits += abs(found.value - 1.0) < 2.101 * found.standard_error  # Student's 97.5 %, 18 degrees
    assert hits / 1000 == pytest.approx(0.95, abs=0.03)  # four standard errors of 0.7 %


def test_few_replicas_or_no_controls_give_the_plain_mean():
    samples = [1.0, 2.0, 4.0]
    assert queues.estimate(samples, [[0.1], [0.2], [0.3]]) == queues.estimate(samples)
    assert queues.estimate(samples, np.full((3, 2), np.nan)).value == pytest.approx(7 / 3)
    assert queues.estimate([1.0]).standard_error == float("inf")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: queues.SingleServer(load=1.2), "load: got 1.2 per server, expected below 1"),
        (lambda: queues.SingleServer(load=0.5, law="expo"), "law: got 'expo', expected one of"),
        (lambda: queues.ManyServers(load=11.0), "load: got 1.1 per server"),
        (lambda: queues.ManyServers(fixed=True), "M/D/c has no closed form"),
        (lambda: queues.JacksonNetwork(arrival_rate=1.0), "load: got"),
        (lambda: queues.JacksonNetwork(speeds=(1.0,)), "speeds: got 1, expected those of gateway"),
        (lambda: radio.SharedCell(sizes_bytes=(1,)), "sizes_bytes: got 1, expected two"),
        (lambda: radio.LossOfTwoClasses(demands=(1,)), "demands: got 1 classes, expected two"),
    ],
)
def test_what_has_no_theory_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
