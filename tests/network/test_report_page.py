"""The report: one page of its own, true to the run's data, that opens whatever became of the run."""

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

from wirelesslab.network import (
    EMBB,
    MIOT,
    URLLC,
    Cells,
    Flow,
    Movement,
    Network,
    Outage,
    Poisson,
    ResourceRatio,
    Run,
    SetActive,
    SetRatios,
    SetUp,
    SliceManager,
    SlotAccess,
    SlotRadio,
    hex_cells,
    line,
    metro,
)
from wirelesslab.network.mobility import Static
from wirelesslab.network.radio import LinkBudget
from wirelesslab.network.report_page import page, write_report
from wirelesslab.network.report_panels import (
    MOST_STRETCHES,
    MOST_WINDOWS,
    Windows,
    breaches,
    ratios_over_time,
    totals,
)
from wirelesslab.network.saved_runs import FILES, slices_of
from wirelesslab.network.view import ActionRecord

NASTY = '<script>alert("x")</script> & "quotes" \x00\x1b'


def parsed(text):
    """Return the page as a tree; that it is one is the first thing tested."""
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>\n"))


def words(text):
    return " ".join("".join(part) for part in parsed(text).itertext())


@dataclass(frozen=True)
class Gauged:
    """An actor that tells something of itself, with a name that a page must not take for markup."""

    name: str = "twin <1> & co"

    def join(self, network):
        pass

    def gauges(self):
        return {"age_of_queues_s": 0.25, "age of shares (s)": 0.5, "holes": float("nan")}


@pytest.fixture(scope="module")
def busy():
    """A network in which a link fails, shares change, a slice is switched off, and somebody wishes nonsense."""
    network = Network(line(num_links=2, rate_bps=2e6, buffer_bytes=20_000), (EMBB, URLLC, MIOT), seed=4, report_s=0.1)
    network.add(Poisson(EMBB, rate_per_s=200.0, num_bytes=1500, source="edge-1", sink="edge-3"))
    network.add(Poisson(URLLC, rate_per_s=50.0, num_bytes=100, source="edge-1", sink="edge-2"))
    network.add(Outage(element="edge-2->edge-3", start_s=1.0, end_s=1.5))
    network.add(Gauged())
    network.run(0.55)
    shares = {"urllc": ResourceRatio(dedicated=0.1, min=0.25)}
    network.apply(SetRatios(domain="transport", ratios=shares), by=NASTY)
    network.apply(SetRatios(domain="transport", ratios={"embb": ResourceRatio(min=0.9)}), by=NASTY)
    network.apply(SetRatios(domain="transport", ratios={"embb": ResourceRatio(min=0.1)}, element="edge-1->edge-2"))
    network.run(1.8)
    network.apply(SetActive(slice="urllc", active=False))
    return network.run(2.33)


def test_a_page_is_well_formed_html_and_xml_with_a_title_and_labels(busy):
    text = page(busy)
    tree = parsed(text)
    assert tree.find("head/title").text == "network run: report"
    pictures = tree.findall(".//svg")
    assert len(pictures) > 20
    assert all(p.get("aria-label") or p.get("aria-hidden") for p in pictures)
    HTMLParser().feed(text)
    ids = [e.get("id") for e in tree.iter() if e.get("id")]
    assert len(ids) == len(set(ids))


def test_a_page_refers_to_nothing_outside_itself(busy):
    text = page(busy)
    for element in parsed(text).iter():
        assert element.tag not in {"link", "img", "iframe", "object", "embed", "base", "image", "use"}
        assert not {"src", "href", "srcset", "action", "data"} & set(element.attrib)
    assert not re.search(r"https?:|//[a-z]|url\(|@import|xmlns", text)


