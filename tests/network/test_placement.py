"""Specs of placing services: exact books, an honest mask, aged views, and delays that come true in the network."""

import itertools

import networkx as nx
import numpy as np
import pytest

from wirelesslab.network.routing import Routes
from wirelesslab.network.simulation import Network
from wirelesslab.network.tasks.placement import Placement
from wirelesslab.network.tasks.placement_in_network import compared, network_of
from wirelesslab.network.tasks.placement_rows import FEATURES, PlacementRows, rows
from wirelesslab.network.tasks.placement_rules import (
    RULES,
    KeepsRoom,
    RandomFeasible,
    best_fit,
    least_loaded,
    nearest_feasible,
)
from wirelesslab.network.tasks.placement_services import (
    ANALYTICS,
    CONTROL,
    KINDS,
    PlacementConfig,
    ServiceKind,
    Ways,
    placement_metro,
)
from wirelesslab.network.topology import hex_cells, metro
from wirelesslab.stats import student_quantile


def played(env, rule, seed, after_step=lambda env: None):
    """Return the rewards of an episode, and its costs."""
    observation, info = env.reset(seed=seed)
    rewards, costs, truncated = [], [], False
    while not truncated:
        observation, reward, _, truncated, info = env.step(rule(observation, info))
        rewards.append(reward)
        costs.append(info["cost"]["infeasible"])
        after_step(env)
    return np.array(rewards), np.array(costs)


def used(env):
    """Return operations/s of each host and bits/s of each link that what is hosted takes, counted afresh."""
    operations, bits = [0] * len(env.hosts), dict.fromkeys(env.ways.links, 0)
    routes = Routes(env.ways.graph)  # those of the network
    for _, _, gnb, kind, host in env.hosted:
        own, bps = env.config.kinds[kind].shares(env.config.utilisation)
        operations[host] += own
        path = routes.path(env.ways.gnbs[gnb], env.hosts[host])
        for link in itertools.pairwise(path):
            bits[link] += bps
    return operations, list(bits.values())


RANDOM = RandomFeasible(3)
ALL_RULES = {**RULES, "random": RANDOM}


# --- the books ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ALL_RULES.values(), ids=ALL_RULES)
def test_what_is_free_and_what_is_hosted_are_the_whole_room_after_every_step(rule):
    def balanced(env):
        operations, bits = used(env)
        assert (env.free_operations_per_s + operations == env.ways.room_operations_per_s).all()
        assert (env.free_bps + bits == env.ways.room_bps).all()
        assert (env.free_operations_per_s >= 0).all()
        assert (env.free_bps >= 0).all()

    played(Placement(PlacementConfig(arrivals_per_s=3.0)), rule, 1, balanced)


def test_after_thousands_of_services_have_ended_all_is_free_to_the_last_unit():
    short = tuple(ServiceKind(**{**vars(kind), "mean_life_s": 6.0}) for kind in KINDS)
    env = Placement(PlacementConfig(kinds=short, arrivals_per_s=8.0, horizon=20_000))
    observation, info = env.reset(seed=1)
    hosted = 0
    for _ in range(19_000):
        observation, _, _, _, info = env.step(RANDOM(observation, info))
        hosted += info["reward"]["value"] > 0
    assert hosted > 10_000
    while env.hosted:
        *_, truncated, info = env.step(len(env.hosts))
        assert not truncated
    assert (env.free_operations_per_s == env.ways.room_operations_per_s).all()
    assert (env.free_bps == env.ways.room_bps).all()


def test_a_host_is_allowed_exactly_when_operations_links_and_the_bound_allow_it():
    env = Placement(PlacementConfig(arrivals_per_s=3.0))
    routes = Routes(env.ways.graph)
    observation, info = env.reset(seed=5)
    seen = set()
    for _ in range(150):
        gnb, kind = env.service
        what = env.config.kinds[kind]
        own, bps = what.shares(env.config.utilisation)
        operations, bits = used(env)
        for host, name in enumerate(env.hosts):
            path = routes.path(env.ways.gnbs[gnb], name)
            links = [env.ways.links.index(link) for link in itertools.pairwise(path)]
            fits = operations[host] + own <= env.ways.room_operations_per_s[host]
            passes = all(bits[link] + bps <= env.ways.room_bps[link] for link in links)
            in_time = env.ways.delay_s[gnb, kind, host] <= what.delay_bound_s
            assert bool(observation["action_mask"][host]) == (fits and passes and in_time)
            seen.add((bool(fits), bool(passes), bool(in_time)))
        assert observation["action_mask"][-1] == 1
        observation, _, _, _, info = env.step(RANDOM(observation, info))
    assert {(True, True, True), (False, True, True), (True, False, True), (True, True, False)} <= seen


