"""A network loses nothing, repeats itself to the last bit, and can be written down and built again."""

import re
from dataclasses import dataclass, field

import numpy as np
import pytest

from wirelesslab.network import (
    EMBB,
    MIOT,
    SCHEDULERS,
    URLLC,
    ExponentialSize,
    Flow,
    Network,
    Outage,
    Planner,
    Poisson,
    ProportionalShares,
    RandomFailures,
    ResourceRatio,
    SetActive,
    SetRatios,
    SetUp,
    line,
    metro,
)

THREE = (EMBB, URLLC, MIOT)


def busy_metro(seed=3, scheduler=None, **options):
    network = Network(metro(num_gnbs=7), THREE, seed=seed, scheduler=scheduler, **options)
    for number, (s, rate) in enumerate(((EMBB, 400.0), (URLLC, 300.0), (MIOT, 200.0))):
        for gnb in (1, 3, 6):
            network.add(Poisson(
                s, source=f"gnb-{gnb}", sink="cloud" if number else "edge-1", rate_per_s=rate,
                num_bytes=ExponentialSize(mean=20_000),
            ))  # fmt: skip
    network.add(RandomFailures(element="gnb-1->edge-1", mean_up_s=0.5, mean_down_s=0.2))
    network.add(RandomFailures(element="edge-2", mean_up_s=0.7, mean_down_s=0.1))
    network.add(Planner(plan=ProportionalShares(), window_s=0.25, dedicated=False))
    return network


def totals(network):
    return network.book.offered_bytes, network.book.ended_bytes, network.book.delay_seconds


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda s: s.__name__)
def test_no_byte_is_lost_or_invented_while_links_and_nodes_fail(scheduler):
    network = busy_metro(scheduler=scheduler())
    for until in (0.3, 0.7, 1.1, 2.0):
        network.run(until)
        network.check()
    assert network.book.lost(0) + network.book.lost(1) + network.book.lost(2) > 0, "nothing failed: a weak test"


def test_the_same_seed_gives_the_same_records_to_the_last_bit():
    first, second = (busy_metro(keep_records=None, spans=True) for _ in range(2))
    assert first.run(1.5).records == second.run(1.5).records
    assert first.snapshot().digest() == second.snapshot().digest()
    assert busy_metro(seed=4).run(1.5).manifest["seed"] == 4
    other = busy_metro(seed=4, keep_records=None, spans=True)
    assert other.run(1.5).records != first.flow_records


def test_an_unrelated_source_leaves_the_others_untouched():
    def sent(extra):
        network = Network(metro(num_gnbs=7), THREE, seed=5, keep_records=None)
        if extra:
            network.add(Poisson(MIOT, name="new", source="gnb-5", sink="gnb-6", rate_per_s=500.0, num_bytes=100))
        network.add(
            Poisson(
                EMBB, name="old", source="gnb-1", sink="cloud", rate_per_s=300.0, num_bytes=ExponentialSize(mean=900)
            )
        )
        records = network.run(2.0).records
        return [(r.sent_s, r.flow.num_bytes) for r in sorted(records, key=lambda r: r.sent_s) if r.flow.slice == "embb"]

    assert len(sent(False)) > 400
    assert sent(False) == sent(True)[: len(sent(False))]


def test_a_network_built_from_a_snapshot_goes_on_to_the_last_bit():
    network = busy_metro(keep_records=None, spans=True)
    network.run(0.6)
    written = network.snapshot()
    copy = Network.restored(written)
    assert copy.snapshot().digest() == written.digest()
    network.run(2.0)
    copy.run(2.0)
    assert copy.snapshot().digest() == network.snapshot().digest()
    assert list(copy.flow_records) == list(network.flow_records)
    copy.check()


def test_writing_a_network_down_and_running_the_copy_does_not_disturb_it():
    alone, watched = busy_metro(), busy_metro()
    alone.run(2.0)
    for until in (0.4, 0.9, 1.3):
        watched.run(until)
        before = watched.snapshot().digest()
        copy = Network.restored(watched.snapshot())
        copy.apply(SetRatios(domain="transport", ratios={"embb": ResourceRatio.isolated(0.9)}))
        copy.run(until + 1.0)
        assert watched.snapshot().digest() == before
    watched.run(2.0)
    assert totals(watched) == totals(alone)


@dataclass(frozen=True)
class Forgetful:
    """An actor that keeps what it knows in its locals."""

    name: str = "forgetful"

    def run(self, network):
        for k in range(100):
            yield network.until(0.1 * (k + 1))


@dataclass(frozen=True)
class Waiter:
    """An actor that waits for something that is not a time."""

    name: str = "waiter"

    def run(self, network):
        yield network.agenda.env.event()