def test_every_slice_and_every_kind_of_action_is_there(busy):
    seen = words(page(busy))
    for name in ("embb", "urllc", "miot"):
        assert f"{name}: rate" in seen
        assert f"{name}: guaranteed shares" in seen
    for kind in ("SetRatios", "SetUp", "SetActive"):
        assert kind in seen
    assert "BROKEN" in seen and "idle" in seen  # noqa: PT018
    assert "shares (min) sum to" in seen, "a refused action says why"
    assert "buffer full" in seen and "no route" in seen and "slice not active" in seen  # noqa: PT018
    assert "twin <1> & co (ms)" in seen
    assert "age of queues" in seen
    assert "age of shares" in seen
    assert "age of shares (s)" not in seen, "the unit stands in the title"


def test_the_map_marks_what_is_down_and_what_was(busy):
    network = Network(metro(num_gnbs=4, num_edges=3), (EMBB,), seed=1)
    network.apply(SetUp(element="gnb-2", up=False))
    network.apply(SetUp(element="edge-1->edge-2", up=False))
    network.apply(SetUp(element="edge-1->edge-2", up=True))
    seen = words(page(network.run(0.5)))
    assert "gnb-2: gNB, out of service at the end" in seen
    assert re.search(r"edge-1->edge-2: 100000 Mbit/s, 0.0% used \(was out of service\)", seen)


def test_cells_and_users_are_on_a_map_to_scale():
    graph = hex_cells(1)
    nodes = [n for n, kind in graph.nodes.items() if kind["kind"] == "gnb"]
    sites = np.array([graph.nodes[n]["position_m"] for n in nodes])
    movement = Movement(Static(), LinkBudget(), np.repeat(sites, 2, axis=0) + 40.0, sites)
    access = SlotAccess(
        SlotRadio(), (EMBB, URLLC), cells=movement.cells, slice_of=[0, 1] * 7, num_cells=7, mean_snr=movement.mean
    )
    network = Network(graph, (EMBB, URLLC), seed=2, report_s=0.05)
    network.add(Cells(access, nodes, movement=movement))
    run = network.run(0.1)
    assert run.manifest["users"]["count"] == 14
    picture = next(e for e in parsed(page(run)).iter("svg") if e.get("class") == "cells")
    dots = [e for e in picture.iter("circle") if e.get("r") == "2.6"]
    assert len(dots) == 14
    assert {e.get("fill") for e in dots} == {"#0072B2", "#D55E00"}, "the colours of the slices"


def test_what_is_shaded_is_what_the_data_says(busy):
    total = totals(busy).sel(slice="urllc")
    s = slices_of(busy.manifest, busy.slices)[1]
    found = breaches(Windows(total), s)["delay"]
    shaded = np.zeros(total.sizes["time_s"] - 1, bool)
    for i in range(shaded.size):
        middle = float(total["time_s"][i : i + 2].mean())
        shaded[i] = any(stretch.start < middle < stretch.end for stretch in found)
    expected = []
    for i in range(shaded.size):
        before, after = total.isel(time_s=i), total.isel(time_s=i + 1)
        lost = float(after["lost_flows"] - before["lost_flows"])
        late = float(after["late_flows"] - before["late_flows"])
        through = float(after["delivered_flows"] - before["delivered_flows"])
        over = float(np.nan_to_num(after["overdue_flows"]))
        ended = through + lost + over
        expected.append(ended > 0 and (late + lost + over) / ended > 0.001)
    assert shaded.tolist() == expected
    assert 0 < shaded.sum() < shaded.size


def test_a_rate_is_broken_when_less_came_than_was_promised_and_offered():
    total = xr.Dataset(
        {
            "offered_bytes": ("time_s", [0.0, 2e6, 4e6, 4.1e6, 6.1e6]),
            "delivered_bytes": ("time_s", [0.0, 2e6, 2.5e6, 2.6e6, 5.1e6]),
            "inside_bytes": ("time_s", [0.0, 0.0, 1.5e6, 1.5e6, 1.0e6]),
        },
        {"time_s": [0.0, 1.0, 2.0, 3.0, 4.0]},
    )
    (stretch,) = breaches(Windows(total), EMBB)["rate"]  # 10 Mbit/s, 100 ms: 125 kB may be on the way
    assert (stretch.start, stretch.end) == (1.0, 2.0), "the third second asked for little, and got as much"


