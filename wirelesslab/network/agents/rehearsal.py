"""Think before you act: what several policies wish is tried in the twin first."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from wirelesslab import check
from wirelesslab.network.agents.plans import Plan
from wirelesslab.network.agents.policy import Policy, wishes_of
from wirelesslab.network.agents.rules import policy_of
from wirelesslab.network.twins.what_if import Rehearsal, Score, fewest_late
from wirelesslab.network.view import Action, View


class Stage(Protocol):
    """A twin in which wishes can be tried, such as `DigitalTwin`."""

    def best_of(
        self, actions: list[tuple[Action, ...]], score: Score, *, horizon_s: float, futures: int, seed: int, by: str
    ) -> Rehearsal:
        """Return which wish scores best; doing nothing is one of them."""
        ...


@dataclass(eq=False)
class Rehearse:
    """Does what its twin expects most of, out of what several policies wish and doing nothing.

    Policies that decide from a twin itself have `act_with`, which an agent calls instead of `act`. The twin
    rehearses as if the wish were done at once; on its way it comes later. What is no action is never chosen.

    Attributes:
        policies: Policies or plans; each sees every view, so that its memory is whole.
        score: What is worth most, of a `WhatIf`.
        horizon_s: How far the twin looks ahead.
        futures: That it draws for each rehearsal.
        rehearsals: How many there have been, from which futures are drawn: memory.
    """

    policies: tuple[Policy | Plan, ...]
    score: Score = fewest_late
    horizon_s: float = 1.0
    futures: int = 4
    rehearsals: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not self.policies:
            msg = "policies: got none, expected at least one whose wishes are tried"
            raise ValueError(msg)
        self.policies = tuple(policy_of(policy) for policy in self.policies)
        check.positive(horizon_s=self.horizon_s)
        check.positive_integer(futures=self.futures)

    def act(self, view: View) -> None:
        """Refuse to decide without a twin.

        Raises:
            ValueError: Always.
        """
        del view
        msg = "rehearse: got a view without a twin to try wishes in; let the agent see a DigitalTwin"
        raise ValueError(msg)

    def act_with(self, view: View, twin: Stage, *, by: str, forbids: Callable[[Action], str]) -> tuple[Action, ...]:
        """Return the wish of the highest score; () if doing nothing is as good.

        Args:
            view: What is seen.
            twin: Where wishes are tried.
            by: Who asks.
            forbids: Says why an action is outside the agent's mandate; such wishes are not tried.

        Raises:
            PermissionError: `by` may not rehearse in this twin.
            ValueError: The twin does not know enough yet.
        """
        answers: list[Any] = [wishes_of(policy.act(view)) for policy in self.policies]  # type: ignore[union-attr]
        wishes = [answer for answer in answers if answer and not any(map(forbids, answer))]
        if not wishes:
            return ()
        self.rehearsals += 1
        tried = twin.best_of(
            wishes, self.score, horizon_s=self.horizon_s, futures=self.futures, seed=self.rehearsals, by=by
        )
        return tried.best.actions
