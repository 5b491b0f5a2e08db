"""A whole network in one file: read, checked to the line, built and run.

The words of the file are made from the wing's own classes (see `scenario_parts`): every traffic model,
scheduler, topology, plan and failure is called by its name in snake case.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import ValidationError

from wirelesslab import array_files, results
from wirelesslab.network.access import RadioAccess
from wirelesslab.network.active_set import ActiveSetAccess
from wirelesslab.network.agents.agent import begin
from wirelesslab.network.areas import Disc
from wirelesslab.network.cells import Cells, Demand
from wirelesslab.network.flow_sharing import FlowAccess
from wirelesslab.network.handover import A3
from wirelesslab.network.manhattan import Manhattan
from wirelesslab.network.mobility import Static
from wirelesslab.network.movement import Movement
from wirelesslab.network.radio import LinkBudget
from wirelesslab.network.run import Run, run_of
from wirelesslab.network.saved_runs import FILES
from wirelesslab.network.scenario_models import reasons
from wirelesslab.network.scenario_parts import MOVERS, TOPOLOGIES, json_schema, scenario_model, schema_text
from wirelesslab.network.simulation import Network
from wirelesslab.network.slices import DOMAINS, Slice, check_slices
from wirelesslab.network.slots import SlotAccess, SlotRadio
from wirelesslab.network.trace import Trace
from wirelesslab.network.yaml_lines import Lines, Place, ScenarioError
from wirelesslab.rng import stream

__all__ = [
    "MOVERS", "TOPOLOGIES", "NetworkScenario", "ScenarioError", "Watch", "json_schema", "scenario_model", "schema_text",
]  # fmt: skip

STEPS = 100  # of a run that is watched


class Watch(Protocol):
    """Called while a scenario runs, with how far it has come."""

    def __call__(self, time_s: float, until_s: float, /) -> None:
        """Show it."""
        ...


class NetworkScenario:
    """A scenario file, checked: `build` makes its network, `run` lives it.

    Args:
        lines: The file.

    Raises:
        ScenarioError: Something in it is wrong; the message names line, field and reason of each thing.

    Examples:
        >>> scenario = NetworkScenario.from_text('''
        ... until_s: 1.0
        ... topology: {kind: metro, num_gnbs: 3}
        ... slices: [{name: embb, sst: 1}]
        ... traffic: [{kind: poisson, slice: embb, source: gnb-1, sink: cloud, rate_per_s: 100.0, num_bytes: 1500}]
        ... ''')
        >>> bool(scenario.run().slices["delivered_flows"].sum() > 50)
        True
    """

    def __init__(self, lines: Lines) -> None:
        self._lines, self._wrong = lines, []
        try:
            text = json.dumps(lines.data)
        except (TypeError, ValueError) as error:
            msg = f"{lines.name}: has a value that is neither number, text, list nor mapping: {error}"
            raise ScenarioError(msg) from None
        try:
            self.data: Any = scenario_model().model_validate_json(text)
        except ValidationError as error:
            raise ScenarioError(lines.complaints(reasons(error, scenario_model()))) from None
        self.build()

    _wrong: list[tuple[Place, str]]
    files = (*FILES, "trace.json", "report.html")  # what `run` writes

    @property
    def slices(self) -> tuple[Slice, ...]:
        """The slices of its network."""
        return tuple(part.build() for part in self.data.slices)

    @classmethod
    def load(cls, path: str | Path) -> "NetworkScenario":
        """Read a YAML file."""
        return cls(Lines.of_file(Path(path)))

    @classmethod
    def from_text(cls, text: str, name: str = "scenario") -> "NetworkScenario":
        """Read a YAML text."""
        return cls(Lines(text, name))

    def _try(self, place: Place, make: Callable[[], Any]) -> Any:
        """Return what `make` makes; what it refuses is kept, to be told with everything else that is wrong."""
        try:
            return make()
        except (ValueError, TypeError) as error:
            self._wrong.append((place, str(error)))
            return None

    def _stop_if_wrong(self) -> None:
        if self._wrong:
            wrong, self._wrong = self._wrong, []
            raise ScenarioError(self._lines.complaints(wrong))

    def build(self, *, trace: Trace | None = None) -> Network:
        """Return the network at time 0.

        Raises:
            ScenarioError: Its parts do not fit together.
        """
        data = self.data
        graph = self._try(("topology",), data.topology.build)
        for i, part in enumerate(data.slices):
            for domain in DOMAINS:
                self._try(("slices", i, domain), getattr(part, domain).build)
        self._stop_if_wrong()
        slices = tuple(self._try(("slices", i), part.build) for i, part in enumerate(data.slices))
        self._stop_if_wrong()
        self._try(("slices",), lambda: check_slices(slices))
        self._stop_if_wrong()
        network: Network = self._try(
            (),
            lambda: Network(
                graph, slices, scheduler=None if data.scheduler is None else data.scheduler.build(), seed=data.seed,
                segment_bytes=data.segment_bytes, report_s=data.report_s, keep_records=data.keep_records,
                spans=data.spans, trace=trace,
            ),
        )  # fmt: skip
        self._stop_if_wrong()
        if data.radio is not None:
            self._add_radio(network)
        for i, part in enumerate(data.traffic):
            self._add_traffic(network, part, ("traffic", i))
        for i, part in enumerate(data.failures):
            count = len(self._wrong)
            self._try(("failures", i, "element"), partial(network.check_element, part.element))
            if count == len(self._wrong):
                self._try(("failures", i), partial(_add_built, network, part))
        for i, part in enumerate(data.twins):
            self._try(("twins", i), partial(_add_built, network, part))
        if data.planner is not None:
            self._add_planner(network)
        self._add_agents(network)
        self._stop_if_wrong()
        return network

    def _add_traffic(self, network: Network, part: Any, place: Place) -> None:
        count = len(self._wrong)
        self._try((*place, "slice"), lambda: network.slice_index(part.slice))
        for end in ("source", "sink"):
            self._try((*place, end), partial(network.check_node, getattr(part, end)))
        if count == len(self._wrong):
            self._try(place, partial(_add_built, network, part))

    def _add_planner(self, network: Network) -> None:
        planner, count = self.data.planner.build(), len(network.slices)

        def first_plan() -> None:
            shares = planner.plan.shares(np.zeros((0, count)), 0)
            if shares is not None and len(shares) != count:
                msg = f"got {len(shares)} shares, expected one for each of the {count} slices"
                raise ValueError(msg)

        self._try(("planner", "plan"), first_plan)
        if planner.at:
            self._try(("planner", "at"), lambda: network.check_node(planner.at))
        if not self._wrong:
            self._try(("planner",), lambda: network.seen(planner.sees or ""))
        self._try(("planner",), lambda: network.add(planner))

    def _add_agents(self, network: Network) -> None:
        fits = not self._wrong
        agents = [
            self._try(("agents", i), partial(_add_built, network, part)) for i, part in enumerate(self.data.agents)
        ]
        for i, agent in enumerate(agents):
            if agent is not None and fits:  # what it looks at, and whose floor it keeps, are there
                self._try(("agents", i), partial(begin, network, agent))

    def _add_radio(self, network: Network) -> None:
        radio = self.data.radio
        nodes = tuple(node for node, kind in network.graph.nodes.items() if kind["kind"] == "gnb")
        if not nodes:
            self._wrong.append((("radio",), "the topology has no gNB for a cell to stand at"))
            return
        demands, of_slice, count = [], [], len(self._wrong)
        self._check_bandwidth(radio)
        if radio.fidelity == "active_set" and radio.grant_free is None:
            reason = "is missing; fidelity active_set needs it, such as {contention: {kind: shared_pool}}"
            self._wrong.append((("radio", "grant_free"), reason))
        for i, group in enumerate(radio.users):
            place: Place = ("radio", "users", i)
            index = self._try((*place, "slice"), partial(network.slice_index, group.slice))
            if group.sink:
                self._try((*place, "sink"), partial(network.check_node, group.sink))
            law = self._try((*place, "traffic"), group.traffic.build)
            if len(self._wrong) == count:
                of_slice += [index] * group.count
                demands.append(Demand(slice=group.slice, model=law, sink=group.sink, together=group.together))
        if len(self._wrong) == count:
            self._try(("radio",), lambda: network.add(self._cells(network, nodes, demands, of_slice)))

    def _check_bandwidth(self, radio: Any) -> None:
        """A cell has one bandwidth, said once or twice alike."""
        if radio.slots is not None and radio.fidelity != "slot":
            heard = {"rate"} if radio.fidelity == "flow" else set()
            for name in sorted(radio.slots.model_fields_set - heard):
                instead = "; say it in link_budget" if name == "bandwidth_hz" else ""
                self._wrong.append(
                    (("radio", "slots", name), f"has no meaning under fidelity {radio.fidelity}{instead}")
                )
        elif radio.slots is not None and radio.link_budget is not None:
            slots_hz, budget_hz = radio.slots.bandwidth_hz, radio.link_budget.bandwidth_hz
            both = "bandwidth_hz" in radio.slots.model_fields_set & radio.link_budget.model_fields_set
            if both and slots_hz != budget_hz:
                reason = f"is {slots_hz:g} here and {budget_hz:g} in link_budget, expected the same in both"
                self._wrong.append((("radio", "slots", "bandwidth_hz"), reason))

    def _cells(self, network: Network, nodes: tuple[str, ...], demands: list[Demand], of_slice: list[int]) -> Cells:
        radio, seed = self.data.radio, self.data.seed
        cells_m = np.array([network.graph.nodes[node]["position_m"] for node in nodes])
        mobility = Static() if radio.mobility is None else radio.mobility.build()
        rng, count = stream(seed, "places of users"), len(of_slice)
        home = rng.integers(len(nodes), size=count)
        users_m = cells_m[home] + Disc(radius_m=radio.radius_m).place(rng.random((count, 2)))
        # Who moves within bounds begins within them.
        bounds = mobility if isinstance(mobility, Manhattan) else getattr(mobility, "area", None)
        if bounds is not None:
            users_m = bounds.place(rng.random((count, 2)))
        budget = None if radio.link_budget is None else radio.link_budget.build()
        if radio.slots is not None:
            slots = radio.slots.build()
            if "bandwidth_hz" not in radio.slots.model_fields_set and budget is not None:
                slots = replace(slots, bandwidth_hz=budget.bandwidth_hz)
            budget = replace(budget or LinkBudget(), bandwidth_hz=slots.bandwidth_hz)
        else:
            budget = budget or LinkBudget()
            slots = SlotRadio(bandwidth_hz=budget.bandwidth_hz)
        movement = Movement(
            mobility, budget, users_m, cells_m,
            rule=A3() if radio.handover is None else radio.handover.build(), every_s=radio.measure_every_s,
            load=radio.load, rate=slots.rate if radio.fidelity == "flow" else None, seed=seed,
        )  # fmt: skip
        access = self._access(network, movement, slots, of_slice, len(nodes))
        return Cells(access, nodes, demands, tick_s=radio.tick_s, movement=movement)

    def _access(
        self, network: Network, movement: Movement, slots: SlotRadio, of_slice: list[int], num_cells: int
    ) -> RadioAccess:
        radio, seed = self.data.radio, self.data.seed
        common: dict[str, Any] = {"cells": movement.cells, "slice_of": of_slice, "num_cells": num_cells}
        if radio.fidelity == "flow":
            return FlowAccess(network.slices, rates_bps=movement.mean, **common)
        if radio.fidelity == "slot":
            return SlotAccess(slots, network.slices, mean_snr=movement.mean, seed=seed, **common)
        rules = radio.grant_free
        return ActiveSetAccess(
            network.slices, slot_s=rules.slot_s, contention=rules.contention.build(), rng=stream(seed, "grant-free"),
            back_off_slots=rules.back_off_slots, max_attempts=rules.max_attempts, **common,
        )  # fmt: skip

    def run(
        self,
        folder: str | Path | None = None,
        *,
        trace: bool = False,
        report: bool = False,
        watch: Watch | None = None,
    ) -> Run:
        """Build the network, live it, and save its tables (and its trace) in `folder` if there is one.

        Args:
            folder: Where slices, stations and series (Parquet), actions and flows (JSON lines) and the manifest go.
            trace: Whether to write trace.json there too, for Perfetto: a track for each slice and each actor.
            report: Whether to write report.html there too, for a browser.
            watch: Told how far it is, now and then.

        Raises:
            OSError: The folder cannot be written.
            ValueError: It holds somebody else's files, which would be overwritten.

        When it is interrupted, or fails on the way, what has been computed is saved all the same, and
        ``manifest["stopped"]`` says when and why.
        """
        written, network, until_s = None, None, self.data.until_s
        told = {"name": self.data.name, "until_s": until_s}
        if folder is not None:
            _refuse_foreign(Path(folder), self.files)
            for name in self.files:  # of another run, perhaps of another scenario
                (results.prepare_folder(folder) / name).unlink(missing_ok=True)
            killed = {"seed": self.data.seed, "stopped": "it was killed before it could write its tables"}
            array_files.replace(Path(folder) / "manifest.json", (json.dumps(told | killed) + "\n").encode())
            written = Trace(Path(folder) / "trace.json") if trace else None
        try:
            network = self.build(trace=written)
            for step in range(1, STEPS if watch is not None else 1):
                network.run(until_s * step / STEPS)
                assert watch is not None
                watch(network.now_s, until_s)
            run = network.run(until_s)
            network.check()
        except (Exception, KeyboardInterrupt) as error:
            if network is not None and folder is not None:
                why = "interrupted" if isinstance(error, KeyboardInterrupt) else f"stopped by an error, {error}"
                stopped = {"stopped": f"it was {why}, at {network.now_s:.6g} of {until_s:g} s"}
                _keep(_tell(run_of(network), told | stopped), folder, report)
            raise
        else:
            if watch is not None:
                watch(until_s, until_s)
            _tell(run, told)
            if folder is not None:
                _keep(run, folder, report)
        finally:  # after the tables are kept, for a full disk may refuse the trace's last lines
            if written is not None:
                written.close()
        return run


def _refuse_foreign(folder: Path, files: Iterable[str]) -> None:
    """Refuse a folder of which a simulation would overwrite what no simulation wrote; a damaged manifest is of one."""
    try:
        kept = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        theirs = [name for name in files if (folder / name).exists()]
        if theirs:
            msg = f"out: {str(folder)!r} holds {theirs[0]} but no manifest.json of a simulation, and it would be "
            raise ValueError(msg + "overwritten; choose another folder") from None
        return
    except (OSError, ValueError):
        return
    if not (isinstance(kept, dict) and "seed" in kept and kept.keys() & {"time_s", "stopped"}):
        msg = f"out: {str(folder)!r} holds a manifest.json that no simulation wrote; choose another folder"
        raise ValueError(msg)


def _tell(run: Run, told: dict[str, Any]) -> Run:
    run.manifest.update(told)
    return run


def _keep(run: Run, folder: str | Path, report: bool) -> None:
    run.save(folder)
    if report:
        run.report(Path(folder) / "report.html")


def _add_built(network: Network, part: Any) -> Any:
    return network.add(part.build())
