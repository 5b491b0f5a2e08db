"""What training over a network keeps: costs of a step, rounds that ended, and where everybody stands."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from wirelesslab import check
from wirelesslab.vision.parallel import Replica


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Operations of a step, from which compute times follow.

    Attributes:
        gradient: Of a worker's gradient: forward and backward pass over its batch.
        encode: Of encoding each exchange, per worker.
        aggregate: Of the server's, per exchange and worker.
        finish: Of decoding and applying the mean, per worker.
    """

    gradient: float
    encode: float = 0.0
    aggregate: float = 0.0
    finish: float = 0.0

    def __post_init__(self) -> None:
        check.positive(gradient=self.gradient)
        for name in ("encode", "aggregate", "finish"):
            check.within(0, np.finfo(float).max, **{name: getattr(self, name)})

    @classmethod
    def per_value(cls, num_values: int, gradient: float, *, encode: float = 40, decode: float = 6) -> "Costs":
        """Return the costs of a model of `num_values` parameters.

        40 operations a value for drawing and packing ternary codes (Philox alone takes 25) and 6 for unpacking
        and adding are our count.
        """
        return cls(
            gradient=gradient, encode=encode * num_values, aggregate=decode * num_values, finish=decode * num_values
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """A step of the training, as the network saw it.

    Attributes:
        step: Its number.
        began_s: When the first worker began it.
        gradients_s: When the last gradient was there, of the workers that took part in the first exchange.
        answers_s: When the server's answer to each exchange was ready.
        ended_s: When the last worker had applied it.
        slowest: Worker whose message closed the last exchange.
        missed: Workers that were left out.
        up_bytes: Messages up, those sent again included.
        largest_up_bytes: The largest message of each exchange, added up: where links are alike, a round waits for it.
        down_bytes: Messages down, those sent again included.
        resent: Messages and jobs that were lost and begun again.
        score: What `score` said afterwards; NaN where it was not asked.
    """

    step: int
    began_s: float
    gradients_s: float
    answers_s: tuple[float, ...]
    ended_s: float
    slowest: int
    missed: tuple[int, ...]
    up_bytes: int
    largest_up_bytes: int
    down_bytes: int
    resent: int
    score: float = float("nan")


@dataclass
class OpenRound:
    """A round that is not over; `answers` are the server's, by exchange, for whoever has not applied them."""

    began_s: float
    gradients_s: float = 0.0
    answers_s: list[float] = field(default_factory=list)
    slowest: int = -1
    missed: set[int] = field(default_factory=set)
    up_bytes: int = 0
    largest: dict[int, int] = field(default_factory=dict)  # message up, by exchange
    down_bytes: int = 0
    resent: int = 0
    finished: int = 0
    answers: dict[int, bytes] = field(default_factory=dict)
    score: float = float("nan")


@dataclass
class Place:
    """Where a worker stands.

    Attributes:
        exchange: Whose message it makes or has made; -1 while it applies an answer.
        message: What it sends in this exchange.
        gradient_s: When its latest gradient was there.
        inbox: Answers that came, by (step, exchange).
    """

    exchange: int = 0
    message: bytes = b""
    gradient_s: float = 0.0
    inbox: dict[tuple[int, int], bytes] = field(default_factory=dict)


def check_replicas(replicas: Sequence[Replica], num: int) -> None:
    """Refuse what is not one crew of `num` workers, each at its own place, with one wire.

    Raises:
        ValueError: It is not.
    """
    said = [(r.worker, r.workers) for r in replicas]
    if not num or said != [(worker, num) for worker in range(num)]:
        msg = f"workers: got {num} nodes for replicas (worker, of how many) {said}, expected one each, in order"
        raise ValueError(msg)
    if any(r.wire != replicas[0].wire for r in replicas):
        msg = f"replicas: got wires {[r.wire for r in replicas]}, expected one that all share"
        raise ValueError(msg)
