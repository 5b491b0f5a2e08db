"""What decides: a policy looks at a view and says what it wishes."""

from collections.abc import Sequence
from typing import Any, Protocol

from wirelesslab.network.view import ACTIONS, Action, View, Wish

ATTRIBUTES = ("slices", "ratios", "down", "queues")
"""What a view shows; the names by which a policy says what it reads."""


class Policy(Protocol):
    """Decides from what it sees.

    It may keep a memory: each agent decides by a copy of its own (`copy.deepcopy`), which lives in the agent's
    record and is written down with the network. A memory is therefore data: numbers, arrays, generators of
    randomness, no open files and no closures. It has no clock but ``view.time_s`` and no randomness but its own.

    A policy that needs little says so by an attribute `reads`, a tuple of names out of `ATTRIBUTES`; a twin lets
    an agent look if it may read all of them. Without it the policy reads everything.
    """

    def act(self, view: View) -> Action | Sequence[Action] | None:
        """Return one action, several that begin at once, or None to change nothing.

        Several are checked and done one after the other: each is done or refused whole, and none stops the others.

        Raises:
            ValueError: It can make nothing of what it sees; the agent records that and goes on. Any other
                exception is a fault of the policy and ends the run.
        """
        ...


def reads_of(policy: Any) -> tuple[str, ...]:
    """Return the attributes that a policy reads.

    Raises:
        ValueError: It names one that no view has.
    """
    reads = tuple(getattr(policy, "reads", ATTRIBUTES))
    unknown = sorted(set(reads) - set(ATTRIBUTES))
    if unknown:
        msg = f"reads: got {', '.join(map(repr, unknown))}, expected names out of {ATTRIBUTES}"
        raise ValueError(msg)
    return reads


def wishes_of(answer: object) -> tuple[Action, ...]:
    """Return what a policy answered as actions; what is none becomes a `Wish`, which a network refuses.

    Examples:
        >>> [str(wish) for wish in wishes_of("more for embb")]
        ["'more for embb', a str"]
    """
    if answer is None:
        return ()
    several = list(answer) if isinstance(answer, list | tuple) else [answer]
    return tuple(
        one if isinstance(one, ACTIONS) else Wish(f"{_excerpt(one)}, a {type(one).__name__}") for one in several
    )


def _excerpt(answer: object, length: int = 100) -> str:
    words = " ".join(repr(answer).split())
    return words if len(words) <= length else words[: length - 3] + "..."
