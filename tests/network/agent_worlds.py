"""Networks, twins and policies that tests of agents share."""

from copy import deepcopy
from dataclasses import dataclass, field, replace

import networkx as nx
import numpy as np

from wirelesslab.network import (
    EMBB,
    URLLC,
    Agent,
    Diurnal,
    ExponentialSize,
    Network,
    ResourceRatio,
    ServiceLevel,
    SetRatios,
)
from wirelesslab.network.topology import add_link, add_node

TWO = tuple(replace(s, level=ServiceLevel(delay_s=0.1), weight=1.0) for s in (EMBB, URLLC))
LINK = "edge-1->core"
CORE_S, CLOUD_S = 0.05, 0.15  # one way from the edge to the core, and from there to the cloud: far apart, to be seen


class Mirror:
    """A twin that shows the network as it was `delay_s` ago, to everybody but whom it refuses."""

    def __init__(self, name="mirror", *, at="edge-1", delay_s=0.0, period_s=0.1, refuses=()):
        self.name, self.at, self.delay_s, self.period_s, self.refuses = name, at, delay_s, period_s, refuses
        self.views = []

    def join(self, network):
        self.network = network
        self.sample()

    def sample(self):
        self.views.append(self.network.view())
        self.views = self.views[self.shown() :]
        self.network.agenda.after(self.period_s, self.sample)

    def shown(self):
        """Return the place of the latest view that is old enough; the first one until one is."""
        old = [view.time_s <= self.network.now_s - self.delay_s + 1e-9 for view in self.views]
        return max(sum(old) - 1, 0)

    def view(self, before=None, *, by=""):
        if by in self.refuses:
            msg = f"{self.name}: {by} may not look"
            raise PermissionError(msg)
        if not self.delay_s:
            return self.network.view(before)
        shown = self.views[self.shown()]
        age_s = self.network.now_s - shown.time_s
        return replace(shown, ages_s={"slices": age_s}, before=None if before is None else replace(before, before=None))

    def state(self):
        return {"views": self.views}

    def restored(self, network, state):
        fresh = Mirror(self.name, at=self.at, delay_s=self.delay_s, period_s=self.period_s, refuses=self.refuses)
        fresh.network, fresh.views = network, deepcopy(state["views"])
        return fresh


def tree(link_bps=10e6):
    """A gNB, an edge, a core and a cloud in a row, far apart."""
    graph = nx.DiGraph()
    for name, kind in (("gnb-1", "gnb"), ("edge-1", "edge"), ("core", "core"), ("cloud", "cloud")):
        add_node(graph, name, kind, (0.0, 0.0))
    add_link(graph, "gnb-1", "edge-1", rate_bps=1e9, delay_s=0.0)
    add_link(graph, "edge-1", "core", rate_bps=link_bps, delay_s=CORE_S)
    add_link(graph, "core", "cloud", rate_bps=1e9, delay_s=CLOUD_S)
    return graph


def two_slices(seed=1, **options):
    return Network(tree(), TWO, seed=seed, segment_bytes=10**9, **options)


def swinging(seed=1, *, period_s=4.0, high=0.7, low=0.1, **options):
    """Two slices on a link of 10 Mb/s whose loads swap every half period; a mean packet takes 5 ms."""
    network = two_slices(seed, **options)
    per_load = 10e6 / (8 * 6250)
    for s, loads in zip(TWO, ((high, low), (low, high)), strict=True):
        network.add(Diurnal(
            s, source="edge-1", sink="core", period_s=period_s, num_bytes=ExponentialSize(6250.0),
            rates_per_s=tuple(per_load * load for load in loads),
        ))  # fmt: skip
    return network


def late_share(network, until_s):
    """Share of packets later than promised, of both slices."""
    network.run(until_s)
    slices = network.view().slices.values()
    bad = sum(s.late_flows + s.overdue_flows for s in slices)
    return bad / sum(s.delivered_flows + s.overdue_flows for s in slices)


def mind_of(network, agent):
    return network.record(network.name_of(agent), lambda: None)


def ratio_of(share):
    return ResourceRatio(min=share)


def halves(share=0.5, **options):
    ratios = {"embb": ratio_of(share), "urllc": ratio_of(1 - share)}
    return SetRatios(domain="transport", ratios=ratios, **options)


@dataclass
class Always:
    """Wishes the same every time, and counts how often it was asked."""

    wish: object = field(default_factory=halves)
    asked: int = 0

    def act(self, view):
        del view
        self.asked += 1
        return self.wish


@dataclass
class Explorer:
    """Tries shares at random: a policy with a memory and randomness of its own."""

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))
    tried: list = field(default_factory=list)

    def act(self, view):
        share = round(float(self.rng.uniform(0.1, 0.9)), 3)
        self.tried.append((view.time_s, share))
        return halves(share)


def always(wish, **options):
    return Agent(Always(wish), **options)
