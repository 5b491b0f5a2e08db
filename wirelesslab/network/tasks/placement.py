"""Placement: which node hosts the service that has just come, if any does.

rules: `placement_rules.nearest_feasible`, `.least_loaded`, `.best_fit`, `.RandomFeasible`, `.KeepsRoom`
"""

from collections.abc import Mapping
from hashlib import sha256
from heapq import heappop, heappush
from math import floor
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.tasks.placement_services import PlacementConfig, Ways, placement_metro
from wirelesslab.network.tasks.task import SOURCES, Source, begun, checked_choice, same_setting, seed_of
from wirelesslab.network.topology import KINDS, Graph
from wirelesslab.rng import stream

Observation = dict[str, NDArray[Any]]
MOST_RATE, MOST_S, MOST_VALUE = 1e18, 1e6, 1e6  # bounds of what is shown: operations/s and bits/s, seconds, values
SERVICE_MOST = (MOST_RATE, MOST_RATE, MOST_S, MOST_VALUE, MOST_S)
MEANING = "the number of a host, or the last number to refuse"


class Placement(gymnasium.Env[Observation, int]):
    """Place services on the nodes of a network as they come.

    Services come to gNBs as a Poisson stream; each wants its kind's operations per second at one host and bits per
    second on every link of the shortest way there, keeps both for an exponential life, and bounds its mean delay.

    State: what is free at every host and on every link (whole operations/s and bits/s), what is hosted and until
    when, and the service at the door: its gNB, its shares, bound, value and mean life.

    Action: the number of the host (in the order of `hosts`), or ``len(hosts)`` to refuse. A host is masked where
    operations or a link of the way lack room, or where the delay bound would not hold. A masked host is refused
    by the network, not an error: the service is not hosted, and the cost "infeasible" is 1.

    Transition: what was hosted is booked; time goes to the next arrival; what ended meanwhile is given back. What
    comes, and how long it would live, does not depend on actions.

    Reward, parts in ``info["reward"]``: "value" of a service that is hosted, paid once; "delay", the price of its mean
    delay over its bound, negative; "refusal", negative. Cost, apart: "infeasible", none under the mask.

    Horizon: `config.horizon` services, then truncated; nothing ever terminates. Discount hint: 0.98 a service.

    Observation, a dict of boxes of float32 unless said otherwise; rates in operations/s and bits/s up to 1e18, times
    in seconds up to 1e6:

    * "nodes" (nodes, 4): kind (place in `topology.KINDS`), operations/s in all, free, and 1 at the service's gNB;
    * "links" (links, 3): bits/s in all, free, propagation s; "link_ends" (links, 2), int64: their nodes;
    * "hosts" (hosts,), int64: their nodes;
    * "ways" (hosts, 3): mean delay if hosted there (s; 1e6 where there is no way), links, least free bits/s on the way;
    * "service" (5,): its operations/s, bits/s, delay bound s, value, mean life s;
    * "age" (1,): how old the free rates are, s; "action_mask" (hosts + 1,), int8.

    `placement_rows.rows` makes of it one row for each action, whatever the topology.

    Args:
        config: What comes; `PlacementConfig()` when None.
        graph: The topology; `placement_metro()` when None.
        source: Where free rates are seen: as they are ("physical", and "fresh", a twin that is told of every change at
            once), as a twin was told last ("aged"), or not at all ("none": all is shown as free). The mask is
            always the truth: the network refuses what does not fit.
        sync_s: Between two times that an aged twin is told.

    Raises:
        ValueError: A number makes no sense.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's form)

    def __init__(
        self, config: PlacementConfig | None = None, graph: Graph | None = None, *, source: Source = "physical",
        sync_s: float = 10.0, render_mode: str | None = None,
    ) -> None:  # fmt: skip
        check.one_of(SOURCES, source=source)
        check.positive(sync_s=sync_s)
        self.config, self.source, self.sync_s, self.render_mode = (
            config or PlacementConfig(),
            source,
            sync_s,
            render_mode,
        )
        self.ways = ways = Ways(placement_metro() if graph is None else graph, self.config)
        self.hosts = ways.hosts
        self._refuse = len(ways.hosts)
        place = {node: i for i, node in enumerate(ways.nodes)}
        self._host_nodes = np.array([place[host] for host in ways.hosts], np.int64)
        self._gnb_nodes = np.array([place[gnb] for gnb in ways.gnbs], np.int64)
        self._ends = np.array([[place[a], place[b]] for a, b in ways.links], np.int64).reshape(-1, 2)
        self._nodes = np.zeros((len(ways.nodes), 4), np.float32)
        self._nodes[:, 0] = [KINDS.index(ways.graph.nodes[node]["kind"]) for node in ways.nodes]
        self._nodes[self._host_nodes, 1] = ways.room_operations_per_s
        self._links = np.zeros((len(ways.links), 3), np.float32)
        self._links[:, 0] = ways.room_bps
        self._links[:, 2] = [ways.graph.edges[link]["delay_s"] for link in ways.links]
        self._delays = np.minimum(ways.delay_s, MOST_S).astype(np.float32)
        bounds_s = np.array([kind.delay_bound_s for kind in self.config.kinds])
        self._in_time = ways.delay_s <= bounds_s[:, None]  # (gNBs, kinds, hosts)
        self._service = np.array(
            [
                [ops, bps, kind.delay_bound_s, kind.value, kind.mean_life_s]
                for kind, ops, bps in zip(self.config.kinds, ways.operations_per_s, ways.bps, strict=True)
            ],
            np.float32,
        )
        self._unused = np.where(ways.uses, 0, np.iinfo(np.int64).max)  # (gNBs, hosts, links)
        self.action_space = Discrete(self._refuse + 1)  # type: ignore[assignment]
        self.observation_space = self._space()  # type: ignore[assignment]
        self._drawn: dict[str, NDArray[Any]] = {}
        topology = f"{list(ways.graph.nodes(data=True))}, {list(ways.graph.edges(data=True))}"
        self._of = {
            "config": repr(self.config), "source": f"{source}, told every {sync_s:g} s" if source == "aged" else source,
            "topology": f"of {len(ways.nodes)} nodes ({sha256(topology.encode()).hexdigest()[:12]})",
        }  # fmt: skip

    def _space(self) -> "Dict[Any]":
        def box(*highs: float, rows: int) -> Box:
            high = np.tile(np.array(highs, np.float32), (rows, 1))
            return Box(np.zeros_like(high), high, dtype=np.float32)

        nodes, links, hosts = len(self.ways.nodes), len(self.ways.links), len(self.hosts)
        return Dict({
            "nodes": box(len(KINDS) - 1, MOST_RATE, MOST_RATE, 1, rows=nodes),
            "links": box(MOST_RATE, MOST_RATE, MOST_S, rows=links),
            "link_ends": Box(0, nodes - 1, (links, 2), np.int64),
            "hosts": Box(0, nodes - 1, (hosts,), np.int64),
            "ways": box(MOST_S, len(self.ways.links), MOST_RATE, rows=hosts),
            "service": Box(0, np.array(SERVICE_MOST, np.float32), dtype=np.float32),
            "age": Box(0, MOST_S, (1,), np.float32),
            "action_mask": Box(0, 1, (hosts + 1,), np.int8),
        })  # fmt: skip

    # --- an episode --------------------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin with an empty network and the first service at the door; the seed draws all that comes."""
        super().reset(seed=seed, options=options)
        self._drawn = self._draw(seed_of(self, seed))
        self._position, self.now_s = 0, float(self._drawn["arrival_s"][0])
        self.free_operations_per_s = self.ways.room_operations_per_s.copy()
        self.free_bps = self.ways.room_bps.copy()
        self.hosted: list[tuple[float, int, int, int, int]] = []  # heap of (end, number, gNB, kind, host)
        self._told_s = floor(self.now_s / self.sync_s) * self.sync_s
        self._told = (self.free_operations_per_s.copy(), self.free_bps.copy())
        self._tell()
        return self._observe(), self._info()

    def _draw(self, seed: int) -> dict[str, NDArray[Any]]:
        """Draw all services of an episode, and the one after it."""
        num, kinds = self.config.horizon + 1, self.config.kinds
        gaps = stream(seed, "placement", "gaps").exponential(1 / self.config.arrivals_per_s, num)
        kind = stream(seed, "placement", "kinds").choice(len(kinds), num, p=self.config.kind_probs)
        means = np.array([k.mean_life_s for k in kinds])
        return {
            "arrival_s": np.cumsum(gaps),
            "kind": kind,
            "gnb": stream(seed, "placement", "gNBs").integers(len(self.ways.gnbs), size=num),
            "life_s": stream(seed, "placement", "lives").exponential(1.0, num) * means[kind],
        }

    @property
    def service(self) -> tuple[int, int]:
        """The service at the door: its gNB and its kind, by number."""
        return int(self._drawn["gnb"][self._position]), int(self._drawn["kind"][self._position])

    @property
    def services(self) -> Mapping[str, NDArray[Any]]:
        """All that come in this episode: "arrival_s", "kind", "gnb", "life_s", each of shape (horizon + 1,)."""
        return dict(self._drawn)

    def mask(self) -> NDArray[np.int8]:
        """Return 1 for each action that is possible now, shape (hosts + 1,); refusing always is."""
        gnb, kind = self.service
        mask = np.ones(self._refuse + 1, np.int8)
        mask[:-1] = (
            self._in_time[gnb, kind]
            & (self.free_operations_per_s >= self.ways.operations_per_s[kind])
            & (self._least_free(self.free_bps, gnb) >= self.ways.bps[kind])
        )
        return mask

    def _least_free(self, free_bps: NDArray[np.int64], gnb: int) -> NDArray[np.int64]:
        """Return the least free bits/s on the way to each host, shape (hosts,)."""
        return np.asarray(np.maximum(free_bps, self._unused[gnb]).min(axis=1, initial=np.iinfo(np.int64).max))

    def step(self, action: int) -> tuple[Observation, SupportsFloat, bool, bool, dict[str, Any]]:
        """Host or refuse the service at the door; see the class.

        Raises:
            ValueError: The action is none of the numbers; nothing has happened.
            RuntimeError: Before the first reset, or after the last service of an episode.
        """
        if not self._drawn or self._position >= self.config.horizon:
            msg = "step: got one outside an episode; call reset(seed=...) first"
            raise RuntimeError(msg)
        host = checked_choice(action, self._refuse + 1, MEANING)
        gnb, kind = self.service
        fits = bool(self._mask[host])
        parts = {"value": 0.0, "delay": 0.0, "refusal": 0.0}
        if host < self._refuse and fits:
            self._host(gnb, kind, host)
            what = self.config.kinds[kind]
            parts["value"] = what.value
            parts["delay"] = -self.config.delay_price * float(self.ways.delay_s[gnb, kind, host]) / what.delay_bound_s
        else:
            parts["refusal"] = -self.config.refusal_price
        self._position += 1
        self._advance(float(self._drawn["arrival_s"][self._position]))
        observation, info = self._observe(), self._info()
        info["reward"], info["cost"] = parts, {"infeasible": 0.0 if fits else 1.0}
        reward = parts["value"] + parts["delay"] + parts["refusal"]
        return observation, reward, False, self._position >= self.config.horizon, info

    # --- the books ---------------------------------------------------------------------------------------------

    def _host(self, gnb: int, kind: int, host: int) -> None:
        self._book(gnb, kind, host, -1)
        end_s = self.now_s + float(self._drawn["life_s"][self._position])
        heappush(self.hosted, (end_s, self._position, gnb, kind, host))

    def _book(self, gnb: int, kind: int, host: int, sign: int) -> None:
        self.free_operations_per_s[host] += sign * self.ways.operations_per_s[kind]
        self.free_bps[self.ways.on_way[gnb][host]] += sign * self.ways.bps[kind]

    def _advance(self, until_s: float) -> None:
        """Let time go on: what ends is given back, and the twin is told at whole multiples of `sync_s`."""
        sync_s = floor(until_s / self.sync_s) * self.sync_s
        if sync_s > self._told_s:
            self._end(sync_s)
            self._told_s, self._told = sync_s, (self.free_operations_per_s.copy(), self.free_bps.copy())
        self._end(until_s)
        self.now_s = until_s
        self._tell()

    def _tell(self) -> None:
        if self.source != "aged":
            self._told_s = self.now_s
        self._mask = self.mask()

    def _end(self, until_s: float) -> None:
        while self.hosted and self.hosted[0][0] <= until_s:
            _, _, gnb, kind, host = heappop(self.hosted)
            self._book(gnb, kind, host, 1)

    # --- what is seen, and written down ------------------------------------------------------------------------

    def _seen(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self.source == "none":
            return self.ways.room_operations_per_s, self.ways.room_bps
        return self._told if self.source == "aged" else (self.free_operations_per_s, self.free_bps)

    def _observe(self) -> Observation:
        gnb, kind = self.service
        operations_per_s, bps = self._seen()
        nodes, links = self._nodes.copy(), self._links.copy()
        nodes[self._host_nodes, 2] = operations_per_s
        nodes[self._gnb_nodes[gnb], 3] = 1.0
        links[:, 1] = bps
        ways = np.empty((len(self.hosts), 3), np.float32)
        ways[:, 0] = self._delays[gnb, kind]
        ways[:, 1] = np.maximum(self.ways.hops[gnb], 0)
        ways[:, 2] = np.minimum(self._least_free(bps, gnb), MOST_RATE)
        return {
            "nodes": nodes,
            "links": links,
            "link_ends": self._ends.copy(),
            "hosts": self._host_nodes.copy(),
            "ways": ways,
            "service": self._service[kind].copy(),
            "age": np.array([min(self.now_s - self._told_s, MOST_S)], np.float32),
            "action_mask": self._mask.copy(),
        }

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self._mask.copy(), "time_s": self.now_s, "hosted": len(self.hosted)}

    def snapshot(self) -> dict[str, Any]:
        """See `task.Recorded`."""
        return {
            "of": dict(self._of), "drawn": {name: values.copy() for name, values in begun(self._drawn or None).items()},
            "position": self._position, "now_s": self.now_s, "hosted": list(self.hosted),
            "free_operations_per_s": self.free_operations_per_s.copy(), "free_bps": self.free_bps.copy(),
            "told_s": self._told_s, "told": tuple(values.copy() for values in self._told),
            "generator": self.np_random.bit_generator.state,
        }  # fmt: skip

    def restore(self, snapshot: Mapping[str, Any], /) -> None:
        """See `task.Recorded`.

        Raises:
            ValueError: It is of another topology, config or source.
        """
        same_setting(snapshot, self._of)
        self._drawn = {name: values.copy() for name, values in snapshot["drawn"].items()}
        self._position, self.now_s = int(snapshot["position"]), float(snapshot["now_s"])
        self.hosted = list(snapshot["hosted"])
        self.free_operations_per_s = snapshot["free_operations_per_s"].copy()
        self.free_bps = snapshot["free_bps"].copy()
        self._told_s = float(snapshot["told_s"])
        first, second = snapshot["told"]
        self._told = (first.copy(), second.copy())
        self.np_random.bit_generator.state = snapshot["generator"]
        self._mask = self.mask()
