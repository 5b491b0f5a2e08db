# ruff: noqa: E501 (tables of cases)
"""A network in a file: what it may say, what it makes, and what it is told when something is wrong."""

import json

import jsonschema
import pyarrow.parquet as pq
import pytest
import yaml

from tests.trials import ROOT
from wirelesslab.network.agents.plans import PLANS
from wirelesslab.network.agents.rules import POLICIES
from wirelesslab.network.areas import AREAS
from wirelesslab.network.contention import CONTENTIONS
from wirelesslab.network.fading import FADINGS
from wirelesslab.network.failures import FAILURES
from wirelesslab.network.packet_sizes import SIZE_LAWS
from wirelesslab.network.radio import RATE_MAPPINGS
from wirelesslab.network.scenario import (
    MOVERS,
    TOPOLOGIES,
    NetworkScenario,
    ScenarioError,
    json_schema,
    scenario_model,
    schema_text,
)
from wirelesslab.network.scenario_models import kind_of
from wirelesslab.network.schedulers import SCHEDULERS
from wirelesslab.network.service_report import service_table
from wirelesslab.network.trace import check_trace
from wirelesslab.network.traffic import TRAFFIC_MODELS
from wirelesslab.network.user_schedulers import USER_SCHEDULERS

EXAMPLES = sorted((ROOT / "docs" / "scenarios").glob("*.yaml"))
THREE = ROOT / "docs" / "scenarios" / "three_slices.yaml"

GOOD = """\
until_s: 0.3
topology:
  kind: metro
  num_gnbs: 2
  num_edges: 1
slices:
  - name: embb
    sst: 1
    transport: {min: 0.5}
  - name: urllc
    sst: 2
    transport: {min: 0.3}
traffic:
  - kind: poisson
    slice: embb
    source: gnb-1
    sink: cloud
    rate_per_s: 100.0
    num_bytes: 1500
failures:
  - kind: outage
    element: gnb-1->edge-1
    start_s: 0.1
    end_s: 0.2
planner:
  window_s: 0.1
  plan:
    kind: static_shares
    shares_of_slices: [0.6, 0.4]
radio:
  fidelity: slot
  users:
    - slice: urllc
      count: 4
      sink: cloud
      traffic:
        kind: periodic
        period_s: 0.02
        num_bytes: 100
"""


def line_of(words, text=GOOD, nth=1):
    """The number of the nth line that has these words."""
    return [i for i, line in enumerate(text.splitlines(), 1) if words in line][nth - 1]


def refusal(text):
    with pytest.raises(ScenarioError) as caught:
        NetworkScenario.from_text(text, "net.yaml")
    return str(caught.value)


def test_the_good_file_of_these_tests_is_good():
    assert float(NetworkScenario.from_text(GOOD).run().slices["delivered_flows"].sum()) > 50