def test_many_breaches_are_joined_where_the_gaps_are_shortest():
    count = 4 * MOST_STRETCHES
    late = np.cumsum(np.arange(count) % 2)
    total = xr.Dataset(
        {name: ("time_s", np.array(v, float)) for name, v in
         {"delivered_flows": np.arange(count), "late_flows": late, "lost_flows": 0 * late,
          "overdue_flows": 0 * late}.items()},
        {"time_s": np.arange(count, dtype=float)},
    )  # fmt: skip
    found = breaches(Windows(total), URLLC)["delay"]
    assert len(found) == MOST_STRETCHES
    assert found[0].start == 0.0
    assert found[-1].end == count - 1
    assert all(a.end < b.start for a, b in pairwise(found))


def test_joined_windows_are_exact_differences_of_totals(busy):
    total = totals(busy).sel(slice="embb")
    few = Windows(total, 5)
    assert few.start_s.size == 5
    assert few.gone("delivered_bytes").sum() == float(busy.slices["delivered_bytes"].sel(slice="embb"))
    assert few.end_s[-1] == busy.time_s, "the last, shorter window counts"


def test_refused_flows_are_counted_over_time(busy):
    total = totals(busy).sel(slice="urllc")
    refused = Windows(total).gone("refused_flows")
    at = Windows(total).end_s
    counts = busy.manifest["outcomes"]["urllc"]
    assert refused.sum() == counts["slice not active"] + counts["buffer full"]
    assert refused[at > 1.85].sum() >= counts["slice not active"] > 0


def test_shares_over_time_are_those_that_were_set_and_not_refused(busy):
    s = slices_of(busy.manifest, busy.slices)[1]
    at, ratios = ratios_over_time(busy, s, "transport")
    assert at == [0.0, 0.55]
    assert [r.min for r in ratios] == [0.0, 0.25]
    embb = slices_of(busy.manifest, busy.slices)[0]
    assert len(ratios_over_time(busy, embb, "transport")[0]) == 1, "refused, or of one link only"


def test_all_text_is_escaped(busy):
    text = page(busy)
    assert "<script>alert" not in text
    assert 'alert("x")' in words(text)
    assert "\x00" not in text and "\x1b" not in text  # noqa: PT018
    assert text.count("<script>") == 1


def test_the_same_run_gives_the_same_bytes_from_memory_and_from_its_folder(busy, tmp_path):
    first = write_report(busy, tmp_path / "a" / "first.html").read_bytes()
    again = Run.load(busy.save(tmp_path / "run"))
    assert again.manifest["troubles"] == []
    assert again.report(tmp_path / "second.html").read_bytes() == first
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["first.html"]


def test_a_run_that_was_saved_is_loaded_unchanged(busy, tmp_path):
    again = Run.load(busy.save(tmp_path / "run"))
    for name in ("slices", "stations", "cells", "series", "gauges"):
        xr.testing.assert_identical(getattr(again, name), getattr(busy, name))
    assert [str(a.action) for a in again.actions] == [str(a.action) for a in busy.actions]
    assert again.actions == busy.actions
    assert again.records == busy.records


def test_a_run_in_which_nothing_was_offered_says_so():
    run = Network(line(num_links=1, rate_bps=1e6), (EMBB, URLLC)).run(3.0)
    seen = words(page(run))
    assert "Nothing was offered" in seen
    assert "Nobody changed anything" in seen
    assert seen.count("idle") == 2


def test_a_run_shorter_than_a_report_has_one_window_from_its_totals():
    network = Network(line(num_links=1, rate_bps=1e6), (EMBB,), report_s=10.0)
    network.send(Flow(slice="embb", num_bytes=1000, source="edge-1", sink="edge-2"))
    run = network.run(0.5)
    total = totals(run)
    assert total["time_s"].values.tolist() == [0.0, 0.5]
    assert Windows(total.sel(slice="embb")).rate("delivered_bytes").tolist() == [16_000.0]
    assert "M" in page(run)


