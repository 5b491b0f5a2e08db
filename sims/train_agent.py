"""How well does an agent learn a task, and from how many steps? One learner, any task, its curve and its policy.

wirelesslab run train_agent                                        (CartPole by PPO; about 20 seconds; --quick: 12)
wirelesslab run train_agent --learner dqn                          (CartPole by DQN; about a minute)
wirelesslab run train_agent --learner sac --task Pendulum-v1       (about a minute)
wirelesslab run train_agent --task wirelesslab/Admission-v0 --steps 2000000 --settings discount=0.999,centre=true

Expect: CartPole at 475 of 500 or more by PPO and DQN, Pendulum at -200 or more by SAC, in the mean over 100 episodes
of each training; PPO comes close to that on Pendulum (-205 with one seed) after 200,000 steps. The folder receives a
checkpoint, from which the same command goes on after a crash to the same policy, and at the end `policy-<seed>.npz`,
which `wirelesslab.network.learners.load_policy` reads. Ctrl+C says from which checkpoint and step it goes on.

Tasks of this package that can be trained: wirelesslab/Admission-v0, wirelesslab/SliceAllocReduced-v0 and
wirelesslab/TwinSyncReduced-v0, compiled for many environments at once; wirelesslab/PlacementRows-v0 and
wirelesslab/AISliceChoices-v0, one after another. Numbers as actions take PPO or SAC, choices PPO or DQN.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wirelesslab import check, results
from wirelesslab.network.learners import DQN, PPO, SAC, Keep, evaluate, hold_to_one_thread, save_policy, train
from wirelesslab.network.learners.watching import lines
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import mean
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from matplotlib.figure import Figure

LEARNERS: Mapping[str, Any] = {"dqn": DQN, "ppo": PPO, "sac": SAC}


@dataclass(frozen=True)
class Preset:
    """What was found good for a task, on seeds other than those that are reported.

    Attributes:
        learner: The learner.
        steps: Of the training.
        num_envs: Environments side by side.
    """

    learner: Any
    steps: int
    num_envs: int


PRESETS: Mapping[tuple[str, str], Preset] = {
    ("CartPole-v1", "ppo"): Preset(PPO(), 50_000, 8),
    ("CartPole-v1", "dqn"): Preset(
        DQN(learning_rate=2e-3, target_rate=0.02, steps_per_update=2, batch_size=64, last_epsilon=0.05), 60_000, 8
    ),
    ("Pendulum-v1", "sac"): Preset(SAC(), 15_000, 4),
    ("Pendulum-v1", "ppo"): Preset(PPO(discount=0.9, epochs=10, minibatches=8, entropy=0.0), 200_000, 16),
}
SOLVED: Mapping[str, float] = {"CartPole-v1": 475.0, "Pendulum-v1": -200.0}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is trained, by what, and for how long.

    Attributes:
        task: Id under which Gymnasium knows it: CartPole-v1, Pendulum-v1; under wirelesslab/ Admission-v0,
            SliceAllocReduced-v0, TwinSyncReduced-v0, PlacementRows-v0, AISliceChoices-v0.
        learner: The learner.
        steps: Steps summed over environments; 0 takes what is known to be enough, or 200,000.
        num_envs: Environments side by side; 0 takes what is known to be good, or 64.
        settings: Changes to the learner's settings, such as ``discount=0.999,hidden=64x64``.
        trainings: Trainings with seeds that follow one another.
        episodes: In which each policy is judged.
        checkpoint_every: Steps between checkpoints.
    """

    task: str = "CartPole-v1"
    learner: Literal["dqn", "ppo", "sac"] = "ppo"
    steps: int = 0
    num_envs: int = 0
    settings: tuple[str, ...] = ()
    trainings: int = 1
    episodes: int = 100
    checkpoint_every: int = 20_000

    def __post_init__(self) -> None:
        check.non_negative_integer(steps=self.steps, num_envs=self.num_envs)
        check.positive_integer(trainings=self.trainings, episodes=self.episodes, checkpoint_every=self.checkpoint_every)
        check.one_of(LEARNERS, learner=self.learner)
        _ = self.preset

    @property
    def preset(self) -> Preset:
        """What is trained with, all settings applied."""
        known = PRESETS.get((self.task, self.learner), Preset(LEARNERS[self.learner](), 200_000, 64))
        learner = changed(known.learner, self.settings)
        return Preset(learner, self.steps or known.steps, self.num_envs or known.num_envs)


QUICK: Mapping[str, Any] = {"steps": 10_000, "episodes": 20}