# (what is replaced, by what, a word of the line that is named, the field, words of the reason)
BAD = {
    "unknown field": ("    rate_per_s: 100.0", "    rate_per_sec: 100.0\n    rate_per_s: 100.0", "rate_per_sec",
                      "traffic[0].rate_per_sec", "is not a field here; did you mean 'rate_per_s'?"),
    "unknown field at the top": ("until_s: 0.3", "until_s: 0.3\nuntils: 4", "untils", "untils", "did you mean 'until_s'"),
    "negative rate": ("rate_per_s: 100.0", "rate_per_s: -100.0", "rate_per_s", "traffic[0].rate_per_s", "got -100.0, expected a number above 0"),
    "negative size": ("num_bytes: 1500", "num_bytes: -3", "num_bytes: -3", "traffic[0].num_bytes", "got -3, expected"),
    "negative time": ("start_s: 0.1", "start_s: -1", "start_s", "failures[0].start_s", "got -1"),
    "end before beginning": ("end_s: 0.2", "end_s: 0.05", "end_s", "failures[0].end_s", "expected a time after start_s=0.1"),
    "no time at all": ("until_s: 0.3", "until_s: 0", "until_s", "until_s", "expected greater than 0"),
    "ratios over 1": ("min: 0.3", "min: 0.6", "slices:", "slices", "transport shares (min) sum to 1.1, expected at most 1"),
    "a ratio over 1": ("min: 0.3", "min: 1.3", "min: 1.3", "slices[1].transport.min", "got 1.3, expected"),
    "ratios in disorder": ("{min: 0.3}", "{min: 0.3, max: 0.1}", "max: 0.1", "slices[1].transport", "expected dedicated <= min <= max"),
    "a slice twice": ("name: urllc", "name: embb", "slices:", "slices", "got the name embb twice"),
    "an S-NSSAI out of range": ("sst: 2", "sst: 300", "sst: 300", "slices[1].sst", "got 300"),
    "traffic from a missing node": ("source: gnb-1", "source: gnb-7", "source", "traffic[0].source", "got 'gnb-7', expected a node of the network"),
    "traffic to a missing node": ("sink: cloud\n    rate", "sink: clod\n    rate", "clod", "traffic[0].sink", "did you mean 'cloud'?"),
    "a failure of nothing": ("element: gnb-1->edge-1", "element: gnb-1->edge-9", "element", "failures[0].element", "expected a node or a link such as"),
    "users' bytes to a missing node": ("      sink: cloud", "      sink: edge-4", "edge-4", "radio.users[0].sink", "expected a node of the network"),
    "an unknown slice": ("slice: embb", "slice: emb", "slice: emb", "traffic[0].slice", "got 'emb', expected one of ['embb', 'urllc']; did you mean 'embb'?"),
    "users of an unknown slice": ("slice: urllc", "slice: ullc", "ullc", "radio.users[0].slice", "did you mean 'urllc'?"),
    "text for a number": ("rate_per_s: 100.0", "rate_per_s: fast", "fast", "traffic[0].rate_per_s", "got 'fast', expected a valid number"),
    "a number as text": ("rate_per_s: 100.0", "rate_per_s: '100'", "'100'", "traffic[0].rate_per_s", "got '100', expected a valid number"),
    "a fraction of a gNB": ("num_gnbs: 2", "num_gnbs: 2.5", "num_gnbs", "topology.num_gnbs", "expected a valid integer"),
    "a truth for a number": ("rate_per_s: 100.0", "rate_per_s: true", "true", "traffic[0].rate_per_s", "got True, expected a valid number"),
    "a list for a mapping": ("  kind: metro\n  num_gnbs: 2\n  num_edges: 1", "  [1, 2]", "topology", "topology", "[1, 2]"),
    "a mapping for a list": ("slices:\n  - name: embb\n    sst: 1\n    transport: {min: 0.5}\n  - name: urllc\n    sst: 2\n    transport: {min: 0.3}",
                             "slices: {name: embb}", "slices:", "slices", "expected a valid array"),
    "no slices": ("slices:\n  - name: embb\n    sst: 1\n    transport: {min: 0.5}\n  - name: urllc\n    sst: 2\n    transport: {min: 0.3}",
                  "slices: []", "slices:", "slices", "at least 1 item"),
    "no rate": ("    rate_per_s: 100.0\n", "", "- kind: poisson", "traffic[0].rate_per_s", "is missing"),
    "no source": ("    source: gnb-1\n", "", "- kind: poisson", "traffic[0].source", "is missing"),
    "no end": ("until_s: 0.3\n", "", "topology", "until_s", "is missing"),
    "no kind": ("  kind: metro\n", "", "topology", "topology.kind", "is missing; expected one of hex_cells, metro, line, graph"),
    "an unknown kind": ("kind: poisson", "kind: poison", "poison", "traffic[0].kind", "got 'poison', expected one of poisson, ftp3"),
    "an unknown plan": ("kind: static_shares", "kind: statik_shares", "statik", "planner.plan.kind", "did you mean 'static_shares'?"),
    "too few shares": ("[0.6, 0.4]", "[0.6]", "plan:", "planner.plan", "got 1 shares, expected one for each of the 2 slices"),
    "shares over 1": ("[0.6, 0.4]", "[0.6, 0.7]", "shares_of_slices", "planner.plan.shares_of_slices", "sum to 1.3"),
    "a planner at a missing node": ("  window_s: 0.1", "  window_s: 0.1\n  at: egde-1", "egde-1", "planner.at", "expected a node of the network; did you mean 'edge-1'?"),
    "a key twice": ("    source: gnb-1", "    source: gnb-1\n    source: gnb-2", "source: gnb-2", "source", "is already said in line"),
    "not a number": ("rate_per_s: 100.0", "rate_per_s: .nan", ".nan", "traffic[0].rate_per_s", "got nan, expected a finite number"),
    "endless": ("until_s: 0.3", "until_s: .inf", "until_s", "until_s", "got inf, expected a finite number"),
    "nothing where something": ("rate_per_s: 100.0", "rate_per_s:", "rate_per_s", "traffic[0].rate_per_s", "got None, expected a valid number"),
    "users without number": ("count: 4", "count: 0", "count: 0", "radio.users[0].count", "expected greater than 0"),
    "no contention": ("fidelity: slot", "fidelity: active_set", "radio:", "radio.grant_free", "is missing; fidelity active_set needs it"),
    "an unknown fidelity": ("fidelity: slot", "fidelity: best", "fidelity", "radio.fidelity", "expected 'slot', 'flow' or 'active_set'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_told_with_file_line_field_and_reason(case):
    old, new, words, field, reason = BAD[case]
    assert GOOD.count(old) >= 1
    text = GOOD.replace(old, new, 1)
    message = refusal(text)
    expected_line = 1 if case == "no end" else line_of(words, text)
    found = [line for line in message.splitlines() if line.startswith(f"net.yaml, line {expected_line}: {field}: ")]
    assert found, message
    assert any(reason in line for line in found), message
    assert "pydantic" not in message
    assert "Traceback" not in message
    assert len(message.splitlines()) == 1, "one thing is wrong, so one line says it"


def test_a_graph_in_two_parts_is_refused_and_one_that_names_no_node():
    graph = """\
until_s: 1.0
topology:
  kind: graph
  nodes: [{name: a, kind: edge}, {name: b, kind: edge}, {name: c, kind: edge}, {name: d, kind: cloud}]
  links:
    - {a: a, b: b, rate_bps: 1e6}
    - {a: c, b: d, rate_bps: 1e6, delay_s: 0.001}
slices: [{name: embb, sst: 1}]
"""
    assert refusal(graph).startswith("net.yaml, line 2: topology: ")
    assert "2 parts without a link between them" in refusal(graph)
    assert "there is no node 'x'" in refusal(graph.replace("a: c, b: d", "a: c, b: x"))
    whole = graph.replace("a: c, b: d", "a: b, b: c").replace(", {name: d, kind: cloud}", "")
    assert set(NetworkScenario.from_text(whole).build().graph) == {"a", "b", "c"}


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_the_file():
    text = (
        GOOD.replace("rate_per_s: 100.0", "rate_per_s: -1").replace("sst: 2", "sst: two").replace("count: 4", "cout: 4")
    )
    lines = refusal(text).splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "slices[1].sst", "traffic[0].rate_per_s", "radio.users[0].count", "radio.users[0].cout",
    ]  # fmt: skip
    # and so is everything that does not fit together, once each part is good
    text = GOOD.replace("source: gnb-1", "source: x").replace("sink: cloud", "sink: y").replace("gnb-1->", "gnb-5->")
    lines = refusal(text).splitlines()
    fields = ["traffic[0].source", "traffic[0].sink", "failures[0].element", "radio.users[0].sink"]
    assert [line.split(": ")[1] for line in lines] == fields


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1: got nothing, expected a mapping"),
        ("# only a comment\n", "got nothing"),
        ("- 1\n- 2\n", "line 1: got list, expected a mapping"),
        ("just words", "got str, expected a mapping"),
        ("a: [1, 2", "line 1: not YAML"),
        ("a: 1\n\tb: 2", "line 2: not YAML"),
        ("a: 1\n---\nb: 2", "line 2: not YAML"),
        ("a: !!python/object:os.system {}", "line 1: not YAML"),
        ("a: *nobody", "line 1: not YAML"),
        ("a: &a [*a]", "aliases stand for more than"),
        (
            "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
            + "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 8)),
            "aliases stand for more than",
        ),
        ("a: 1\na: 2\nb: {c: 1, c: 2}", "line 2: a: is already said in line 1; keep one"),
    ],
)
def test_what_is_no_scenario_at_all_is_refused_in_words(text, reason):
    message = refusal(text)
    assert message.startswith("net.yaml")
    assert reason in message


