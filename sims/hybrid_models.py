"""Formula, data, or a formula that data correct: what should a twin predict delays with?

wirelesslab run hybrid_models          (about 4 minutes on two cores; --quick: 30 seconds)

Expect: where it was trained, the hybrid errs by 10 %, the formula, which knows nothing of bursts, by a factor of
1.8; the network alone needs 128 measured queues for what the hybrid reaches with 32. At higher loads the network is
no better than the formula (factors of 1.7 to 2), the hybrid errs by less than 20 % from 16 queues on. In far
burstier traffic than was ever seen all three are poor, the formula by a factor of 5, hybrid and network by 1.6 to 2.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab import check
from wirelesslab.network.twins.predictors import TARGETS, DataDriven, Hybrid, ModelDriven
from wirelesslab.network.twins.queue_studies import Mixes, study
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import Mean, difference, mean
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

PREDICTORS = ("formula", "network", "hybrid")
PARENTS = PREDICTORS[:2]
AXES = ("samples", "domain", "predictor")
TITLES = {"mean_delay_s": "mean delay", "p99_delay_s": "99 % quantile"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is learned from, and where it is tested.

    Attributes:
        replicas: Independent repetitions: each simulates its own queues, to train and to test, and trains anew.
        samples: Measured queues that the predictors learn from.
        tests: Queues of each test.
        packets: Measured packets of a queue.
        load: Range of loads in training.
        higher_load: Range of loads outside of it.
        bursts: Range of the part of the load that comes in bursts, in training.
        more_bursts: The same outside of it; bursts are also twice as long.
    """

    replicas: int = 10
    samples: tuple[int, ...] = (8, 16, 32, 64, 128)
    tests: int = 32
    packets: int = 3_000
    load: tuple[float, float] = (0.3, 0.7)
    higher_load: tuple[float, float] = (0.75, 0.9)
    bursts: tuple[float, float] = (0.1, 0.6)
    more_bursts: tuple[float, float] = (0.7, 0.95)

    def __post_init__(self) -> None:
        check.positive_integer(replicas=self.replicas, tests=self.tests, packets=self.packets)
        if not self.samples or list(self.samples) != sorted(set(self.samples)) or self.samples[0] < 8:
            msg = f"samples: got {self.samples}, expected rising numbers of at least 8"
            raise ValueError(msg)

    @property
    def domains(self) -> dict[str, Mixes]:
        """Where predictors are tested: as in training, and outside."""
        inside = Mixes(load=self.load, bursts=self.bursts, packets=self.packets)
        longer = (2 * inside.burst_packets[1] / 2, 2 * inside.burst_packets[1])
        return {
            "as in training": inside,
            "higher load": replace(inside, load=self.higher_load),
            "more bursts": replace(inside, bursts=self.more_bursts, burst_packets=longer),
        }


QUICK: Mapping[str, Any] = {"replicas": 3, "samples": (16, 48), "tests": 10, "packets": 1_000}


