"""What was learned lives in a running network unchanged; what does not fit is refused, and the run goes on."""

from dataclasses import replace

import numpy as np
import pytest

from tests.network.agent_worlds import Mirror, mind_of
from wirelesslab.network import Agent, DigitalTwin, Network, SliceView, View
from wirelesslab.network.agents.interfaces import ShareInterface
from wirelesslab.network.agents.learned import LearnedPolicy
from wirelesslab.network.dense_nets import DenseNet
from wirelesslab.network.learners import policies
from wirelesslab.network.learners.policies import Trained, load_policy, save_policy
from wirelesslab.network.tasks.slice_alloc import SliceAlloc
from wirelesslab.network.tasks.slice_alloc_worlds import CellsWorld, LinkWorld

LINK = LinkWorld(phase_steps=20)
SMALL = CellsWorld(num_cells=2, users_per_slice=6)
REDUCED = "wirelesslab/SliceAllocReduced-v0"


def policy_for(interface, task=REDUCED, seed=1):
    """Return a policy whose net is drawn at random: as good as any to see whether it is asked right."""
    rows, features = interface.observation_shape
    net = DenseNet.untrained(features, (8,), 1, seed=seed)
    arrays = {name: np.array(values) for name, values in net.arrays.items()}
    arrays["kernel 1"] = np.random.default_rng(seed).normal(0, 1, arrays["kernel 1"].shape).astype(np.float32)
    seen = policies.Interface(observation_shape=(rows, features), low=(0.0,) * rows, high=(1.0,) * rows)
    return Trained(task=task, learner="PPO", interface=seen, net=DenseNet(arrays))


def lived(policy, until_s=3.0, world=LINK, *, twin=None, at="", seed=4):
    network = world.network(seed)
    if twin is not None:
        network.add(twin)
    agent = network.add(Agent(policy, sees=twin, at=at, every_s=world.step_s, name="agent"))
    network.run(until_s)
    return network, agent


# --- it plugs in unchanged -------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", [LINK, SMALL], ids=["link", "cells"])
def test_in_a_network_it_does_what_it_does_in_its_task(world):
    trained, steps = policy_for(world.interface), 15
    env = SliceAlloc(world)
    observation, _ = env.reset(seed=4)
    shares = []
    for _ in range(steps):
        action = trained.act(observation)
        shares.append(env.interface.shares(action)[0])
        observation, *_ = env.step(action)
    network = world.network(4)
    network.run(world.start_s or 1e-9)
    if world.start_s:  # equal shares in force before the first decision, as the task has them
        for action in world.interface.actions(np.ones(world.interface.answer_shape)):
            network.apply(action)
    network.add(Agent(LearnedPolicy(trained, world.interface), every_s=world.step_s, name="agent"))
    network.run(network.now_s + (steps - 1) * world.step_s + 1e-6)
    domain = world.interface.domains[0]
    made = [
        [ratio.min for ratio in record.action.ratios.values()]
        for record in network.actions
        if record.by == "agent" and record.action.domain == domain
    ]
    # a nanosecond later at most: the same but for a packet at a window's border
    np.testing.assert_allclose(made, shares[: len(made)], atol=0.02 if world is LINK else 1e-8)
    assert len(made) == steps


def test_it_decides_at_an_edge_on_what_a_twin_knows_and_is_written_down_with_the_network():
    policy = LearnedPolicy(policy_for(LINK.interface), LINK.interface)
    twin = DigitalTwin(period_s=0.2, at="edge-1", slice="embb")
    network, agent = lived(policy, 1.33, twin=twin, at="edge-1")
    copy = Network.restored(network.snapshot())
    network.run(3.0)
    copy.run(3.0)
    assert copy.snapshot().digest() == network.snapshot().digest()
    assert mind_of(network, agent).num_decisions > 20
    assert policy.memory.windows == 0  # the agent decides by a copy of its own


def test_a_policy_from_a_file_decides_as_the_one_that_was_written(tmp_path):
    trained = policy_for(LINK.interface)
    path = save_policy(trained, tmp_path / "policy")
    first, second = (
        lived(LearnedPolicy(one, LINK.interface), 2.0)[0].actions for one in (trained, load_policy(path, REDUCED))
    )
    assert [str(one.action) for one in first] == [str(one.action) for one in second]


# --- refused at the door -----------------------------------------------------------------------------------------


def test_a_policy_of_another_task_is_refused():
    with pytest.raises(ValueError, match=r"got a policy of wirelesslab/Admission-v0, expected one of .*SliceAlloc-v0"):
        LearnedPolicy(policy_for(LINK.interface, "wirelesslab/Admission-v0"), LINK.interface)


def test_a_policy_for_another_number_of_slices_or_features_is_refused():
    three = replace(LINK.interface, slices=("embb", "urllc", "miot"))
    with pytest.raises(ValueError, match=r"sees \(2, 8\) numbers, expected \(3, 8\) by the interface"):
        LearnedPolicy(policy_for(LINK.interface), three)
    with pytest.raises(ValueError, match=r"sees \(2, 8\) numbers, expected \(2, 4\)"):
        LearnedPolicy(policy_for(LINK.interface), replace(LINK.interface, memory=(1, 2)))


