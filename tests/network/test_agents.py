"""Agents see through views, act through actions, pay for the way, and never bring a run down."""

import json
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from tests.network.agent_worlds import (
    CLOUD_S,
    CORE_S,
    LINK,
    TWO,
    Always,
    Explorer,
    Mirror,
    always,
    halves,
    late_share,
    mind_of,
    ratio_of,
    swinging,
    two_slices,
)
from wirelesslab.network import (
    Agent,
    Mandate,
    MaxWeight,
    Network,
    Outage,
    Planner,
    Poisson,
    ProportionalShares,
    ResourceRatio,
    SetActive,
    SetRatios,
    SetUp,
    StaticShares,
    Trace,
)
from wirelesslab.network.agents.rules import Reserve
from wirelesslab.network.trace import check_trace
from wirelesslab.network.twins.infrastructure import DigitalTwin
from wirelesslab.replicas import difference

DECIDE_S = 1e-3


def spans_of(trace, names):
    events = json.loads(trace.text())["traceEvents"]
    check_trace({"traceEvents": events})
    return [event for event in events if event["ph"] == "X" and event["name"] in names]


# --- the way ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "round_trip_s"), [("edge-1", 0.0), ("core", 2 * CORE_S), ("cloud", 2 * CORE_S + 2 * CLOUD_S)]
)
def test_moving_an_agent_away_from_its_twin_and_its_link_adds_exactly_the_round_trip(at, round_trip_s):
    network = swinging()
    network.add(Mirror())
    agent = network.add(always(halves(element=LINK), sees="mirror", at=at, every_s=0.5, decide_s=DECIDE_S))
    network.run(5.0)
    decisions = mind_of(network, agent).decisions
    assert len(decisions) > 8
    for decision in decisions:
        # to rounding: times of at most 5 s carry 1e-15 each
        assert decision.enforced_s - decision.sensed_s == pytest.approx(DECIDE_S + round_trip_s, abs=1e-12)
        assert decision.told_s - decision.sensed_s == pytest.approx(round_trip_s / 2, abs=1e-12)
    done = [record.time_s for record in network.actions]
    assert done == [decision.enforced_s for decision in decisions]


def test_what_concerns_the_whole_network_takes_the_way_from_and_to_the_farthest_node():
    network = swinging()
    agent = network.add(always(halves(), at="core", every_s=0.5, decide_s=DECIDE_S))
    network.run(2.0)
    decision = mind_of(network, agent).decisions[0]
    assert decision.enforced_s - decision.sensed_s == pytest.approx(2 * max(CORE_S, CLOUD_S) + DECIDE_S, abs=1e-12)


def test_an_agent_beside_the_network_needs_no_time():
    network = swinging()
    agent = network.add(always(halves(), every_s=0.5))
    network.run(2.1)
    assert [(d.sensed_s, d.enforced_s) for d in mind_of(network, agent).decisions] == [
        (0.5 * k, 0.5 * k) for k in range(5)
    ]


def test_beats_that_fall_into_a_decision_are_missed():
    network = swinging()
    agent = network.add(always(halves(), at="cloud", every_s=0.25, decide_s=0.3))  # a decision takes 0.7 s
    network.run(3.0)
    mind = mind_of(network, agent)
    assert [d.sensed_s for d in mind.decisions] == [0.0, 0.75, 1.5, 2.25]
    assert mind.num_missed == 8


@dataclass
class Watcher:
    """Writes down how old what it is shown is."""

    reads: tuple = ("slices",)
    ages_s: tuple = ()

    def act(self, view):
        self.ages_s += (view.ages_s["slices"],)


@pytest.mark.parametrize("every_s", [0.05, 0.1, 0.2, 0.3])
def test_an_agent_that_looks_when_its_twin_is_told_sees_what_it_was_just_told(every_s):
    network = two_slices()
    twin = network.add(DigitalTwin(period_s=every_s))
    agent = network.add(Agent(Watcher(), sees=twin, every_s=every_s))
    network.run(60.0)
    ages_s = mind_of(network, agent).policy.ages_s
    assert len(ages_s) >= 60.0 / every_s - 1
    assert set(ages_s) == {0.0}