def changed(learner: Any, settings: tuple[str, ...]) -> Any:
    """Return a learner with settings written as ``name=value``; whole numbers of layers as ``64x64``."""
    now = {field.name: getattr(learner, field.name) for field in dataclasses.fields(learner)}
    changes: dict[str, Any] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        check.one_of(now, settings=name)
        kind = type(now[name])
        try:
            if kind is bool:
                changes[name] = {"true": True, "false": False}[text.lower()]
            else:
                changes[name] = tuple(int(part) for part in text.split("x")) if kind is tuple else kind(text)
        except (KeyError, ValueError):
            msg = f"settings: got {setting!r}, expected a value such as {name}={now[name]}"
            raise ValueError(msg) from None
    return dataclasses.replace(learner, **changes)


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Train, save the policies, judge them in whole episodes.

    Returns:
        `returns` of each training's episodes; `mean_return` with its interval; the `curve` of the training: mean
        return of the episodes that ended since the point before, and `reward` per step.
    """
    import gymnasium
    import xarray as xr

    import wirelesslab.network.tasks  # noqa: F401 - makes its tasks known

    session = session or Session()
    hold_to_one_thread()
    preset, num = config.preset, config.trainings
    seeds = [session.seed + i for i in range(num)]
    returns, curves = np.zeros((num, config.episodes)), []
    for at, seed in enumerate(seeds):
        keep = None
        if session.out is not None:
            keep = Keep(path=session.out / f"checkpoint-{seed}.npz", every_steps=config.checkpoint_every)
        watch = nullcontext() if session.quiet else lines(sys.stderr, f"seed {seed}: " if num > 1 else "")
        env = gymnasium.make_vec(config.task, num_envs=preset.num_envs)
        try:
            with watch as show:
                policy = train(
                    preset.learner, env, steps=preset.steps, seed=seed, keep=keep, show=show, task=config.task
                )  # fmt: skip
            env.close()
            if session.out is not None:
                save_policy(policy, session.out / f"policy-{seed}.npz")
            one = gymnasium.make(config.task)
            returns[at] = evaluate(policy, one, episodes=config.episodes, seed=seed)
            one.close()
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(str(stop) or _outside_training(session.out)) from None
        curves.append(policy.record["curve"])
    means = [mean(row) for row in returns]
    points = np.array([[[np.nan if v is None else v for v in point] for point in curve] for curve in curves])
    return xr.Dataset(
        {
            "returns": (("training", "episode"), returns),
            "mean_return": ("training", [m.value for m in means]),
            "mean_return_low": ("training", [m.low for m in means]),
            "mean_return_high": ("training", [m.high for m in means]),
            "curve": (("training", "step"), points[..., 2]),
            "reward": (("training", "step"), points[..., 1]),
        },
        coords={"training": seeds, "step": points[0, :, 0].astype(int)},
        attrs={
            **results.provenance(),
            "config": json.dumps({"config": results.describe(config), "seed": session.seed}),
            "task": config.task, "learner": repr(preset.learner), "steps": preset.steps, "num_envs": preset.num_envs,
        },
    )  # fmt: skip


def _outside_training(out: "Path | None") -> str:
    """What is kept when a run is ended before or after a training's steps."""
    return "nothing was kept" if out is None else f"checkpoints and policies in {out} are kept, and the same goes on"


def table(result: "xr.Dataset") -> Table:
    """Return the mean return of each training's policy, with its interval."""
    bar = SOLVED.get(result.attrs["task"])
    rows = []
    for one in result["training"].values:
        policy = result.sel(training=one)
        low, middle, high = (float(policy[f"mean_return{end}"]) for end in ("_low", "", "_high"))
        solved = "-" if bar is None else "yes" if middle >= bar else "no"
        rows.append([
            str(int(one)), f"{middle:.5g} ({low:.5g} to {high:.5g})", f"{float(policy['returns'].min()):.5g}", solved,
        ])  # fmt: skip
    title = f"{result.attrs['task']} after {result.attrs['steps']} steps in {result.attrs['num_envs']} environments"
    bar_said = "" if bar is None else f" Solved: {bar:g} or more in the mean."
    note = (
        f"{result.sizes['episode']} episodes that no training saw, the trained law's middle taken, 95 % intervals of "
        f"means over episodes.{bar_said}\n{result.attrs['learner']}"
    )
    return Table(title, ["seed", "mean return", "worst", "solved"], rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw the curves of the trainings, and the returns of the trained policies."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    ends = bool(np.isfinite(result["curve"]).any())
    shown = result["curve"] if ends else result["reward"]
    for number, seed in enumerate(result["training"].values):
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        curve = shown.sel(training=seed)
        known = np.isfinite(curve.values)
        left.plot(result["step"].values[known], curve.values[known], color=color, linewidth=1.3, marker=marker,
                  markersize=3, label=f"seed {seed}")  # fmt: skip
        returns = result["returns"].sel(training=seed).values
        spread = np.linspace(-0.25, 0.25, returns.size)
        right.plot(number + spread, np.sort(returns), ".", color=color, markersize=4, alpha=0.6)
        low, middle, high = (float(result[f"mean_return{e}"].sel(training=seed)) for e in ("_low", "", "_high"))
        if np.isfinite([low, high]).all():
            right.errorbar(number, middle, [[middle - low], [high - middle]], color="black", marker=marker,
                           markersize=6, capsize=4)  # fmt: skip
    bar = SOLVED.get(result.attrs["task"])
    for axes in (left, right):
        if bar is not None and (ends or axes is right):
            axes.axhline(bar, color="0.4", linestyle=":", linewidth=1.2)
            axes.annotate("solved", (0.01, bar), (0, 3), xycoords=("axes fraction", "data"),
                          textcoords="offset points", fontsize=8, color="0.4")  # fmt: skip
        axes.grid(visible=True, color="0.9")
        axes.set_axisbelow(True)
    left.set(xlabel="steps, summed over environments", ylabel="mean return of episodes" if ends else "reward per step")
    left.set_title("While it learns and explores", fontsize=10)
    if result.sizes["training"] > 1:
        left.legend(fontsize=8)
    right.set(xlabel="seed of the training", ylabel="return of an episode")
    right.set_xticks(range(result.sizes["training"]), [str(s) for s in result["training"].values])
    right.set_xlim(-0.6, result.sizes["training"] - 0.4)
    right.set_title("Trained: sorted episodes, mean with 95 %", fontsize=10)
    return {"training": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return each policy's mean return with its interval, and over trainings."""
    each = {
        str(int(one)): {
            end or "value": float(result[f"mean_return{'_' if end else ''}{end}"].sel(training=one))
            for end in ("", "low", "high")
        }
        for one in result["training"].values
    }
    return {"mean_return": each, "over_trainings": mean(result["mean_return"])._asdict()}


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