def test_a_run_that_has_not_begun_and_tables_without_a_number_are_reported(busy):
    empty = Run(*(xr.Dataset() for _ in range(5)), actions=(), records=(), manifest={"time_s": 0.0})
    assert "nothing can be drawn" in words(page(empty))
    holes = busy.series.copy(deep=True)
    holes["delivered_bytes"][:] = np.nan
    holes["delay_seconds"][3:5] = np.nan
    text = page(Run(busy.slices, busy.stations, busy.cells, holes, busy.gauges, actions=busy.actions, records=(),
                    manifest=busy.manifest))  # fmt: skip
    assert "nan" not in re.sub(r"<title>.*?</title>", "", text).lower().replace("finance", "")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_a_folder_with_a_file_missing_or_truncated_opens_and_says_so(busy, tmp_path, name, how):
    folder = busy.save(tmp_path / "run")
    if name == "flows.jsonl":
        (folder / name).write_text('{"number": 1}\n' * 3, encoding="utf-8")
    path = folder / name
    if how == "missing":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[: max(1, len(whole) * 2 // 3)])
    run = Run.load(folder)
    said = next(e for e in parsed(page(run)).iter("div") if e.get("class") == "said")
    assert name in "".join(said.itertext())
    assert run.time_s == pytest.approx(busy.time_s, abs=0.2)


def test_a_folder_that_holds_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        Run.load(tmp_path)
    with pytest.raises(IsADirectoryError, match=r"expected a file such as .*report\.html"):
        write_report(Network(line(num_links=1, rate_bps=1e6), (EMBB,)).run(1.0), tmp_path)


def test_a_page_is_bounded_however_long_the_run_was(busy):
    rng = np.random.default_rng(1)

    def text(points, actions):
        grown = rng.integers(0, 100, (points, 3)).cumsum(axis=0).astype(float)
        series = xr.Dataset(
            {str(name): (("time_s", "slice"), grown) for name in busy.series.data_vars},
            {"time_s": np.arange(points) / 10, "slice": busy.series["slice"].values},
        )
        gauges = xr.Dataset({"twin: age_s": ("time_s", rng.random(points))}, {"time_s": series["time_s"]})
        wishes = tuple(
            ActionRecord(time_s=i / actions * points / 10, by=f"agent-{i % 5}", refused="no" * (i % 3 == 0),
                         action=SetRatios(domain="transport", ratios={"embb": ResourceRatio(min=rng.random())}))
            for i in range(actions)
        )  # fmt: skip
        manifest = busy.manifest | {"time_s": points / 10, "wishes": 50_000}
        return page(
            Run(busy.slices, busy.stations, busy.cells, series, gauges, actions=wishes, records=(), manifest=manifest)
        )

    short, long = text(1000, 5000), text(4000, 10_000)
    assert len(long) < 1.2 * len(short), "curves, shades, timeline and list are full already"
    assert len(long) < 1.5e6
    assert "9,800 earlier ones are left out" in long
    assert "50,000 actions, of which the run kept the latest 10,000" in long
    curves = [p.get("d") for p in parsed(long).iter("path") if p.get("data-label")]
    assert max(d.count(",") for d in curves) <= 2 * MOST_WINDOWS + 2


def test_admissions_that_were_refused_are_told():
    greedy = (
        EMBB.__class__(name="first", snssai=EMBB.snssai, transport=ResourceRatio(min=0.7)),
        EMBB.__class__(name="second", snssai=URLLC.snssai, transport=ResourceRatio(min=0.3)),
    )
    network = Network(line(num_links=1, rate_bps=1e6), greedy)
    manager = network.add(SliceManager())
    for name, least in (("first", 0.7), ("second", 0.6)):
        wanted = next(s for s in greedy if s.name == name)
        manager.prepare(name, EMBB.__class__(name=name, snssai=wanted.snssai, transport=ResourceRatio(min=least)))
        manager.admit(name)
    seen = words(page(network.run(1.0)))
    assert "2 requests to admit or modify, 1 refused" in seen