def test_two_keys_that_come_twice_are_both_told():
    assert len(refusal("a: 1\na: 2\nb: {c: 1, c: 2}").splitlines()) == 2


def test_a_file_that_is_not_there_or_not_text_is_refused_by_name(tmp_path):
    with pytest.raises(ScenarioError, match=r"nowhere\.yaml: cannot be read"):
        NetworkScenario.load(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ScenarioError, match=r"binary\.yaml: cannot be read"):
        NetworkScenario.load(tmp_path / "binary.yaml")


def test_numbers_are_read_as_people_write_them():
    text = GOOD.replace("rate_per_s: 100.0", "rate_per_s: 1e2").replace("num_bytes: 1500", "num_bytes: 015")
    part = NetworkScenario.from_text(text).data.traffic[0]
    assert (part.rate_per_s, part.num_bytes) == (100.0, 15)
    named = NetworkScenario.from_text(GOOD.replace("until_s: 0.3", "name: 2026-11-23\nuntil_s: 0.3"))
    assert named.data.name == "2026-11-23"


# every member of every family can be said


ARGUMENTS = {
    "poisson": {"rate_per_s": 5.0, "num_bytes": 100}, "ftp3": {"rate_per_s": 1.0},
    "periodic": {"period_s": 0.1, "num_bytes": 10},
    "on_off": {"mean_on_s": 0.1, "mean_off_s": 0.1, "rate_bps": 1e5, "num_bytes": 100},
    "diurnal": {"period_s": 1.0, "rates_per_s": [1.0, 9.0], "num_bytes": 100},
    "traffic_trace": {"times_s": [0.01, 0.02], "num_bytes": [10, 20], "repeat_s": 0.05},
    "fixed_size": {"num_bytes": 10}, "exponential_size": {"mean": 200.0},
    "pareto_size": {"alpha": 2.5, "low": 10, "high": 90},
    "static_shares": {"shares_of_slices": [0.5, 0.5]}, "square_root_shares": {"capacity_bps": 1e9},
    "max_min_shares": {"capacity_bps": 1e9}, "convex_shares": {"capacity_bps": 1e9, "weights": [1.0, 2.0]},
    "seasonal_shares": {"season": 2, "capacity_bps": 1e9},
    "foreseen_shares": {"rule": {"kind": "square_root_shares", "capacity_bps": 1e9}, "loads_bps": [[1e6, 1e6]]},
    "reserve": {"plan": {"kind": "square_root_shares", "capacity_bps": 1e9}},
    "fail_over": {"watch": ["edge-1"], "emergency": {"embb": {"min": 0.9}}, "usual": {"embb": {"min": 0.5}}},
    "outage": {"element": "edge-1", "start_s": 0.1},
    "random_failures": {"element": "edge-1", "mean_up_s": 0.1, "mean_down_s": 0.01},
    "line": {"num_links": 2, "rate_bps": 1e9}, "random_walk": {"diffusion_m2_per_s": 10.0},
    "random_waypoint": {"area": {"kind": "disc", "radius_m": 500.0}},
    "rectangle": {"high_m": [100.0, 100.0]}, "disc": {"radius_m": 100.0}, "hexagon": {"radius_m": 100.0},
    "correlated_rayleigh": {"doppler_hz": 5.0},
}  # fmt: skip
PLACES = {
    "traffic": (TRAFFIC_MODELS, lambda part: {"traffic": [{**part, "slice": "embb", "source": "edge-1", "sink": "edge-2"}]}),
    "users": (TRAFFIC_MODELS, lambda part: radio(users=[{"slice": "embb", "count": 2, "traffic": part}])),
    "sizes": (SIZE_LAWS, lambda part: radio(users=[{"slice": "embb", "count": 2, "traffic": {"kind": "poisson", "rate_per_s": 5.0, "num_bytes": part}}])),
    "scheduler": (SCHEDULERS, lambda part: {"scheduler": part}),
    "planner": (PLANS, lambda part: {"planner": {"window_s": 0.05, "plan": part}}),
    "agents": (POLICIES, lambda part: {"agents": [{"policy": part, "at": "edge-1", "every_s": 0.02}]}),
    "failures": (FAILURES, lambda part: {"failures": [part]}),
    "topology": (TOPOLOGIES, lambda part: {"topology": part}),
    "mobility": (MOVERS, lambda part: radio(mobility=part)),
    "areas": (AREAS, lambda part: radio(mobility={"kind": "random_walk", "diffusion_m2_per_s": 9.0, "area": part})),
    "fading": (FADINGS, lambda part: radio(slots={"fading": part})),
    "user schedulers": (USER_SCHEDULERS, lambda part: radio(slots={"intra_slice": part})),
    "rate mappings": (RATE_MAPPINGS, lambda part: radio(slots={"rate": part})),
    "flow level": (RATE_MAPPINGS, lambda part: radio(fidelity="flow", slots={"rate": part})),
    "contention": (CONTENTIONS, lambda part: radio(fidelity="active_set", grant_free={"contention": part})),
}  # fmt: skip
MEMBERS = [(place, member) for place, (members, _) in PLACES.items() for member in members]