def test_an_actor_that_cannot_be_written_down_is_named():
    network = Network(line(num_links=1, rate_bps=1e6), THREE)
    network.add(Waiter())
    network.run(1.0)
    with pytest.raises(RuntimeError, match="waiter waits for something that is not a time"):
        network.snapshot()


def test_an_actor_that_forgets_where_it_was_is_refused_when_it_is_built_again():
    network = Network(line(num_links=1, rate_bps=1e6), THREE)
    network.add(Forgetful())
    network.run(1.05)
    with pytest.raises(RuntimeError, match=r"forgetful: slept until 1.1.* must find in its record where it was"):
        Network.restored(network.snapshot())


def test_a_flow_takes_the_time_of_its_queues_and_fibres():
    network = Network(line(num_links=3, rate_bps=8e6, distance_m=200e3), THREE, keep_records=1, spans=True)
    first, *_, last = network.graph
    network.send(Flow(slice="embb", num_bytes=10_000, source=first, sink=last))
    record = network.run(1.0).records[0]
    fibre = sum(link["delay_s"] for a, b, link in network.graph.edges(data=True) if a < b)
    assert record.delay_s == pytest.approx(3 * 0.01 + fibre, rel=1e-12)
    assert sum(end - start for _, _, start, end in record.spans) == pytest.approx(record.delay_s, rel=1e-12)


def test_segments_of_a_flow_follow_each_other_through_the_links():
    network = Network(line(num_links=2, rate_bps=8e6, distance_m=1.0), THREE, keep_records=1, segment_bytes=1000)
    first, *_, last = network.graph
    network.send(Flow(slice="embb", num_bytes=10_000, source=first, sink=last))
    assert network.run(1.0).records[0].delay_s == pytest.approx(0.011, rel=1e-5)  # 10 + 1 segments, not 20


def test_operations_are_computed_at_the_sink_before_a_flow_has_arrived():
    graph = metro(num_gnbs=3)
    graph.nodes["edge-1"].update(operations_per_s=1e9, num_servers=1)
    network = Network(graph, THREE, keep_records=2, spans=True)
    for operations in (0.0, 5e8):
        network.send(Flow(slice="urllc", num_bytes=1000, source="gnb-1", sink="edge-1", operations=operations))
    plain, computed = sorted(network.run(2.0).records, key=lambda r: r.flow.operations)
    assert computed.delay_s - plain.delay_s == pytest.approx(0.5, abs=1e-3)
    assert [span[0] for span in computed.spans][-1] == "compute"


def test_flows_go_around_a_failed_link_and_come_back():
    network = Network(metro(num_gnbs=7, num_edges=4), THREE, keep_records=None, spans=True)
    a, b = network.routes.path("edge-1", "core")[:2]
    network.add(Outage(element=f"{a}->{b}", start_s=1.0, end_s=2.0))
    network.add(Poisson(EMBB, source="edge-1", sink="core", rate_per_s=100.0, num_bytes=1000))
    run = network.run(3.0)
    for record in run.records:
        used = {where for what, where, *_ in record.spans if what == "transmit"}
        during = 1.0 <= record.sent_s < 2.0 - 1e-3
        assert (f"{a}->{b}" in used) != during
    assert run.slices["lost_flows"].sel(slice="embb") == 0
    assert [str(action.action) for action in run.actions] == [f"{a}->{b} down", f"{a}->{b} up"]


def test_a_cut_off_sink_is_no_route():
    network = Network(line(num_links=1, rate_bps=1e6), THREE, keep_records=1)
    first, last = network.graph
    network.apply(SetUp(element=f"{first}->{last}", up=False))
    network.send(Flow(slice="embb", num_bytes=10, source=first, sink=last))
    assert network.run(1.0).records[0].outcome == "no route"


def test_a_slice_that_is_not_active_takes_no_flows():
    network = Network(line(num_links=1, rate_bps=1e6), THREE, keep_records=1)
    first, last = network.graph
    assert network.apply(SetActive(slice="embb", active=False)).refused == ""
    network.send(Flow(slice="embb", num_bytes=10, source=first, sink=last))
    assert network.run(1.0).records[0].outcome == "slice not active"


