import numpy as np
import pytest

from wirelesslab.network.handover import A3, Handover
from wirelesslab.rng import stream

RULE = A3(hysteresis_db=3.0, time_to_trigger_s=0.2, ping_pong_s=1.0)


def db(*values):
    return 10 ** (np.array([values]) / 10)


def test_a_user_starts_in_its_strongest_cell():
    assert Handover(RULE, 10 ** np.array([[0.0, 1.0], [1.0, 0.0]])).serving.tolist() == [1, 0]


def test_a_neighbour_within_the_margin_never_takes_over():
    handover = Handover(RULE, db(0, -10))
    for step in range(50):
        assert handover.measure(db(0, 2.9), 0.1 * (step + 1)).user.size == 0
    assert handover.num_handovers == 0


def test_a_better_neighbour_takes_over_exactly_after_the_time_to_trigger():
    handover = Handover(RULE, db(0, -10))
    switched = [handover.measure(db(0, 3.1), 0.1 * step).target.tolist() for step in range(1, 5)]
    assert switched == [[], [], [1], []]
    assert handover.serving.tolist() == [1]


def test_the_trigger_starts_anew_when_the_margin_or_the_neighbour_changes():
    handover = Handover(RULE, db(0, -10, -10))
    for time, powers in ((0.1, db(0, 4, 0)), (0.2, db(0, 1, 0)), (0.3, db(0, 4, 0)), (0.4, db(0, 4, 5))):
        assert handover.measure(powers, time).user.size == 0
    assert handover.measure(db(0, 4, 5), 0.5).user.size == 0
    record = handover.measure(db(0, 4, 5), 0.6)
    assert (record.source.tolist(), record.target.tolist()) == ([0], [2])


@pytest.mark.parametrize(("pause_s", "ping_pongs"), [(0.5, 1), (1.5, 0)])
def test_a_quick_return_is_a_ping_pong_and_a_late_one_is_not(pause_s, ping_pongs):
    handover = Handover(A3(hysteresis_db=3, time_to_trigger_s=0.0), db(0, -10))
    assert handover.measure(db(0, 5), 1.0).ping_pong.tolist() == [False]
    assert handover.measure(db(5, 0), 1.0 + pause_s).ping_pong.tolist() == [ping_pongs == 1]
    assert (handover.num_handovers, handover.num_ping_pongs) == (2, ping_pongs)


def test_many_users_equal_as_many_single_ones():
    rng = stream(1, "powers")
    series = np.cumsum(rng.normal(0, 1.5, (60, 30, 4)), axis=0)
    together = Handover(RULE, 10 ** (series[0] / 10))
    alone = [Handover(RULE, 10 ** (series[0, u : u + 1] / 10)) for u in range(30)]
    for step in range(1, 60):
        record = together.measure(10 ** (series[step] / 10), step * 0.1)
        single = [h.measure(10 ** (series[step, u : u + 1] / 10), step * 0.1) for u, h in enumerate(alone)]
        assert record.user.tolist() == [u for u, r in enumerate(single) if r.user.size]
    assert together.serving.tolist() == [int(h.serving[0]) for h in alone]
    assert together.num_handovers == sum(h.num_handovers for h in alone) > 30
    assert together.num_ping_pongs == sum(h.num_ping_pongs for h in alone) > 0


def test_more_hysteresis_means_fewer_handovers_and_ping_pongs():
    series = stream(2, "powers").normal(0, 2, (200, 100, 3))
    counts = []
    for margin in (0.0, 3.0, 6.0):
        handover = Handover(A3(hysteresis_db=margin, time_to_trigger_s=0.0), 10 ** (series[0] / 10))
        for step in range(1, 200):
            handover.measure(10 ** (series[step] / 10), step * 0.1)
        counts.append((handover.num_handovers, handover.num_ping_pongs))
    assert counts[0] > counts[1] > counts[2]
    assert counts[0][1] > counts[1][1] > counts[2][1]


def test_a_snapshot_goes_on_as_before():
    series = 10 ** (stream(3, "powers").normal(0, 3, (80, 20, 3)) / 10)
    handover = Handover(RULE, series[0])
    for step in range(1, 40):
        handover.measure(series[step], step * 0.1)
    state = handover.snapshot()

    def rest():
        return [
            handover.measure(series[step], step * 0.1).user.tolist() for step in range(40, 80)
        ], handover.num_ping_pongs

    first = rest()
    handover.restore(state)
    assert rest() == first
    assert any(first[0])


def test_measurements_that_make_no_sense_are_refused():
    handover = Handover(RULE, db(0, 1), at_s=1.0)
    with pytest.raises(ValueError, match="expected at least"):
        handover.measure(db(0, 1), 0.5)
    with pytest.raises(ValueError, match="shape"):
        handover.measure(db(0, 1, 2), 2.0)
    with pytest.raises(ValueError, match="above 0"):
        handover.measure([[0.0, 1.0]], 2.0)
