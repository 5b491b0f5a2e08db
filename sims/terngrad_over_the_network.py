"""When does it pay to send signs instead of gradients over a network?

wirelesslab run terngrad_over_the_network       (about 20 minutes on two cores; --quick: under a minute)

Expect: LeNet's step at four workers, 10 Mb/s each way and 5 ms one-way is 9.7 times shorter with 2-bit codes than with
float32, 12 times with entropy-coded ones: the way down (integer sums, 4 bits) bounds the gain, until the sums are
entropy-coded too, and it is 23. Signs need some more steps to 95 %, so that they are there seven to nine times sooner,
and 17 times when coded both ways (the bar: 8). The gain shrinks with the bandwidth and turns into a
loss where the second round trip, for the scalers, costs more than the bytes: above 2 Gb/s for LeNet, near 80 Mb/s for
a net of 13,258 parameters. Beside other traffic a guaranteed share, or an agent that guarantees while something waits,
gives back most of what the others took.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from wirelesslab_sims._star_of_workers import POLICIES, TRAINING, star

from wirelesslab import check
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import mean
from wirelesslab.services.training import Costs, DistributedTraining
from wirelesslab.services.training_speed import StepTime
from wirelesslab.session import Session, Table
from wirelesslab.vision.crews import crew_of, digits
from wirelesslab.vision.plain_nets import DIGITS, LENET
from wirelesslab.vision.terngrad import TernGradConfig
from wirelesslab.vision.tuning import choose, trials_of
from wirelesslab.vision.wires import Float32, Ternary, Wire

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

WIRES: Mapping[str, Wire] = {
    "float32": Float32(), "2-bit": Ternary(), "entropy": Ternary(TernGradConfig(code="entropy")),
}  # fmt: skip
BAR: Mapping[str, Wire] = {  # LeNet, four workers, 10 Mb/s: must be there eight times sooner than float32
    "float32": Float32(), "2-bit": Ternary(), "base-3": Ternary(TernGradConfig(code="base3")),
    "entropy both ways": Ternary(TernGradConfig(code="entropy", down="entropy")),
}  # fmt: skip
TARGET = 0.95
RATES = (0.01, 0.02, 0.04)
SMALL_RATE = 0.08


@dataclass(frozen=True, kw_only=True)
class Config:
    """The network, and how often and how long is trained.

    Attributes:
        replicas: Seeds, each with its own split of the digits.
        tuning_replicas: Seeds for each of LeNet's rates.
        node_operations_per_s: Of every node (our choice: a small accelerator).
        latency_s: One way.
        lenet_bps: Each worker's link, each way, for LeNet.
        lenet_steps: Most steps of LeNet.
        bandwidths_bps: Links for the small net.
        num_workers: Workers for the small net, at `lenet_bps`; four at other bandwidths.
        small_steps: Most steps of the small net.
        background: Load of other traffic on each worker's link, as a share, where there is some.
        shared_bps: Link in front of the server in the formula's figure of many workers.
    """

    replicas: int = 10
    tuning_replicas: int = 2
    node_operations_per_s: float = 5e10
    latency_s: float = 5e-3
    lenet_bps: float = 1e7
    lenet_steps: int = 80
    bandwidths_bps: tuple[float, ...] = (1e6, 1e7, 1e8, 1e9)
    num_workers: tuple[int, ...] = (2, 8)
    small_steps: int = 160
    background: float = 0.8
    shared_bps: float = 1e9

    def __post_init__(self) -> None:
        check.positive_integer(
            replicas=self.replicas, tuning_replicas=self.tuning_replicas, lenet_steps=self.lenet_steps,
            small_steps=self.small_steps,
        )  # fmt: skip
        check.positive(
            node_operations_per_s=self.node_operations_per_s, lenet_bps=self.lenet_bps, shared_bps=self.shared_bps
        )
        check.within(0, 0.99, background=self.background)


QUICK: Mapping[str, Any] = {
    "replicas": 2, "tuning_replicas": 1, "lenet_steps": 2, "bandwidths_bps": (1e6, 1e9), "num_workers": (2,),
    "small_steps": 6,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training on one network.

    Attributes:
        config: The network.
        wire: How gradients travel.
        workers: N.
        rate_bps: Each worker's link, each way.
        rate: Learning rate.
        lenet: LeNet, or the small net.
        policy: Of `POLICIES`.
        purpose: Keeps the seeds of tuning and of the final runs apart.
    """

    config: Config
    wire: Wire
    workers: int = 4
    rate_bps: float
    rate: float
    lenet: bool = False
    policy: str = "alone"
    purpose: str = "final"