@pytest.mark.parametrize("twin", [False, True])
def test_every_decision_leaves_spans_of_its_way_through_twin_and_agent(twin):
    trace = Trace()
    network = swinging(trace=trace)
    network.add(Mirror(delay_s=0.2))
    agent = network.add(always(halves(), sees="mirror" if twin else None, at="core", every_s=0.5, name="agent"))
    network.run(5.0)
    names = ["sense", "twin", "decide", "enforce"] if twin else ["sense", "decide", "enforce"]
    spans = spans_of(trace, {"sense", "twin", "decide", "enforce"})
    # the first views of a mirror are not yet old, so that their sensing takes no time: left out
    decisions, steps = mind_of(network, agent).decisions, len(names)
    assert len(spans) == steps * len(decisions) > steps * 8
    for first in range(steps, len(spans), steps):
        chain = spans[first : first + steps]
        assert [span["name"] for span in chain] == names
        assert min(span["dur"] for span in chain) > 0
        for one, two in pairwise(chain):
            assert one["ts"] + one["dur"] == pytest.approx(two["ts"], abs=1e-2)  # microseconds


def test_what_a_twin_shows_is_as_old_as_its_news_and_then_takes_the_way_to_the_agent():
    trace = Trace()
    network = swinging(trace=trace)
    network.add(DigitalTwin(period_s=0.25, delay_s=0.1, at="edge-1", name="twin"))
    agent = network.add(always(halves(element=LINK), sees="twin", at="core", every_s=0.3, name="agent"))
    network.run(6.0)
    decisions = list(mind_of(network, agent).decisions)
    assert decisions[0].sensed_s == pytest.approx(0.3)  # at 0 the twin had heard nothing yet
    assert len(decisions) > 15
    assert all(0.1 - 1e-9 <= d.age_s <= 0.35 + 1e-9 for d in decisions)  # the delay, and up to a period more
    assert len({round(d.age_s, 3) for d in decisions}) > 3
    assert {round(d.told_s - d.sensed_s, 9) for d in decisions} == {CORE_S}
    senses = [span["dur"] for span in spans_of(trace, {"sense"})]
    assert senses == pytest.approx([1e6 * d.age_s for d in decisions], abs=1e-2)


def on_a_leash(at, seed):
    network = swinging(seed, period_s=8.0)
    network.add(Mirror())
    reserve = Reserve(ProportionalShares(), element=LINK, dedicated=True)
    network.add(Agent(reserve, sees="mirror", at=at, every_s=0.5, decide_s=DECIDE_S))
    return late_share(network, 40.0)


def test_the_farther_an_agent_the_worse_it_does():
    edge, core, cloud = (np.array([on_a_leash(at, seed) for seed in range(8)]) for at in ("edge-1", "core", "cloud"))
    assert difference(edge, core).high < 0
    assert difference(core, cloud).high < 0


def test_local_agents_serve_their_own_links_where_a_central_one_serves_all_alike():
    def world(*agents):
        network = two_slices(seed=3)
        for source, sink, s in (("edge-1", "core", TWO[0]), ("core", "edge-1", TWO[1])):
            network.add(Poisson(s, source=source, sink=sink, rate_per_s=150.0, num_bytes=6250))
        for agent in agents:
            network.add(agent)
        network.run(3.05)
        links = [network.links["edge-1", "core"], network.links["core", "edge-1"]]
        return network, [[round(ratio.min, 6) for ratio in link.ratios] for link in links]

    mirrors = Mirror("mirror-1", at="edge-1"), Mirror("mirror-2", at="core")
    local = [
        Agent(MaxWeight(element=link), sees=mirror.name, at=mirror.at, every_s=0.1, mandate=Mandate(elements=(link,)))
        for mirror, link in zip(mirrors, (LINK, "core->edge-1"), strict=True)
    ]
    network, shares = world(*mirrors, *local)
    assert shares == [[1.0, 0.0], [0.0, 1.0]]  # all of each link to the slice that uses it
    delays = {d.enforced_s - d.sensed_s for agent in local for d in mind_of(network, agent).decisions}
    assert max(delays) == pytest.approx(1e-3, abs=1e-9)
    central = Agent(MaxWeight(), at="cloud", every_s=0.1)
    network, shares = world(central)
    assert shares[0] == shares[1]  # one guess for both
    fastest = min(d.enforced_s - d.sensed_s for d in mind_of(network, central).decisions)
    assert fastest == pytest.approx(1e-3 + 2 * (CORE_S + CLOUD_S), abs=1e-9)


# --- what is refused ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class NotAnAction:
    """Looks like an action, and is none."""

    domain: str = "transport"


@dataclass
class Nonsense:
    """Every policy's worst day."""

    def act(self, view):
        return SetRatios(domain="transport", ratios={"embb": ResourceRatio(min=float("nan"))})


