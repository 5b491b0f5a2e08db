"""A managed slice carries traffic only while it is active, with the shares that it booked and no others."""

from dataclasses import replace

import numpy as np
import pytest

from wirelesslab.network import EMBB, MIOT, URLLC, Flow, Network, Poisson, ResourceRatio, metro
from wirelesslab.network.ledger import KeepMargin
from wirelesslab.network.slice_manager import SliceManager
from wirelesslab.network.slices import DOMAINS


def sized(slice_, share):
    ratio = ResourceRatio(min=share)
    return replace(slice_, radio=ratio, transport=ratio, compute=ResourceRatio(min=share))


PLAIN = {s.name: s for s in (EMBB, URLLC, MIOT)}
WANTED = {"embb": 0.5, "urllc": 0.4, "miot": 0.3}  # together more than there is


def managed(rule=None):
    network = Network(metro(num_gnbs=3), tuple(PLAIN.values()), seed=2)
    return network, network.add(SliceManager(rule))


def prepare(manager, *names):
    for name in names:
        manager.prepare(name, sized(PLAIN[name], WANTED[name]))


def test_a_slice_carries_traffic_from_activation_to_termination():
    network, manager = managed()
    network.add(Poisson(EMBB, source="gnb-1", sink="cloud", rate_per_s=200.0, num_bytes=1000))
    network.run(1.0)
    assert network.book.ended_flows["delivered"][0] == 0
    prepare(manager, "embb")
    assert manager.admit("embb")
    manager.activate("embb")
    assert network.view().ratios["transport"]["embb"].min == 0.5
    network.run(2.0)
    delivered = network.book.ended_flows["delivered"][0]
    assert delivered > 100
    manager.terminate("embb")
    network.run(3.0)
    assert network.book.ended_flows["delivered"][0] <= delivered + 5  # those on their way
    assert network.view().ratios["transport"]["embb"] == ResourceRatio()
    assert manager.life.ledger.holders == ()
    network.check()


def test_a_slice_that_does_not_fit_is_told_why_and_changes_nothing():
    _, manager = managed()
    prepare(manager, *WANTED)
    assert manager.admit("embb")
    assert manager.admit("urllc")
    refused = manager.admit("miot")
    assert not refused
    assert "gnb-1" in refused.reason
    manager.terminate("embb")
    assert manager.admit("miot")


def test_a_margin_keeps_room_for_the_urgent():
    _, manager = managed(KeepMargin(margin=0.3, exempt_priority=5))
    prepare(manager, *WANTED)
    assert manager.admit("embb")
    assert not manager.admit("miot")
    assert manager.admit("urllc")


def test_shares_that_do_not_fit_leave_an_active_slice_as_it_was():
    network, manager = managed()
    prepare(manager, "embb", "urllc")
    for name in ("embb", "urllc"):
        manager.admit(name)
        manager.activate(name)
    before = network.view().ratios
    assert not manager.modify("embb", sized(EMBB, 0.7))
    assert network.view().ratios == before
    assert manager.modify("embb", sized(EMBB, 0.6))
    assert all(network.view().ratios[domain]["embb"].min == 0.6 for domain in DOMAINS)


def test_random_lives_on_a_network_never_overbook_it_and_leave_nothing_behind():
    network, manager = managed()
    rng = np.random.default_rng(4)
    for _ in range(600):
        name = ("embb", "urllc", "miot")[rng.integers(3)]
        state = manager.life.state(name)
        if state != "terminated" and rng.random() < 0.2:
            manager.terminate(name)
        elif state == "terminated":
            prepare(manager, name)
        elif state == "active":
            manager.modify(name, sized(PLAIN[name], round(float(rng.uniform(0, 0.6)), 3)))
        else:
            (manager.admit if state == "prepared" else manager.activate)(name)
        for domain in DOMAINS:
            assert sum(ratio.min for ratio in network.view().ratios[domain].values()) <= 1 + 1e-9
        network.check()
    for name in ("embb", "urllc", "miot"):
        if manager.life.state(name) != "terminated":
            manager.terminate(name)
    assert manager.life.ledger.holders == ()
    assert all(not record.refused for record in network.actions)


def test_a_managed_network_can_be_written_down():
    network, manager = managed()
    prepare(manager, "embb")
    manager.admit("embb")
    copy = Network.restored(network.snapshot())
    copy.actors["slice-manager"].activate("embb")
    assert manager.life.state("embb") == "admitted"
    assert copy.view().slices["embb"].active
    assert not network.view().slices["embb"].active
    copy.send(Flow(slice="embb", num_bytes=10, source="gnb-1", sink="edge-1"))
    copy.run(1.0)
    assert copy.book.ended_flows["delivered"][0] == 1


def test_a_slice_that_the_network_does_not_have_is_refused():
    _, manager = managed()
    with pytest.raises(ValueError, match="got 'v2x', expected one of"):
        manager.prepare("v2x")
