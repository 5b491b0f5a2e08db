"""Slices that come and go on a network are let in as the calls of an admission rule, learned or not."""

from dataclasses import replace

import numpy as np
import pytest

from wirelesslab.network import Network, ResourceRatio, line
from wirelesslab.network.admission import CallClass, CompleteSharing, LossSystem, OptimalAdmission, TabulatedAdmission
from wirelesslab.network.ledger import Ledger, parts
from wirelesslab.network.slice_calls import SlicesAsCalls
from wirelesslab.network.slice_manager import SliceManager
from wirelesslab.network.slices import Slice, SNssai
from wirelesslab.rng import stream

SYSTEM = LossSystem(capacity=6, classes=(CallClass(arrival_rate=8), CallClass(arrival_rate=2, demand=3, reward=4.5)))
LINK = ("transport", ("edge-1", "edge-2"))
DEMANDS = {f"small_{i}": 1 for i in range(6)} | {f"large_{i}": 3 for i in range(3)}


def managed(rule):
    slices = tuple(
        Slice(name=name, snssai=SNssai(128 + i), transport=ResourceRatio(min=demand / 6))
        for i, (name, demand) in enumerate(DEMANDS.items())
    )
    network = Network(
        line(num_links=1, rate_bps=1e6),
        tuple(replace(s, transport=ResourceRatio()) for s in slices),  # their shares come with admission
        seed=1,
    )
    return network, network.add(SliceManager(SlicesAsCalls(rule, SYSTEM, LINK))), {s.name: s for s in slices}


@pytest.mark.parametrize("kind", ["optimum", "table"])
def test_slices_are_let_in_as_the_rule_says_and_the_books_close(kind):
    oracle = OptimalAdmission.solve(SYSTEM)
    rule = oracle if kind == "optimum" else TabulatedAdmission(SYSTEM, oracle.table)
    network, manager, slices = managed(rule)
    rng, alive, seen = stream(5, "coming and going"), set(), set()
    names = list(DEMANDS)
    for step in range(200):
        if step % 30 == 0:
            network.run(0.01 * (step + 1))
        name = names[rng.integers(len(names))]
        if name in alive:
            manager.terminate(name)
            alive.discard(name)
            continue
        counts = [sum(DEMANDS[other] == demand for other in alive) for demand in (1, 3)]
        k = (1, 3).index(DEMANDS[name])
        manager.prepare(name, slices[name])
        admitted = bool(manager.admit(name))
        assert admitted == oracle.admit(counts, k)
        fits = counts[0] + 3 * counts[1] + DEMANDS[name] <= 6
        seen.add((k, fits, admitted))
        if admitted:
            manager.activate(name)
            alive.add(name)
        else:
            reason = manager.life.events[-1].reason
            assert ("admission rule keeps" in reason) if fits else ("lacks" in reason)
            manager.terminate(name)
        manager.check()
    assert {(0, True, False), (0, True, True), (1, True, True), (1, False, False)} <= seen
    for name in alive:
        manager.terminate(name)
    assert not manager.life.ledger.held_parts.any()


def test_a_network_with_such_a_rule_is_restored_with_it():
    network, manager, slices = managed(TabulatedAdmission(SYSTEM, OptimalAdmission.solve(SYSTEM).table))
    manager.prepare("large_0", slices["large_0"])
    assert manager.admit("large_0")
    copy = Network.restored(network.snapshot())
    for each in (network, copy):
        other = each.actors["slice-manager"]
        other.prepare("large_1", slices["large_1"])
        assert other.admit("large_1")
        other.prepare("small_0", slices["small_0"])
        assert "lacks" in other.admit("small_0").reason
    assert copy.snapshot().digest() == network.snapshot().digest()


def test_a_share_of_no_class_is_refused_and_one_of_another_element_is_not_its_business():
    ledger = Ledger({LINK: 1.0, ("radio", "gnb-1"): 1.0})
    rule = SlicesAsCalls(CompleteSharing(SYSTEM), SYSTEM, LINK)
    slice_ = Slice(name="odd", snssai=SNssai(1))
    assert "the demand of no class" in rule.refusal(ledger, slice_, {LINK: parts(0.4)})
    assert rule.refusal(ledger, slice_, {("radio", "gnb-1"): parts(0.4)}) == ""
    assert "lacks" in rule.refusal(ledger, slice_, {("radio", "gnb-1"): 10**6 + 1})


def test_classes_of_one_demand_cannot_be_told_apart_and_are_refused():
    twins = LossSystem(capacity=2, classes=(CallClass(arrival_rate=1), CallClass(arrival_rate=1, reward=2.0)))
    with pytest.raises(ValueError, match="each once"):
        SlicesAsCalls(CompleteSharing(twins), twins, LINK)


def test_a_table_that_lets_in_who_does_not_fit_is_refused():
    table = np.ones((2, *SYSTEM.shape), bool)
    with pytest.raises(ValueError, match="does not fit"):
        TabulatedAdmission(SYSTEM, table)
    with pytest.raises(ValueError, match="expected \\(classes=2"):
        TabulatedAdmission(SYSTEM, table[0])