@dataclass(frozen=True)
class NanShares:
    """A plan that divides by nothing."""

    def shares(self, history, window):
        return np.full(history.shape[1], np.nan) if window else None


@pytest.mark.parametrize(
    ("policy", "words", "reason"),
    [
        (
            Always("more for embb"),
            "'more for embb', a str",
            "no action, expected SetRatios, SetUp, SetActive or SetSync",
        ),
        (Always(np.array([np.nan, 0.5])), "array([nan, 0.5]), a ndarray", "no action"),
        (Always(NotAnAction()), "NotAnAction(domain='transport'), a NotAnAction", "no action"),
        (Always(0.5), "0.5, a float", "no action"),
        (Nonsense(), "decide from the network", "min: got nan, expected a finite number"),
        (NanShares(), "decide from the network", "shares: NanShares gave [nan nan], expected numbers"),
        (Always(SetActive(slice="gold", active=False)), "gold not active", "slice: got 'gold'"),
        (Always(SetUp(element="edge-9", up=False)), "edge-9 down", "element: got 'edge-9'"),
        (Always(halves(element="a->b")), "transport of a->b", "element: got 'a->b'"),
        (Always(SetRatios(domain="transport", ratios={"gold": ratio_of(0.5)})), "transport: gold", "slice: got 'gold'"),
        (
            Always(SetRatios(domain="transport", ratios={"embb": ratio_of(0.7), "urllc": ratio_of(0.7)})),
            "transport: embb",
            "sum to 1.4",
        ),
    ],
    ids=lambda value: "" if not isinstance(value, str) else value[:20],
)
def test_what_is_no_action_or_cannot_be_done_is_refused_and_recorded_and_the_run_goes_on(policy, words, reason):
    network = swinging(keep_records=None)
    agent = network.add(Agent(policy, at="edge-1", every_s=0.5))
    before = dict(network.ratios["transport"])
    run = network.run(5.0)
    refusals = [record for record in network.actions if record.refused]
    assert len(network.actions) == len(refusals) >= 4  # every beat of 0.5 s but those it is on the way
    for record in refusals:
        assert record.by == network.name_of(agent)
        assert words in str(record.action)
        assert reason in record.refused
    assert network.ratios["transport"] == before
    assert run.slices["delivered_flows"].values.min() > 100
    assert mind_of(network, agent).num_refused == len(refusals)
    assert Network.restored(network.snapshot()).snapshot().digest() == network.snapshot().digest()


def test_of_several_wishes_each_is_done_or_refused_whole():
    wishes = [halves(0.6), "nonsense", SetActive(slice="gold", active=True), SetActive(slice="urllc", active=False)]
    network = swinging()
    agent = network.add(always(wishes, every_s=1.0))
    network.run(0.5)
    assert [bool(record.refused) for record in network.actions] == [False, True, True, False]
    (decision,) = mind_of(network, agent).decisions
    assert [bool(reason) for reason in decision.refused] == [False, True, True, False]
    assert network.ratios["transport"]["embb"].min == 0.6
    assert not network.view().slices["urllc"].active


def test_a_late_action_is_refused_and_recorded_and_the_run_goes_on():
    far = 2 * (CORE_S + CLOUD_S) + DECIDE_S  # from the farthest node and back
    for deadline_s, late in ((far - 1e-6, True), (far, False)):
        network = swinging()
        network.add(always(halves(0.7), at="cloud", every_s=0.5, decide_s=DECIDE_S, deadline_s=deadline_s))
        network.run(5.0)
        assert len(network.actions) > 5
        assert all(record.refused.startswith("late: enforced") == late for record in network.actions)
        assert (network.ratios["transport"]["embb"].min == 0.7) != late


def test_a_forbidden_look_is_recorded_and_the_agent_looks_again():
    network = swinging()
    network.add(Mirror(refuses=("spy",)))
    spy = network.add(always(halves(0.7), sees="mirror", every_s=0.5, name="spy"))
    network.add(always(halves(0.6), sees="mirror", every_s=0.5, name="friend"))
    network.run(2.2)
    of_spy = [record for record in network.actions if record.by == "spy"]
    assert [str(record.action) for record in of_spy] == ["look at mirror"] * 5
    assert {record.refused for record in of_spy} == {"mirror: spy may not look"}
    assert mind_of(network, spy).policy.asked == 0
    assert network.ratios["transport"]["embb"].min == 0.6


