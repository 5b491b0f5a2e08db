"""What does each detector cost, in complex multiplications and in time, as devices and antennas grow?

wirelesslab run complexity          (some 5 minutes on one core; --quick: 20 seconds)

Expect: per frame and at 100 devices, the matched filter and LMMSE cost least, AMP and MAMPNet twice to thrice as much
as LMMSE, covariance matching pursuit and OAMP 1.7 times what AMP costs, OMP 2.6 times, coordinate descent six times and
the Gibbs sampler seventy times. At a fixed load, pilots grow with the devices: products with pilots with the square of
N, all that inverts covariances with the cube, so the covariance method falls behind as cells grow (24 times AMP's time
at 400 devices), and MAMPNet's passes too (3 times); but its time hardly grows with the antennas, while that of message
passing grows with M. Measured exponents are below the formulas': small products leave the machine idle.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab import check
from wirelesslab.mmtc import Scenario, simulate
from wirelesslab.mmtc.complexity import Shape, multiplications
from wirelesslab.mmtc.detection import Detector
from wirelesslab.mmtc.detectors import DETECTORS, MAMPNet, named
from wirelesslab.naming import slug
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import Mean, mean
from wirelesslab.rng import stream
from wirelesslab.session import Session, Table
from wirelesslab.threads import one_thread

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

SWEEPS = {"num_devices": "devices N, pilots grow along", "num_antennas": "antennas M"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """The cells that are timed.

    Attributes:
        num_devices: N of the cells of the first sweep.
        num_antennas: M of the cells of the second.
        detectors: Names of detectors; an unknown one lists them all.
        bits_per_device: Bits embedded in the choice of pilot.
        symbols_per_device: L/N, the same in all cells.
        devices: N of the second sweep.
        antennas: M of the first sweep.
        activity_prob: Probability that a device speaks in a frame.
        snr_db: Received, per pilot symbol and antenna.
        frames: Frames that are detected at once.
        turn_s: Seconds of each detector's turn at least; a turn is at least two detections.
        replicas: Rounds of turns, each with pilots and frames of its own.
    """

    num_devices: tuple[int, ...] = (25, 50, 100, 200, 400)
    num_antennas: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    detectors: tuple[str, ...] = tuple(slug(d.name) for d in DETECTORS)
    bits_per_device: int = 2
    symbols_per_device: float = 0.3
    devices: int = 100
    antennas: int = 4
    activity_prob: float = 0.1
    snr_db: float = 0.0
    frames: int = 16
    turn_s: float = 0.05
    replicas: int = 5

    def __post_init__(self) -> None:
        check.positive_integer(
            devices=self.devices, antennas=self.antennas, frames=self.frames, replicas=self.replicas,
        )  # fmt: skip
        check.positive(symbols_per_device=self.symbols_per_device, turn_s=self.turn_s)
        named(self.detectors)

    def scenario(self, **sizes: int) -> Scenario:
        """Return the cell of these sizes."""
        size = {"num_devices": self.devices, "num_antennas": self.antennas} | sizes
        length = max(1, round(self.symbols_per_device * size["num_devices"]))
        return Scenario(
            **size, bits_per_device=self.bits_per_device, pilot_length=length, activity_prob=self.activity_prob,
            snr_db=self.snr_db,
        )  # fmt: skip


QUICK: Mapping[str, Any] = {
    "num_devices": (25, 50, 100), "num_antennas": (1, 4, 16), "frames": 4, "turn_s": 0.001, "replicas": 3,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """One cell and who is timed in it.

    Attributes:
        scenario: The cell.
        detectors: Names.
        frames: Frames that are detected at once.
        turn_s: Seconds of a turn at least.
    """

    scenario: Scenario = field(default_factory=Scenario)
    detectors: tuple[str, ...] = ()
    frames: int = 16
    turn_s: float = 0.05


def timed(case: Case, seed: int) -> Mapping[str, list[float]]:
    """Return the median milliseconds per frame of each detector, one after the other on the same frames, one thread."""
    observation, _ = simulate(case.scenario, stream(seed, "complexity"), num_frames=case.frames)
    with one_thread():
        return {"ms": [1e3 * _seconds(d, observation, case.turn_s) / case.frames for d in quiet(case.detectors)]}


def _seconds(detector: Detector, observation: Any, turn_s: float) -> float:
    """Median seconds of a detection; the first is thrown away: it compiles, and warms the caches."""
    detector.detect(observation)
    taken: list[float] = []
    while len(taken) < 2 or sum(taken) < turn_s:
        start = time.perf_counter()
        detector.detect(observation)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


def quiet(names: tuple[str, ...]) -> list[Detector]:
    """Return the detectors; MAMPNet's do not warn outside of what they were trained for, which costs the same."""
    return [MAMPNet(d.weights, d.label, d.engine, quiet=True) if isinstance(d, MAMPNet) else d for d in named(names)]


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Time every detector in every cell, in one process.

    Returns:
        By sweep, over its sizes, detectors and replicas, "ms devices" and "ms antennas", milliseconds per frame; and
        without replicas "multiplications devices" and "multiplications antennas", millions of them per frame.
    """
    import xarray as xr

    session = session or Session()
    # Two processes would take caches and memory from each other: what is timed is one.
    alone = Session(session.seed, session.out, 1, quick=session.quick, quiet=session.quiet)
    found = []
    detectors = quiet(config.detectors)
    for sweep in SWEEPS:
        short, sizes = sweep.removeprefix("num_"), getattr(config, sweep)
        cells = {str(size): config.scenario(**{sweep: size}) for size in sizes}
        cases = {
            size: Case(scenario=cell, detectors=config.detectors, frames=config.frames, turn_s=config.turn_s)
            for size, cell in cells.items()
        }
        run = alone.replicate(timed, cases, config.replicas, name=short)
        listed = next(str(dim) for dim in run["ms"].dims if dim not in ("experiment", "replica"))
        run = run.rename({"experiment": short, listed: "detector", "ms": f"ms {short}"})
        counts = [[multiplications(d, shape_of(cell)) / 1e6 for d in detectors] for cell in cells.values()]
        run[f"multiplications {short}"] = ((short, "detector"), np.array(counts))
        found.append(run.assign_coords({short: list(sizes), "detector": [d.name for d in detectors]}))
    return xr.merge(found, combine_attrs="drop_conflicts").assign_attrs(found[-1].attrs)


def shape_of(cell: Scenario) -> Shape:
    """Return the size of a detection in that cell."""
    return Shape(
        num_devices=cell.num_devices, columns_per_device=cell.pilots_per_device, pilot_length=cell.pilot_length,
        num_antennas=cell.num_antennas, activity_prob=cell.activity_prob,
    )  # fmt: skip


def times(result: "xr.Dataset", short: str, size: int, detector: str) -> Mean:
    """Return the milliseconds per frame in one cell: a geometric mean of rounds with its interval."""
    logs = mean(np.log(np.asarray(result[f"ms {short}"].sel({short: size, "detector": detector}))))
    return Mean(*(float(np.exp(end)) for end in logs[:3]), logs.replicas)


def growth(result: "xr.Dataset", name: str, short: str, detector: str) -> float:
    """Return the exponent with which a cost grew over the larger half of the sizes."""
    costs = result[f"{name} {short}"].sel(detector=detector)
    costs = costs.median("replica") if "replica" in costs.dims else costs
    sizes = np.asarray(result[short], float)
    half = min(len(sizes) // 2, len(sizes) - 2) if len(sizes) > 1 else 0
    if len(sizes) < 2:
        return float("nan")
    return float(np.polyfit(np.log(sizes[half:]), np.log(np.asarray(costs.transpose(short)))[half:], 1)[0])


def table(result: "xr.Dataset") -> Table:
    """Return cost and growth of each detector."""
    largest = {short: int(result[short].values[-1]) for short in ("devices", "antennas")}
    rows = []
    for detector in map(str, result["detector"].values):
        row = [detector]
        for short, size in largest.items():
            count = float(result[f"multiplications {short}"].sel({short: size, "detector": detector}))
            taken = times(result, short, size, detector)
            half = (taken.high - taken.low) / 2
            exponents = [growth(result, name, short, detector) for name in ("multiplications", "ms")]
            row += [f"{count:.3g}", f"{taken.value:.3g} ±{half:.1g}", "{:.1f} | {:.1f}".format(*exponents)]
        rows.append(row)
    columns = [
        heading
        for short, letter in (("devices", "N"), ("antennas", "M"))
        for heading in (f"M mult., {letter}={largest[short]}", "ms", f"~{letter}^")
    ]
    note = (
        "millions of complex multiplications (formula) and milliseconds per frame on one thread, geometric mean of\n"
        f"{result.sizes['replica']} rounds with half its 95 % interval; exponents of growth over the larger half of "
        "the sizes: formula | measured.\nTimes are of this machine, with whatever else it did."
    )
    return Table("What detectors cost", ["detector", *columns], rows, note)


def shown(names: list[str]) -> list[str]:
    """Return one detector of each kind: variants cost alike, and 16 curves say less than nine."""
    kinds: dict[type, str] = {}
    for detector in named(names):
        kinds.setdefault(type(detector), detector.name)
    return list(kinds.values())


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw time and multiplications per frame over devices and over antennas."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 8), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    for column, (sweep, label) in enumerate(SWEEPS.items()):
        short = sweep.removeprefix("num_")
        sizes = [int(size) for size in result[short].values]
        for place, name in enumerate(shown([str(n) for n in result["detector"].values])):
            style: dict[str, Any] = {
                "color": (*COLORS, "#000000")[place % (len(COLORS) + 1)], "marker": MARKERS[place % len(MARKERS)],
                "markersize": 4, "linewidth": 1.2,
            }  # fmt: skip
            points = [times(result, short, size, name) for size in sizes]
            ends = np.array([[p.value - p.low, p.high - p.value] for p in points]).T
            axes[0, column].errorbar(
                sizes, [p.value for p in points], yerr=np.where(np.isfinite(ends), ends, 0), capsize=2, label=name,
                **style,
            )  # fmt: skip
            counts = result[f"multiplications {short}"].sel(detector=name)
            axes[1, column].plot(sizes, np.asarray(counts), **style)
        for axis in axes[:, column]:
            axis.set(xscale="log", yscale="log")
            axis.set_xticks(sizes, [str(size) for size in sizes])
            axis.minorticks_off()
            axis.grid(visible=True, color="0.9")
        axes[1, column].set_xlabel(label)
    middles = [result[f"ms {sweep.removeprefix('num_')}"].median("replica") for sweep in SWEEPS]
    least, most = min(float(m.min()) for m in middles), max(float(m.max()) for m in middles)
    axes[0, 0].set_ylim(least / 3, most * 3)  # an interval of few rounds can be endless
    axes[0, 0].set_ylabel("milliseconds per frame, one thread")
    axes[1, 0].set_ylabel("million complex multiplications per frame")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5), frameon=False, fontsize=9)
    figure.suptitle("What a detection costs: measured (above, 95 % intervals) and by formula (below)", fontsize=11)
    return {"complexity": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return every time with its interval, every count and every exponent of growth."""
    found: dict[str, Any] = {}
    for short in ("devices", "antennas"):
        for detector in map(str, result["detector"].values):
            for size in map(int, result[short].values):
                place = {short: size, "detector": detector}
                taken = times(result, short, size, detector)
                found[f"ms per frame | {detector} | {size} {short}"] = taken._asdict()
                count = float(result[f"multiplications {short}"].sel(place))
                found[f"million multiplications | {detector} | {size} {short}"] = {"value": count}
            found[f"growth | {detector} | {short}"] = {
                "formula": growth(result, "multiplications", short, detector),
                "value": growth(result, "ms", short, detector),
            }
    return found


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
