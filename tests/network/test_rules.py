"""Rules do what their closed forms say, and every policy of the wing keeps the manners of one."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.network.agent_worlds import LINK, TWO, halves, late_share, mind_of, swinging, two_slices
from wirelesslab.network import (
    POLICIES,
    Agent,
    ConvexShares,
    FailOver,
    Mandate,
    MaxMinShares,
    MaxWeight,
    Network,
    Outage,
    Poisson,
    ProportionalShares,
    Rehearse,
    Reserve,
    ResourceRatio,
    SetRatios,
    SliceView,
    SquareRootShares,
    StaticShares,
    View,
    metro,
)
from wirelesslab.network.agents.convex import fewest_misses_shares, least_delay_shares
from wirelesslab.network.agents.policy import ATTRIBUTES, reads_of, wishes_of
from wirelesslab.network.agents.rules import waiting_bytes
from wirelesslab.network.theory import square_root_capacities
from wirelesslab.network.twins.access_policy import AccessPolicy, forbid
from wirelesslab.network.twins.infrastructure import DigitalTwin
from wirelesslab.replicas import difference

EMERGENCY = {"embb": ResourceRatio(min=0.2), "urllc": ResourceRatio(min=0.8)}
USUAL = {"embb": ResourceRatio(min=0.5), "urllc": ResourceRatio(min=0.5)}
EVERY = [
    Reserve(ProportionalShares()),
    Reserve(SquareRootShares(capacity_bps=10e6), element=LINK, dedicated=True),
    MaxWeight(),
    MaxWeight(element=LINK, weights=(1.0, 3.0), most=0.5),
    FailOver(watch=("core->cloud",), emergency=EMERGENCY, usual=USUAL, element=LINK),
]


def view_of(*, queues=None, down=(), reserved=None, offered=(0, 0), time_s=1.0, before=None):
    slices = {s.name: SliceView(offered_bytes=num) for s, num in zip(TWO, offered, strict=True)}
    return View(
        time_s=time_s, slices=slices, ratios={}, queues=queues or {}, down=down, reserved=reserved or {}, before=before
    )


# --- every policy -----------------------------------------------------------------------------------


def test_every_policy_is_under_test():
    assert {type(policy) for policy in EVERY} == set(POLICIES)


@pytest.mark.parametrize("policy", EVERY, ids=repr)
def test_a_policy_gives_the_network_nothing_that_it_refuses_and_reads_what_it_says(policy):
    network = swinging(seed=3)
    network.add(Outage(element="core->cloud", start_s=1.0, end_s=2.0))
    agent = network.add(Agent(policy, every_s=0.1))
    network.run(4.0)
    made = [record for record in network.actions if record.by == network.name_of(agent)]
    assert made
    assert not [record for record in made if record.refused]
    assert set(agent.reads) <= set(ATTRIBUTES)
    # what it does not read may as well not be there
    view, blind = network.view(), {"queues": {}, "down": (), "ratios": {}}
    partly = {name: value for name, value in blind.items() if name not in agent.reads}
    whole = deepcopy(policy).act(view)
    assert deepcopy(policy).act(replace(view, **partly)) == whole


@pytest.mark.parametrize("policy", EVERY, ids=repr)
def test_an_agent_leaves_the_policy_that_it_was_given_as_it_was(policy):
    before = deepcopy(vars(policy))
    network = swinging(seed=3)
    network.add(Outage(element="core->cloud", start_s=0.5))
    network.add(Agent(policy, every_s=0.1))
    network.run(1.0)
    assert vars(policy) == before


@pytest.mark.parametrize("policy", EVERY, ids=repr)
def test_a_network_with_any_of_them_is_written_down_and_goes_on_to_the_last_bit(policy):
    network = swinging(seed=3)
    network.add(Outage(element="core->cloud", start_s=0.5, end_s=1.5))
    network.add(Agent(policy, at="core", every_s=0.35))
    network.run(1.1)
    copy = Network.restored(network.snapshot())
    network.run(3.0)
    copy.run(3.0)
    assert copy.snapshot().digest() == network.snapshot().digest()


def test_what_a_policy_reads_must_be_there():
    class Curious:
        reads = ("slices", "thoughts")

        def act(self, view):
            del view

    with pytest.raises(ValueError, match="reads: got 'thoughts', expected names out of"):
        Agent(Curious())
    assert reads_of(object()) == ATTRIBUTES


def test_an_answer_may_be_nothing_one_thing_or_several():
    one, two = halves(0.4), halves(0.6)
    assert wishes_of(None) == wishes_of([]) == ()
    assert wishes_of(one) == (one,)
    assert wishes_of((one, two)) == wishes_of([one, two]) == (one, two)
    assert len(str(wishes_of("x" * 1000)[0])) < 120


# --- reservations -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dedicated", "part"), [(True, 1.0), (False, 1.0), (False, 0.5)])
def test_a_reservation_holds_slices_to_the_plans_shares_of_what_it_is_told_to_share(dedicated, part):
    policy = Reserve(StaticShares(shares_of_slices=(0.25, 0.75)), element=LINK, dedicated=dedicated, part=part)
    action = policy.act(view_of())
    share, other = 0.25 * part, 0.75 * part
    expected = (
        {"embb": ResourceRatio.isolated(share), "urllc": ResourceRatio.isolated(other)}
        if dedicated
        else {"embb": ResourceRatio(min=share), "urllc": ResourceRatio(min=other)}
    )
    assert action == SetRatios(domain="transport", element=LINK, ratios=expected)


def test_a_reservation_is_for_the_loads_of_the_windows_between_looks():
    policy = Reserve(ProportionalShares(memory=2, least=0.0))
    first = view_of(time_s=0.0)
    second = view_of(time_s=1.0, offered=(300, 100), before=first)
    third = view_of(time_s=2.0, offered=(400, 400), before=second)  # 100 and 300 more
    shares = [[r.min for r in policy.act(view).ratios.values()] for view in (first, second, third)]
    assert np.allclose(shares, [[0.5, 0.5], [0.75, 0.25], [0.5, 0.5]], atol=2e-9)
    policy.act(third)  # nothing new: no window of its own
    assert len(policy.history) == 2


@pytest.mark.parametrize("domain", ["radio", "transport", "compute"])
def test_any_rule_shares_any_domain(domain):
    network = Network(metro(num_gnbs=3), TWO)
    network.add(Poisson(TWO[0], source="gnb-1", sink="cloud", rate_per_s=100.0, num_bytes=1500))
    network.add(Poisson(TWO[1], source="gnb-1", sink="cloud", rate_per_s=300.0, num_bytes=1500))
    network.add(Agent(Reserve(ProportionalShares(least=0.0), domain=domain), every_s=2.0))
    network.run(4.5)
    assert not [record for record in network.actions if record.refused]
    # 800 and 2400 packets... of 2 s: a quarter, to 5 standard errors of a share of 800 packets
    assert network.ratios[domain]["embb"].min == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / 800))


# --- closed forms --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        ((1.0, 6.0, 8.0), (0.1, 0.45, 0.45)),  # too much: the small one has all it needs, the others the same
        ((1.0, 2.0, 3.0), (0.1 + 0.4 / 3, 0.2 + 0.4 / 3, 0.3 + 0.4 / 3)),  # 4 of 10 are left, and split evenly
        ((9.0, 9.0, 9.0), (1 / 3, 1 / 3, 1 / 3)),
        ((0.0, 0.0, 20.0), (0.0, 0.0, 1.0)),
    ],
)
def test_max_min_shares_are_those_one_finds_by_hand(loads, expected):
    shares = MaxMinShares(capacity_bps=10.0, least=0.0).shares(np.array([loads]), 1)
    assert shares == pytest.approx(expected, abs=1e-12)


rho = st.lists(st.floats(0.01, 0.4), min_size=2, max_size=4).filter(lambda loads: sum(loads) < 0.95)


@settings(deadline=None, max_examples=60)
@given(loads=rho)
def test_convex_shares_are_kleinrocks_when_all_weigh_alike(loads):
    load = np.array(loads)
    ours = ConvexShares(capacity_bps=10.0, least=0.0).shares(10 * load[None], 1)
    # SLSQP stops when the cost changes by 1e-12 of itself; the minimum is flat: shares are good to the root of that
    assert ours == pytest.approx(square_root_capacities(list(load), 1.0), abs=1e-4)
    assert (load / (ours - load)).sum() <= (load / (square_root_capacities(list(load), 1.0) - load)).sum() * (1 + 1e-9)


@settings(deadline=None, max_examples=60)
@given(loads=rho, seed=st.integers(0, 99))
def test_weighted_convex_shares_divide_what_is_left_by_the_roots_of_weight_times_load(loads, seed):
    load = np.array(loads)
    weights = np.random.default_rng(seed).uniform(0.2, 5.0, load.size)
    roots = np.sqrt(weights * load)
    expected = load + (1 - load.sum()) * roots / roots.sum()  # where the Lagrangian's slopes are equal
    assert least_delay_shares(load, weights) == pytest.approx(expected, abs=1e-4)


@settings(deadline=None, max_examples=60)
@given(loads=rho, seed=st.integers(0, 99))
def test_fewest_misses_satisfy_the_conditions_of_optimality(loads, seed):
    load, rng = np.array(loads), np.random.default_rng(seed)
    weights, haste = rng.uniform(0.2, 5.0, load.size), rng.uniform(1.0, 60.0, load.size)

    def cost(shares):
        return (weights * load * np.exp(-haste * (shares - load))).sum()

    shares = fewest_misses_shares(load, weights, haste)
    assert shares.sum() == pytest.approx(1.0, abs=1e-9)
    assert (shares >= load).all()
    best = cost(shares)
    for _ in range(50):  # no exchange between two queues makes it better
        one, two = rng.choice(load.size, 2, replace=False)
        moved = shares.copy()
        step = rng.uniform(0, 0.05)
        moved[one], moved[two] = shares[one] + step, shares[two] - step
        if moved[two] > load[two] + 1e-3:
            assert cost(moved) >= best * (1 - 1e-6)


def test_shares_for_promises_break_fewer_of_them_than_shares_for_delay():
    loads, promises = np.array([[3e6, 3e6]]), (0.1, 0.01)
    base = {"capacity_bps": 10e6, "packet_bytes": 1250.0, "least": 0.0}
    delay = ConvexShares(**base).shares(loads, 1)
    misses = ConvexShares(aim="misses", promises_s=promises, **base).shares(loads, 1)
    haste = 1000 * np.array(promises)  # a packet takes 1 ms on the whole link

    def missed(shares):
        return (0.3 * np.exp(-haste * (shares - 0.3))).sum()

    assert delay == pytest.approx([0.5, 0.5], abs=1e-4)
    assert missed(misses) < 0.5 * missed(delay)
    grid = np.linspace(0.301, 0.699, 4000)
    assert missed(misses) <= min(missed(np.array([share, 1 - share])) for share in grid) * (1 + 1e-6)


def test_convex_shares_keep_the_least_and_are_proportional_in_overload():
    plan = ConvexShares(capacity_bps=10.0, least=0.1)
    assert plan.shares(np.array([[9.0, 0.0, 0.0]]), 1) == pytest.approx([0.8, 0.1, 0.1])
    shares = plan.shares(np.array([[6.0, 0.1, 0.0]]), 1)
    assert shares.sum() == pytest.approx(1.0, abs=1e-9)
    assert shares.min() == pytest.approx(0.1, abs=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvexShares(capacity_bps=1.0, aim="misses"), r"promises_s: got \(\), expected the promised delay"),
        (lambda: ConvexShares(capacity_bps=1.0, aim="luck"), "aim: got 'luck', expected one of delay, misses"),
        (lambda: ConvexShares(capacity_bps=1.0, weights=(1.0, 0.0)), r"weights\[1\]: got 0"),
        (lambda: MaxMinShares(capacity_bps=0.0), "capacity_bps: got 0"),
        (lambda: Reserve(ProportionalShares(), domain="air"), "domain: got 'air'"),
        (lambda: Reserve(ProportionalShares(), part=1.5), "part: got 1.5"),
        (lambda: MaxWeight(domain="radio"), "domain: got 'radio', expected one of transport, compute"),
        (lambda: FailOver(watch=(), emergency=USUAL, usual=USUAL), "watch, emergency, usual: got"),
        (lambda: FailOver(watch=("core",), emergency={}, usual=USUAL), "watch, emergency, usual: got"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_weights_for_another_number_of_slices_are_refused_where_they_are_used():
    with pytest.raises(ValueError, match="weights: got 1, expected one for each of the 2 slices"):
        ConvexShares(capacity_bps=10.0, weights=(1.0,)).shares(np.ones((1, 2)), 1)
    with pytest.raises(ValueError, match="weights: got 1, expected one for each of"):
        MaxWeight(weights=(1.0,)).act(view_of(queues={LINK: {"embb": 1, "urllc": 1}}))


# --- rules that see queues, or failures ------------------------------------------------------------------


def test_max_weight_gives_what_nobody_has_reserved_to_the_largest_weighted_queue():
    queues = {
        LINK: {"embb": 500, "urllc": 400},
        "core->cloud": {"embb": 0, "urllc": 300},
        "edge-1": {"embb": 9_000, "urllc": 0},
    }
    longest = MaxWeight(element=LINK).act(view_of(queues=queues))
    assert {name: ratio.min for name, ratio in longest.ratios.items()} == {"embb": 1.0, "urllc": 0.0}
    weighted = MaxWeight(element=LINK, weights=(1.0, 2.0), most=0.5).act(view_of(queues=queues))
    assert {name: ratio.min for name, ratio in weighted.ratios.items()} == {"embb": 0.0, "urllc": 0.5}
    whole = MaxWeight().act(view_of(queues=queues))  # 500 against 700 on all links; servers do not count
    assert whole.ratios["urllc"].min == 1.0
    kept = {"embb": ResourceRatio(min=0.3, max=0.5), "urllc": ResourceRatio(dedicated=0.1, min=0.2)}
    reserved = {("transport", LINK): kept, ("transport", "core->cloud"): {"embb": ResourceRatio(min=0.9)}}
    inside = MaxWeight(element=LINK).act(view_of(queues=queues, reserved=reserved))
    assert inside.ratios["embb"] == ResourceRatio(min=0.5, max=0.5)  # 0.8 would be beyond its ceiling
    assert inside.ratios["urllc"] == kept["urllc"]


def test_the_tightest_reservation_that_holds_on_an_element_is_kept_there():
    reserved = {
        ("transport", ""): {"embb": ResourceRatio(min=0.2, max=0.9)},
        ("transport", LINK): {"embb": ResourceRatio(dedicated=0.1, min=0.1, max=0.6)},
        ("compute", ""): {"embb": ResourceRatio(min=0.7)},
    }
    view = view_of(reserved=reserved)
    assert view.kept("embb", "transport", LINK) == ResourceRatio(dedicated=0.1, min=0.2, max=0.6)
    assert view.kept("embb", "transport", "core->cloud") == ResourceRatio(min=0.2, max=0.9)
    assert view.kept("embb", "transport") == ResourceRatio(dedicated=0.1, min=0.2, max=0.6)
    assert view.kept("urllc", "transport") == ResourceRatio()


def test_an_agent_at_the_edge_needs_no_more_than_a_local_twin_of_its_queues():
    network = swinging(seed=2)
    twin = DigitalTwin(period_s=0.05, at="edge-1", scope=("edge-1",), attributes=("queues",), name="local")
    network.add(twin)
    network.add(Agent(MaxWeight(element=LINK), sees=twin, at="edge-1", every_s=0.05, name="agent"))
    network.run(3.0)
    assert len(network.actions) > 20
    assert not [record for record in network.actions if record.refused]
    assert [(read.by, read.attribute) for read in twin.reads()] == [("agent", "queues")]


def test_max_weight_changes_nothing_when_nothing_waits_and_needs_to_see_queues():
    assert MaxWeight().act(view_of(queues={LINK: {"embb": 0, "urllc": 0}})) is None
    with pytest.raises(ValueError, match="queues: the view shows none of transport"):
        MaxWeight().act(view_of())
    with pytest.raises(ValueError, match=r"queues: the view shows none of edge-2->core.*did you mean 'edge-1->core'"):
        waiting_bytes(view_of(queues={LINK: {}}), "transport", "edge-2->core")


def test_max_weight_evens_out_queues():
    def worst(policy):
        """Mean over time of the longer queue, bytes."""
        network = two_slices(seed=5)
        for s, rate in zip(TWO, (110.0, 75.0), strict=True):  # 0.925 of the link
            network.add(Poisson(s, source="edge-1", sink="core", rate_per_s=rate, num_bytes=6250))
        network.add(Agent(policy, every_s=0.01))
        longer = []
        for step in range(1, 101):
            network.run(0.2 * step)
            longer.append(max(network.view().queues[LINK].values()))
        return np.mean(longer)

    assert worst(MaxWeight(element=LINK)) < 0.8 * worst(Reserve(StaticShares(shares_of_slices=(0.5, 0.5))))


# --- rehearsal ---------------------------------------------------------------------------------------


def late_under(policy, seed):
    network = swinging(seed, period_s=8.0)
    twin = network.add(DigitalTwin(period_s=0.2, delay_s=0.01, window_s=0.5))
    network.add(Agent(policy, sees=twin, every_s=1.0))
    return late_share(network, 24.0)


def test_who_rehearses_in_the_twin_does_better_than_either_of_the_policies_it_tries():
    one, other = (Reserve(StaticShares(shares_of_slices=s), dedicated=True) for s in ((0.8, 0.2), (0.2, 0.8)))
    both = Rehearse((Repeated(one), Repeated(other)), futures=2)
    seeds = range(4)
    rehearsed = [late_under(both, seed) for seed in seeds]
    for alone in (one, other):
        assert difference(rehearsed, [late_under(alone, seed) for seed in seeds]).high < 0


class Repeated:
    """Says every time what a policy said first."""

    def __init__(self, policy):
        self.policy, self.said = policy, None

    def act(self, view):
        self.said = self.said or self.policy.act(view)
        return self.said


def test_a_rehearsal_needs_a_twin_that_knows_enough_and_lets_it():
    network = swinging()
    network.add(Agent(Rehearse((ProportionalShares(),))))
    with pytest.raises(ValueError, match="sees: got the network, expected a DigitalTwin, in which Rehearse tries"):
        network.run(1.0)
    network = swinging()
    twin = network.add(DigitalTwin(period_s=0.2, delay_s=0.3, policy=AccessPolicy((forbid("spy", "traffic"),))))
    network.add(Agent(Rehearse((ProportionalShares(),), futures=1), sees=twin, every_s=0.25, name="friend"))
    network.add(Agent(Rehearse((ProportionalShares(),), futures=1), sees=twin, every_s=0.25, name="spy"))
    network.run(1.0)
    refusals = {by: [r.refused for r in network.actions if r.by == by and r.refused] for by in ("friend", "spy")}
    assert refusals["friend"] == []
    assert len(refusals["spy"]) == 3  # at 0 and at 0.25 s nothing had come yet, and agents waited
    assert all("which the access policy forbids" in reason for reason in refusals["spy"])
    copy = Network.restored(network.snapshot())
    network.run(2.0)
    copy.run(2.0)
    assert copy.snapshot().digest() == network.snapshot().digest()


def test_what_is_outside_the_mandate_is_not_even_tried():
    network = swinging()
    twin = network.add(DigitalTwin(period_s=0.2, window_s=0.5))
    elsewhere = Reserve(ProportionalShares(), element="core->cloud")
    mandate = Mandate(elements=(LINK,))
    agent = network.add(Agent(Rehearse((elsewhere,), futures=1), sees=twin, every_s=0.5, mandate=mandate))
    network.run(3.0)
    assert mind_of(network, agent).policy.rehearsals == 0
    assert not network.actions


def test_fail_over_changes_shares_when_an_element_fails_and_when_it_is_back():
    network = swinging()
    network.add(Outage(element="core->cloud", start_s=1.04, end_s=2.04))
    policy = FailOver(watch=("core->cloud", "cloud"), emergency=EMERGENCY, usual=USUAL, element=LINK)
    agent = network.add(Agent(policy, at="edge-1", every_s=0.1))
    network.run(4.0)
    decisions = mind_of(network, agent).decisions
    assert [d.actions[0].ratios for d in decisions] == [EMERGENCY, USUAL]
    # seen at the next beat, once the news has come the long way from the cloud
    assert [d.sensed_s for d in decisions] == pytest.approx([1.1, 2.1])


def test_fail_over_does_not_take_silence_for_health():
    policy = FailOver(watch=("core->cloud",), emergency=EMERGENCY, usual=USUAL, element=LINK)
    view = View(time_s=1.0, slices={}, ratios={}, ages_s={"slices": 0.1})
    with pytest.raises(ValueError, match="down: the view shows slices alone"):
        policy.act(view)
    assert policy.act(replace(view, ages_s={"slices": 0.1, "down": 0.1})) is None
    assert policy.act(replace(view, ages_s={})) is None  # the network itself
