"""Toy trials for the tests of the floor: a batch costs microseconds, and every call can be recorded.

They live in a module, so that spawned workers and Dask workers can unpickle them.
"""

import json
import os
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import wirelesslab as wl
from wirelesslab.stats import Count, Timing

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Coin:
    """The configuration of a toy: how often it errs, and fields that change nothing or break it."""

    bias: float = 0.1
    label: str = "plain"
    trouble: str = ""

    def __post_init__(self) -> None:
        wl.check.probability(bias=self.bias)


@dataclass(frozen=True)
class Player:
    """A toy detector: errs where the air is below `handicap` times the coin's bias."""

    name: str
    handicap: float = 1.0


ANNA, BERT, CARL = Player("anna", 1.0), Player("bert", 0.3), Player("carl", 2.0)


@dataclass(frozen=True)
class TossTrial:
    """Binomial errors in clusters of frames; all players meet the same air.

    Attributes:
        players: What is compared.
        log: A file that gets a line per call: who plays, at which coin, in which air.
        seconds: How long the work pretends to take.
        frames: Frames in a batch.
    """

    players: tuple[Player, ...] = (ANNA, BERT)
    log: str = ""
    seconds: float = 0.0
    frames: int = 8

    @property
    def parts(self) -> Mapping[str, Any]:
        return {player.name: player for player in self.players}

    def only(self, names: Collection[str]) -> "TossTrial":
        return replace(self, players=tuple(p for p in self.players if p.name in names))

    def describe(self) -> dict[str, Any]:
        return {"class": "TossTrial", "frames": self.frames}

    def __call__(self, coin: Coin, rng: np.random.Generator) -> dict[str, dict[str, Count | Timing]]:
        air = rng.random((self.frames, 10))
        note(self.log, bias=coin.bias, label=coin.label, air=float(air[0, 0]), players=[p.name for p in self.players])
        time.sleep(self.seconds)
        if coin.trouble == "fails":
            msg = "the coin fell off the table"
            raise ValueError(msg)
        if coin.trouble == "dies":
            os._exit(3)
        if coin.trouble == "fails in batch 2" and air[0, 0] == air_of_batch(2):
            msg = "the third toss fell off the table"
            raise ValueError(msg)
        if coin.trouble == "interrupts in batch 3" and air[0, 0] == air_of_batch(3):
            os.kill(os.getpid(), signal.SIGINT)
        return {
            player.name: {
                "ser": Count.per_frame((air < coin.bias * player.handicap).sum(1), air.shape[1]),
                "half": Count.per_frame((air[:, :5] < coin.bias * player.handicap).sum(1), 5),
                "seconds_per_frame": Timing(time.perf_counter() % 1, self.frames),
            }
            for player in self.players
        }


def undeclared_trial(coin: Coin, rng: np.random.Generator) -> dict[str, dict[str, Count]]:
    """A trial that is a plain function: it declares no parts, and cannot leave one out."""
    air = rng.random((8, 10))
    return {
        name: {"ser": Count.per_frame((air < coin.bias * factor).sum(1), 10)}
        for name, factor in (("anna", 1.0), ("bert", 0.3))
    }


def tosses(bias: float, seed: int) -> dict[str, Any]:
    """An experiment of `replicas`: numbers that only bias and seed decide."""
    air = np.random.default_rng(seed).random(5)
    return {"share": float((air < bias).mean()), "air": air, "none": float("nan")}


class OutOfPatienceError(BaseException):
    """Ends a study that would go on for ever."""


@dataclass(frozen=True)
class ForgetfulTrial:
    """Declares two parts and returns one, as a trial with a bug would."""

    log: str
    patience: int = 50

    @property
    def parts(self) -> Mapping[str, Any]:
        return {"anna": ANNA, "bert": BERT}

    def __call__(self, coin: Coin, rng: np.random.Generator) -> dict[str, dict[str, Count]]:
        note(self.log, bias=coin.bias)
        if len(notes(self.log)) > self.patience:
            raise OutOfPatienceError
        return {"anna": {"ser": Count.per_frame([1, 0], 10)}}


def air_of_batch(batch: int, seed: int = 7) -> float:
    """The first number that a trial draws in a batch: it tells batches apart."""
    return float(wl.rng.stream(seed, "batch", batch).random())


def note(log: str, **values: Any) -> None:
    if log:
        with open(log, "a", encoding="utf-8") as out:
            out.write(json.dumps(values) + "\n")


def notes(log: Path | str) -> list[dict[str, Any]]:
    """Return what was noted, whole lines only."""
    path = Path(log)
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def same_counts(first: xr.Dataset, second: xr.Dataset) -> None:
    """Fail unless two results hold the same numbers; timings are no part of a comparison."""
    xr.testing.assert_equal(*(r.drop_vars("seconds_per_frame", errors="ignore") for r in (first, second)))


def records(folder: Path) -> list[dict[str, Any]]:
    """Return the batches in a folder's journal (the whole lines of it)."""
    path = folder / "journal.jsonl"
    if not path.exists():
        return []
    content = path.read_bytes()
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    return [r for r in (json.loads(line.partition(b" ")[2]) for line in lines) if "batch" in r]


def computed(folder: Path) -> Iterator[tuple[str, int, str]]:
    """Yield (point, batch, detector) for everything that the journal says was computed."""
    for record in records(folder):
        for name in record["counts"]:
            yield json.dumps(record["point"], sort_keys=True), record["batch"], name


def wait_until(condition: Any, seconds: float = 60.0, what: str = "") -> None:
    """Poll until `condition()` holds; fail when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what or condition}"
        time.sleep(0.02)


def environment() -> dict[str, str]:
    """Return the environment of a subprocess that must find this checkout's tests."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}