def test_a_fault_of_a_policy_is_not_hidden():
    class Broken:
        def act(self, view):
            return view.no_such_thing

    network = swinging()
    network.add(Agent(Broken()))
    with pytest.raises(AttributeError, match="no_such_thing") as fault:
        network.run(1.0)
    # SimPy raises a copy, whose cause is what was raised
    assert fault.value.__cause__.__notes__ == ["in the policy Broken of the agent agent-1, at 0 s"]


def test_an_agent_that_is_cut_off_says_so_and_acts_again_when_the_way_is_back():
    network = swinging()
    network.add(Outage(element="cloud->core", start_s=1.2, end_s=2.2))
    network.add(always(halves(element=LINK), at="cloud", every_s=0.5, name="far"))
    network.run(4.0)
    made = [(r.time_s, r.refused) for r in network.actions if r.by == "far"]
    cut = [(time_s, why) for time_s, why in made if why]
    assert [time_s for time_s, _ in cut] == [1.5, 2.0]
    assert all("cloud is cut off" in why for _, why in cut)
    assert made[-1][1] == ""


# --- mandates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mandate", "wish", "reason"),
    [
        (Mandate(domains=("compute",)), halves(), "domains are compute, got transport"),
        (Mandate(elements=(LINK,)), halves(), f"elements are {LINK}, got all of transport"),
        (Mandate(elements=(LINK,)), halves(element="core->cloud"), f"elements are {LINK}, got core->cloud"),
        (Mandate(elements=(LINK,)), halves(element=LINK), ""),
        (Mandate(slices=("embb",)), halves(), "slices are embb, got urllc"),
        (Mandate(kinds=("ratios",)), SetUp(element=LINK, up=False), "kinds are ratios, got up"),
        (Mandate(kinds=("up",)), SetActive(slice="embb", active=False), "kinds are up, got active"),
        (Mandate(kinds=("active",), slices=("embb",)), SetActive(slice="urllc", active=False), "slices are embb"),
        (Mandate(kinds=("up",), elements=("core",)), SetUp(element="core", up=True), ""),
    ],
)
def test_a_mandate_says_what_an_agent_may_touch(mandate, wish, reason):
    network = swinging()
    network.add(always(wish, every_s=1.0, mandate=mandate))
    network.run(0.5)
    (record,) = network.actions
    assert reason in record.refused
    assert bool(record.refused) == bool(reason)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Mandate(kinds="ratios"), TypeError, "kinds: got 'ratios', expected several"),
        (lambda: Mandate(domains=("air",)), ValueError, "domains: got 'air', expected one of radio"),
        (
            lambda: Agent(ProportionalShares),
            TypeError,
            "policy: got the class ProportionalShares, expected an instance",
        ),
        (lambda: Agent("static"), TypeError, r"policy: got 'static', expected one with act\(view\)"),
        (lambda: Agent(Always(), sees=7), TypeError, "sees: got 7, expected a twin"),
        (lambda: Agent(Always(), mandate="all"), TypeError, "mandate: got 'all'"),
        (lambda: Agent(Always(), every_s=0.0), ValueError, "every_s: got 0"),
        (lambda: Agent(Always(), deadline_s=float("nan")), ValueError, "deadline_s: got nan"),
    ],
)
def test_an_agent_that_makes_no_sense_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        (Agent(Always(), at="edge-7"), "got 'edge-7', expected a node"),
        (Agent(Always(), sees="twin"), r"sees: got 'twin', expected a twin, one of \['mirror'\], or the network"),
        (Agent(Always(), mandate=Mandate(slices=("gold",))), "slice: got 'gold'"),
        (Agent(Always(), mandate=Mandate(elements=("a->b",))), "element: got 'a->b'"),
        (Agent(Always(), mandate=Mandate(floor="planner")), "floor: got 'planner', expected an actor"),
        (Agent(StaticShares(shares_of_slices=(0.2, 0.3, 0.5))), "StaticShares gave 3, expected one for each of"),
    ],
)
def test_an_agent_that_does_not_fit_the_network_stops_the_run_at_its_beginning(agent, message):
    network = swinging()
    network.add(Mirror())
    network.add(agent)
    with pytest.raises(ValueError, match=message):
        network.run(1.0)


# --- planner and operator ------------------------------------------------------------------------------


@dataclass
class Grabber:
    """Asks for anything, inside its mandate or not."""

    rng: np.random.Generator

    def act(self, view):
        low, high = np.sort(self.rng.uniform(0, 1, 2))
        name = ("embb", "urllc")[int(self.rng.integers(2))]
        return SetRatios(domain="transport", element=LINK, ratios={name: ResourceRatio(min=low, max=high)})