def test_a_masked_host_refuses_the_service_at_a_cost_and_nothing_is_booked():
    env = Placement(PlacementConfig(kinds=(CONTROL,)))
    observation, _ = env.reset(seed=1)
    cloud = env.hosts.index("cloud")
    assert observation["action_mask"][cloud] == 0  # too far for the bound
    _, reward, _, _, info = env.step(cloud)
    assert info["cost"] == {"infeasible": 1.0}
    assert reward == -env.config.refusal_price
    assert info["reward"] == {"value": 0.0, "delay": 0.0, "refusal": -env.config.refusal_price}
    assert env.hosted == []


@pytest.mark.parametrize("rule", ALL_RULES.values(), ids=ALL_RULES)
def test_rules_never_ask_for_what_is_masked(rule):
    _, costs = played(Placement(source="aged"), rule, 2)
    assert costs.sum() == 0


def test_what_comes_does_not_depend_on_what_was_done():
    arrivals = []
    for rule in (nearest_feasible, lambda observation, info: observation["hosts"].size):
        env, shown = Placement(), []
        observation, info = env.reset(seed=9)
        for _ in range(60):
            shown.append((info["time_s"], *observation["service"], *observation["nodes"][:, 3]))
            observation, _, _, _, info = env.step(rule(observation, info))
        arrivals.append(shown)
    assert arrivals[0] == arrivals[1]


# --- what is seen ------------------------------------------------------------------------------------------------


def test_what_an_aged_twin_shows_first_is_no_older_than_what_it_shows_later():
    seen, info = Placement(source="aged", sync_s=0.01).reset(seed=3)
    assert info["time_s"] > 0.01
    assert seen["age"][0] <= 0.01


def test_an_aged_twin_shows_the_free_rates_of_the_last_time_it_was_told():
    now, aged = Placement(), Placement(source="aged", sync_s=5.0)
    first, info = now.reset(seed=3)
    late, _ = aged.reset(seed=3)
    history, differed = [], 0
    for _ in range(120):
        history.append((now.now_s, np.array([end for end, *_ in now.hosted])))
        action = nearest_feasible(first, info)
        first, _, _, _, info = now.step(action)
        late, _, _, _, info_late = aged.step(action)
        told_s = info_late["time_s"] - late["age"][0]
        assert 0 <= late["age"][0] <= 5.0 + 1e-5  # float32
        assert abs(told_s / 5.0 - round(told_s / 5.0)) < 1e-4
        assert (first["action_mask"] == late["action_mask"]).all()
        differed += not np.array_equal(first["nodes"], late["nodes"])
    assert differed > 60


def test_a_fresh_twin_shows_what_is_and_none_shows_all_as_free():
    views = {source: Placement(source=source) for source in ("physical", "fresh", "none")}
    shown = {source: env.reset(seed=4)[0] for source, env in views.items()}
    for _ in range(50):
        action = nearest_feasible(shown["physical"], {})
        shown = {source: env.step(action)[0] for source, env in views.items()}
    for name, values in shown["physical"].items():
        assert np.array_equal(values, shown["fresh"][name]), name
    nodes, links = shown["none"]["nodes"], shown["none"]["links"]
    assert np.array_equal(nodes[:, 1], nodes[:, 2])
    assert np.array_equal(links[:, 0], links[:, 1])
    assert (shown["physical"]["nodes"][:, 2] < shown["physical"]["nodes"][:, 1]).any()


def test_rows_fit_any_topology_and_follow_its_hosts():
    for graph in (placement_metro(), placement_metro(9, 3), hex_cells(1), metro(num_gnbs=5, num_edges=6)):
        env = PlacementRows(Placement(graph=graph))
        observation, info = env.reset(seed=1)
        assert observation.shape == (len(env.unwrapped.hosts) + 1, len(FEATURES))
        for _ in range(30):
            assert observation in env.observation_space
            assert (observation[:, FEATURES.index("allowed")] == info["action_mask"]).all()
            observation, _, _, _, info = env.step(int(np.flatnonzero(info["action_mask"])[0]))


def test_rows_are_exchanged_when_hosts_are():
    env = Placement(PlacementConfig(arrivals_per_s=3.0))
    observation, info = env.reset(seed=1)
    for _ in range(40):
        observation, _, _, _, info = env.step(RANDOM(observation, info))
    order = np.array([3, 1, 4, 0, 2])
    other = dict(observation)
    for name in ("hosts", "ways"):
        other[name] = observation[name][order]
    other["action_mask"] = observation["action_mask"][[*order, 5]]
    np.testing.assert_allclose(rows(other), rows(observation)[[*order, 5]], rtol=1e-6)  # means are summed in float32