def radio(**fields):
    users = [{"slice": "embb", "count": 2, "traffic": {"kind": "poisson", "rate_per_s": 50.0, "num_bytes": 100}}]
    return {
        "topology": {"kind": "metro", "num_gnbs": 2, "num_edges": 2},
        "radio": {"tick_s": 0.01, "users": users, **fields},
    }


@pytest.mark.parametrize(("place", "member"), MEMBERS, ids=[f"{p}-{kind_of(m)}" for p, m in MEMBERS])
def test_every_member_of_every_family_can_be_said_in_a_file(place, member):
    kind = kind_of(member)
    part = {"kind": kind, **ARGUMENTS.get(kind, {})}
    if kind == "hyperexponential_size":
        part |= hyperexponential()
    data = {
        "until_s": 0.1,
        "topology": {"kind": "metro", "num_gnbs": 1, "num_edges": 2},
        "slices": [{"name": "embb", "sst": 1}, {"name": "miot", "sst": 3}],
        **PLACES[place][1](part),
    }
    text = yaml.safe_dump(data, sort_keys=False)
    scenario = NetworkScenario.from_text(text)
    assert not list(jsonschema.Draft202012Validator(json_schema()).iter_errors(data))
    scenario.run()  # which checks the network at its end
    assert kind in text


