"""What delay a twin foresees for a slice on a link: a predictor, asked with the twin's own aged record.

`what_if` rehearses whole futures; this is one number in a millisecond, by a formula, by data, or by both (see
`predictors`). Nothing is read but what the twin has heard.

Our choices, where a twin does not know: a slice's part of a link is what the shares in force leave it while the
others take what they offer; times between arrivals are not told, so that their variation is taken to be that of
counts in windows, which is the same number for renewals in long windows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.routing import Routes
from wirelesslab.network.shares import reserved_shares
from wirelesslab.network.twins.clones import Known, expected_rates
from wirelesslab.network.twins.forecasts import Forecaster
from wirelesslab.network.twins.infrastructure import DigitalTwin
from wirelesslab.network.twins.predictors import Predictor, Queues

FEWEST_WINDOWS = 20  # from which a dispersion is estimated; before, arrivals are taken to be Poisson


@dataclass(frozen=True, kw_only=True)
class ForeseenDelay:
    """What a twin foresees.

    Attributes:
        mean_delay_s: Mean time that a flow waits for the link and is on it; inf if the slice offers too much.
        p99_delay_s: Its 99 % quantile.
        ages_s: How old what it rests on is, by attribute.
        queue: What the predictor was told.
    """

    mean_delay_s: float
    p99_delay_s: float
    ages_s: Mapping[str, float]
    queue: Queues = field(repr=False, compare=False)


def foreseen_delay(
    twin: DigitalTwin, predictor: Predictor, slice_name: str, link: str, *, by: str = ""
) -> ForeseenDelay:
    """Return what a twin foresees for the flows of a slice on a link, in its forecaster's next window.

    Args:
        twin: A twin of the whole network. If its predictor has learned from dispersions, its `window_s` should be
            about `DISPERSION_SERVICES` mean services, as in training.
        predictor: It, fitted if it learns.
        slice_name: Name of the slice.
        link: "a->b".
        by: Who asks.

    Raises:
        AccessRefusedError: `by` may not read all that the twin knows; that is logged.
        ValueError: There is no such slice or link, nothing is known to pass there, or the twin has not heard of all.

    Examples:
        >>> from wirelesslab.network import EMBB, ExponentialSize, Network, Poisson, line
        >>> from wirelesslab.network.twins.predictors import ModelDriven
        >>> network = Network(line(num_links=1, rate_bps=8e6), (EMBB,))
        >>> size = ExponentialSize(1000.0)
        >>> _ = network.add(Poisson("embb", source="edge-1", sink="edge-2", rate_per_s=500.0, num_bytes=size))
        >>> twin = network.add(DigitalTwin(period_s=10.0, window_s=10.0))
        >>> _ = network.run(until_s=21.0)
        >>> foreseen = foreseen_delay(twin, ModelDriven(), "embb", "edge-1->edge-2")  # M/M/1: 2 ms
        >>> round(foreseen.mean_delay_s, 3), foreseen.ages_s["traffic"]
        (0.002, 1.0)
    """
    known = twin.known(by=by)
    queue = queue_of(known, twin.forecaster, slice_name, link)
    mean_s, p99_s = predictor.predict(queue)[0].tolist()
    return ForeseenDelay(mean_delay_s=mean_s, p99_delay_s=p99_s, ages_s=known.ages_s, queue=queue)


def queue_of(known: Known, forecaster: Forecaster, slice_name: str, link: str) -> Queues:
    """Return one queue as predictors want it, out of what a twin knows.

    Raises:
        ValueError: There is no such slice or link, or nothing of the slice is known to pass there.
    """
    names = [s.name for s in known.slices]
    check.one_of(names, slice_name=slice_name)
    check.one_of([f"{a}->{b}" for a, b in known.graph.edges], link=link)
    own, offered = names.index(slice_name), known.offered
    a, b = link.split("->")
    passing, capacity_bps = _passing(known, (a, b)), float(known.graph.edges[a, b]["rate_bps"])
    rates = expected_rates(known, forecaster, known.window_s)[1][-1]
    slice_of = np.array([index for index, _, _ in offered.series], int)
    mine = np.flatnonzero(passing & (slice_of == own) & (rates > 0))
    if not mine.size:
        msg = f"link: nothing of {slice_name} is known to pass {link}, expected a link on the way of its traffic"
        raise ValueError(msg)
    offered_bps = np.bincount(slice_of[passing], (8 * rates * offered.mean_bytes)[passing], len(names))
    weights = rates[mine] / rates[mine].sum()
    mean_bytes, square = float(weights @ offered.mean_bytes[mine]), float(weights @ offered.second_moment[mine])
    dispersion = dispersion_of(offered.flows_per_s[:, mine].sum(axis=1) * known.window_s)
    return Queues(
        offered_bps=[offered_bps[own]], capacity_bps=[capacity_bps],
        share=[_share(known, link, own, np.minimum(offered_bps / capacity_bps, 1.0))], mean_bytes=[mean_bytes],
        size_scv=[max(square / mean_bytes**2 - 1, 0.0)], arrival_scv=[dispersion], dispersion=[dispersion],
    )  # fmt: skip


def dispersion_of(counts: NDArray[np.float64]) -> float:
    """Return variance over mean of counts of arrivals, shape (windows,); 1, as of Poisson, if they are too few."""
    if counts.size < FEWEST_WINDOWS or not counts.mean() > 0:
        return 1.0
    return float(counts.var(ddof=1) / counts.mean())


def _passing(known: Known, link: tuple[str, str]) -> NDArray[np.bool_]:
    """Return which series pass a link, by the routes over what is known to be in service, shape (series,)."""
    down = frozenset(known.down)
    links = frozenset((a, b) for a, b in known.graph.edges if f"{a}->{b}" in down)
    routes = Routes(known.graph, frozenset(node for node in known.graph if node in down), links)
    ways = [routes.path(source, sink) or () for _, source, sink in known.offered.series]
    return np.array([link in set(pairwise(way)) for way in ways], bool)


def _share(known: Known, link: str, own: int, loads: NDArray[np.float64]) -> float:
    """Return a slice's part of a link while the others take what they offer, as parts of the link."""
    usual = tuple(known.ratios["transport"][s.name] for s in known.slices)
    ratios = [(r.dedicated, r.min, r.max) for r in known.ratios_of_stations.get(link, usual)]
    loads[own] = 1.0
    shares = reserved_shares(loads, ratios, weights=[s.weight for s in known.slices])
    return float(max(shares[own], 1e-9))  # a slice that nothing is left to waits for ever, by any predictor