def test_rules_do_what_their_names_say():
    env = Placement(PlacementConfig(kinds=(ANALYTICS,)))
    observation, info = env.reset(seed=2)
    observation["nodes"][observation["hosts"], 2] = [9e12, 5e12, 8e12, 1e13, 1e14]
    observation["ways"][:, 0] = [0.2, 0.1, 0.3, 0.4, 0.5]
    observation["action_mask"][:] = [1, 1, 0, 1, 1, 1]
    assert nearest_feasible(observation, info) == 1
    assert least_loaded(observation, info) == 3
    assert best_fit(observation, info) == 1
    observation["action_mask"][:-1] = 0
    assert all(rule(observation, info) == 5 for rule in ALL_RULES.values())


def test_what_may_be_far_goes_far_and_a_margin_is_kept_for_what_must_be_near():
    env = Placement(PlacementConfig(kinds=(ANALYTICS,)))
    observation, info = env.reset(seed=2)
    rule = KeepsRoom(margin=0.2)
    assert env.hosts[rule(observation, info)] == "cloud"
    observation["action_mask"][:] = [1, 1, 1, 1, 0, 1]  # the ways to the cloud are full
    observation["nodes"][observation["hosts"], 2] = [7e12, 5e12, 6.5e12, 4e12, 1e14]
    assert rule(observation, info) == 0
    observation["nodes"][observation["hosts"], 2] = 5.9e12  # 4e12 would leave less than the margin
    assert rule(observation, info) == 5
    observation["service"][2] = 2e-3  # now it must be near
    observation["ways"][:, 0] = [4e-3, 1e-3, 3e-3, 4e-3, 5e-3]
    assert rule(observation, info) == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PlacementConfig(arrivals_per_s=0), "arrivals_per_s: got 0, expected a number above 0"),
        (lambda: PlacementConfig(kinds=()), "kinds: got none"),
        (lambda: PlacementConfig(utilisation=1.0), r"utilisation: got 1.0, expected a number in \[0.01, 0.99\]"),
        (lambda: Placement(source="old"), "source: got 'old', expected one of physical, fresh, aged, none"),
        (lambda: Ways(nx.DiGraph(), PlacementConfig()), "graph: got no nodes"),
        (lambda: network_of(reset(Placement())), "env: got one that hosts nothing"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def reset(env):
    env.reset(seed=1)
    return env


# --- in the network ----------------------------------------------------------------------------------------------

FAST = tuple(ServiceKind(**{**vars(kind), "requests_per_s": 400.0 + 100 * i}) for i, kind in enumerate(KINDS))


def some_hosted(count=4):
    """Return a placement of small services on a ring, hosted near and far."""
    small = tuple(
        ServiceKind(**{**vars(kind), "bytes_per_request": 1_000 * (i + 1), "operations_per_request": 1e9 * (3 - i)})
        for i, kind in enumerate(FAST)
    )
    env = Placement(PlacementConfig(kinds=small, arrivals_per_s=10.0))
    observation, info = env.reset(seed=2)
    rule = RandomFeasible(1)
    while len(env.hosted) < count:
        observation, _, _, _, info = env.step(rule(observation, info))
    return env


def test_delays_in_the_network_are_those_that_the_task_reckons():
    env = some_hosted()
    table = compared(env, until_s=15.0, seed=1, warm_up_s=1.0)
    assert len({row.host for row in table}) > 1
    for row in table:
        assert row.requests > 5_000
        # Student's t of 20 batch means; false alarm 1e-4 for each of the four services
        assert abs(row.simulated_s - row.reckoned_s) < student_quantile(1 - 5e-5, 19) * row.error_s, row
        assert row.simulated_s == pytest.approx(row.reckoned_s, rel=0.03)  # ten times the standard error


def test_hosted_services_survive_being_written_down():
    network = network_of(some_hosted(), seed=5)
    network.run(0.5)
    copy = Network.restored(network.snapshot())
    network.run(1.0)
    copy.run(1.0)
    assert copy.snapshot().digest() == network.snapshot().digest()


def test_a_delay_is_propagation_transmissions_computing_and_one_wait():
    kind = ServiceKind(
        name="one", requests_per_s=100.0, bytes_per_request=1000, operations_per_request=1e9, delay_bound_s=1.0,
        value=1.0, mean_life_s=1.0,
    )  # fmt: skip
    ways = Ways(
        hex_cells(0, core_distance_m=20e3, cloud_distance_m=200e3), PlacementConfig(kinds=(kind,), utilisation=0.5)
    )
    one = 0.5 / 100  # seconds on each link and at the host: a share is twice what is used
    wait = 0.5 * one / (2 * 0.5)  # M/D/1
    assert ways.hosts == ("edge-1", "cloud")
    assert ways.delay_s[0, 0] == pytest.approx([2 * one + wait, 4 * one + wait + 220e3 / 2e8])
