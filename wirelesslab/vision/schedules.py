"""How the rate falls over a training of a known number of steps."""

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

from wirelesslab import check

KINDS = ("constant", "cosine", "steps", "poly")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What the rule's rate is multiplied by at each step.

    Attributes:
        kind: "constant": 1; "cosine": from 1 to 0 along half a wave; "poly": (1 - share)^0.9, as DeepLab's; "steps":
            times `drop` at each share of `drops`.
        drops: Shares of the training at which the rate drops.
        drop: Times the rate, at each.
        warm_up: Share of the training in which the rate grows from 0 to what it would be.

    Examples:
        >>> [round(Schedule(kind="cosine").factor(step, 4), 3) for step in range(4)]
        [1.0, 0.854, 0.5, 0.146]
    """

    kind: Literal["constant", "cosine", "steps", "poly"] = "constant"
    drops: tuple[float, ...] = (0.6, 0.85)
    drop: float = 0.1
    warm_up: float = 0.0

    def __post_init__(self) -> None:
        check.one_of(KINDS, kind=self.kind)
        check.probability(warm_up=self.warm_up, **{f"drops_{i}": share for i, share in enumerate(self.drops)})
        check.within(0, 1, drop=self.drop)

    @property
    def needs_steps(self) -> bool:
        """Whether the number of steps must be known before the first."""
        return self.kind != "constant" or self.warm_up > 0

    def factor(self, step: int, steps: int) -> float:
        """Return what the rate is multiplied by at a step, from 0, of so many; beyond them what it is at their end."""
        share = min(step / steps, 1.0)
        found = min(1.0, (step + 1) / (self.warm_up * steps)) if self.warm_up > 0 else 1.0
        if self.kind == "cosine":
            return found * (1 + cos(pi * share)) / 2
        if self.kind == "poly":
            return float(found * (1 - share) ** 0.9)
        if self.kind == "steps":
            return float(found * self.drop ** sum(share >= at for at in self.drops))
        return found
