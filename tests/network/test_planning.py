"""Plans reserve what they say, for a window at a time; and moving load is worth what queueing theory says."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirelesslab.network import (
    EMBB,
    MIOT,
    PLANS,
    URLLC,
    ConvexShares,
    Diurnal,
    ExponentialSize,
    ForeseenShares,
    MaxMinShares,
    Network,
    Planner,
    Poisson,
    ProportionalShares,
    SeasonalShares,
    ServiceLevel,
    SquareRootShares,
    StaticShares,
    line,
)
from wirelesslab.network.theory import square_root_capacities
from wirelesslab.replicas import difference

NONE_YET = np.zeros((0, 3))
THREE = tuple(replace(s, level=ServiceLevel()) for s in (EMBB, URLLC, MIOT))
EVERY = [
    StaticShares(shares_of_slices=(0.5, 0.3, 0.2)),
    ProportionalShares(memory=2),
    SquareRootShares(capacity_bps=10.0),
    MaxMinShares(capacity_bps=10.0),
    ConvexShares(capacity_bps=10.0, weights=(1.0, 2.0, 3.0)),
    ConvexShares(capacity_bps=10.0, aim="misses", promises_s=(1.0, 2.0, 3.0), packet_bytes=0.01),
    SeasonalShares(season=3, capacity_bps=10.0),
    ForeseenShares(rule=ProportionalShares(), loads_bps=((1.0, 2.0, 3.0), (3.0, 2.0, 0.0))),
]
loads = st.lists(st.lists(st.floats(0, 8), min_size=3, max_size=3), max_size=8).map(
    lambda rows: np.array(rows, float).reshape(-1, 3)
)


def test_every_plan_is_under_test():
    assert {type(plan) for plan in EVERY} == set(PLANS)


# --- the rules --------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", EVERY, ids=repr)
@settings(deadline=None)  # the first call of a rule may compile
@given(history=loads)
def test_shares_are_shares_whatever_has_been_seen(plan, history):
    shares = plan.shares(history, len(history))
    if shares is not None:
        assert shares.shape == (3,)
        assert shares.min() >= getattr(plan, "least", 0.0) - 1e-12
        assert shares.sum() == pytest.approx(1.0, abs=1e-9)


def test_a_static_plan_speaks_once():
    plan = StaticShares(shares_of_slices=(0.5, 0.3, 0.2))
    assert plan.shares(NONE_YET, 0).tolist() == [0.5, 0.3, 0.2]
    assert plan.shares(np.ones((1, 3)), 1) is None


def test_proportional_shares_follow_the_mean_of_the_last_windows():
    history = np.array([[100.0, 0.0, 0.0], [1.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    assert ProportionalShares(memory=2, least=0.0).shares(history, 3) == pytest.approx([0.4, 0.4, 0.2])
    assert ProportionalShares(least=0.1).shares(history, 3) == pytest.approx(0.1 + 0.7 * np.array([3, 2, 1]) / 6)
    assert ProportionalShares().shares(NONE_YET, 0) == pytest.approx([1 / 3] * 3)


def test_square_root_shares_are_kleinrocks():
    history = np.array([[6.0, 1.0]])
    ours = SquareRootShares(capacity_bps=10.0, least=0.0).shares(history, 1)
    assert ours == pytest.approx(square_root_capacities([0.6, 0.1], 1.0), rel=1e-12)
    # of all shares of two M/M/1 queues they have the least jobs
    grid = np.linspace(0.61, 0.89, 281)
    jobs = 0.6 / (grid - 0.6) + 0.1 / (0.9 - grid)
    assert grid[jobs.argmin()] == pytest.approx(ours[0], abs=1e-3)


def test_square_root_shares_are_proportional_in_overload():
    assert SquareRootShares(capacity_bps=5.0, least=0.0).shares(np.array([[6.0, 2.0]]), 1) == pytest.approx(
        [0.75, 0.25]
    )


def test_a_slice_that_was_silent_keeps_the_least_share():
    for plan in (ProportionalShares(least=0.05), SquareRootShares(capacity_bps=10.0, least=0.05)):
        assert plan.shares(np.array([[5.0, 0.0, 0.0]]), 1) == pytest.approx([0.9, 0.05, 0.05])
    with pytest.raises(ValueError, match=r"least: got 0\.4 for 3 slices, expected at most 0\.33"):
        ProportionalShares(least=0.4).shares(NONE_YET, 0)


def test_a_seasonal_plan_remembers_the_same_window_of_the_season_before():
    day = np.array([[6.0, 1.0, 1.0], [1.0, 6.0, 1.0], [1.0, 1.0, 6.0]])
    plan, now = SeasonalShares(season=3, capacity_bps=10.0), SquareRootShares(capacity_bps=10.0)
    for window in range(3):  # nothing to remember yet
        assert np.array_equal(plan.shares(day[:window], window), now.shares(day[:window], window))
    seen = np.concatenate([day, day])
    for window in range(3, 6):
        assert np.array_equal(plan.shares(seen[:window], window), now.shares(day[window - 3][None], window))
    # a planner that forgets what lies far back gives the same
    assert np.array_equal(plan.shares(seen[-4:], 2_000), now.shares(seen[-3][None], 0))


def test_a_foreseen_plan_does_what_its_rule_would_do_for_the_coming_window():
    plan = EVERY[-1]
    assert plan.shares(np.ones((1, 3)), 3) == pytest.approx(ProportionalShares().shares(np.array([[3.0, 2.0, 0.0]]), 0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StaticShares(shares_of_slices=(0.7, 0.6)), r"shares_of_slices: got \(0\.7, 0\.6\), which sum to 1\.3"),
        (lambda: ProportionalShares(memory=0), "memory: got 0"),
        (lambda: SquareRootShares(capacity_bps=0.0), "capacity_bps: got 0"),
        (lambda: SeasonalShares(season=3, capacity_bps=-1.0), "capacity_bps: got -1"),
        (lambda: ForeseenShares(rule=ProportionalShares(), loads_bps=()), "loads_bps"),
        (lambda: Planner(plan=ProportionalShares(), window_s=0.0), "window_s: got 0"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- two clocks -------------------------------------------------------------------------------------


def moving_network(planner, seed=1):
    """Three slices whose loads peak in turn on one link of 1 Mb/s; a mean packet takes 0.1 s."""
    network = Network(line(num_links=1, rate_bps=1e6), THREE, seed=seed, segment_bytes=10**9)
    for number, s in enumerate(THREE):
        rates = tuple(5.0 if step == number else 0.8 for step in range(3))
        network.add(Diurnal(
            s, source="edge-1", sink="edge-2", period_s=120.0, rates_per_s=rates, num_bytes=ExponentialSize(12_500.0)
        ))  # fmt: skip
    network.add(planner)
    return network


@pytest.mark.parametrize(
    "plan", [ProportionalShares(), SquareRootShares(capacity_bps=1e6), SeasonalShares(season=12, capacity_bps=1e6)]
)
def test_reservations_stand_for_a_window_and_operation_never_exceeds_them(plan):
    network = moving_network(Planner(plan=plan, window_s=10.0))
    (link,) = [station for station in network.links.values() if station.name == "edge-1->edge-2"]
    seen = []
    for window in range(24):
        shares, done = [], []
        for step in range(3):
            network.run(10.0 * window + 4.0 * step + 1e-6)
            shares.append([pool.rate / 1e6 for _, pool in sorted(link.pools.items())])
            done.append(link.account().work_done)
        assert all(share == shares[0] for share in shares), f"window {window}"
        assert (np.diff(done, axis=0) <= np.array(shares[0]) * 1e6 * 4.0 + 1e-3).all(), f"window {window}"
        seen.append(shares[0])
    assert len({tuple(shares) for shares in seen}) > 10  # they do change; a season repeats its own
    assert np.array(seen).sum(axis=1) == pytest.approx(1.0, abs=1e-8)
    planned = network.record("planner-1", lambda: None).planned
    assert np.allclose([shares for _, shares in planned], seen, atol=2e-9)
    network.check()


def test_guarantees_are_lent_and_reservations_are_not():
    def served(dedicated):
        network = Network(line(num_links=1, rate_bps=1e6), THREE, seed=2)
        network.add(Poisson(EMBB, source="edge-1", sink="edge-2", rate_per_s=20.0, num_bytes=12_500))  # twice the link
        plan = StaticShares(shares_of_slices=(0.4, 0.3, 0.3))
        network.add(Planner(plan=plan, window_s=10.0, dedicated=dedicated))
        network.run(50.0)
        return network.view().slices["embb"].delivered_bytes * 8 / 50.0

    assert served(dedicated=True) == pytest.approx(0.4e6, rel=0.02)  # a packet is 0.25 s of 50
    assert served(dedicated=False) == pytest.approx(1e6, rel=0.02)


def test_a_planner_forgets_what_lies_further_back_than_asked():
    network = moving_network(Planner(plan=ProportionalShares(), window_s=1.0, history_windows=4))
    network.run(20.5)
    state = network.record("planner-1", lambda: None)
    assert (state.policy.window, len(state.policy.history), len(state.planned)) == (21, 4, 4)


def test_a_plan_for_another_number_of_slices_is_named():
    network = moving_network(Planner(plan=StaticShares(shares_of_slices=(0.5, 0.5)), window_s=1.0))
    with pytest.raises(ValueError, match="StaticShares gave 2, expected one for each of"):
        network.run(1.0)


# --- what moving load is worth ------------------------------------------------------------------------

PHASE_S, PHASES, REPLICAS = 2_000.0, 8, 24
PEAK, LOW = 0.6, 0.1
SWAPPED = ((PEAK, LOW), (LOW, PEAK))


@cache
def jobs(rule, phase_s=PHASE_S, phases=PHASES, replicas=REPLICAS):
    """Mean jobs of two slices whose loads (.6, .1) swap, on a link that serves one a second; shape (replicas,)."""
    found = []
    for seed in range(replicas):
        network = Network(
            line(num_links=1, rate_bps=8e6, distance_m=1.0), THREE[:2], seed=seed, segment_bytes=10**10, report_s=1e4
        )
        for s, rates in zip(THREE, SWAPPED, strict=False):
            network.add(Diurnal(
                s, source="edge-1", sink="edge-2", period_s=2 * phase_s, rates_per_s=rates,
                num_bytes=ExponentialSize(1e6),
            ))  # fmt: skip
        if rule is not None:
            known = ForeseenShares(rule=rule, loads_bps=tuple(tuple(8e6 * x for x in loads) for loads in SWAPPED))
            network.add(Planner(plan=known, window_s=phase_s))
        network.run(phase_s * phases)
        network.check()
        account = network.links["edge-1", "edge-2"].account()
        found.append(account.packet_seconds.sum() / network.now_s)
    return np.array(found)


PROPORTIONAL, SQUARE_ROOT = ProportionalShares(least=0.0), SquareRootShares(capacity_bps=8e6, least=0.0)


# A square-root share changes the mean backlog from phase to phase (2.82 <-> 1.15 jobs), and a queue forgets its
# old one in about 1 / (sqrt(mu) - sqrt(lam))^2 = 70 service times: 3 % of a phase of 2,000, of opposite signs in
# the two slices. The other two have the same law of jobs in every phase, and no such error.
@pytest.mark.parametrize(
    ("rule", "expected", "transient"),
    [(PROPORTIONAL, 4.6667, 0.0), (SQUARE_ROOT, 3.9661, 0.03), (None, 2.3333, 0.0)],
    ids=["proportional", "square root", "a server that sees queues"],
)
def test_moving_load_costs_as_many_jobs_as_theory_says(rule, expected, transient):
    found = jobs(rule)
    error = found.std(ddof=1) / np.sqrt(found.size)
    assert error < 0.02 * expected
    assert found.mean() == pytest.approx(expected, abs=3 * error + transient * expected)


def test_square_root_shares_have_fewer_jobs_than_proportional_ones_on_the_same_arrivals():
    gain = difference(jobs(SQUARE_ROOT), jobs(PROPORTIONAL))
    assert gain.high < 0
    assert gain.low < 3.9661 - 4.6667 < gain.high


def test_static_halves_are_unstable_under_moving_load():
    # fluid: a phase at .6 on .5 piles up .1 a second, and the next one drains it at .4
    halves = StaticShares(shares_of_slices=(0.5, 0.5))
    short, long = jobs(halves, 500.0, 8, 6), jobs(halves, 2_000.0, 8, 6)
    assert long.mean() > 2 * short.mean()
    assert long.mean() > 0.8 * 0.0625 * 2_000  # jobs grow with the phase without end
    assert difference(long, jobs(PROPORTIONAL)[:6]).low > 0
