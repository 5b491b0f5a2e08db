"""What does it cost that devices come late, or with their carriers off, and who can tell how they came?

wirelesslab run asynchronous          (about 6 minutes on one quiet core; --quick: 20 seconds)

Expect: who wins depends on the load. In the light cell delays of up to 4 symbols cost AMP with the block prior a
factor of 1.5, the covariance method one of 2.0: AMP loses less (0.76 of covariance's loss, 0.70 to 0.81), and the
genie, which knows how all others came and sums over the ways in which the device itself may have, loses 1.4. In
the overloaded cell it is the other way round: one symbol makes AMP worse than hearing nobody, re-tuned AMP loses
a factor of 10 over 4 symbols, covariance 1.7, MAMPNet 1.6, and the genie nothing, for the window is longer too.
Training on late frames does not help MAMPNet: the network for devices in step serves as well. Who is heard has
the right delay but for fewer than one in a thousand, AMP in overload apart (one in 20, re-tuned one in 110).
Frequencies of a grid finer than 1/(2L) are often taken for their neighbours, which costs labels little. A station
that supposes no offset where carriers are off by up to half a cycle over the pilot errs 7 to 16 times as often, and
there the genie, sure of wrong columns, errs most.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.mmtc import CarrierOffset, Delayed, Scenario, error_counts, simulate, state_errors
from wirelesslab.mmtc.detectors import AMP, Covariance, Detector, Genie, MAMPNet
from wirelesslab.mmtc.limits import why_no_limits
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.rng import stream
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELLS: Mapping[str, Scenario] = {
    "overloaded": Scenario(num_devices=100, bits_per_device=1, pilot_length=20, num_antennas=8, snr_db=0.0),
    "light": Scenario(num_devices=100, bits_per_device=1, pilot_length=40, num_antennas=4, snr_db=-4.0),
}
GENIE = "genie"
LATE, ON_GRID, BESIDE = "largest delay", "carriers on the grid", "carriers beside the grid"
AXES = {
    LATE: "largest delay (symbols)", ON_GRID: "frequencies of the grid", BESIDE: "frequencies of the grid",
}  # fmt: skip
COMPARED = ("AMP block", "covariance")
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is swept, and how long.

    Attributes:
        delays: Largest delays in symbols, from 0 on.
        frequencies: Sizes of the grid of carriers, from 1 on.
        max_offset: Half the band of carriers in cycles per symbol; 1/80 turns 40 symbols by half a cycle.
        draws: Sets of pilots.
        frames: Frames with each.
    """

    delays: tuple[int, ...] = (0, 1, 2, 4)
    frequencies: tuple[int, ...] = (1, 2, 3, 5)
    max_offset: float = 0.0125
    draws: int = 60
    frames: int = 48


QUICK: Mapping[str, Any] = {"delays": (0, 2, 4), "frequencies": (1, 3), "draws": 4, "frames": 16}


def detectors() -> tuple[Detector, ...]:
    """Return the detectors, the genie apart."""
    asynchronous = MAMPNet.pretrained("asynchronous", quiet=True)
    return (AMP(), AMP(retuned=True), Covariance(), MAMPNet.pretrained(quiet=True), asynchronous)


def networks() -> tuple[str, ...]:
    """Return the digests of the networks that take part."""
    return tuple(d.network.digest for d in detectors() if isinstance(d, MAMPNet))


@dataclass(frozen=True)
class Case:
    """One point.

    Attributes:
        scenario: The cell and how devices arrive in it.
        frames: Frames with each set of pilots.
        networks: Digests of the networks that are judged.
    """

    scenario: Scenario
    frames: int
    networks: tuple[str, ...]


def count(case: Case, seed: int) -> dict[str, Any]:
    """Count errors with one set of pilots; the seed makes the same air in every case, but for how devices arrive."""
    observation, truth = simulate(case.scenario, stream(seed, "air"), num_frames=case.frames)
    errors, wrong_delay, wrong_frequency, heard = [], [], [], []
    for detector in (*detectors(), Genie(truth)):
        found = detector.detect(observation)
        errors.append(error_counts(found, truth)["ser"].errors)
        estimates = state_errors(found, truth, case.scenario.arrival)
        wrong_delay.append(estimates["wrong_delay"].errors)
        wrong_frequency.append(estimates["wrong_frequency"].errors)
        heard.append(estimates["wrong_state"].attempts)
    return {
        "errors": errors, "wrong_delay": wrong_delay, "wrong_frequency": wrong_frequency, "heard": heard,
        "labels": float(truth.symbols.size),
    }  # fmt: skip