def hyperexponential():
    from dataclasses import fields

    from wirelesslab.network.packet_sizes import HyperexponentialSize

    names = [f.name for f in fields(HyperexponentialSize)]
    usual = {"mean": 100.0, "scv": 4.0, "means": [50.0, 150.0], "probs": [0.5, 0.5], "prob": 0.5,
             "mean_a": 50.0, "mean_b": 150.0}  # fmt: skip
    return {name: usual[name] for name in names}


# agents

AGENTS = """
until_s: 2.0
topology: {kind: metro, num_gnbs: 3}
slices: [{name: embb, sst: 1}, {name: urllc, sst: 2}]
traffic:
  - {kind: poisson, slice: embb, source: gnb-1, sink: cloud, rate_per_s: 100.0, num_bytes: 1500}
  - {kind: poisson, slice: urllc, source: gnb-1, sink: cloud, rate_per_s: 300.0, num_bytes: 1500}
planner: {plan: {kind: proportional_shares, memory: 2}, window_s: 0.5, part: 0.5, dedicated: false}
twins:
  - {name: edge-twin, at: edge-1, scope: [gnb-1, edge-1], period_s: 0.05, delay_s: 0.01}
agents:
  - name: operator
    policy: {kind: reserve, plan: {kind: proportional_shares}, element: gnb-1->edge-1}
    sees: edge-twin
    at: edge-1
    every_s: 0.02
    deadline_s: 0.05
    mandate: {floor: planner-1, domains: [transport], elements: [gnb-1->edge-1]}
"""


def test_a_file_brings_twins_and_agents_to_life():
    network = NetworkScenario.from_text(AGENTS).build()
    network.run(2.0)
    made = [record for record in network.actions if record.by == "operator"]
    assert len(made) > 50
    assert not [record for record in made if record.refused and "outside the reservation" not in record.refused]
    assert any(not record.refused for record in made)
    mind = network.record("operator", lambda: None)
    assert mind.decisions[-1].age_s <= 0.05 + 0.01 + 1e-9  # the twin's period and delay