def test_an_operator_works_inside_what_the_planner_has_reserved_for_the_window():
    network = swinging(seed=4)
    planner = network.add(Planner(plan=ProportionalShares(), window_s=1.0, dedicated=False, part=0.6, name="planner"))
    mandate = Mandate(floor="planner")
    operators = [Agent(MaxWeight(element=LINK), every_s=0.02, mandate=mandate, name="operator")]
    operators.append(Agent(Grabber(np.random.default_rng(3)), every_s=0.03, mandate=mandate, name="grabber"))
    for operator in operators:
        network.add(operator)
    link, seen, extra = network.links["edge-1", "core"], {}, []
    for step in range(1, 160):
        network.run(0.05 * step + 1e-6)
        reserved = network.in_force("planner")["transport", ""]
        floors = [reserved[s.name].min for s in TWO]
        seen.setdefault(int(network.now_s), set()).add(tuple(floors))
        assert all(ratio.min >= floor - 1e-9 for ratio, floor in zip(link.ratios, floors, strict=True))
        assert sum(ratio.min for ratio in link.ratios) <= 1 + 1e-9
        extra.append(sum(ratio.min for ratio in link.ratios) - sum(floors))
    assert all(len(reservations) == 1 for reservations in seen.values())  # constant inside a window
    assert len(set.union(*seen.values())) > 5  # and not from window to window
    assert np.allclose([sum(shares) for _, shares in mind_of(network, planner).planned], 0.6, atol=1e-8)
    assert max(extra) == pytest.approx(0.4, abs=1e-6)  # what nobody had reserved was used
    made = {by: [r.refused for r in network.actions if r.by == by] for by in ("operator", "grabber")}
    assert not any(made["operator"])  # it sees the reservation
    assert 0.05 < np.mean([bool(reason) for reason in made["grabber"]]) < 1.0
    assert any("outside the reservation: planner keeps" in reason for reason in made["grabber"])


def test_operation_never_exceeds_a_reservation_of_ones_own():
    network = swinging(seed=4)
    network.add(Planner(plan=ProportionalShares(), window_s=1.0, dedicated=True, name="planner"))
    network.add(Agent(Grabber(np.random.default_rng(3)), every_s=0.02, mandate=Mandate(floor="planner")))
    link = network.links["edge-1", "core"]
    done, shares = [], []
    for window in range(10):
        network.run(window + 1e-6)
        shares.append([pool.rate for _, pool in sorted(link.pools.items())])
        done.append(link.account().work_done)
    assert (
        np.diff(done, axis=0) <= np.array(shares[:-1]) * 1.0 + 20.0
    ).all()  # bits: a window's microsecond on each side
    assert all(r.refused for r in network.actions if r.by.startswith("agent"))


def test_an_operators_wish_is_held_to_the_reservation_in_force_when_it_arrives():
    network = swinging()
    plan = StaticShares(shares_of_slices=(0.5, 0.5))
    network.add(Planner(plan=plan, window_s=10.0, dedicated=False, name="planner"))
    mandate = Mandate(floor="planner")
    network.add(always(halves(0.5), at="cloud", every_s=1.0, mandate=mandate, name="far"))
    network.run(0.45)
    network.apply(halves(0.8), by="planner")  # while the wish of 1.0 s is on its way, the planner changes its mind
    network.run(2.0)
    first, second = [r.refused for r in network.actions if r.by == "far"]
    assert first == ""
    assert "outside the reservation: planner keeps 0/0.8/1" in second


def test_a_reservation_everywhere_ends_what_was_reserved_on_one_element():
    network = swinging()
    plan = StaticShares(shares_of_slices=(0.5, 0.5))
    network.add(Planner(plan=plan, window_s=10.0, dedicated=False, name="planner"))
    mandate = Mandate(floor="planner")
    network.run(0.1)
    network.apply(SetRatios(domain="transport", ratios={"embb": ratio_of(0.5)}, element=LINK), by="planner")
    assert mandate.forbids(halves(0.3, element=LINK), network)
    network.apply(halves(0.2), by="planner")
    assert mandate.forbids(halves(0.2, element=LINK), network) == ""
    assert "0/0.2/1" in mandate.forbids(halves(0.1, element=LINK), network)


# --- written down and built again ---------------------------------------------------------------------


