"""Slices come, change and go; the ledger balances to the last part."""

import heapq
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirelesslab.network.ledger import PARTS, AdmitWhatFits, KeepMargin, Ledger, parts
from wirelesslab.network.life_cycle import ALLOWED, LifeCycle
from wirelesslab.network.slices import ResourceRatio, Slice, SNssai
from wirelesslab.network.theory import kaufman_roberts
from wirelesslab.rng import stream
from wirelesslab.stats import batch_means

CELL, LINK, EDGE = ("radio", "cell-0"), ("transport", ("gnb-0", "edge-1")), ("compute", "edge-1")
ELEMENTS = (CELL, LINK, EDGE)


def slice_of(name, radio=0.0, transport=0.0, compute=0.0, sst=1, priority=10):
    return Slice(
        name=name,
        snssai=SNssai(sst),
        radio=ResourceRatio(min=radio),
        transport=ResourceRatio(min=transport),
        compute=ResourceRatio(min=compute),
        priority=priority,
    )


def network(rule=None):
    return LifeCycle(Ledger(dict.fromkeys(ELEMENTS, 1.0)), rule)


def active(life, slice_):
    life.prepare(slice_, ELEMENTS)
    assert life.admit(slice_.name)
    life.activate(slice_.name)


@pytest.mark.parametrize(
    ("rule", "lives"), [(AdmitWhatFits(), 10_000), (KeepMargin(margin=0.2, exempt_priority=1), 3_000)], ids=repr
)
def test_ten_thousand_random_lives_leave_exactly_nothing(rule, lives):
    rng = stream(1, "lives")
    capacities = {("radio", f"cell-{i}"): 1.0 for i in range(4)}
    capacities |= {("transport", ("gnb", i)): 0.9 for i in range(3)} | {("compute", "edge"): 0.75}
    life = LifeCycle(Ledger(capacities), rule)
    elements = list(capacities)
    born = refused = 0
    living: list[str] = []
    while born < lives or living:
        if born < lives and len(living) < 12 and rng.random() < 0.5:
            born += 1
            name = f"slice_{born}"
            chosen = [elements[i] for i in rng.choice(len(elements), size=rng.integers(1, 6), replace=False)]
            shares = rng.random(3) * 0.5
            wanted = slice_of(name, *shares, priority=int(rng.integers(3)))
            life.prepare(replace(wanted, snssai=SNssai(1, born)), chosen)
            living.append(name)
        elif living:
            name = living[rng.integers(len(living))]
            step = rng.choice(ALLOWED[life.state(name)])
            if step == "modify":
                old = life.booking(name)
                new = replace(old.slice_, radio=ResourceRatio(min=rng.random() * 0.6))
                before = life.ledger.snapshot()
                if not life.modify(name, new):
                    assert life.booking(name) == old
                    assert np.array_equal(life.ledger.held_parts, before["held_parts"])
            elif step == "admit":
                refused += not life.admit(name)
            else:
                getattr(life, step)(name)
                if step == "terminate":
                    living.remove(name)
        held = life.ledger.held_parts
        assert ((held >= 0) & (held <= life.ledger.capacity_parts)).all()
    life.ledger.check()
    assert life.ledger.held_parts.tolist() == [0] * len(elements)
    assert life.ledger.holders == ()
    assert refused > lives / 10  # otherwise the network was never full and nothing was shown
    assert sum(event.step == "terminate" for event in life.events) == lives


def test_a_slice_reserves_the_min_share_of_each_domain():
    life = network()
    active(life, slice_of("embb", radio=0.5, transport=0.25, compute=0.125))
    assert life.ledger.holding("embb") == {CELL: 500_000, LINK: 250_000, EDGE: 125_000}


