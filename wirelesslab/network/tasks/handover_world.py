"""Users who walk among cells and choose theirs: the world of the task `Handover`, all users as arrays.

A cell divides its time evenly among its users, so that a crowded cell is a poor choice even for who hears it best.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.areas import Rectangle
from wirelesslab.network.mobility import RandomWaypoint
from wirelesslab.network.radio import LinkBudget, Shannon, received_powers
from wirelesslab.network.tasks.task import SOURCES, Source
from wirelesslab.rng import stream
from wirelesslab.units import linear_to_db

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_BPS = 1e4  # what a user without service is counted with, so that its utility stays finite: our choice
FEATURES = ("margin_db", "sinr_db", "users", "serving", "since_s", "left_last", "allowed")
LOW = (-100.0, -60.0, 0.0, 0.0, 0.0, 0.0, 0.0)
HIGH = (100.0, 100.0, 1e6, 1.0, 10.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class HandoverSetting:
    """Cells, users, and what an agent is told of them (numbers are our choice unless said).

    Attributes:
        users: Agents.
        rings: Rings of cells around the one in the middle; 1 is seven cells.
        distance_m: From site to site.
        candidates: Cells that a user reports: its own and the strongest others.
        hot_share: Users who stay around one cell, drawn for each episode.
        hot_m: Side of the square in which they stay.
        speed_mps: Least and greatest.
        step_s: A step.
        report_steps: A user may change its cell at every so many steps; users take turns.
        interruption_s: Without data at each change (some 50 ms in LTE and NR).
        error_db: Spread of a measured power.
        horizon: Steps of an episode.
        source: How the cells' numbers of users are seen: as they are ("physical", "fresh"), `age_s` ago, or not.
        age_s: See `source`.
        budget: Radio.
    """

    users: int = 24
    rings: int = 1
    distance_m: float = 300.0
    candidates: int = 4
    hot_share: float = 0.6
    hot_m: float = 250.0
    speed_mps: tuple[float, float] = (8.0, 25.0)
    step_s: float = 0.1
    report_steps: int = 4
    interruption_s: float = 0.05
    error_db: float = 2.0
    horizon: int = 300
    source: Source = "physical"
    age_s: float = 1.0
    budget: LinkBudget = field(default_factory=LinkBudget)

    def __post_init__(self) -> None:
        check.positive_integer(
            users=self.users, rings=self.rings, candidates=self.candidates, report_steps=self.report_steps,
            horizon=self.horizon,
        )  # fmt: skip
        check.positive(distance_m=self.distance_m, hot_m=self.hot_m, step_s=self.step_s)
        check.within(0, self.step_s, interruption_s=self.interruption_s)
        check.within(0, 20, error_db=self.error_db)
        check.within(0, 3600, age_s=self.age_s)
        check.probability(hot_share=self.hot_share)
        check.one_of(SOURCES, source=self.source)
        if not 2 <= self.candidates <= self.num_cells:
            msg = f"candidates: got {self.candidates}, expected from 2 to {self.num_cells}, the cells that there are"
            raise ValueError(msg)

    @property
    def num_cells(self) -> int:
        """One in the middle and six more in each ring than in the one before."""
        return 1 + 3 * self.rings * (self.rings + 1)

    def cells_m(self) -> Floats:
        """Return where the sites stand, shape (cells, 2)."""
        axes = np.array([[1.0, 0.0], [0.5, np.sqrt(3) / 2]])
        places = range(-self.rings, self.rings + 1)
        chosen = [(a, b) for a in places for b in places if abs(a + b) <= self.rings]
        return np.asarray(self.distance_m * np.array(chosen) @ axes)


class HandoverWorld:
    """One episode: who is where, served by which cell, and what it gets.

    Args:
        setting: The world.
        seed: Of the whole episode: ways, shadowing, errors of measurement. What users choose changes none of them.
    """

    def __init__(self, setting: HandoverSetting, seed: int) -> None:
        self.setting, self.seed = setting, int(seed)
        self.cells_m = setting.cells_m()
        draw = stream(self.seed, "handover", "begin")
        reach_m = (setting.rings + 0.5) * setting.distance_m
        hot_m = self.cells_m[draw.integers(len(self.cells_m))]
        self.num_hot = round(setting.hot_share * setting.users)
        half_m = setting.hot_m / 2
        self.laws = (
            RandomWaypoint(area=_square(hot_m, half_m), speed_mps=setting.speed_mps),
            RandomWaypoint(area=_square(np.zeros(2), reach_m), speed_mps=setting.speed_mps),
        )
        self.users_m = np.concatenate([
            law.area.place(draw.random((num, 2)))
            for law, num in zip(self.laws, (self.num_hot, setting.users - self.num_hot), strict=True)
        ])  # fmt: skip
        self.walkers = [stream(self.seed, "handover", "ways", place) for place in range(2)]
        self.memories = [
            law.begin(rng, part) for law, rng, part in zip(self.laws, self.walkers, self._parts(), strict=True)
        ]
        self.errors = stream(self.seed, "handover", "errors")
        self.step_number = 0
        self.left: Ints = np.full(setting.users, -1)
        self.since_steps: Ints = np.full(setting.users, round(HIGH[4] / setting.step_s))
        self._measure()
        self.serving: Ints = self.powers_db.argmax(axis=1)
        self.counts: list[Ints] = [self._users_of_cells()]

    def _parts(self) -> tuple[Floats, Floats]:
        return self.users_m[: self.num_hot], self.users_m[self.num_hot :]

    def _users_of_cells(self) -> Ints:
        return np.bincount(self.serving, minlength=len(self.cells_m)).astype(np.int64)

    def _measure(self) -> None:
        """Reckon the true mean powers, and what users measure of them."""
        # Line of sight and shadowing are drawn from the same numbers at every step: a user's own for the episode.
        large_scale = stream(self.seed, "handover", "large scale")
        powers = received_powers(self.setting.budget, self.users_m, self.cells_m, large_scale)
        self.powers_mw = powers.astype(float)
        noise_db = self.setting.error_db * self.errors.standard_normal(powers.shape)
        self.powers_db: Floats = np.asarray(linear_to_db(self.powers_mw)) + noise_db

    # --- what a user sees --------------------------------------------------------------------------------

    def candidates(self) -> Ints:
        """Return the cells that each user reports, its own first, then by measured power; shape (users, candidates)."""
        users = np.arange(self.setting.users)
        others = self.powers_db.copy()
        others[users, self.serving] = np.inf
        return np.argsort(-others, axis=1, kind="stable")[:, : self.setting.candidates]

    def masks(self) -> NDArray[np.int8]:
        """Return which candidates may be chosen, shape (users, candidates): one's own always."""
        turn = (self.step_number + np.arange(self.setting.users)) % self.setting.report_steps == 0
        masks = np.zeros((self.setting.users, self.setting.candidates), np.int8)
        masks[:, 0] = 1
        masks[turn] = 1
        return masks

    def observations(self) -> NDArray[np.float32]:
        """Return a row for each candidate of each user, shape (users, candidates, features); see `FEATURES`."""
        cells, users = self.candidates(), np.arange(self.setting.users)[:, None]
        powers_db = self.powers_db[users, cells]
        powers = 10 ** (self.powers_db / 10)
        others = powers.sum(axis=1)[:, None] - powers[users, cells]
        rows = np.empty((*cells.shape, len(FEATURES)))
        rows[..., 0] = powers_db - powers_db[:, :1]
        rows[..., 1] = powers_db - linear_to_db(others + self.setting.budget.noise_mw)
        rows[..., 2] = self._told()[cells]
        rows[..., 3] = cells == self.serving[:, None]
        rows[..., 4] = (self.since_steps * self.setting.step_s)[:, None]
        rows[..., 5] = cells == self.left[:, None]
        rows[..., 6] = self.masks()
        return np.clip(rows, LOW, HIGH).astype(np.float32)

    def _told(self) -> Ints:
        """Return the numbers of users that cells tell."""
        if self.setting.source == "none":
            return np.zeros(len(self.cells_m), np.int64)
        return self.counts[0] if self.setting.source == "aged" else self.counts[-1]

    # --- what happens ------------------------------------------------------------------------------------

    def step(self, choices: Ints) -> dict[str, Floats]:
        """Hand over whom it asks for, let a step pass, and return what each user got, shape (users,) each.

        Args:
            choices: Place of the chosen cell among a user's candidates, shape (users,); out of turn it is not heard.

        Returns:
            ``rate_bps`` with the interruption, ``whole_bps`` without it, ``changed`` and ``returned`` (to the cell
            left less than a second ago: a ping-pong).
        """
        setting, users = self.setting, np.arange(self.setting.users)
        target = self.candidates()[users, np.where(self.masks()[:, -1] > 0, choices, 0)]
        changed = target != self.serving
        returned = changed & (target == self.left) & (self.since_steps * setting.step_s < 1.0)
        self.left = np.where(changed, self.serving, self.left)
        self.since_steps = np.where(changed, 0, self.since_steps + 1)
        self.serving = target
        in_cell = self._users_of_cells()
        signal = self.powers_mw[users, target]
        interference = (self.powers_mw * (in_cell > 0)).sum(axis=1) - signal
        efficiency = Shannon().spectral_efficiency(signal / (setting.budget.noise_mw + interference))
        whole = setting.budget.bandwidth_hz * efficiency / in_cell[target]
        rate = whole * (1 - changed * setting.interruption_s / setting.step_s)
        self.step_number += 1
        for place, (law, rng, memory) in enumerate(zip(self.laws, self.walkers, self.memories, strict=True)):
            part = slice(None, self.num_hot) if place == 0 else slice(self.num_hot, None)
            if len(self.users_m[part]):
                self.users_m[part] = law.advance(rng, memory, self.users_m[part], setting.step_s)
        self._measure()
        self.counts = [*self.counts, in_cell][-1 - round(setting.age_s / setting.step_s) :]
        return {"rate_bps": rate, "whole_bps": whole, "changed": changed.astype(float), "returned": returned * 1.0}

    # --- written down ------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as plain data."""
        return deepcopy({
            "seed": self.seed, "step_number": self.step_number, "users_m": self.users_m, "memories": self.memories,
            "walkers": [rng.bit_generator.state for rng in self.walkers], "errors": self.errors.bit_generator.state,
            "left": self.left, "since_steps": self.since_steps, "serving": self.serving, "counts": self.counts,
            "powers_mw": self.powers_mw, "powers_db": self.powers_db,
        })  # fmt: skip

    @classmethod
    def restored(cls, setting: HandoverSetting, snapshot: Mapping[str, Any]) -> "HandoverWorld":
        """Return the world that was written down."""
        world, kept = cls(setting, snapshot["seed"]), deepcopy(dict(snapshot))
        for rng, state in zip(world.walkers, kept.pop("walkers"), strict=True):
            rng.bit_generator.state = state
        world.errors.bit_generator.state = kept.pop("errors")
        for name, value in kept.items():
            setattr(world, name, value)
        return world


def utility(rate_bps: Floats) -> Floats:
    """Return the natural logarithm of a rate in Mb/s: what proportional fairness adds up."""
    return np.asarray(np.log(np.maximum(rate_bps, LEAST_BPS) / 1e6))


def _square(middle_m: Floats, half_m: float) -> Rectangle:
    low, high = middle_m - half_m, middle_m + half_m
    return Rectangle(low_m=(float(low[0]), float(low[1])), high_m=(float(high[0]), float(high[1])))