TOO_MUCH = {"embb": ResourceRatio(min=0.7), "miot": ResourceRatio(min=0.6)}


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (SetRatios(domain="transport", ratios=TOO_MUCH), r"shares \(min\) sum to 1\.\d+, expected at most 1"),
        (SetRatios(domain="transport", ratios={"ebb": ResourceRatio(min=0.7)}), "got 'ebb', expected one of .*embb"),
        (SetRatios(domain="compute", element="moon", ratios={"embb": ResourceRatio(min=0.7)}), "got 'moon'"),
        (SetUp(element="edge-9", up=False), "got 'edge-9', expected a node or a link"),
        ("faster, please", "got str, expected SetRatios, SetUp, SetActive or SetSync"),
    ],
)
def test_an_action_that_cannot_be_done_is_refused_recorded_and_changes_nothing(action, reason):
    network = busy_metro()
    network.run(0.5)
    ratios = network.view().ratios
    record = network.apply(action, by="agent")
    assert record.refused
    assert re.search(reason, record.refused)
    assert network.actions[-1] is record
    assert network.view().ratios == ratios
    network.run(0.6)
    network.check()


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ({"slice": "embbb"}, "slice: got 'embbb', expected one of .*; did you mean 'embb'"),
        ({"source": "gnb-99"}, "gnb-99"),
        ({"sink": "clowd"}, "clowd"),
        ({"num_bytes": 0}, "num_bytes: got 0"),
        ({"num_bytes": 1.5}, "num_bytes: got 1.5"),
        ({"operations": -1.0}, "operations: got -1"),
    ],
)
def test_a_flow_that_makes_no_sense_is_refused_at_the_door(flow, message):
    network = Network(metro(num_gnbs=3), THREE)
    whole = {"slice": "embb", "num_bytes": 10, "source": "gnb-1", "sink": "cloud", **flow}
    with pytest.raises((ValueError, TypeError), match=message):
        network.send(Flow(**whole))
    network.check()
    assert network.book.offered_flows == [0, 0, 0]


def test_plans_change_reservations_at_the_start_of_windows_only():
    network = busy_metro()
    seen = []
    for until in np.arange(0.05, 2.0, 0.05):
        network.run(float(until))
        seen.append((network.now_s, network.view().ratios["transport"]["embb"].min))
    changes = [now for (now, share), (_, before) in zip(seen[1:], seen, strict=False) if share != before]
    planned = [time for time, _ in network.record("planner-1", lambda: None).planned]
    assert np.allclose(np.diff(planned), 0.25)
    assert len(changes) >= 5
    assert all(min(abs(now - 0.05 * k - p) for p in planned for k in (0, 1)) < 0.051 for now in changes)


def test_the_time_series_adds_up_and_stays_small():
    network = Network(line(num_links=1, rate_bps=1e6), THREE, report_s=0.01)
    first, last = network.graph
    network.add(Poisson(EMBB, source=first, sink=last, rate_per_s=5.0, num_bytes=100))
    run = network.run(200.0)
    assert run.series.sizes["time_s"] <= 4096
    windows = run.windows()
    width = np.diff(run.series["time_s"])
    assert np.allclose(width, width[0])
    total = (windows["offered_bps"].sel(slice="embb") * width).sum() / 8
    series = run.series["offered_bytes"].sel(slice="embb")
    assert total == pytest.approx(float(series[-1] - series[0]))


def test_a_run_is_saved_as_tables_that_pandas_reads(tmp_path):
    import pandas as pd

    run = busy_metro(keep_records=10).run(1.5)
    folder = run.save(tmp_path / "run")
    slices = pd.read_parquet(folder / "slices.parquet")
    assert set(slices["slice"]) == {"embb", "urllc", "miot"}
    assert len((folder / "flows.jsonl").read_text().splitlines()) == 10
    assert run.slices["delivered_bytes"].attrs["kpi"].startswith("DRB.")


@dataclass(eq=False)
class Listener:
    """Notes what it is told."""

    name: str = "listener"
    heard: list = field(default_factory=list)

    def run(self, network):
        yield network.until(float("inf"))

    def receive(self, network, record):
        self.heard.append((network.now_s, record.outcome))


def test_a_receiver_is_told_of_the_end_of_its_flows():
    network = Network(line(num_links=1, rate_bps=8e6), THREE)
    first, last = network.graph
    listener = network.add(Listener())
    network.send(Flow(slice="embb", num_bytes=1000, source=first, sink=last, receiver="listener"))
    network.run(1.0)
    assert [outcome for _, outcome in listener.heard] == ["delivered"]


def test_names_of_actors_are_their_own():
    network = Network(line(num_links=1, rate_bps=8e6), THREE)
    network.add(Outage(element="edge-1", start_s=1.0))
    network.add(Outage(element="edge-2", start_s=1.0))
    assert list(network.actors) == ["outage-1", "outage-2"]
    with pytest.raises(ValueError, match="name: got 'outage-1', which is taken"):
        network.add(Outage(element="edge-2", start_s=1.0, name="outage-1"))
    with pytest.raises(TypeError, match="got int, expected an actor"):
        network.add(3)