@pytest.mark.parametrize("sees", [None, "mirror", "object"])
@pytest.mark.parametrize("moment", [0.2, 1.5, 2.3, 2.75])  # deciding, at a beat, on the way, about to arrive
def test_a_copy_goes_on_to_the_last_bit_with_a_policy_that_remembers_and_a_decision_under_way(sees, moment):
    network = swinging(seed=2)
    mirror = network.add(Mirror(delay_s=0.3))
    explorer = Explorer()
    agent = Agent(
        explorer, sees=mirror if sees == "object" else sees, at="cloud", every_s=0.75, decide_s=0.1, name="far"
    )
    network.add(agent)
    network.run(moment)
    copy = Network.restored(network.snapshot())
    twice = Network.restored(copy.snapshot())
    for one in (network, copy, twice):
        one.run(8.0)
    assert network.snapshot().digest() == copy.snapshot().digest() == twice.snapshot().digest()
    minds = [one.record("far", lambda: None) for one in (network, copy, twice)]
    assert minds[0].policy.tried == minds[1].policy.tried == minds[2].policy.tried
    assert len(minds[0].policy.tried) > 8
    assert minds[0].policy is not minds[1].policy
    assert explorer.tried == []  # the agent decides by a copy of its own


def test_a_restored_agent_sees_the_restored_twin():
    network = swinging()
    mirror = network.add(Mirror(refuses=[]))
    network.add(always(halves(), sees=mirror, every_s=0.5, name="agent"))
    network.run(1.2)
    copy = Network.restored(network.snapshot())
    mirror.refuses = ["agent"]  # only of the old twin
    for one in (network, copy):
        one.run(3.0)
    assert any(record.refused for record in network.actions)
    assert not any(record.refused for record in copy.actions)


def test_windows_follow_each_other_and_a_twin_that_heard_nothing_shows_its_last_one_again():
    @dataclass
    class Noting:
        loads: list

        def act(self, view):
            began_s = None if view.before is None else view.before.time_s
            self.loads.append((began_s, view.time_s))

    network = swinging()
    mirror = network.add(Mirror(delay_s=0.2, period_s=1.0))  # sampled at 0, 1, 2, ... s, shown 0.2 s later
    agent = network.add(Agent(Noting([]), sees=mirror, every_s=0.5))
    network.run(3.1)
    windows = mind_of(network, agent).policy.loads
    assert windows == [(None, 0.0), (None, 0.0), (None, 0.0), (0.0, 1.0), (0.0, 1.0), (1.0, 2.0), (1.0, 2.0)]


def test_an_agent_reports_what_it_did():
    network = swinging(report_s=0.5)
    network.add(Mirror(delay_s=0.2))
    network.add(always([halves(), "nonsense"], sees="mirror", every_s=0.5, name="agent"))
    run = network.run(3.0)
    gauges = run.gauges.isel(time_s=-1)
    assert float(gauges["agent: decisions"]) > 4
    assert float(gauges["agent: refusals"]) == float(gauges["agent: decisions"])
    assert float(gauges["agent: age seen (s)"]) == pytest.approx(0.2, abs=0.1 + 1e-9)  # to the mirror's period


# --- what a twin is worth -------------------------------------------------------------------------------


@cache
def late_shares(kind, replicas=6):
    """Share of late packets under proportional shares that see a twin of some age, or under shares cut once."""
    found = []
    for seed in range(replicas):
        network = swinging(seed, period_s=12.0)
        plan = StaticShares(shares_of_slices=(0.5, 0.5)) if kind == "none" else ProportionalShares()
        twin = network.add(DigitalTwin(period_s=0.2, delay_s=1.0 if kind == "aged" else 0.01))
        network.add(Agent(Reserve(plan, dedicated=True), sees=None if kind == "none" else twin, every_s=0.2))
        found.append(late_share(network, 60.0))
    return np.array(found)


def test_promises_are_broken_most_without_a_twin_less_with_an_aged_and_least_with_a_fresh_one():
    none, aged, fresh = map(late_shares, ("none", "aged", "fresh"))
    assert difference(aged, none).high < 0
    assert difference(fresh, aged).high < 0


def test_the_example_of_the_house_reads_as_it_says():
    network = swinging()
    twin = network.add(Mirror())
    agent = network.add(Agent(ProportionalShares(), sees=twin, every_s=0.2))
    network.run(until_s=10)
    assert mind_of(network, agent).num_decisions == 51
    assert replace(agent, every_s=0.4).every_s == 0.4