def test_who_does_not_fit_stays_prepared_and_may_come_in_later():
    life = network()
    active(life, slice_of("embb", radio=0.7))
    life.prepare(slice_of("urllc", radio=0.4, sst=2), [CELL])
    decision = life.admit("urllc")
    assert not decision
    assert decision.reason == "radio cell-0 lacks 0.1 of itself"
    assert life.state("urllc") == "prepared"
    assert life.ledger.holding("urllc") == {}
    life.terminate("embb")
    assert life.admit("urllc")


def test_a_modification_that_does_not_fit_leaves_everything_as_it_was():
    life = network()
    active(life, slice_of("embb", radio=0.6, compute=0.2))
    active(life, slice_of("urllc", radio=0.3, sst=2))
    before = life.snapshot()
    # Less compute would fit, more radio does not: neither may happen.
    assert not life.modify("embb", slice_of("embb", radio=0.8, compute=0.1))
    after = life.snapshot()
    assert after["plans"] == before["plans"]
    assert np.array_equal(after["ledger"]["held_parts"], before["ledger"]["held_parts"])
    assert len(after["events"]) == len(before["events"]) + 1
    assert life.modify("embb", slice_of("embb", radio=0.7, compute=0.1))
    assert life.ledger.holding("embb") == {CELL: 700_000, EDGE: 100_000}


def test_a_slice_may_move_to_other_elements():
    life = LifeCycle(Ledger({("compute", "edge"): 1.0, ("compute", "cloud"): 1.0}))
    life.prepare(slice_of("ai", compute=0.9), [("compute", "edge")])
    life.admit("ai")
    assert life.modify("ai", slice_of("ai", compute=0.9), elements=[("compute", "cloud")])
    assert life.ledger.holding("ai") == {("compute", "cloud"): 900_000}


def test_a_margin_is_kept_for_the_urgent_and_does_not_hold_up_who_asks_for_less():
    life = network(KeepMargin(margin=0.2, exempt_priority=1))
    active(life, slice_of("embb", radio=0.8))
    life.prepare(slice_of("miot", radio=0.1, sst=3), ELEMENTS)
    refused = life.admit("miot")
    assert not refused
    assert "margin of 0.2" in refused.reason
    active(life, slice_of("urllc", radio=0.2, compute=1.0, sst=2, priority=1))
    assert life.modify("embb", slice_of("embb", radio=0.75))


def test_every_step_is_on_record():
    life = network()
    life.prepare(slice_of("embb", radio=0.5), [CELL], time_s=1.0)
    life.admit("embb", time_s=2.0)
    life.activate("embb", time_s=3.0)
    life.modify("embb", slice_of("embb", radio=0.6), time_s=4.0)
    life.deactivate("embb")
    life.terminate("embb", time_s=5.0)
    told = [(event.time_s, event.step, event.origin, event.target) for event in life.events]
    assert told == [
        (1.0, "prepare", "", "prepared"),
        (2.0, "admit", "prepared", "admitted"),
        (3.0, "activate", "admitted", "active"),
        (4.0, "modify", "active", "active"),
        (4.0, "deactivate", "active", "admitted"),
        (5.0, "terminate", "admitted", "terminated"),
    ]


STEPS = ("prepare", "admit", "activate", "deactivate", "modify", "terminate")


@given(st.lists(st.sampled_from(STEPS), max_size=12))
def test_exactly_the_allowed_steps_are_possible(steps):
    life = network()
    slice_ = slice_of("embb", radio=0.5)
    arguments = {"prepare": (slice_, [CELL]), "modify": ("embb", slice_)}
    for step in steps:
        state, events = life.state("embb"), len(life.events)
        if step in ALLOWED[state]:
            getattr(life, step)(*arguments.get(step, ("embb",)))
            assert len(life.events) == events + 1
        else:
            with pytest.raises(ValueError, match=f"got the step {step} in state {state}, expected one of"):
                getattr(life, step)(*arguments.get(step, ("embb",)))
            assert (life.state("embb"), len(life.events)) == (state, events)
        holds = {CELL: 500_000} if life.state("embb") in ("admitted", "active") else {}
        assert life.ledger.holding("embb") == holds


