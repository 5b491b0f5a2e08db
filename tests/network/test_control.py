"""Whoever controls the network sees it through views, acts through actions, and pays for the way."""

import ast
from pathlib import Path

import pytest

from wirelesslab.network import EMBB, MIOT, URLLC, Network, Planner, Poisson, ProportionalShares, metro, planning
from wirelesslab.network.agents.ways import longest_way_s
from wirelesslab.network.layers import LAYERS, layer_of
from wirelesslab.network.trace import Trace, check_trace

# What a controller may touch of a network; everything else is the physical layer's own.
ALLOWED = {
    "view", "seen", "apply", "refuse", "in_force", "until", "record", "rng", "name_of", "slices", "slice_index",
    "now_s", "trace", "check_node", "check_element", "routes", "graph",
}  # fmt: skip
FOLDER = Path(planning.__file__).parent


def module_in(imported: str) -> str:
    """Return a module's name inside the wing, such as "queues" or "twins.sync"."""
    return imported.removeprefix("wirelesslab.network.")


def source_of(module: str) -> str:
    return FOLDER.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")


def planned(at="", trace=None, until=2.0):
    network = Network(metro(num_gnbs=3), (EMBB, URLLC, MIOT), seed=1, trace=trace)
    for s in (EMBB, URLLC, MIOT):
        network.add(Poisson(s, source="gnb-1", sink="cloud", rate_per_s=200.0, num_bytes=2000))
    network.add(Planner(plan=ProportionalShares(), window_s=0.5, at=at, name="planner"))
    network.run(until)
    return network


def test_a_decision_takes_the_way_there_the_thinking_and_the_way_back():
    at_once, at_core, in_cloud = planned(), planned("core"), planned("cloud")
    times = [[time for time, _ in n.record("planner", lambda: None).planned] for n in (at_once, at_core, in_cloud)]
    for network, at, delayed in ((at_core, "core", times[1]), (in_cloud, "cloud", times[2])):
        delay = 2 * longest_way_s(network, at) + 1e-3
        assert delayed == pytest.approx([time + delay for time in times[0][: len(delayed)]])
    assert longest_way_s(in_cloud, "cloud") > longest_way_s(at_core, "core") > 0


def test_every_decision_leaves_spans_of_sensing_deciding_and_enforcing_that_take_time():
    trace = Trace()
    network = planned("core", trace)
    import json

    events = json.loads(trace.text())["traceEvents"]
    check_trace({"traceEvents": events})
    spans = [e for e in events if e["ph"] == "X" and e["name"] in {"sense", "decide", "enforce"}]
    assert len(spans) == 3 * len(network.record("planner", lambda: None).planned) > 0
    for sense, decide, enforce in zip(spans[::3], spans[1::3], spans[2::3], strict=True):
        assert (sense["name"], decide["name"], enforce["name"]) == ("sense", "decide", "enforce")
        assert min(sense["dur"], decide["dur"], enforce["dur"]) > 0
        assert sense["ts"] + sense["dur"] == pytest.approx(decide["ts"], abs=1e-2)
        assert decide["ts"] + decide["dur"] == pytest.approx(enforce["ts"], abs=1e-2)


def test_a_planner_that_is_too_far_away_for_its_window_is_refused():
    network = Network(metro(num_gnbs=3), (EMBB,))
    network.add(Planner(plan=ProportionalShares(), window_s=1e-3, at="cloud"))
    with pytest.raises(ValueError, match=r"window_s: got 0.001, expected more than the .* of a decision at cloud"):
        network.run(1.0)


def test_a_decision_on_its_way_survives_being_written_down():
    network = Network(metro(num_gnbs=3), (EMBB, URLLC), seed=1)
    network.add(Poisson(EMBB, source="gnb-1", sink="cloud", rate_per_s=200.0, num_bytes=2000))
    network.add(Planner(plan=ProportionalShares(), window_s=0.5, at="cloud", decide_s=0.2))
    network.run(0.6)  # sensed at 0.5, not yet enforced
    copy = Network.restored(network.snapshot())
    network.run(2.0)
    copy.run(2.0)
    assert copy.snapshot().digest() == network.snapshot().digest()


def test_every_module_of_the_wing_names_its_layer():
    files = [path.relative_to(FOLDER).with_suffix("") for path in FOLDER.rglob("*.py") if path.stem != "__init__"]
    modules = {".".join(file.parts) for file in files}
    named = [module for layer in LAYERS.values() for module in layer]
    assert sorted(named) == sorted(modules)


@pytest.mark.parametrize("module", LAYERS["control"])
def test_control_reads_the_network_through_views_and_changes_it_through_actions_only(module):
    tree = ast.parse(source_of(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "network":
            assert node.attr in ALLOWED, f"line {node.lineno}: control touches network.{node.attr}"
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wirelesslab.network."):
            layer = layer_of(module_in(node.module))
            assert layer != "physical", f"line {node.lineno}: control imports {node.module}"


@pytest.mark.parametrize("module", [*LAYERS["laws"], *LAYERS["virtual"]])
def test_laws_and_the_virtual_layer_do_not_import_what_is_above_them(module):
    above = {"laws": {"physical", "virtual", "control", "report"}, "virtual": {"control", "report"}}[layer_of(module)]
    tree = ast.parse(source_of(module))
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wirelesslab.network."):
            other = module_in(node.module)
            assert other == "slices" or layer_of(other) not in above, f"line {node.lineno}: imports {other}"