def compare(config: Config, seed: int) -> Mapping[str, Any]:
    """Simulate queues, train on some, test on others; return absolute log errors, see `main`."""
    domains = config.domains
    seen = study(domains["as in training"], config.samples[-1], seed)
    tests = [study(mixes, config.tests, seed + 1 + number) for number, mixes in enumerate(domains.values())]
    errors = np.zeros((len(config.samples), len(tests), len(PREDICTORS), len(TARGETS)))
    for row, num in enumerate(config.samples):
        first = np.arange(num)
        learned = [
            predictor.fit(seen.queues.take(first), seen.delays_s[first])
            for predictor in (ModelDriven(), DataDriven(seed=seed), Hybrid(seed=seed))
        ]
        for column, test in enumerate(tests):
            for number, predictor in enumerate(learned):
                ratio = predictor.predict(test.queues) / test.delays_s
                errors[row, column, number] = np.abs(np.log(ratio)).mean(axis=0)
    return {target: errors[..., number] for number, target in enumerate(TARGETS)}


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Compare the predictors over replicas.

    Returns:
        Mean absolute error of the logarithm of `mean_delay_s` and `p99_delay_s`, over `replica`, `samples`,
        `domain` and `predictor`: 0.1 is an error of about 10 %.
    """
    session = session or Session()
    result = session.replicate(compare, {"predictors": config}, config.replicas).isel(experiment=0, drop=True)
    for target in TARGETS:
        names = {f"{target}_{axis}": name for axis, name in zip(("at", 1, 2), AXES, strict=True)}
        result[target] = result[target].rename(names)
    return result.assign_coords(samples=list(config.samples), domain=list(config.domains), predictor=list(PREDICTORS))


def best_parent(errors: "xr.DataArray") -> str:
    """Return the parent of the hybrid with the smaller mean error; `errors` over replica and predictor."""
    return min(PARENTS, key=lambda parent: float(errors.sel(predictor=parent).mean()))


def against_best(errors: "xr.DataArray") -> Mean:
    """Return the hybrid's error minus the better parent's, of pairs."""
    return difference(errors.sel(predictor="hybrid"), errors.sel(predictor=best_parent(errors)))


def samples_needed(errors: "xr.DataArray") -> int | None:
    """Return the fewest samples with which the hybrid errs, on average, no more than the network with the most.

    Args:
        errors: Over replica, samples and predictor.
    """
    bar = float(errors.sel(predictor="network").isel(samples=-1).mean())
    enough = [int(n) for n in errors["samples"] if float(errors.sel(predictor="hybrid", samples=n).mean()) <= bar]
    return min(enough) if enough else None


def table(result: "xr.Dataset") -> Table:
    """Return the errors of the mean delay, and the hybrid's beside its better parent's."""
    rows = []
    for domain in result["domain"].values:
        for num in result["samples"].values:
            one = result["mean_delay_s"].sel(domain=domain, samples=num)
            values = [str(mean(one.sel(predictor=name))) for name in PREDICTORS]
            tail = against_best(result["p99_delay_s"].sel(domain=domain, samples=num))
            rows.append([str(domain), str(num), *values, str(against_best(one)), str(tail)])
    inside = result["mean_delay_s"].isel(domain=0)
    most, needed = int(result["samples"][-1]), samples_needed(inside)
    fewer = f"needs {needed} queues" if needed else f"does not manage, with up to {most} queues,"
    note = (
        f"Mean absolute error of the delay's logarithm (0.1: about 10 %) over {result.sizes['replica']} replicas with "
        "95 % intervals; differences are of pairs, to the parent (formula or network) with the smaller mean error. "
        f"As in training, the hybrid {fewer} to err no more than the network with {most}."
    )
    columns = ["tested", "queues", *PREDICTORS, "hybrid minus better parent", "the same, 99 % quantile"]
    return Table("Predicting the mean delay of a queue", columns, rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw the errors over the number of measured queues, a row for each target and a column for each test."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    figure = Figure(figsize=(11, 6.6), layout="constrained")
    axes = figure.subplots(len(TARGETS), result.sizes["domain"], sharex=True, sharey=True, squeeze=False)
    nums = result["samples"].values
    for row, target in enumerate(TARGETS):
        for column, domain in enumerate(result["domain"].values):
            axis = axes[row, column]
            for number, name in enumerate(PREDICTORS):
                errors = result[target].sel(domain=domain, predictor=name)
                means = [mean(errors.sel(samples=n)) for n in nums]
                axis.plot(nums, [m.value for m in means], color=COLORS[number], marker=MARKERS[number], label=name)
                low = [max(m.low, 0.3 * m.value) for m in means]  # a logarithmic axis knows no negative error
                axis.fill_between(nums, low, [m.high for m in means], color=COLORS[number], alpha=0.2, linewidth=0)
            axis.set(xscale="log", yscale="log")
            axis.set_xticks(nums, [str(n) for n in nums])
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_yticks([0.1, 0.2, 0.5, 1.0, 2.0])
            axis.yaxis.set_major_formatter(ScalarFormatter())
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.grid(visible=True, which="major", color="0.9")
            axis.set_axisbelow(True)
            axis.set_title(f"{TITLES[target]}, {domain}", fontsize=10)
            if row == len(TARGETS) - 1:
                axis.set_xlabel("measured queues to learn from")
            if column == 0:
                axis.set_ylabel("mean |log error|, 95 % interval")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return {"errors": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return every error with its interval, the hybrid's differences to its parents, and the samples it needs."""
    figures: dict[str, Any] = {}
    for target in TARGETS:
        for domain in result["domain"].values:
            for num in result["samples"].values:
                one = result[target].sel(domain=domain, samples=num)
                hybrid = one.sel(predictor="hybrid")
                figures[f"{target}, {domain}, {num} queues"] = {
                    name: mean(one.sel(predictor=name))._asdict() for name in PREDICTORS
                } | {f"hybrid minus {name}": difference(hybrid, one.sel(predictor=name))._asdict() for name in PARENTS}
    for target in TARGETS:
        figures[f"{target}, queues that the hybrid needs"] = samples_needed(result[target].isel(domain=0))
    return figures


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