def cases(config: Config) -> dict[str, Scenario]:
    """Return the points by name, such as ``light | largest delay | 4``."""
    points = {
        f"{cell} | {LATE} | {delay}": replace(s, arrival=Delayed(max_delay_symbols=delay))
        for cell, s in CELLS.items()
        for delay in config.delays
    }
    for sweep, on_grid in ((ON_GRID, True), (BESIDE, False)):
        for number in config.frequencies:
            law = CarrierOffset(max_offset=config.max_offset, num_frequencies=number, on_grid=on_grid)
            points[f"light | {sweep} | {number}"] = replace(CELLS["light"], arrival=law)
    return points


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Count errors at every point with every set of pilots."""
    session = session or Session()
    check.positive_integer(draws=config.draws, frames=config.frames)
    check.non_negative_integer(**{f"delays[{i}]": delay for i, delay in enumerate(config.delays)})
    if len(set(config.delays)) < len(config.delays) or 0 not in config.delays or not config.frequencies:
        msg = f"delays: got {config.delays}, expected different ones with 0, to which the others are compared"
        raise ValueError(msg)
    points = cases(config)
    counted = session.replicate(
        count, {name: Case(s, config.frames, networks()) for name, s in points.items()}, config.draws
    )
    lists = ("errors", "wrong_delay", "wrong_frequency", "heard")
    result = counted.assign({name: counted[name].rename({f"{name}_at": "detector"}) for name in lists})
    result = result.assign_coords(detector=[*(d.name for d in detectors()), GENIE])
    aside = [int(bool(why_no_limits(s))) for s in points.values()]
    return result.assign(genie_is_no_limit=("experiment", aside))


@dataclass(frozen=True)
class Resampled:
    """A figure with its 95 % bootstrap interval over sets of pilots, the same sets for every figure."""

    value: float
    low: float
    high: float

    def describe(self) -> dict[str, float]:
        """Return the fields."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.2g} to {self.high:.2g})" if np.isfinite(self.value) else "-"


class Bootstrap:
    """Sums over sets of pilots, as they came and resampled; index 0 is as they came."""

    def __init__(self, result: "xr.Dataset") -> None:
        self._result, draws = result, result.sizes["replica"]
        chosen = stream(0, "asynchronous", "bootstrap").integers(draws, size=(RESAMPLES, draws))
        times = np.stack([np.bincount(row, minlength=draws) for row in chosen])
        self._times = np.concatenate([np.ones((1, draws)), times])

    def sums(self, name: str, at: str, detector: str) -> NDArray[np.float64]:
        """Return a sum of counts, shape (1 + resamples,)."""
        values = self._result[name].sel(experiment=at)
        values = values.sel(detector=detector) if "detector" in values.dims else values
        return np.asarray(self._times @ values.values)

    def ser(self, at: str, detector: str) -> NDArray[np.float64]:
        """Return the symbol error rate, shape (1 + resamples,)."""
        return self.sums("errors", at, detector) / self.sums("labels", at, detector)

    @staticmethod
    def interval(samples: NDArray[np.float64]) -> Resampled:
        """Return the value as it came with its interval; the ends are NaN where a resample has no value."""
        low, high = np.quantile(samples[1:], (0.025, 0.975)) if np.isfinite(samples).all() else (np.nan, np.nan)
        return Resampled(float(samples[0]), float(low), float(high))


def _split(name: str) -> tuple[str, str, int]:
    cell, sweep, value = name.split(" | ")
    return cell, sweep, int(value)


def _panels(result: "xr.Dataset") -> Iterator[tuple[str, str, list[str]]]:
    """Yield cell, sweep and the names of its points."""
    names = [str(n) for n in result["experiment"].values]
    for cell, sweep in dict.fromkeys(_split(n)[:2] for n in names):
        yield cell, sweep, [n for n in names if _split(n)[:2] == (cell, sweep)]


