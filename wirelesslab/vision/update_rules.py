"""How weights follow gradients: SGD, momentum and Adam in NumPy, the same to the last bit in every process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check

Array = NDArray[np.float32]
RULES = ("sgd", "momentum", "adam")


@dataclass(frozen=True, kw_only=True)
class UpdateRule:
    """One rule with its numbers.

    Attributes:
        rule: "sgd": w - r g; "momentum": v = m v + g, w - r v (Polyak); "adam": Kingma and Ba, 2015.
        rate: r, the learning rate.
        momentum: m of momentum.
        beta_1: Of Adam's mean.
        beta_2: Of Adam's mean of squares.
        epsilon: Added to Adam's root.
        weight_decay: Times the weights of two or more axes, added to their (mean) gradient: an L2 penalty.
    """

    rule: Literal["sgd", "momentum", "adam"] = "momentum"
    rate: float = 0.05
    momentum: float = 0.9
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check.one_of(RULES, rule=self.rule)
        check.positive(rate=self.rate, epsilon=self.epsilon)
        check.within(0, 1 - 1e-9, momentum=self.momentum, beta_1=self.beta_1, beta_2=self.beta_2)
        check.within(0, 1e6, weight_decay=self.weight_decay)

    def memory(self, weights: Mapping[str, NDArray[Any]]) -> dict[str, Array]:
        """Return what the rule remembers before its first step."""
        kinds = {"sgd": (), "momentum": ("speed",), "adam": ("mean", "square")}[self.rule]
        return {f"{kind}/{name}": np.zeros(w.shape, np.float32) for kind in kinds for name, w in weights.items()}

    def step(
        self, weights: Mapping[str, Array], memory: Mapping[str, Array], gradients: Sequence[Array], number: int,
        *, rate_factor: float = 1.0,
    ) -> tuple[dict[str, Array], dict[str, Array]]:  # fmt: skip
        """Return weights and memory one step later.

        Args:
            weights: By name.
            memory: What `memory` or the step before gave.
            gradients: One per weight array, in the same order.
            number: The step's number, from 0.
            rate_factor: Times the rate, for schedules.

        Raises:
            ValueError: Another number of gradients, another shape, or one that is not finite.
        """
        if len(gradients) != len(weights):
            msg = f"gradients: got {len(gradients)}, expected {len(weights)}, one for each array of weights"
            raise ValueError(msg)
        rate, f32 = np.float32(self.rate * rate_factor), np.float32
        fresh, kept = {}, {}
        for (name, w), got in zip(weights.items(), gradients, strict=True):
            g = np.asarray(got, np.float32)
            if g.shape != w.shape or not np.isfinite(g).all():
                what = f"shape {g.shape}" if g.shape != w.shape else "NaN or infinity"
                msg = f"gradients: got {what} for {name!r}, expected finite numbers of shape {w.shape}"
                raise ValueError(msg)
            if self.weight_decay and w.ndim > 1:
                g = g + f32(self.weight_decay) * w
            if self.rule == "momentum":
                g = kept[f"speed/{name}"] = f32(self.momentum) * memory[f"speed/{name}"] + g
            elif self.rule == "adam":
                one, two = f32(self.beta_1), f32(self.beta_2)
                mean = kept[f"mean/{name}"] = one * memory[f"mean/{name}"] + (f32(1) - one) * g
                square = kept[f"square/{name}"] = two * memory[f"square/{name}"] + (f32(1) - two) * g * g
                mean = mean / f32(1 - self.beta_1 ** (number + 1))
                root: Array = np.sqrt(square / f32(1 - self.beta_2 ** (number + 1)), dtype=np.float32)
                g = mean / (root + f32(self.epsilon))
            fresh[name] = w - rate * g
        return fresh, {name: kept[name] for name in memory}
