"""How often twins are told can be set while a network runs: checked, recorded, within a budget, under a mandate."""

from dataclasses import replace

import numpy as np
import pytest

from wirelesslab.network import MIOT, Agent, Carriage, DigitalTwin, Mandate, Network, RatedSync, SetSync, line
from wirelesslab.network.saved_runs import _action
from wirelesslab.network.trace import Trace
from wirelesslab.network.twins.walk_twins import WalkTwins
from wirelesslab.rng import stream

WEIGHTS = (0.25, 1.0, 4.0, 9.0)
LINE = {"num_links": 1, "rate_bps": 1e6, "distance_m": 2e4}


def world(rates=(1.0,) * 4, *, budget=4.0, seed=1, slice_name="miot", loss=0.0, **options):
    network = Network(line(**LINE), (MIOT,), seed=seed, report_s=1000.0, **options)
    carriage = Carriage(slice=slice_name, num_bytes=100, loss=loss)
    sync = RatedSync(rates_per_s=rates, budget_per_s=budget)
    return network, network.add(WalkTwins(WEIGHTS, sync, carriage, source="edge-1", at="edge-2"))


def test_a_rate_set_in_mid_gap_draws_nothing_and_stretches_what_is_left() -> None:
    sync = RatedSync(rates_per_s=(1.0, 2.0), budget_per_s=4.0)
    memory = sync.begin(stream(1, "sync"), 2, 0.0)
    first_s, draws = memory["next_s"].copy(), memory["count"].copy()
    now = 0.5 * first_s.min()
    sync.set_rates(memory, (2.0, 1.0), now)
    assert memory["next_s"] == pytest.approx(now + (first_s - now) * [0.5, 2.0], rel=1e-12)
    assert np.array_equal(memory["count"], draws)
    with pytest.raises(ValueError, match="budget of 4"):
        sync.set_rates(memory, (2.0, 2.1), now)
    assert memory["rate_per_s"].tolist() == [2.0, 1.0]


def test_rates_that_are_changed_often_but_stay_the_same_change_nothing() -> None:
    sync = RatedSync(rates_per_s=(1.0,) * 5)
    one, other = (sync.begin(stream(1, "sync"), 5, 0.0) for _ in range(2))
    for step in range(1, 200):
        now = 0.1 * step
        assert np.array_equal(sync.due(one, now, list), sync.due(other, now, list))
        sync.set_rates(other, (1.0,) * 5, now)
    assert other["next_s"] == pytest.approx(one["next_s"], rel=1e-9)


def test_updates_come_at_the_rates_that_are_set_and_ages_are_their_inverse() -> None:
    network, twins = world()
    rates = np.array([0.4, 0.8, 1.2, 1.6])
    network.run(until_s=10.0)
    assert network.apply(SetSync(twin="walk-twins", rates_per_s=tuple(rates))).refused == ""
    network.run(until_s=100.0)
    before, version = twins.mirror.age_integrals(100.0), twins.mirror.version.copy()
    network.run(until_s=2100.0)
    network.check()
    num = twins.mirror.version - version
    assert np.all(np.abs(num - 2000 * rates) < 4.5 * np.sqrt(2000 * rates))  # Poisson counts
    mean_s = (twins.mirror.age_integrals(2100.0) - before) / 2000
    # half of the mean of squared gaps: its spread over n gaps is that of a mean of squared exponentials
    assert np.all(np.abs(mean_s * rates - 1) < 4.5 * np.sqrt(5 / (2000 * rates)))


def test_the_mean_squared_error_of_a_twin_is_its_weight_times_its_age() -> None:
    network, twins = world(seed=4)
    ratios, now = [], 5.0
    for _ in range(700):
        network.agenda.run(now)
        ratios.append(twins.errors_m() ** 2 / (np.array(WEIGHTS) * twins.mirror.ages_s(now)))
        now += 3.0  # three mean gaps: almost independent
    # given the age it is an exponential number of mean 1; neighbours share a gap once in twenty
    assert np.abs(np.mean(ratios, axis=0) - 1).max() < 4.5 * np.sqrt(1.2 / 700)
    measured = twins.strayed / twins.heard
    effective = (1 + 0.97) / (1 - 0.97)
    assert np.abs(measured / WEIGHTS - 1).max() < 4.5 / np.sqrt(effective)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (SetSync(twin="walk-twins", rates_per_s=(1.0, 1.0, 1.0, 1.5)), "sum to 4.5, expected at most the budget of 4"),
        (SetSync(twin="walk-twins", rates_per_s=(1.0, 1.0, 1.0)), "got shape"),
        (SetSync(twin="walk-twins", rates_per_s=(1.0, 1.0, 1.0, 0.0)), "what is never sent ages for ever"),
        (SetSync(twin="walk-twins", rates_per_s=(1.0, 1.0, 1.0, float("nan"))), "rates_per_s"),
        (SetSync(twin="walk-twin", rates_per_s=(1.0,) * 4), "walk-twins"),
        (SetSync(twin="network", rates_per_s=(1.0,) * 4), "expected one whose sync rates can be set"),
    ],
)
def test_rates_that_make_no_sense_are_refused_and_recorded_and_change_nothing(wish: SetSync, says: str) -> None:
    network, _ = world()
    network.run(until_s=3.0)
    before = replace(network.snapshot(), state={**network.snapshot().state, "actions": (), "book": ()}).digest()
    record = network.apply(wish)
    assert says in record.refused
    assert network.actions[-1] == record
    after = replace(network.snapshot(), state={**network.snapshot().state, "actions": (), "book": ()}).digest()
    assert after == before