def losses(result: "xr.Dataset") -> dict[str, Resampled]:
    """Return, for each cell and delay, each detector's errors over those without delay, and AMP's loss over another's.

    ``loss`` is the quotient of error rates, ``added`` their difference, ``loss of`` the quotient of two losses.
    """
    boot, found = Bootstrap(result), {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for _cell, sweep, points in _panels(result):
            if sweep != LATE:
                continue
            zero = next(p for p in points if _split(p)[2] == 0)
            for point in (p for p in points if p != zero):
                for detector in map(str, result["detector"].values):
                    now, before = boot.ser(point, detector), boot.ser(zero, detector)
                    found[f"loss | {detector} | {point}"] = boot.interval(now / before)
                    found[f"added | {detector} | {point}"] = boot.interval(now - before)
                first, second = (boot.ser(point, d) / boot.ser(zero, d) for d in COMPARED)
                found[f"loss of {COMPARED[0]} over that of {COMPARED[1]} | {point}"] = boot.interval(first / second)
                first, second = (boot.ser(point, d) - boot.ser(zero, d) for d in COMPARED)
                found[f"added by {COMPARED[0]} less {COMPARED[1]} | {point}"] = boot.interval(first - second)
    return found


def table(result: "xr.Dataset") -> Table:
    """Return rates, losses and how many of those who were heard were placed wrongly: a row per point."""
    boot, factors, rows = Bootstrap(result), losses(result), []
    names = [str(d) for d in result["detector"].values]
    for cell, sweep, points in _panels(result):
        for point in points:
            texts = []
            aside = bool(result["genie_is_no_limit"].sel(experiment=point))
            for name in names:
                rate = boot.interval(boot.ser(point, name))
                wrong = sum(boot.sums(kind, point, name)[0] for kind in ("wrong_delay", "wrong_frequency"))
                loss = factors.get(f"loss | {name} | {point}")
                half = f" ±{(rate.high - rate.low) / 2 / rate.value:.0%}" if rate.value > 0 else ""
                heard = boot.sums("heard", point, name)[0]
                placed = f" [{wrong / heard:.1%}]" if heard > 0 else ""
                mark = "*" if name == GENIE and aside else ""
                texts.append(f"{rate.value:.1e}{half}{f' x{loss.value:.2f}' if loss else ''}{placed}{mark}")
            rows.append([f"{cell}: {sweep}", str(_split(point)[2]), *texts])
    lines = [
        "symbol error rate ± half the 95 % bootstrap interval over sets of pilots, x times that without delay,",
        "[share of those rightly heard whose delay or frequency is wrong]; *: the genie is no limit",
    ]
    lines += [f"{name}: {value}" for name, value in factors.items() if name.startswith(("loss of", "added by"))]
    return Table("What it costs to come late or off the carrier", ["cell and sweep", "value", *names], rows,
                 "\n".join(lines))  # fmt: skip


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw the symbol error rates, a panel per cell and sweep, and below how many were placed wrongly."""
    from matplotlib.figure import Figure

    panels, boot = list(_panels(result)), Bootstrap(result)
    figure = Figure(figsize=(3.2 * len(panels), 6.6), layout="constrained")
    axes = figure.subplots(2, len(panels), sharey="row", squeeze=False, height_ratios=(1.6, 1))
    for column, (cell, sweep, points) in enumerate(panels):
        for number, name in enumerate(map(str, result["detector"].values)):
            _curves(axes[:, column], result, boot, name, number, points)
        s = CELLS[cell]
        axes[0, column].set_title(
            f"{cell}: {sweep}\nN={s.num_devices}, Q={s.pilots_per_device}, L={s.pilot_length}, M={s.num_antennas}, "
            f"{s.snr_db:g} dB",
            fontsize=9,
        )
        for axis in axes[:, column]:
            axis.set_xticks(range(len(points)), [str(_split(p)[2]) for p in points])
            axis.grid(True, axis="y", color="0.9")
        axes[1, column].set_xlabel(AXES[sweep])
    axes[0, 0].set(yscale="log", ylabel="symbol error rate")
    axes[1, 0].set_yscale("symlog", linthresh=1e-3)
    axes[1, 0].set(ylim=(-1e-4, 1), ylabel="wrong delay or frequency\namong those rightly heard")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.suptitle(
        "95 % bootstrap intervals over sets of pilots; every point of a cell meets the same air\n"
        "dotted genie: carriers lie beside the grid that it supposes, it is no limit there",
        fontsize=9,
    )
    return {"asynchronous": figure}


def _curves(
    axes: "NDArray[Any]", result: "xr.Dataset", boot: Bootstrap, name: str, number: int, points: list[str]
) -> None:
    color, marker = ("black", "x") if name == GENIE else (COLORS[number], MARKERS[number])
    places = np.arange(len(points)) + 0.05 * (number - 2)
    rates = [boot.interval(boot.ser(p, name)) for p in points]
    with np.errstate(divide="ignore", invalid="ignore"):
        wrong = [
            (boot.sums("wrong_delay", p, name) + boot.sums("wrong_frequency", p, name)) / boot.sums("heard", p, name)
            for p in points
        ]
    hollow = bool(result["genie_is_no_limit"].sel(experiment=points[-1])) and name == GENIE
    style = {"linestyle": ":", "alpha": 0.6} if hollow else {"linestyle": "--" if name == GENIE else "-"}
    for axis, figures in ((axes[0], rates), (axes[1], [boot.interval(w) for w in wrong])):
        _errorbars(axis, places, figures, label=name, color=color, marker=marker, **style)


def _errorbars(axis: "Axes", places: NDArray[np.float64], figures: list[Resampled], **style: Any) -> None:
    value = np.array([f.value for f in figures])
    low, high = (np.array([getattr(f, end) for f in figures]) for end in ("low", "high"))
    ends = np.nan_to_num(np.abs(np.stack([value - low, high - value])))
    axis.errorbar(places, value, yerr=ends, markersize=4, linewidth=1, elinewidth=0.8, **style)


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return every rate and loss with its interval and counts."""
    boot, found = Bootstrap(result), {}
    for point in map(str, result["experiment"].values):
        for name in map(str, result["detector"].values):
            found[f"ser | {name} | {point}"] = {
                **boot.interval(boot.ser(point, name)).describe(),
                **{k: int(boot.sums(k, point, name)[0]) for k in ("errors", "labels")},
                **{k: int(boot.sums(k, point, name)[0]) for k in ("wrong_delay", "wrong_frequency", "heard")},
            }
    return found | {name: figure.describe() for name, figure in losses(result).items()}


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