def train(case: Case, seed: int) -> Mapping[str, Any]:
    """Train until the validation images are seen well enough; returns times in seconds, steps, and bytes."""
    c, own = case.config, 2 * seed + (case.purpose == "tuning")
    parts = digits(own, side=28 if case.lenet else 8)
    net = replace(LENET if case.lenet else DIGITS, rate=case.rate)
    batch = 64 // case.workers
    images, labels = parts["validation"].images, parts["validation"].labels
    training = DistributedTraining(
        crew_of(net, case.wire, parts["train"], workers=case.workers, batch=64, seed=own),
        workers=[f"gnb-{worker + 1}" for worker in range(case.workers)], server="server", slice=TRAINING,
        costs=Costs.per_value(net.num_parameters, net.operations(batch)),
        steps=c.lenet_steps if case.lenet else c.small_steps,
        score=lambda replica: net.loss_and_accuracy(replica.state, images, labels)[1], score_every=2,
    )  # fmt: skip
    network = star(
        case.workers, rate_bps=case.rate_bps, latency_s=c.latency_s, operations_per_s=c.node_operations_per_s,
        policy=case.policy, background=c.background, seed=own,
    )  # fmt: skip
    network.add(training)
    while not training.done and training.time_to(TARGET) == np.inf:
        network.run(network.now_s + 1.0)
    network.check()
    rounds = training.rounds
    reached = [r.step for r in rounds if r.score >= TARGET]
    # entropy-coded sizes vary from round to round and worker to worker: a round waits for the largest message
    sizes = [(r.up_bytes / case.workers, r.largest_up_bytes, r.down_bytes / case.workers) for r in rounds]
    up_bytes, largest_bytes, down_bytes = np.mean(sizes, axis=0)
    return {
        "time_s": training.time_to(TARGET) if reached else np.nan,
        "steps": float(reached[0] + 1) if reached else np.nan,
        "step_s": rounds[-1].ended_s / len(rounds), "formula_s": formula(case, largest_bytes, down_bytes).step_s,
        "up_bytes": up_bytes, "down_bytes": down_bytes,
    }  # fmt: skip