def test_a_planner_of_a_file_may_see_a_twin():
    text = AGENTS.replace("window_s: 0.5,", "window_s: 0.5, sees: edge-twin,")
    network = NetworkScenario.from_text(text).build()
    network.run(2.0)
    (read,) = [read for read in network.seen("edge-twin").reads() if read.by == "planner-1"]
    assert (read.attribute, read.shown) == ("slices", 5)
    assert network.record("planner-1", lambda: None).decisions[-1].age_s > 0


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("sees: edge-twin", "sees: twin", "agents[0].sees: got 'twin', expected a twin, one of ['edge-twin']"),
        ("floor: planner-1", "floor: planer-1", "agents[0]: floor: got 'planer-1', expected an actor; did you mean"),
        ("at: edge-1\n", "at: edge-11\n", "agents[0]: got 'edge-11', expected a node of the network; did you mean"),
        ("kind: reserve", "kind: reserv", "agents[0].policy.kind: got 'reserv', expected one of reserve, max_weight"),
        ("scope: [gnb-1", "scope: [gnb-9", "twins[0]: got 'gnb-9', expected a node of the network"),
        ("window_s: 0.5,", "window_s: 0.5, sees: tw,", "planner.sees: got 'tw', expected a twin, one of ['edge-twin']"),
        ("delay_s: 0.01", "delay_s: -1.0", "twins[0].delay_s: got -1"),
    ],
)
def test_agents_and_twins_that_do_not_fit_are_told_by_their_line(old, new, reason):
    assert reason in refusal(AGENTS.replace(old, new))


# what a scenario makes


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_the_examples_load_and_fit_the_schema(path):
    data = NetworkScenario.load(path)._lines.data
    jsonschema.Draft202012Validator(json_schema()).validate(data)
    assert path.read_text(encoding="utf-8").startswith("# "), "an example says what it shows"


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    folder = tmp_path_factory.mktemp("three")
    seen = []
    scenario = NetworkScenario.load(THREE)
    run = scenario.run(folder, trace=True, report=True, watch=lambda now_s, until_s: seen.append((now_s, until_s)))
    return scenario, folder, run, seen


