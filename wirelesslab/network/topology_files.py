"""Topologies as files: node-link JSON for programs, GraphML for the drawing tools of the field."""

import json
from pathlib import Path
from typing import Any

import networkx as nx

from wirelesslab.network.topology import Graph, check_graph

SUFFIXES = (".json", ".graphml")


def to_node_link(graph: Graph) -> dict[str, Any]:
    """Return a checked topology as node-link data that JSON can hold, in the form of `networkx.node_link_data`."""
    check_graph(graph)
    plain = nx.DiGraph()
    for name, attributes in graph.nodes(data=True):
        plain.add_node(name, **(attributes | {"position_m": [float(x) for x in attributes["position_m"]]}))
    plain.add_edges_from(graph.edges(data=True))
    data: dict[str, Any] = nx.node_link_data(plain, edges="edges")
    return data


def from_node_link(data: dict[str, Any]) -> Graph:
    """Return the topology that `to_node_link` wrote.

    Raises:
        ValueError: The data is no directed topology.
    """
    if not isinstance(data, dict) or not {"nodes", "edges"} <= data.keys() or not data.get("directed", True):
        msg = "topology: got no directed node-link data, expected an object with directed, nodes and edges"
        raise ValueError(msg)
    try:
        graph = nx.node_link_graph(data | {"directed": True, "multigraph": False}, edges="edges")
    except (KeyError, TypeError, nx.NetworkXError) as error:
        msg = f"topology: got a node or edge without its id, source or target ({error}), expected node-link data"
        raise ValueError(msg) from error
    for _, attributes in graph.nodes(data=True):
        if isinstance(attributes.get("position_m"), list):
            attributes["position_m"] = tuple(attributes["position_m"])
    return _checked(graph)


def save_graph(graph: Graph, path: str | Path) -> None:
    """Write a topology; the suffix says as what, ``.json`` (node-link) or ``.graphml``.

    Raises:
        ValueError: Another suffix, or no topology.
    """
    file = _known(path)
    if file.suffix == ".json":
        file.write_text(json.dumps(to_node_link(graph), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        return
    check_graph(graph)
    flat = nx.DiGraph()  # GraphML knows neither pairs nor None
    for name, attributes in graph.nodes(data=True):
        x_m, y_m = attributes["position_m"]
        rest = {key: value for key, value in attributes.items() if key != "position_m"}
        flat.add_node(name, x_m=float(x_m), y_m=float(y_m), **rest)
    for tail, head, attributes in graph.edges(data=True):
        flat.add_edge(tail, head, **{key: value for key, value in attributes.items() if value is not None})
    nx.write_graphml_xml(flat, file)


def load_graph(path: str | Path) -> Graph:
    """Read a topology that `save_graph` wrote, or another tool in the same form, and check it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another suffix, or a file that holds no topology.
    """
    file = _known(path)
    if not file.is_file():
        msg = f"topology: no file {str(path)!r}"
        raise FileNotFoundError(msg)
    if file.suffix == ".json":
        try:
            return from_node_link(json.loads(file.read_text(encoding="utf-8")))
        except json.JSONDecodeError as error:
            msg = f"topology: {file.name} holds no JSON ({error})"
            raise ValueError(msg) from error
    try:
        graph = nx.read_graphml(file)
    except (SyntaxError, nx.NetworkXError) as error:  # the XML parser's own error is a SyntaxError
        msg = f"topology: {file.name} holds no GraphML ({error})"
        raise ValueError(msg) from error
    if graph.is_directed():
        for _, attributes in graph.nodes(data=True):
            if "x_m" in attributes and "y_m" in attributes:
                attributes["position_m"] = (attributes.pop("x_m"), attributes.pop("y_m"))
        for *_, attributes in graph.edges(data=True):
            attributes.pop("id", None)  # which some tools write
    return _checked(graph)


def _checked(graph: Graph) -> Graph:
    for *_, attributes in graph.edges(data=True) if graph.is_directed() else ():
        attributes.setdefault("buffer_bytes", None)
    check_graph(graph)
    return graph


def _known(path: str | Path) -> Path:
    file = Path(path)
    if file.suffix not in SUFFIXES:
        msg = f"path: got {str(path)!r}, expected a name that ends in {' or '.join(SUFFIXES)}"
        raise ValueError(msg)
    return file