def formula(case: Case, up_bytes: float, down_bytes: float, **changed: Any) -> StepTime:
    """Return the step's formula from a worker's bytes; the scalers' exchange is its header and table."""
    c, net = case.config, LENET if case.lenet else DIGITS
    up, down = round(up_bytes), round(down_bytes)
    scalers = () if case.wire.exchanges == 1 else (18 + 9 * len(net.shapes),)
    costs = Costs.per_value(net.num_parameters, net.operations(64 // case.workers))
    speed = c.node_operations_per_s
    given: dict[str, Any] = {
        "num_workers": case.workers, "up_bytes": (*scalers, up - sum(scalers)),
        "down_bytes": (*scalers, down - sum(scalers)), "gradient_s": costs.gradient / speed,
        "encode_s": costs.encode / speed, "aggregate_s": costs.aggregate / speed, "finish_s": costs.finish / speed,
        "access_bps": case.rate_bps, "latency_s": c.latency_s,
    }  # fmt: skip
    return StepTime(**(given | changed))


def cases(config: Config) -> dict[str, Case]:
    """Return the trainings by name; LeNet's rates are still to be tuned."""
    found = {
        f"LeNet, {name}": Case(config=config, wire=wire, rate_bps=config.lenet_bps, rate=0.02, lenet=True)
        for name, wire in WIRES.items()
    }
    for name, wire in list(WIRES.items())[:2]:
        for rate_bps in config.bandwidths_bps:
            small = Case(config=config, wire=wire, rate_bps=rate_bps, rate=SMALL_RATE)
            found[f"small, {name}, {rate_bps / 1e6:g} Mb/s"] = small
        for workers in config.num_workers:
            small = Case(config=config, wire=wire, workers=workers, rate_bps=config.lenet_bps, rate=SMALL_RATE)
            found[f"small, {name}, {config.lenet_bps / 1e6:g} Mb/s, N={workers}"] = small
        for policy in POLICIES[1:]:
            small = Case(config=config, wire=wire, rate_bps=config.bandwidths_bps[0], rate=SMALL_RATE, policy=policy)
            found[f"small, {name}, {config.bandwidths_bps[0] / 1e6:g} Mb/s, {policy}"] = small
    return found


def bar_cases(config: Config, rates: Mapping[str, float]) -> dict[str, Case]:
    """Return LeNet's trainings by `BAR`; all ternary wires carry the same codes, so that they share a rate."""
    return {
        f"bar, {name}": Case(
            config=config, wire=wire, rate_bps=config.lenet_bps, lenet=True,
            rate=rates["LeNet, float32" if name == "float32" else "LeNet, 2-bit"],
        )
        for name, wire in BAR.items()
    }  # fmt: skip


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Tune LeNet's rate for each wire, then train everything under fresh seeds, and the bar's wires under the same.

    Returns:
        Over `experiment` and `replica`: `time_s` and `steps` to the target, mean `step_s`, the formula's, and bytes of
        a worker and step; NaN where the target was not reached.
    """
    session = session or Session()
    wanted = cases(config)
    lenets = [name for name, case in wanted.items() if case.lenet]
    trials = {
        f"{name} | {rate:g}": replace(wanted[name], rate=rate, purpose="tuning") for name in lenets for rate in RATES
    }
    tried = session.replicate(train, trials, config.tuning_replicas, name="tuning")
    tried["score"] = -tried["steps"].fillna(10 * 80)  # fewer steps to the target on validation images are better
    settings = {f"{name} | {rate:g}": (name, {"rate": rate}) for name in lenets for rate in RATES}
    log = session.out and session.out / "tuning.jsonl"
    for name, setting in choose(trials_of(tried, settings, score="score"), log).items():
        wanted[name] = replace(wanted[name], **setting)
    import xarray as xr

    bar = bar_cases(config, {name: wanted[name].rate for name in lenets})
    parts = (
        session.replicate(train, wanted, config.replicas),
        session.replicate(train, bar, config.replicas, name="bar"),
    )
    result, wanted = xr.concat(parts, "experiment", combine_attrs="override"), wanted | bar
    result["rate"] = "experiment", [wanted[str(name)].rate for name in result["experiment"].values]
    result["rate_bps"] = "experiment", [wanted[str(name)].rate_bps for name in result["experiment"].values]
    for name in ("latency_s", "node_operations_per_s", "shared_bps"):
        result[name] = getattr(config, name)
    return result


def reference(name: str) -> str:
    """Return the float32 training on the same network."""
    net, _, *network = name.split(", ")
    return ", ".join((net, "float32", *network))


def sooner(result: "xr.Dataset", name: str, variable: str = "time_s") -> "tuple[float, float, float]":
    """Return how many times sooner than float32, by the mean of paired logarithms, and its interval."""
    logs = np.log(result[variable].sel(experiment=reference(name)) / result[variable].sel(experiment=name)).values
    logs = logs[np.isfinite(logs)]
    if logs.size < 2:
        return np.nan, np.nan, np.nan
    m = mean(logs)
    return float(np.exp(m.value)), float(np.exp(m.low)), float(np.exp(m.high))


def table(result: "xr.Dataset") -> Table:
    """Return times to the target, and what a step takes."""
    rows = []
    for name in map(str, result["experiment"].values):
        one = result.sel(experiment=name)
        gain, low, high = sooner(result, name)
        off = 100 * (one["step_s"] / one["formula_s"] - 1)
        times_s = one["time_s"].values[np.isfinite(one["time_s"])]
        reached = times_s.size
        rows.append([
            name, f"{float(one['rate']):g}", str(mean(times_s)) if reached > 1 else "-",
            f"{float(one['steps'].mean()):.0f}" if reached else "-", f"{reached}",
            "-" if name == reference(name) or np.isnan(gain) else f"{gain:.2f} ({low:.2f} to {high:.2f})",
            f"{1e3 * float(one['step_s'].mean()):.4g}", f"{float(off.mean()):+.2f}",
            f"{float(one['up_bytes'].mean()):.0f}", f"{float(one['down_bytes'].mean()):.0f}",
        ])  # fmt: skip
    columns = ["training", "rate", f"time to {TARGET:.0%}, s", "steps", "reached", "times sooner than float32",
               "step, ms", "beside formula, %", "bytes up", "bytes down"]  # fmt: skip
    note = (
        f"Means over {result.sizes['replica']} seeds with 95 % intervals; times sooner by paired logarithms. Time is "
        "simulated. Bytes: a worker's, per step. The formula knows no other traffic."
    )
    return Table("Learning digits over a network", columns, rows, note)


def lenet_step(result: "xr.Dataset", name: str, **changed: Any) -> StepTime:
    """Return the formula for LeNet with the bytes that were measured."""
    config = Config(latency_s=float(result["latency_s"]), node_operations_per_s=float(result["node_operations_per_s"]))
    case = Case(config=config, wire=WIRES[name], rate_bps=1e7, rate=0.02, lenet=True)
    one = result.sel(experiment=f"LeNet, {name}")
    return formula(case, float(one["up_bytes"].mean()), float(one["down_bytes"].mean()), **changed)


def crossover_bps(result: "xr.Dataset", name: str) -> float:
    """Return the bandwidth beyond which float32's step is shorter, four workers, links of their own."""
    grid = np.logspace(5, 12, 1401)
    longer = [
        lenet_step(result, name, access_bps=b).step_s > lenet_step(result, "float32", access_bps=b).step_s for b in grid
    ]
    return float(grid[np.argmax(longer)]) if any(longer) else float("inf")


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw time to the target and gain over bandwidth, and the formula's speed-up over workers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 7.6), layout="constrained")
    (times, gains), (many, policies) = figure.subplots(2, 2)
    grid = np.logspace(6, 10, 81)
    for number, name in enumerate(WIRES):
        steps = float(result["steps"].sel(experiment=f"LeNet, {name}").mean())
        if not np.isfinite(steps):
            steps = 50.0
        formula_s = np.array([lenet_step(result, name, access_bps=b).step_s for b in grid])
        times.loglog(grid / 1e6, steps * formula_s, color=COLORS[number], label=f"LeNet, {name}: formula")
        one = result.sel(experiment=f"LeNet, {name}")
        times.plot(float(one["rate_bps"]) / 1e6, float(one["time_s"].mean()), color=COLORS[number],
                   marker=MARKERS[number], markersize=8, linestyle="", label=f"LeNet, {name}: simulated")  # fmt: skip
        if name == "float32":
            continue
        floats_s = np.array([lenet_step(result, "float32", access_bps=b).step_s for b in grid])
        gains.semilogx(grid / 1e6, floats_s / formula_s, color=COLORS[number], label=f"LeNet, {name}: formula, a step")
        workers = 2 ** np.arange(1, 10)
        for rate_bps, style in ((float(result["shared_bps"]), "-"), (100 * float(result["shared_bps"]), "--")):
            ratio = [many_workers(result, "float32", int(n), rate_bps) / many_workers(result, name, int(n), rate_bps)
                     for n in workers]  # fmt: skip
            many.semilogx(workers, ratio, style, color=COLORS[number], base=2, marker=MARKERS[number], markersize=4,
                          label=f"{name}, {rate_bps / 1e9:g} Gb/s")  # fmt: skip
    small = [n for n in map(str, result["experiment"].values) if n.startswith("small, 2-bit") and n.endswith("Mb/s")]
    points = [(float(result["rate_bps"].sel(experiment=n)), *sooner(result, n)) for n in small]
    points = [p for p in points if np.isfinite(p[1])]
    if points:
        at, value, low, high = map(np.array, zip(*points, strict=True))
        gains.errorbar(at / 1e6, value, yerr=[value - low, high - value], color=COLORS[3], marker="D", capsize=3,
                       label="small net, 2-bit: simulated, time to 95 %")  # fmt: skip
    for number, name in enumerate(list(BAR)[1:], 4):
        value, low, high = sooner(result, f"bar, {name}")
        if np.isfinite(value):
            gains.errorbar([float(result["rate_bps"].sel(experiment=f"bar, {name}")) / 1e6], [value],
                           yerr=[[value - low], [high - value]], color=COLORS[number], marker=MARKERS[number],
                           capsize=3, linestyle="", label=f"LeNet, {name}: simulated, time to 95 %")  # fmt: skip
    gains.axhline(1, color="0.4", linewidth=0.8)
    gains.set(xlabel="each worker's link (Mb/s)", ylabel="times sooner than float32", ylim=(0, None))
    times.set(xlabel="each worker's link (Mb/s)", ylabel=f"time to {TARGET:.0%} (s)")
    times.set_title("Four workers, links of their own", fontsize=10)
    many.axhline(1, color="0.4", linewidth=0.8)
    many.set(
        xlabel="workers, LeNet, one link in front of the server", ylabel="step of float32 over step", ylim=(0, None)
    )
    many.set_title("Formula, unicast; each worker 16 images a step", fontsize=10)
    gains.set_title("Where compression stops paying", fontsize=10)
    width = 0.38
    first = next(n for n in map(str, result["experiment"].values) if n.startswith("small, float32")).split(", ")[2]
    for number, name in enumerate(("float32", "2-bit")):
        names = [f"small, {name}, {first}", *(f"small, {name}, {first}, {policy}" for policy in POLICIES[1:])]
        values = [result["step_s"].sel(experiment=n).values for n in names]
        means = [mean(1e3 * v) for v in values]
        policies.bar(
            np.arange(len(names)) + (number - 0.5) * width, [m.value for m in means], width, label=name, capsize=3,
            color=COLORS[number], yerr=[[m.value - m.low for m in means], [m.high - m.value for m in means]],
        )  # fmt: skip
    policies.set_xticks(np.arange(len(POLICIES)), POLICIES)
    policies.set(ylabel="a step (ms), 95 % interval", yscale="log")
    policies.set_title(f"Small net at {first}: what the slice's share does", fontsize=10)
    for axis in (times, gains, many, policies):
        axis.grid(visible=True, color="0.9")
        axis.set_axisbelow(True)
        axis.legend(fontsize=7, frameon=False, handlelength=3.2)
    return {"over_the_network": figure}


def many_workers(result: "xr.Dataset", name: str, workers: int, shared_bps: float) -> float:
    """Return LeNet's step behind one link, where sums come down in ceil(log2(2N + 1)) bits."""
    step = lenet_step(result, name)
    bits = (2 * workers).bit_length()
    codes = LENET.num_parameters * (32 if name == "float32" else bits) // 8
    down = (*step.down_bytes[:-1], codes)
    return replace(step, num_workers=workers, down_bytes=down, access_bps=1e10, shared_bps=shared_bps).step_s


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return times, gains with intervals, the formula's error, and the crossovers."""
    figures: dict[str, Any] = {}
    for name in map(str, result["experiment"].values):
        one = result.sel(experiment=name)
        gain, low, high = sooner(result, name)
        reached = one["time_s"].values[np.isfinite(one["time_s"].values)]
        figures[name] = {
            "time to target, s": mean(reached)._asdict() if reached.size > 1 else None,
            "reached": int(reached.size),
            "times sooner than float32": None if np.isnan(gain) else {"value": gain, "low": low, "high": high},
            "step beside formula, %": float(100 * (one["step_s"] / one["formula_s"] - 1).mean()),
        }
    figures["crossover of LeNet, b/s"] = {name: crossover_bps(result, name) for name in ("2-bit", "entropy")}
    return figures


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