def test_a_run_writes_tables_lines_manifest_report_and_a_trace_with_a_track_per_slice(three):
    scenario, folder, run, _ = three
    assert sorted(path.name for path in folder.iterdir()) == sorted(scenario.files)
    slices = pq.read_table(folder / "slices.parquet").to_pandas()
    assert set(slices["slice"]) == {"embb", "urllc", "miot"}
    offered = slices.groupby("slice")["offered_bytes"].first()
    assert {name: int(offered[name]) for name in offered.index} == {
        str(name): int(run.slices["offered_bytes"].sel(slice=name)) for name in run.slices["slice"].values
    }
    assert pq.read_table(folder / "series.parquet").num_rows == 25 * 3  # 3 s in steps of 0.125 s, and the beginning
    assert pq.read_table(folder / "stations.parquet").num_rows > 0
    flows = [json.loads(line) for line in (folder / "flows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(flows) == 2000
    actions = [json.loads(line) for line in (folder / "actions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {a["by"] for a in actions} == {"planner-1", "outage-1"}
    assert not any(a["refused"] for a in actions)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["seed"] == 7
    assert check_trace(folder / "trace.json") > 3000
    events = json.loads((folder / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    tracks = [event["args"]["name"] for event in events if event["name"] == "thread_name"]
    assert len(tracks) == len(set(tracks))
    assert {"embb", "urllc", "miot"} <= set(tracks)


def test_the_example_has_in_it_what_it_says(three):
    scenario, _, run, _ = three
    assert int(run.slices["lost_flows"].sum()) > 0, "the outage costs something"
    assert all(int(run.slices["delivered_flows"].sel(slice=s.name)) > 100 for s in scenario.slices)
    table = str(service_table(run, scenario.slices))
    assert all(s.name in table for s in scenario.slices)
    assert "kept" in table
    assert "BROKEN" in table


def test_a_watch_sees_time_pass_to_the_end_and_disturbs_nothing(three):
    scenario, _, run, seen = three
    assert seen == sorted(seen)
    assert len(seen) == 100
    assert seen[-1] == (3.0, 3.0)
    alone = scenario.run()
    assert alone.slices.equals(run.slices)
    assert alone.series.equals(run.series)


def test_a_scenario_built_twice_gives_the_same_network_to_the_last_bit():
    digests = set()
    for _ in range(2):
        scenario = NetworkScenario.from_text(GOOD)
        for _ in range(2):
            network = scenario.build()
            network.run(0.25)
            digests.add(network.snapshot().digest())
    assert len(digests) == 1
    other = NetworkScenario.from_text(GOOD.replace("until_s: 0.3", "until_s: 0.3\nseed: 1")).build()
    other.run(0.25)
    assert other.snapshot().digest() not in digests


# the schema


def test_the_written_schema_is_current():
    written = (ROOT / "docs" / "scenarios" / "schema.json").read_text(encoding="utf-8")
    assert written == schema_text(), "run: wirelesslab schema > docs/scenarios/schema.json"


def test_the_schema_is_a_json_schema():
    jsonschema.Draft202012Validator.check_schema(json_schema())


STRUCTURE = [name for name in BAD if name in (
    "unknown field", "unknown field at the top", "no time at all", "text for a number", "a number as text",
    "a fraction of a gNB", "a truth for a number", "a list for a mapping", "a mapping for a list", "no slices", "no rate",
    "no source", "no end", "no kind", "an unknown kind", "an unknown plan", "nothing where something",
    "users without number", "an unknown fidelity",
)]  # fmt: skip


@pytest.mark.parametrize("case", STRUCTURE)
def test_schema_and_models_agree_on_what_has_the_wrong_structure(case):
    data = yaml.safe_load(GOOD.replace(*BAD[case][:2], 1))
    assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(data))
    with pytest.raises(ValueError, match="validation error"):
        scenario_model().model_validate_json(json.dumps(data))


def test_what_is_kept_and_what_is_broken_follows_the_promise():
    cases = (
        ("delay_s: 1.0", "BROKEN"),  # the outage of a third of the time loses more than the 1 % that may be late
        ("delay_s: 1.0\n    delay_quantile: 0.2", "kept"),
        ("delay_s: 1e-6\n    delay_quantile: 0.2", "BROKEN"),
        ("loss: 0.9", "kept"),
        ("loss: 0.001", "BROKEN"),
        ("rate_bps: 1e5", "kept"),
        ("rate_bps: 1e8", "BROKEN"),
        ("weight: 1.0", ""),
    )
    for promise, verdict in cases:
        scenario = NetworkScenario.from_text(GOOD.replace("    sst: 1\n", f"    sst: 1\n    {promise}\n"))
        row = next(r for r in service_table(scenario.run(), scenario.slices).rows if r[0] == "embb")
        assert row[-1] == verdict, promise


RADIO = """
until_s: 1.0
topology: {kind: hex_cells, num_rings: 0}
slices: [{name: embb, sst: 1}]
radio:
  fidelity: %s
  users: [{slice: embb, count: 3, traffic: {kind: poisson, rate_per_s: 1.0, num_bytes: 100}}]
  %s
"""


def test_a_cell_has_one_bandwidth():
    with pytest.raises(
        ScenarioError, match=r"line 8: radio.slots.bandwidth_hz: is 1e\+07 here and 5e\+06 in link_budget"
    ):
        NetworkScenario.from_text(
            RADIO % ("slot", "slots: {bandwidth_hz: 10.0e6}\n  link_budget: {bandwidth_hz: 5.0e6}")
        )
    with pytest.raises(ScenarioError, match="has no meaning under fidelity flow; say it in link_budget"):
        NetworkScenario.from_text(RADIO % ("flow", "slots: {bandwidth_hz: 10.0e6}"))
    for said in ("slots: {bandwidth_hz: 10.0e6}", "link_budget: {bandwidth_hz: 10.0e6}"):
        cells = NetworkScenario.from_text(RADIO % ("slot", said)).build().actors["cells"]
        assert cells.access.config.bandwidth_hz == cells.movement.budget.bandwidth_hz == 10e6
