"""Queues to learn from: mixes of traffic through one link, measured as a twin would measure them."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.packet_sizes import HyperexponentialSize
from wirelesslab.network.schedulers import FirstComeFirstServed
from wirelesslab.network.simulation import Network
from wirelesslab.network.slices import EMBB
from wirelesslab.network.topology import line
from wirelesslab.network.traffic import OnOff, Periodic, Poisson
from wirelesslab.network.twins.predictors import DISPERSION_SERVICES, QUANTILE, Queues
from wirelesslab.rng import stream

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Mixes:
    """A law of queues: uniform within these ranges, all our choice; none of them is Poisson alone.

    Attributes:
        load: Of the slice's part of the link.
        bursts: Part of the load that comes from an on-off source.
        burst_packets: Mean packets in a burst.
        peak: Rate of a burst over the slice's part of the link.
        periodic: Part of the rest that comes at fixed intervals with fixed sizes; what is left is Poisson with
            hyperexponential sizes.
        size_scv: Of those sizes.
        packets: Measured packets of a queue.
    """

    load: tuple[float, float] = (0.3, 0.7)
    bursts: tuple[float, float] = (0.1, 0.6)
    burst_packets: tuple[float, float] = (3.0, 12.0)
    peak: tuple[float, float] = (1.0, 2.0)
    periodic: tuple[float, float] = (0.0, 0.5)
    size_scv: tuple[float, float] = (1.2, 5.0)
    packets: int = 4_000

    def __post_init__(self) -> None:
        check.positive_integer(packets=self.packets)
        check.within(0.01, 0.99, **{f"load[{i}]": bound for i, bound in enumerate(self.load)})
        check.within(0.01, 0.99, **{f"bursts[{i}]": bound for i, bound in enumerate(self.bursts)})


class Study(NamedTuple):
    """Measured queues and their delays, shape (queues, targets)."""

    queues: Queues
    delays_s: Floats


def study(mixes: Mixes, num: int, seed: int) -> Study:
    """Simulate `num` queues and return what was measured of them."""
    rows = [one_queue(mixes, seed, number) for number in range(num)]
    facts, delays = (np.array(part) for part in zip(*rows, strict=True))
    names = ("offered_bps", "capacity_bps", "share", "mean_bytes", "size_scv", "arrival_scv", "dispersion")
    return Study(Queues(**dict(zip(names, facts.T, strict=True))), delays)


def one_queue(mixes: Mixes, seed: int, number: int) -> tuple[list[float], list[float]]:
    """Simulate one queue; return what is known of it, in the order of `Queues`' fields, and its delays."""
    rng = stream(seed, "queue", number)

    def drawn(bounds: tuple[float, float]) -> float:
        return float(rng.uniform(*bounds))

    capacity_bps, share = 10 ** drawn((6.7, 7.7)), drawn((0.2, 1.0))
    rate_bps = capacity_bps * share
    mean_bytes = round(drawn((300, 1500)))
    service_s = 8 * mean_bytes / rate_bps
    load, bursts = drawn(mixes.load), drawn(mixes.bursts)
    periodic = (1 - bursts) * drawn(mixes.periodic)
    # a slice whose part is dedicated and used by nobody else: a link of that rate
    network = Network(
        line(num_links=1, rate_bps=rate_bps, distance_m=1.0), (EMBB,), seed=int(rng.integers(2**31)), spans=False,
        scheduler=FirstComeFirstServed(), segment_bytes=2**40, report_s=1e9, keep_records=None,
    )  # fmt: skip
    way: dict[str, Any] = {"source": "edge-1", "sink": "edge-2"}
    # faster than it is offered on average, or it could never be silent
    peak_bps = max(drawn(mixes.peak), 1.2 * load * bursts) * rate_bps
    on_s = drawn(mixes.burst_packets) * 8 * mean_bytes / peak_bps
    off_s = on_s * (peak_bps / (load * bursts * rate_bps) - 1)
    network.add(OnOff(EMBB, **way, mean_on_s=on_s, mean_off_s=off_s, rate_bps=peak_bps, num_bytes=mean_bytes))
    sizes = HyperexponentialSize(mean=mean_bytes, scv=drawn(mixes.size_scv))
    poisson = load * (1 - bursts - periodic) / service_s
    network.add(Poisson(EMBB, **way, rate_per_s=poisson, num_bytes=sizes))
    if periodic > 0:
        network.add(Periodic(EMBB, **way, period_s=service_s / (load * periodic), num_bytes=mean_bytes))
    warm_s = 0.1 * mixes.packets * service_s / load
    network.run(11 * warm_s)
    kept = [(r.sent_s, r.ended_s, r.flow.num_bytes) for r in network.flow_records if r.sent_s >= warm_s]
    sent_s, ended_s, sizes_bytes = np.array(sorted(kept)).T
    gaps_s = np.diff(sent_s)
    windows = max(round((sent_s[-1] - sent_s[0]) / (DISPERSION_SERVICES * service_s)), 2)
    counts, _ = np.histogram(sent_s, bins=windows)
    inside_s = ended_s - sent_s
    facts = [
        8 * sizes_bytes.sum() / (10 * warm_s), capacity_bps, share, sizes_bytes.mean(),
        sizes_bytes.var() / sizes_bytes.mean() ** 2, gaps_s.var() / gaps_s.mean() ** 2, counts.var() / counts.mean(),
    ]  # fmt: skip
    return [float(fact) for fact in facts], [float(inside_s.mean()), float(np.quantile(inside_s, QUANTILE))]
