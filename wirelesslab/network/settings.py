"""What a network is built with, checked at the door; it is also what a snapshot of it begins with."""

from typing import TYPE_CHECKING, Any

from wirelesslab import check
from wirelesslab.network.schedulers import Scheduler, WeightedFair
from wirelesslab.network.slices import Slice, check_slices
from wirelesslab.network.topology import check_graph

if TYPE_CHECKING:
    import networkx as nx


def checked_settings(
    graph: "nx.DiGraph[str]",
    slices: tuple[Slice, ...],
    *,
    scheduler: Scheduler | None,
    seed: int,
    segment_bytes: int,
    report_s: float,
    keep_records: int | None,
    spans: bool,
) -> dict[str, Any]:
    """Return the arguments of a `Network` by name, its usual scheduler if none is given.

    Raises:
        ValueError: Graph or slices do not make a network, or a number makes no sense.
        TypeError: One slice instead of several, or no scheduler.
    """
    check_graph(graph)
    if isinstance(slices, Slice):
        msg = f"slices: got the slice {slices.name}, expected several, such as ({slices.name.upper()},)"
        raise TypeError(msg)
    slices = tuple(slices)
    check_slices(slices)
    if not slices:
        msg = "slices: got none, expected at least one; EMBB, URLLC and MIOT are ready-made"
        raise ValueError(msg)
    check.non_negative_integer(seed=seed)
    check.positive_integer(segment_bytes=segment_bytes)
    check.within(1e-6, 1e12, report_s=report_s)
    if keep_records is not None:
        check.non_negative_integer(keep_records=keep_records)
    if isinstance(scheduler, type):
        msg = f"scheduler: got the class {scheduler.__name__}, expected an instance such as {scheduler.__name__}()"
        raise TypeError(msg)
    if scheduler is not None and not hasattr(scheduler, "pick"):
        msg = f"scheduler: got {scheduler!r}, expected one of links and servers, such as WeightedFair()"
        raise TypeError(msg)
    return {
        "graph": graph, "slices": slices, "scheduler": scheduler or WeightedFair(), "seed": seed,
        "segment_bytes": segment_bytes, "report_s": report_s, "keep_records": keep_records, "spans": spans,
    }  # fmt: skip
