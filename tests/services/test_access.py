"""Grant-free access in simulated time: what a message costs, what a failure does, and that nothing is lost."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2

from wirelesslab.mmtc import EqualGain, PathLoss, Scenario
from wirelesslab.mmtc.detectors import AMP, MatchedFilter
from wirelesslab.network import MIOT, URLLC, Cells, Flow, FlowAccess, Network, Poisson, line
from wirelesslab.network.access import Delivered
from wirelesslab.network.slices import ResourceRatio
from wirelesslab.rng import stream
from wirelesslab.services import (
    Crowd,
    FrameAccess,
    Framing,
    GrantFreeAccess,
    InLoop,
    LoadEstimate,
    OwnedPilots,
    SharedPilots,
    TabulatedAccess,
)
from wirelesslab.services.frames import HEARD, MISSED, WRONG, Heard
from wirelesslab.stats import Count, assert_rate

SCENARIO = Scenario(num_devices=48, bits_per_device=2, pilot_length=24, num_antennas=8, snr_db=3.0, activity_prob=0.05)
SLOT_S = 1e-3


class Scripted:
    """Outcomes of a script: slot -> what becomes of every speaker, and places in the codebook heard in vain."""

    takes_activity_prob = True

    def __init__(self, outcomes=None, alarms=None):
        self.outcomes, self.alarms, self.told = outcomes or {}, alarms or {}, []

    def hear(self, frames, _seed):
        slots = np.repeat(frames.slot, frames.num_speakers).tolist()
        self.told += frames.activity_prob.tolist()
        alarms = [(f, label) for f, slot in enumerate(frames.slot.tolist()) for label in self.alarms.get(slot, ())]
        where = np.array(alarms, np.int64).reshape(-1, 2)
        return Heard(np.array([self.outcomes.get(s, HEARD) for s in slots], np.int8), where[:, 0], where[:, 1])


def framing(**rules):
    return Framing(**{"slot_s": SLOT_S, "bits_per_frame": 2, "num_devices": 48, "overhead_bytes": 0} | rules)


def radio(outcomes, devices=48, cells=1, slices=(MIOT,), seed=1, estimate=None, **rules):
    cell = np.repeat(np.arange(cells), devices)
    return FrameAccess(
        slices, cells=cell, slice_of=np.arange(cell.size) % len(slices), framing=framing(**rules), outcomes=outcomes,
        rng=stream(seed), estimate=estimate,
    )  # fmt: skip


def loaded(access, messages=300, over_s=0.5, num_bytes=4, seed=2):
    rng = stream(seed)
    users = rng.integers(0, access.cells.size, messages)
    access.offer(users, np.full(messages, num_bytes), np.sort(rng.uniform(0, over_s, messages)))
    return access


def everything(state):
    return {k: everything(v) if isinstance(v, dict) else np.asarray(v).tobytes() for k, v in state.items()}


# --- what a message costs --------------------------------------------------------------------------------


@pytest.mark.parametrize(("devices", "bands", "turns"), [(48, 1, 1), (480, 2, 5), (470, 3, 4)])
def test_an_unloaded_message_takes_its_frames_and_the_wait_for_its_turn_exactly(devices, bands, turns):
    access = radio(OwnedPilots(), devices=devices, bands=bands, overhead_bytes=3)
    assert access.turns == turns
    user, at = devices - 1, 0.01234
    access.offer([user], [32], [at])
    delivered = access.advance(2.0)
    segments, offset = 8 * 35 // 2, user // 48 // bands
    first = next(slot for slot in range(13, 100) if slot % turns == offset)  # slot 13 is the first to begin after `at`
    assert delivered.delivered_s[0] == pytest.approx((first + (segments - 1) * turns + 1) * SLOT_S, rel=1e-12)
    assert delivered.offered_s[0] == at
    assert access.counts()["frames_spoken"].sum() == segments


def test_owned_pilots_and_a_perfect_receiver_deliver_everything_at_the_first_attempt():
    access = loaded(radio(OwnedPilots()))
    delivered = access.advance(5.0)
    assert delivered.user.size == 300
    assert access.counts()["frames_spoken"].sum() == 300 * 16
    assert access.energy_per_delivered_j()[0, 0] == pytest.approx(16 * 0.2 * SLOT_S, rel=1e-12)


@pytest.mark.parametrize(("pilots", "speakers"), [(16, 2), (16, 8), (54, 31)])
def test_a_shared_pool_and_a_perfect_receiver_give_the_pilot_collision_form(pilots, speakers):
    # One segment each, all at the same time, none tries twice: of K speakers, (1 - 1/P)^(K-1) are heard. The
    # fates within a frame depend on each other, so one tagged device per frame is counted: independent trials.
    heard, frames = 0, 1500
    access = radio(SharedPilots(pilots), max_attempts=1, bits_per_frame=8)
    for frame in range(frames):
        access.offer(np.arange(speakers), np.ones(speakers, np.int64), np.full(speakers, frame * SLOT_S))
        delivered = access.advance((frame + 1) * SLOT_S)
        heard += int((delivered.user == 0).sum())
    assert_rate(Count(heard, frames), (1 - 1 / pilots) ** (speakers - 1))
    assert access.account().dropped_packets.sum() + access.account().delivered_packets.sum() == speakers * frames


# --- what a failure does -----------------------------------------------------------------------------------


def test_a_missed_segment_is_said_again_and_the_rest_follows():
    access = radio(Scripted({2: MISSED}), back_off_turns=1)
    access.offer([0], [1])  # 4 segments
    assert access.advance(1.0).delivered_s[0] == pytest.approx(5 * SLOT_S)
    assert access.counts()["missed"].sum() == 1


def test_a_message_is_dropped_after_so_many_attempts_of_one_segment_in_a_row():
    outcomes = {0: MISSED, 1: MISSED, 2: HEARD, 3: MISSED, 4: MISSED, 5: MISSED}
    access = radio(Scripted(outcomes), back_off_turns=1, max_attempts=3)
    access.offer([0], [1])
    assert access.advance(1.0).user.size == 0
    assert access.given_up().delivered_s.tolist() == pytest.approx([6 * SLOT_S])
    assert access.account().dropped_bytes.sum() == 1


def test_a_wrong_symbol_is_found_by_the_checksum_at_the_end_and_the_whole_message_begins_anew():
    access = radio(Scripted({1: WRONG}))
    access.offer([0], [1])
    assert access.advance(1.0).delivered_s[0] == pytest.approx(8 * SLOT_S)
    counts = access.counts()
    assert (counts["restarts"].sum(), counts["frames_spoken"].sum(), counts["wrong"].sum()) == (1, 8, 1)


def test_a_message_begins_anew_so_many_times_at_most():
    access = radio(Scripted(dict.fromkeys(range(100), WRONG)), max_restarts=2)
    access.offer([0], [1])
    access.advance(1.0)
    assert access.given_up().delivered_s.tolist() == pytest.approx([12 * SLOT_S])


def test_a_false_alarm_spoils_the_message_of_a_device_that_is_silent_amid_it_and_no_other():
    # Device 0 is missed in slot 1 and may be silent in slot 2; device 1, which has nothing to say, is never harmed.
    for seed in range(20):
        access = radio(Scripted({1: MISSED}, {2: (0, 1)}), back_off_turns=4, seed=seed)
        access.offer([0], [1])
        access.advance(2 * SLOT_S)
        silent = access.snapshot()["active"]["speak_slot"][0] > 2
        if silent:
            access.advance(1.0)
            counts = access.counts()
            assert (counts["broken_by_alarm"].sum(), counts["restarts"].sum()) == (1, 1)
            assert counts["false_alarms"].sum() == 2
            return
    pytest.fail("no seed of twenty made the device back off; each does with probability 3/4")


def test_the_back_off_is_uniform_over_its_window():
    access = radio(Scripted({0: MISSED}), devices=4800, num_devices=4800, bits_per_frame=8, back_off_turns=4)
    access.offer(np.arange(4800), np.ones(4800, np.int64))
    slots = np.rint(access.advance(1.0).delivered_s / SLOT_S).astype(int) - 2
    counts = np.bincount(slots, minlength=4)
    assert chi2.sf(((counts - 1200) ** 2 / 1200).sum(), 3) > 1e-6
    assert counts.size == 4


# --- that nothing is lost ------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcomes", [OwnedPilots(), SharedPilots(8), InLoop(SCENARIO, MatchedFilter())], ids=repr)
def test_what_arrived_is_delivered_waiting_or_dropped_exactly_at_every_moment(outcomes):
    access = loaded(radio(outcomes, cells=2, max_attempts=3, max_restarts=2), messages=120, over_s=0.2)
    for moment in np.linspace(0.203, 1.0, 12):
        access.advance(moment)
        access.account().check()  # bytes and packets exactly, Little's law on the sample path
    total = access.account()
    assert total.offered_packets.sum() == 120
    assert total.offered_bytes.sum() == 480


def test_a_cell_that_is_down_keeps_its_messages_and_says_them_afterwards():
    access = loaded(radio(OwnedPilots(), cells=2), messages=40, over_s=0.01)
    access.set_cell_up(1, False)
    first = access.advance(1.0)
    assert set(access.cells[first.user].tolist()) == {0}
    access.set_cell_up(1, True)
    second = access.advance(2.0)
    assert first.user.size + second.user.size == 40
    assert second.delivered_s.min() >= 1.0 + 16 * SLOT_S - 1e-9
    access.account().check()


def test_a_device_speaks_again_in_the_first_slot_that_begins_after_its_cell_came_back():
    access = radio(OwnedPilots())
    access.set_cell_up(0, False)
    access.offer([0], [1])  # 4 segments
    access.advance(7.5 * SLOT_S)
    access.set_cell_up(0, True)
    assert access.advance(1.0).delivered_s[0] == pytest.approx(12 * SLOT_S, rel=1e-12)


def test_slices_take_turns_in_proportion_to_their_shares():
    access = radio(OwnedPilots(), devices=40, slices=(MIOT, URLLC))
    access.set_ratios({"miot": ResourceRatio(min=0.25), "urllc": ResourceRatio(min=0.75)})
    access.offer(np.arange(40), np.full(40, 1000))
    access.advance(1.0)
    used = access.account().used_share_seconds[0]
    assert used == pytest.approx([0.25, 0.75], abs=2 * SLOT_S)
    access.account().check()


def test_what_happens_does_not_depend_on_how_time_is_cut():
    def told(moments):
        access = loaded(radio(SharedPilots(8), devices=480, bands=2), messages=600, over_s=0.3)
        parts = Delivered.joined([access.advance(m) for m in moments])
        return parts.user.tolist(), parts.delivered_s.tolist(), access.counts()["missed"].sum()

    assert told([9.0]) == told([0.3, 0.3001, 0.4567, *np.linspace(0.5, 9.0, 333)])


@pytest.mark.parametrize("outcomes", [SharedPilots(8), InLoop(SCENARIO, AMP())], ids=["shared", "in loop"])
def test_a_snapshot_amid_messages_goes_on_alike_to_the_last_bit(outcomes):
    access = loaded(radio(outcomes, cells=2, estimate=None), messages=80, over_s=0.1)
    access.advance(0.1033)
    assert access.num_active > 0
    state = access.snapshot()
    first = access.advance(0.5)
    end = everything(access.snapshot())
    fresh = radio(outcomes, cells=2, seed=9)
    fresh.restore(state)
    second = fresh.advance(0.5)
    assert first.delivered_s.tolist() == second.delivered_s.tolist()
    assert everything(fresh.snapshot()) == end


# --- what the detector is told ---------------------------------------------------------------------------------


def test_the_estimated_activity_follows_the_load_and_keeps_to_floor_and_ceiling():
    listener = Scripted()
    estimate = LoadEstimate(memory_frames=20, floor=0.02, ceiling=0.3)
    access = radio(listener, estimate=estimate, num_devices=48)
    for frame in range(200):  # 6 of 48 in every frame, each with one segment
        access.offer(np.arange(6), np.ones(6, np.int64) * 1, np.full(6, 4 * frame * SLOT_S))
        access.advance(4 * (frame + 1) * SLOT_S)
    assert listener.told[0] == 0.02
    assert listener.told[-1] == pytest.approx(6 / 48, rel=1e-3)
    assert access.load[0] == pytest.approx(6 / 48, rel=1e-3)
    access.offer(np.arange(48), np.full(48, 40), np.full(48, access.now_s))
    access.advance(access.now_s + 0.15)
    assert listener.told[-1] == 0.3


def test_the_assumed_activity_is_the_scenarios():
    listener = Scripted()
    loaded(radio(listener)).advance(2.0)
    assert np.isnan(listener.told).all()  # nothing else is told: the observation keeps its own


def test_an_estimate_is_refused_to_those_who_cannot_be_told():
    with pytest.raises(ValueError, match="made for one ε"):
        radio(OwnedPilots(), estimate=LoadEstimate())


# --- in the network ------------------------------------------------------------------------------------------


def network(seed=1, detector=None, **options):
    net = Network(line(num_links=2, rate_bps=1e8), (URLLC, MIOT), seed=seed, keep_records=None)
    access = GrantFreeAccess(
        SCENARIO, detector or SharedPilots(8), at=("edge-1", "edge-2"), sink="edge-3",
        **{"traffic": Crowd(rate_per_s=0.3, num_bytes=8), "framing": framing(overhead_bytes=3, bands=2)} | options,
    )  # fmt: skip
    return net, net.add(access)


def test_no_byte_is_created_or_lost_between_the_air_and_the_network():
    net, access = network(detector=MatchedFilter())
    run = net.run(1.5)
    net.check()
    account = access.access.account()
    sent = sum(record.flow.num_bytes for record in run.records)
    inside = sum(way.flow.num_bytes for way in net.ways.values())
    assert account.delivered_packets.sum() > 10
    # The air has computed up to the last tick, and the tick has sent on all that it delivered.
    assert access.access.now_s == access.ticked_s
    assert int(account.delivered_bytes.sum()) == sent + inside
    delay_s = np.array([r.delay_s for r in run.records])
    assert delay_s.min() >= 44 * SLOT_S  # 11 bytes in frames of 2 bits, counted from when the message came
    assert set(net.book.gauges[-1]) >= {
        "grant-free: messages waiting",
        "grant-free: joules per message",
    }


def test_the_same_seed_gives_the_same_records_and_another_seed_others():
    def told(seed):
        net, _ = network(seed)
        return [(r.flow.num_bytes, r.sent_s, r.ended_s) for r in net.run(1.5).records]

    assert told(3) == told(3)
    assert told(3) != told(4)


def test_a_network_restored_amid_messages_goes_on_alike():
    net, access = network(2, MatchedFilter(), activity_prob="estimated")
    net.run(1.0)
    assert access.access.num_active > 0
    copy = Network.restored(net.snapshot())
    a, b = net.run(1.3), copy.run(1.3)
    assert [r.ended_s for r in a.records] == [r.ended_s for r in b.records]
    assert net.snapshot().digest() == copy.snapshot().digest()


def test_a_crowd_has_the_law_of_its_devices_and_the_price_of_its_messages():
    num, rate = 5000, 0.02
    model, rng = Crowd(rate_per_s=rate, num_bytes=32), stream(5)
    memory = model.begin(rng, num)
    parts = [model.due(rng, memory, until_s) for until_s in np.linspace(0.5, 50, 100)]
    who, size, when = (np.concatenate(column) for column in zip(*parts, strict=True))
    assert (np.diff(when) >= 0).all()
    assert when.max() < 50
    assert set(size.tolist()) == {32}
    expected = num * rate * 50
    assert abs(who.size - expected) < 5 * np.sqrt(expected)
    per_device = np.bincount(who, minlength=num)  # Poisson of mean 1: its variance too
    assert per_device.var() == pytest.approx(1.0, abs=5 * np.sqrt(3 / num))
    assert sum(a.nbytes for a in memory.values()) < 20_000  # no clock per device


def test_traffic_with_a_clock_for_each_device_is_taken_too():
    net, access = network(traffic=Poisson(rate_per_s=0.3, num_bytes=8))
    net.run(1.0)
    net.check()
    assert access.access.account().delivered_packets.sum() > 0


@pytest.mark.parametrize(("law", "airs"), [(EqualGain(), 1), (PathLoss(), 2)], ids=["equal", "path loss"])
def test_air_is_drawn_for_each_cell_and_with_gains_that_differ_for_each_codebook(law, airs):
    scenario = Scenario(num_devices=48, bits_per_device=2, pilot_length=24, num_antennas=8, gain_law=law)
    seen = set()

    class Listener(MatchedFilter):
        def detect(self, observation):
            seen.add((observation.pilots.tobytes(), observation.gains.nodes.tobytes()))
            return super().detect(observation)

    access = loaded(radio(InLoop(scenario, Listener()), devices=96, bands=2), messages=20, over_s=0.01)
    access.advance(0.5)
    access.account().check()
    assert len(seen) == airs
    assert len({gains for _, gains in seen}) == airs


@pytest.mark.parametrize("first", ["grant-free", "cells"])
def test_flows_to_users_of_another_radio_at_the_same_gnb_go_to_that_one(first):
    net = Network(line(num_links=1, rate_bps=1e8), (URLLC, MIOT), keep_records=None)
    quiet = GrantFreeAccess(SCENARIO, OwnedPilots(), at="edge-2", traffic=Crowd(rate_per_s=1e-6, num_bytes=1))
    cells = Cells(
        FlowAccess(net.slices, rates_bps=np.full(3, 1e6), cells=np.zeros(3, int), slice_of=np.zeros(3, int)),
        ("edge-2",),
    )
    for actor in (quiet, cells) if first == "grant-free" else (cells, quiet):
        net.add(actor)
    net.send(Flow(slice="urllc", num_bytes=1000, source="edge-1", sink="edge-2", user=2))
    assert [r.outcome for r in net.run(1.0).records] == ["delivered"]
    net.check()


def test_joules_per_message_are_not_known_before_a_message_got_through():
    net, access = network()
    assert np.isnan(access.gauges()["joules per message"])
    net.run(1.5)
    frames, messages = access.access.counts()["frames_spoken"].sum(), access.access.account().delivered_packets.sum()
    assert access.gauges()["joules per message"] == pytest.approx(frames * 0.2 * SLOT_S / messages)


# --- refusals ------------------------------------------------------------------------------------------------


def test_nonsense_is_refused_with_how_to_mend_it():
    with pytest.raises(ValueError, match=r"bits_per_device=0.*choice of pilot"):
        GrantFreeAccess(Scenario(bits_per_device=0), AMP(), traffic=Crowd(rate_per_s=1, num_bytes=1))
    with pytest.raises(ValueError, match="expected the scenario's"):
        GrantFreeAccess(SCENARIO, AMP(), traffic=Crowd(rate_per_s=1, num_bytes=1), framing=framing(num_devices=50))
    with pytest.raises(TypeError, match="such as AMP"):
        GrantFreeAccess(SCENARIO, "amp", traffic=Crowd(rate_per_s=1, num_bytes=1))
    with pytest.raises(ValueError, match="at least 2 codebooks"):
        radio(OwnedPilots(), devices=96, codebooks=1)
    with pytest.raises(ValueError, match="floor"):
        LoadEstimate(floor=0.4, ceiling=0.1)
    with pytest.raises(ValueError, match="spoken_s"):
        framing(spoken_s=2.0)
    with pytest.raises(ValueError, match="max_attempts"):
        framing(max_attempts=0)
    with pytest.raises(RuntimeError, match=r"network\.add"):
        _ = GrantFreeAccess(SCENARIO, AMP(), traffic=Crowd(rate_per_s=1, num_bytes=1)).access
    crowd = Crowd(rate_per_s=1, num_bytes=1)
    for detector, name in ((AMP, "AMP"), (TabulatedAccess, "TabulatedAccess")):
        with pytest.raises(TypeError, match=rf"the class {name}, expected one that is made, such as {name}\(\)"):
            GrantFreeAccess(SCENARIO, detector, traffic=crowd)
    with pytest.raises(TypeError, match="the class AMP"):
        InLoop(SCENARIO, AMP)
    with pytest.raises(ValueError, match="the devices' own"):
        GrantFreeAccess(SCENARIO, InLoop(replace(SCENARIO, snr_db=9.0), AMP()), traffic=crowd)
    for at in ((), ("gnb-1", "gnb-1")):
        with pytest.raises(ValueError, match="each once"):
            GrantFreeAccess(SCENARIO, AMP(), at=at, traffic=crowd)
    with pytest.raises(ValueError, match="devices"):
        GrantFreeAccess(SCENARIO, AMP(), traffic=crowd, devices=0)
    with pytest.raises(ValueError, match=r"codebooks of 48 devices, expected the framing's 64"):
        radio(InLoop(SCENARIO, AMP()), num_devices=64)
    for options in ({"rate_per_s": np.nan, "num_bytes": 1}, {"rate_per_s": -1.0, "num_bytes": 1},
                    {"rate_per_s": 1.0, "num_bytes": 0}):  # fmt: skip
        with pytest.raises(ValueError, match="expected"):
            Crowd(**options)
    for offer in (([0], [0]), ([0], [-4]), ([0], [4], [np.nan]), ([0], [4], [-1.0]), ([48], [4]), ([-1], [4])):
        with pytest.raises(ValueError, match="expected"):
            radio(OwnedPilots()).offer(*offer)
    for until_s in (np.nan, np.inf, -1.0):
        with pytest.raises(ValueError, match="until_s"):
            radio(OwnedPilots()).advance(until_s)
    net, _ = network()
    with pytest.raises(ValueError, match="activity_prob"):
        network(activity_prob="guessed")
    with pytest.raises(ValueError, match="expected nodes of the network"):
        net.add(GrantFreeAccess(SCENARIO, AMP(), at="nowhere", traffic=Crowd(rate_per_s=1, num_bytes=1), name="x"))


def test_the_hall_opens_and_the_unfolded_network_listens_without_tensorflow():
    code = """
import sys
import numpy as np
from wirelesslab.mmtc import Scenario
from wirelesslab.mmtc.detectors import MAMPNet
from wirelesslab.network import MIOT
from wirelesslab.rng import stream
from wirelesslab.services import FrameAccess, Framing, InLoop
scenario = Scenario(num_devices=64, snr_db=5.0)
access = FrameAccess(
    (MIOT,), cells=np.zeros(64, int), slice_of=np.zeros(64, int), rng=stream(1),
    framing=Framing.of(scenario, symbol_s=1e-5), outcomes=InLoop(scenario, MAMPNet.pretrained()),
)
access.offer([3, 5], [2, 2])
assert access.advance(0.1).user.size == 2
sys.exit("tensorflow" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-1000:]