class Always:
    """Wishes the same at every beat."""

    def __init__(self, wish: SetSync) -> None:
        self.wish = wish

    def act(self, view):
        del view
        return self.wish


def test_an_agent_sets_rates_within_its_mandate_and_the_trace_says_so() -> None:
    wish = SetSync(twin="walk-twins", rates_per_s=(0.5, 0.5, 1.0, 2.0))
    trace = Trace()
    network, twins = world(trace=trace)
    network.add(Agent(Always(wish), at="edge-2", every_s=1.0, mandate=Mandate(kinds=("sync",)), name="tuner"))
    other = Mandate(kinds=("ratios",))
    network.add(Agent(Always(wish), at="edge-2", every_s=1.0, mandate=other, name="elsewhere"))
    network.run(until_s=1.5)
    assert twins.rates_per_s.tolist() == [0.5, 0.5, 1.0, 2.0]
    told = {record.by: record.refused for record in network.actions}
    assert told["tuner"] == ""
    assert "kinds are ratios, got sync" in told["elsewhere"]
    assert "walk-twins: 4 things at 4/s, 0.5 to 2" in trace.text()


def test_a_mandate_over_twins_that_are_not_there_is_refused() -> None:
    network, _ = world()
    network.add(Agent(Always(SetSync(twin="a", rates_per_s=())), mandate=Mandate(twins=("walk-twin",)), name="tuner"))
    with pytest.raises(ValueError, match=r"expected a twin, one of .*walk-twins"):
        network.run(until_s=2.0)
    network, _ = world()
    network.add(DigitalTwin(name="mirror"))
    network.add(Agent(Always(SetSync(twin="a", rates_per_s=())), mandate=Mandate(twins=("mirror",)), name="tuner"))
    with pytest.raises(ValueError, match="got 'mirror', expected one whose sync rates can be set"):
        network.run(until_s=2.0)


def test_a_wish_for_rates_is_read_again_from_a_saved_run() -> None:
    wish = {"class": "SetSync", "twin": "walk-twins", "rates_per_s": [1.0, 2.0]}
    record = _action({"time_s": 1.0, "by": "a", "action": "words", "refused": "", "wish": wish})
    assert record.action == SetSync(twin="walk-twins", rates_per_s=(1.0, 2.0))


@pytest.mark.parametrize("slice_name", ["miot", ""])
def test_a_network_whose_rates_were_set_is_restored_to_the_last_bit(slice_name: str) -> None:
    network, _ = world(slice_name=slice_name, loss=0.2)
    network.run(until_s=5.0)
    network.apply(SetSync(twin="walk-twins", rates_per_s=(0.5, 0.5, 1.0, 2.0)))
    snapshot = network.snapshot()
    again = Network.restored(snapshot)
    for end_s in (5.1, 50.0):
        network.run(until_s=end_s)
        again.run(until_s=end_s)
        assert again.snapshot().digest() == network.snapshot().digest()
    rates = SetSync(twin="walk-twins", rates_per_s=(1.0,) * 4)
    network.apply(rates)
    again.apply(rates)
    network.run(until_s=60.0)
    again.run(until_s=60.0)
    assert again.snapshot().digest() == network.snapshot().digest()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RatedSync(rates_per_s=()), "rates_per_s"),
        (lambda: RatedSync(rates_per_s=(1.0, -1.0)), "rates_per_s"),
        (lambda: RatedSync(rates_per_s=(1.0, 1.0), budget_per_s=1.0), "budget"),
        (lambda: RatedSync(rates_per_s=(1.0,)).begin(stream(1), 2, 0.0), "rates_per_s"),
        (lambda: WalkTwins((-1.0,), RatedSync(rates_per_s=(1.0,)), Carriage(), source="a", at="b"), "weights"),
        (lambda: WalkTwins((1.0,), RatedSync(rates_per_s=(1.0,)), Carriage(), source="a", at="b", memory=2), "memory"),
    ],
)
def test_nonsense_is_refused(make, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
