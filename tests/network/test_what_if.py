"""What would be if: rehearsed on clones that are built from the twin's own aged record, and true in rank."""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from wirelesslab.network import (
    EMBB,
    MIOT,
    URLLC,
    ExponentialSize,
    Flow,
    Network,
    Periodic,
    Poisson,
    ResourceRatio,
    ServiceLevel,
    SetActive,
    SetRatios,
    SetUp,
    line,
)
from wirelesslab.network.topology import Graph, add_link, add_node
from wirelesslab.network.twins.access_policy import audit
from wirelesslab.network.twins.clones import clone_of, drawn, expected_rates, fitted_sizes
from wirelesslab.network.twins.forecasts import Persistence, Seasonal
from wirelesslab.network.twins.infrastructure import DigitalTwin
from wirelesslab.network.twins.what_if import KPIS, Rehearsal, fewest_late, figures_of, rehearse
from wirelesslab.rng import stream

PROMISES_S = {EMBB: 0.1, URLLC: 0.02, MIOT: 0.05}
SLICES = tuple(replace(s, level=ServiceLevel(delay_s=delay_s), weight=1.0) for s, delay_s in PROMISES_S.items())
LINK_BPS = 10e6


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Flows that the sink computes, a Poisson process of exponential sizes; operations grow with size."""

    slice: str
    source: str
    sink: str
    rate_per_s: float
    mean_bytes: float
    operations_per_byte: float
    name: str

    def run(self, network):
        """Send them."""
        mine = network.record(self.name, lambda: {"rng": network.rng("jobs", self.name), "next_s": 0.0})
        while True:
            yield network.until(mine["next_s"])
            if mine["next_s"]:
                size = 1 + int(mine["rng"].exponential(self.mean_bytes))
                network.send(
                    Flow(
                        slice=self.slice, num_bytes=size, source=self.source, sink=self.sink,
                        operations=self.operations_per_byte * size,
                    )
                )  # fmt: skip
            mine["next_s"] += float(mine["rng"].exponential(1 / self.rate_per_s))


def two_edges():
    """Return two gNBs on two edges, which compute, in a triangle with the core; all links of 10 Mbit/s."""
    graph = Graph()
    for number, y in (("1", 0.0), ("2", 1e3)):
        add_node(graph, f"gnb-{number}", "gnb", (0.0, y))
        add_node(graph, f"edge-{number}", "edge", (1e3, y), operations_per_s=1e9)
    add_node(graph, "core", "core", (2e3, 500.0))
    for a, b in (
        ("gnb-1", "edge-1"), ("gnb-2", "edge-2"), ("edge-1", "edge-2"), ("edge-1", "core"), ("edge-2", "core"),
    ):  # fmt: skip
        add_link(graph, a, b, rate_bps=LINK_BPS)
    return graph


def loaded(seed=1, **twin):
    """Return a network whose links and servers are loaded to between 50 and 80 %, and its twin."""
    network = Network(two_edges(), SLICES, seed=seed, segment_bytes=10**6, report_s=1e3)
    for name, source, mbps, size in (
        ("embb", "gnb-1", 3.5, 5000), ("embb", "gnb-2", 2.5, 5000), ("miot", "gnb-2", 2.0, 2500),
        ("urllc", "gnb-1", 2.0, 2500),
    ):  # fmt: skip
        network.add(
            Poisson(
                name, source=source, sink="core", rate_per_s=1e6 * mbps / (8 * size),
                num_bytes=ExponentialSize(float(size)),
            )
        )  # fmt: skip
    for name, number, rate_per_s, operations in (
        ("urllc", "1", 100.0, 6e6), ("miot", "2", 125.0, 5e6), ("embb", "1", 25.0, 8e6),
    ):  # fmt: skip
        network.add(
            Jobs(
                slice=name, source=f"gnb-{number}", sink=f"edge-{number}", rate_per_s=rate_per_s, mean_bytes=2500.0,
                operations_per_byte=operations / 2500, name=f"jobs of {name}",
            )
        )  # fmt: skip
    words = {"period_s": 0.5, "delay_s": 0.1, "window_s": 5.0, "name": "twin", **twin}
    return network, network.add(DigitalTwin(**words))


def random_actions(num, rng):
    """Return random shares of links or servers, lent or not, and some failures."""
    actions = []
    for _ in range(num):
        if rng.random() < 0.15:
            links = ("edge-1->core", "edge-2->core", "gnb-2->edge-2")
            actions.append(SetUp(element=links[rng.integers(3)], up=False))
            continue
        shares = rng.dirichlet([4.0, 4.0, 4.0]) * rng.uniform(0.85, 1.0)
        if rng.random() < 0.7:
            ratios = [ResourceRatio.isolated(float(share)) for share in shares]
        else:
            ratios = [ResourceRatio(max=float(np.clip(1.6 * share, 0.15, 1.0))) for share in shares]
        domain = "transport" if rng.random() < 0.7 else "compute"
        actions.append(SetRatios(domain=domain, ratios={s.name: r for s, r in zip(SLICES, ratios, strict=True)}))
    return actions


def true_figures(snapshot, action, horizon_s):
    """Return what becomes of the network itself, with its own generators, by figure and slice."""
    network = Network.restored(snapshot)
    before = network.view()
    if action is not None:
        assert not network.apply(action).refused
    network.agenda.run(network.now_s + horizon_s)
    network.check()
    return figures_of(network.view(before))


# --- it is right --------------------------------------------------------------------------------------------------


def test_predicted_effects_of_random_actions_rank_like_the_true_ones_and_leave_the_network_alone():
    network, twin = loaded()
    network.agenda.run(20.3)  # the twin's record is 0.3 s old
    snapshot = network.snapshot()
    actions, horizon_s = random_actions(30, stream(5, "actions")), 8.0  # of each slice 1400 flows or more
    predicted = twin.what_ifs(actions, horizon_s=horizon_s, futures=2, seed=3)
    assert network.snapshot().digest() == snapshot.digest()
    nothing = true_figures(snapshot, None, horizon_s)
    truths = [true_figures(snapshot, action, horizon_s) for action in actions]
    for kpi in ("mean_delay_s", "late_share", "delivered_bps"):
        for index, s in enumerate(SLICES):
            true = [figures[kpi][index] - nothing[kpi][index] for figures in truths]
            expected = [one.effect(kpi, s.name).value for one in predicted]
            # the bar of the specification; were the rank correlation 0.8, Fisher's z of 30 pairs would have a standard
            # error of 0.2 and reach this by chance for one figure in 30, for all nine hardly ever
            assert spearmanr(true, expected).statistic > 0.9, (kpi, s.name)


def test_doing_nothing_has_no_effect_exactly():
    network, twin = loaded()
    network.agenda.run(10.0)
    result = twin.what_if(None, horizon_s=1.0, futures=2)
    for kpi in KPIS:
        assert np.array_equal(result.with_it[kpi], result.without[kpi])
    assert result.effect("late_share", "embb")[:3] == (0.0, 0.0, 0.0)


def test_the_interval_over_futures_holds_the_formula_of_the_queue():
    """An M/M/1 link at load 0.5: 2 service times; a twin that knows the rate well foresees the delay."""
    network = Network(line(num_links=1, rate_bps=8e6, distance_m=1.0), (EMBB,), seed=4)
    network.add(Poisson("embb", source="edge-1", sink="edge-2", rate_per_s=500.0, num_bytes=ExponentialSize(1000.0)))
    twin = network.add(DigitalTwin(period_s=1.0, window_s=200.0))
    network.run(until_s=200.0)
    delay = twin.what_if(None, horizon_s=40.0, futures=6).expected("mean_delay_s", "embb")
    # the rate is known within 1/sqrt(1e5) = 0.3 %, which moves the delay by as much
    assert delay.low * 0.99 < 2e-3 < delay.high * 1.01
    assert delay.high - delay.low < 0.5e-3


def test_an_action_that_frees_a_slice_is_foreseen_to_help_it():
    network, twin = loaded()
    starve = SetRatios(domain="transport", ratios={"embb": ResourceRatio(max=0.3)})
    network.agenda.run(10.0)
    network.apply(starve)
    network.agenda.run(12.0)
    free = SetRatios(domain="transport", ratios={"embb": ResourceRatio()})
    effect = twin.what_if(free, horizon_s=2.0, futures=3).effect("mean_delay_s", "embb")
    assert effect.high < 0
    assert twin.known().ratios["transport"]["embb"].max == 0.3


# --- from what the twin knows, and from nothing else --------------------------------------------------------------


def test_the_real_generators_and_arrivals_cannot_be_told_from_the_prediction():
    network, twin = loaded()
    network.agenda.run(10.3)
    action = SetRatios(domain="transport", ratios={"embb": ResourceRatio.isolated(0.3)})
    expected = twin.what_if(action, horizon_s=1.0, futures=2, seed=9)
    other = Network.restored(network.snapshot())
    for kept in other.memory.values():  # other arrivals from now on, and other generators
        if hasattr(kept, "times_s"):
            kept.times_s += 0.01 * np.arange(1, kept.times_s.size + 1)
            kept.rng = stream(999)
        elif isinstance(kept, dict) and "rng" in kept:
            kept["rng"] = stream(999)
    other.seed = 12345
    same = other.actors["twin"].what_if(action, horizon_s=1.0, futures=2, seed=9)
    for kpi in KPIS:
        assert np.array_equal(expected.with_it[kpi], same.with_it[kpi], equal_nan=True)
    other.agenda.run(12.3)
    network.agenda.run(12.3)
    assert other.view() != network.view(), "the test wants another future"


def mutable_parts(thing, found=None):
    """Return everything that can change and is reached from a thing, by identity."""
    found = {} if found is None else found
    if id(thing) in found or thing is None or isinstance(thing, type | str | bytes | int | float | complex | bool):
        return found
    if callable(thing) and hasattr(thing, "__self__"):
        return mutable_parts(thing.__self__, found)
    if isinstance(thing, dict | list | set | deque | np.ndarray | np.random.Generator) or hasattr(thing, "__dict__"):
        found[id(thing)] = thing
    if isinstance(thing, dict):
        inside = [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset | deque):
        inside = list(thing)
    else:
        slots = getattr(type(thing), "__slots__", ())
        inside = [*vars(thing).values()] if hasattr(thing, "__dict__") else [getattr(thing, s, None) for s in slots]
    for part in inside:
        mutable_parts(part, found)
    return found


def test_a_clone_shares_nothing_that_can_change_with_the_network():
    network, twin = loaded()
    network.agenda.run(5.0)
    known = twin.known()
    clone = clone_of(known, known.offered.flows_per_s[-1])
    clone.add(drawn(known, expected_rates(known, Persistence(), 1.0), 0, 0))
    clone.agenda.run(0.5)
    frozen = ("Slice", "ServiceLevel", "ResourceRatio", "SNssai", "WeightedFair", "Module", "Persistence")
    mine, its = mutable_parts(network), mutable_parts(clone)
    assert len(its) > 500
    shared = [mine[key] for key in mine.keys() & its.keys()]
    assert [thing for thing in shared if not type(thing).__name__.startswith(frozen) and not callable(thing)] == []


def test_the_clone_begins_as_the_twin_last_saw_the_network():
    network, twin = loaded(period_s=0.5, delay_s=0.0)
    network.agenda.run(5.0)
    network.apply(SetUp(element="edge-1->core", up=False), by="storm")
    network.apply(SetRatios(domain="transport", ratios={"embb": ResourceRatio.isolated(0.25)}))
    network.apply(SetRatios(domain="compute", ratios={"miot": ResourceRatio(min=0.4)}, element="edge-2"))
    network.apply(SetActive(slice="miot", active=False))
    network.agenda.run(6.0)
    known = twin.known()
    clone = clone_of(known, known.offered.flows_per_s[-1])
    assert clone.down == network.down == {"edge-1->core": ("storm",)}
    assert clone.ratios == network.ratios
    assert {n: s.ratios for n, s in clone.stations.items()} == {n: s.ratios for n, s in network.stations.items()}
    assert clone.active == [True, True, False]
    there, here = network.view().queues, clone.view().queues
    assert sum(sum(q.values()) for q in there.values()) > 10_000
    assert here == there


def test_what_was_refused_in_the_network_is_refused_in_the_clone():
    network, twin = loaded()
    network.apply(SetUp(element="edge-1->core", up=False), by="storm")
    network.agenda.run(2.0)
    tried = twin.what_if(SetUp(element="edge-1->core", up=True), horizon_s=0.5, futures=1)
    assert "held out of service by storm" in tried.refused[0]
    assert tried.effect("mean_delay_s", "embb").value == 0.0


def test_sizes_that_are_drawn_have_the_moments_that_were_seen():
    rng = stream(3, "sizes")
    for mean, variation in ((1000.0, 0.0), (1000.0, 0.2), (1000.0, 1.0), (1000.0, 4.0)):
        sizes = fitted_sizes(mean, mean**2 * (1 + variation), 200_000, rng)
        # gamma: the variance of a square is at most (variation of X^2); five standard errors
        assert sizes.mean() == pytest.approx(mean, abs=5 * mean * np.sqrt(variation / 200_000) + 1e-9)
        square_error = np.std(sizes.astype(float) ** 2) / np.sqrt(200_000)
        assert (sizes.astype(float) ** 2).mean() == pytest.approx(mean**2 * (1 + variation), abs=5 * square_error + 1)


def test_the_forecast_decides_what_the_clone_meets():
    network = Network(line(num_links=1, rate_bps=1e7), (EMBB,), seed=1)
    network.add(Periodic("embb", source="edge-1", sink="edge-2", period_s=0.01, num_bytes=100))
    twin = network.add(DigitalTwin(period_s=1.0, window_s=1.0))
    network.run(until_s=4.0)
    known = twin.known()
    quiet = replace(known, offered=known.offered._replace(flows_per_s=np.array([[100.0], [0.0], [100.0], [0.0]])))
    _, rates = expected_rates(quiet, Seasonal(season=2), 4.0)
    assert rates.ravel().tolist() == [100.0, 0.0, 100.0, 0.0]
    future = drawn(quiet, expected_rates(quiet, Seasonal(season=2), 4.0), 1, 0)
    assert np.all(np.floor(future.times_s) % 2 == 0)
    # 200 expected, of a Poisson law: five standard deviations
    assert abs(len(future.flows) - 200) < 5 * np.sqrt(200)


def test_futures_differ_and_are_repeated_by_their_seed():
    network, twin = loaded()
    network.agenda.run(5.0)
    first, again, other = (
        twin.what_if(None, horizon_s=1.0, futures=3, seed=seed).with_it["delivered_bps"] for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(np.unique(first[:, 0])) == 3


# --- for agents that rehearse -------------------------------------------------------------------------------------


def most_delivered(result):
    """Score by the bits that all slices deliver."""
    return float(result.with_it["delivered_bps"].sum(axis=1).mean())


def test_the_best_of_several_is_chosen_and_doing_nothing_is_one_of_them():
    network, twin = loaded()
    network.agenda.run(10.0)
    bad = SetRatios(domain="transport", ratios={"embb": ResourceRatio.isolated(0.1)})
    chosen = twin.best_of([bad, [bad, SetActive(slice="urllc", active=False)]], fewest_late, horizon_s=1.0, futures=2)
    assert isinstance(chosen, Rehearsal)
    assert chosen.best.actions == ()
    assert len(chosen.tried) == len(chosen.scores) == 3
    network.apply(bad)
    network.agenda.run(11.0)
    free = SetRatios(domain="transport", ratios={"embb": ResourceRatio()})
    assert twin.best_of([bad, free], most_delivered, horizon_s=1.0, futures=2).best.actions == (free,)


def test_what_would_be_refused_is_never_chosen():
    network, twin = loaded()
    network.agenda.run(2.0)
    impossible = SetUp(element="bridge", up=False)
    chosen = twin.best_of([impossible], lambda result: float(len(result.actions)), horizon_s=0.2, futures=1)
    assert chosen.best.actions == ()
    assert chosen.scores[1] == -np.inf


def test_who_asks_is_logged():
    network, twin = loaded()
    network.agenda.run(2.0)
    twin.what_if(None, horizon_s=0.2, futures=1, by="planner")
    assert {count.attribute for count in audit(network) if count.by == "planner"} == {
        "slices", "ratios", "down", "queues", "traffic",
    }  # fmt: skip


# --- what it cannot say -------------------------------------------------------------------------------------------


def test_what_cannot_be_foreseen_is_refused_in_words():
    network, twin = loaded(delay_s=1.0)
    with pytest.raises(ValueError, match="has not heard yet of slices, ratios, down, queues, traffic"):
        twin.what_if(None)
    network.agenda.run(3.0)
    with pytest.raises(ValueError, match="shares of the radio are not modelled"):
        twin.what_if(SetRatios(domain="radio", ratios={}))
    with pytest.raises(TypeError, match="expected SetRatios, SetUp, SetActive"):
        twin.what_if("more for embb")
    with pytest.raises(ValueError, match="score: got nan"):
        twin.best_of([], lambda _: float("nan"), horizon_s=0.1, futures=1)


def test_a_result_says_itself_in_words():
    network, twin = loaded()
    network.agenda.run(2.0)
    assert str(twin.what_if(SetActive(slice="miot", active=False), horizon_s=0.2, futures=2)).startswith(
        "miot not active, within 0.2 s, beside doing nothing (95 %):\n  embb mean_delay_s:"
    )


def test_rehearsing_nothing_is_nothing():
    network, twin = loaded()
    network.agenda.run(2.0)
    assert rehearse(twin.known(), Persistence(), [], horizon_s=0.1, futures=1, seed=0) == ()