def test_a_snapshot_brings_everything_back():
    life = network()
    active(life, slice_of("embb", radio=0.5))
    state = life.snapshot()
    life.terminate("embb", time_s=9.0)
    life.restore(state)
    assert (life.state("embb"), life.now_s, len(life.events)) == ("active", 0.0, 3)
    assert life.ledger.holding("embb") == {CELL: 500_000}
    life.ledger.check()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_shares_that_add_up_to_one_fit_together(raw):
    total = sum(raw) or 1.0
    assert sum(parts(share / total) for share in raw) <= PARTS


@given(st.integers(0, PARTS))
def test_a_whole_number_of_parts_is_kept_as_it_is(number):
    assert parts(number / PARTS) == number


class Yes:
    """A rule that lets everybody in."""

    def refusal(self, ledger, slice_, wanted):
        return ""


def test_no_rule_can_overdraw_the_ledger():
    life = network(Yes())
    active(life, slice_of("embb", radio=0.7))
    life.prepare(slice_of("urllc", radio=0.4, sst=2), [CELL])
    assert not life.admit("urllc")
    with pytest.raises(ValueError, match=r"urllc: radio cell-0 lacks 0\.1 of itself"):
        life.ledger.hold("urllc", {CELL: parts(0.4)})
    assert life.ledger.held_parts[0] == 700_000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda life: life.prepare(slice_of("new", sst=7), [("radio", "mars")]), "got .*mars.*expected elements"),
        (lambda life: life.prepare(slice_of("twin"), [CELL]), "twin: got S-NSSAI 1, which embb has"),
        (lambda life: life.modify("embb", slice_of("other")), "got a slice other"),
        (lambda life: life.activate("nobody"), "nobody: got the step activate in state terminated, expected .*prepare"),
        (lambda life: life.terminate("embb", time_s=-1.0), "time_s: got -1.0, expected at least 0.0"),
        (lambda life: Ledger({("water", "pipe"): 1.0}), "domain: got 'water'"),
        (lambda life: Ledger({CELL: 1.5}), "capacities.*got 1.5"),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(call, message):
    life = network()
    active(life, slice_of("embb", radio=0.5))
    with pytest.raises(ValueError, match=message):
        call(life)
    assert life.state("embb") == "active"
    assert life.ledger.held_parts.tolist() == [500_000, 0, 0]


def test_slices_that_come_and_go_are_blocked_as_kaufman_and_roberts_say():
    loads, shares, num = (10.0, 3.0), (1, 4), 30_000
    rng = np.random.default_rng(12)
    life = LifeCycle(Ledger({CELL: 1.0}))
    times = np.cumsum(rng.exponential(1 / sum(loads), num))
    kinds = rng.choice(2, num, p=np.array(loads) / sum(loads))
    ends: list[tuple[float, str]] = []
    refused = np.zeros((2, num), bool)
    for call, (time_s, kind) in enumerate(zip(times, kinds, strict=True)):
        while ends and ends[0][0] <= time_s:
            end_s, name = heapq.heappop(ends)
            life.terminate(name, time_s=end_s)
        ratio = ResourceRatio(min=shares[kind] / 30)
        life.prepare(Slice(name=f"call{call}", snssai=SNssai(128, call), radio=ratio), [CELL], time_s=float(time_s))
        if life.admit(f"call{call}"):
            life.activate(f"call{call}")
            heapq.heappush(ends, (float(time_s + rng.exponential(1.0)), f"call{call}"))
        else:
            refused[kind, call] = True
            life.terminate(f"call{call}")
    expected = kaufman_roberts(30, list(shares), list(loads)).blocking
    for kind in (0, 1):
        mean, error = batch_means(refused[kind, kinds == kind].astype(float), 30)
        assert abs(mean - expected[kind]) < 3 * error
    for _, name in ends:
        life.terminate(name)
    assert life.ledger.holders == ()