def test_what_is_no_policy_or_no_interface_is_refused():
    for wrong in (object(), Trained, 7):
        with pytest.raises(TypeError, match="trained: got"):
            LearnedPolicy(wrong, LINK.interface)
    with pytest.raises(TypeError, match="interface: got"):
        LearnedPolicy(policy_for(LINK.interface), "shares")


def test_interfaces_refuse_nonsense():
    with pytest.raises(ValueError, match="least"):
        ShareInterface(slices=("embb", "urllc"), capacity_bps=1e6, least=0.6)
    with pytest.raises(ValueError, match="slices: got 'embb'"):
        ShareInterface(slices="embb", capacity_bps=1e6)
    with pytest.raises(ValueError, match="shows: got 'thoughts'"):
        ShareInterface(slices=("embb",), capacity_bps=1e6, shows=("thoughts",))
    with pytest.raises(ValueError, match="element"):
        ShareInterface(slices=("embb",), capacity_bps=1e6, domains=("radio", "transport"), element="a->b")
    for wrong in ([0.1], [np.nan, 0.2], [0.5, 1.5]):
        with pytest.raises(ValueError, match="answer: got"):
            LINK.interface.actions(wrong)


# --- refused in a running network, which goes on -----------------------------------------------------------------


class Broken(Mirror):
    """A twin that shows what is no number for a while, or lacks a slice."""

    how = "nan"

    def view(self, before=None, *, by=""):
        view = super().view(before, by=by)
        if not 1.0 < self.network.now_s < 2.0:
            return view
        slices = dict(view.slices)
        if self.how == "nan":
            slices["embb"] = replace(slices["embb"], offered_flows=float("nan"), delay_seconds=float("nan"))
        else:
            del slices["urllc"]
        return replace(view, slices=slices)


@pytest.mark.parametrize(("how", "said"), [
    ("nan", "observation: got nan as load of embb, expected a number"),
    ("missing", "slices: the view shows ['embb'], expected ['embb', 'urllc']"),
])  # fmt: skip
def test_a_view_of_nonsense_is_a_refused_decision_and_the_run_goes_on(how, said):
    twin = Broken("broken", at="edge-1")
    twin.how = how
    network, agent = lived(LearnedPolicy(policy_for(LINK.interface), LINK.interface), 4.0, twin=twin)
    refused = [record for record in network.actions if record.refused]
    assert refused
    assert all(said in record.refused for record in refused)
    assert all(1.0 <= record.time_s <= 2.1 for record in refused)
    assert mind_of(network, agent).num_refused == len(refused)
    late = [record for record in network.actions if record.time_s > 3.0]
    assert late
    assert not any(record.refused for record in late)
    network.check()


def test_nan_in_a_delay_is_told_from_nothing_having_arrived():
    interface = ShareInterface(slices=("embb", "urllc"), capacity_bps=1e6, shows=("delays", "late"))
    memory = interface.begin()
    idle = View(time_s=1.0, slices={"embb": SliceView(), "urllc": SliceView()}, ratios={})
    assert not interface.observe(idle, memory).any()
    broken = replace(idle, slices={"embb": SliceView(delay_seconds=float("nan")), "urllc": SliceView()})
    with pytest.raises(ValueError, match="observation: got nan as delays of embb"):
        interface.observe(broken, interface.begin())


# --- what is shown -----------------------------------------------------------------------------------------------


def test_loads_are_parts_of_the_capacity_by_bytes_or_by_flows():
    before = View(time_s=1.0, slices={"embb": SliceView(), "urllc": SliceView()}, ratios={})
    after = View(
        time_s=3.0,
        slices={"embb": SliceView(offered_bytes=50_000, offered_flows=4), "urllc": SliceView(offered_bytes=25_000)},
        ratios={}, before=before,
    )  # fmt: skip
    by_bytes = ShareInterface(slices=("embb", "urllc"), capacity_bps=1e6)
    by_flows = replace(by_bytes, flow_bytes=10_000.0)
    np.testing.assert_allclose(by_bytes.observe(after, by_bytes.begin()), [[0.2, 0.3], [0.1, 0.3]], rtol=1e-6)
    np.testing.assert_allclose(by_flows.observe(after, by_flows.begin()), [[0.16, 0.16], [0.0, 0.16]], rtol=1e-6)


def test_what_exceeds_its_bounds_is_shown_at_the_bound():
    interface = ShareInterface(slices=("embb",), capacity_bps=1.0, shows=("queues",))
    view = View(
        time_s=1.0, slices={"embb": SliceView(offered_bytes=10**6, inside_bytes=10**6)}, ratios={},
        before=View(time_s=0.0, slices={"embb": SliceView()}, ratios={}),
    )  # fmt: skip
    np.testing.assert_array_equal(interface.observe(view, interface.begin()), interface.high)


def test_answers_and_shares_are_each_others_inverse():
    interface = ShareInterface(slices=("embb", "urllc", "miot"), capacity_bps=1.0, least=0.05)
    for shares in ([0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [1 / 3] * 3):
        assert interface.shares(interface.answer(shares))[0] == pytest.approx(shares)
    with pytest.raises(ValueError, match="expected the shares of transport"):
        replace(interface, shows=("shares",)).observe(
            View(time_s=0.0, slices=dict.fromkeys(("embb", "urllc", "miot"), SliceView()), ratios={}), interface.begin()
        )
