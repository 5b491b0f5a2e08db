"""Agents: a policy at a node, which sees, decides and acts, and pays for every way.

The loop is written once, here; a `Planner` is an agent whose beat is the planning window. Beat by beat:

    sense    what is seen goes from where it is seen to the agent's node
    decide   the policy takes its time
    enforce  what it wishes goes from there to what it changes

An agent attends to one decision at a time: beats that fall into one are missed. What it wishes may be no
action, late, outside its mandate or impossible: then it is refused and recorded, and the run goes on.
"""

from collections import deque
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from math import inf, nan
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.agents.mandate import Mandate
from wirelesslab.network.agents.plans import Plan
from wirelesslab.network.agents.policy import Policy, reads_of, wishes_of
from wirelesslab.network.agents.rules import Reserve, policy_of
from wirelesslab.network.agents.ways import check_place, way_back_s, way_there_s
from wirelesslab.network.view import Action, SetRatios, View, Wish

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network, Story
    from wirelesslab.network.trace import Trace

DECISIONS_KEPT = 1000  # the latest ones; memory must not grow with simulated time
ROUNDING_S = 1e-9  # of sums of times: what is exactly due is not late


class Seen(Protocol):
    """What can be looked at: a network, or a twin, which lives at a node `at`."""

    def view(self, before: View | None = None, *, by: str = "") -> View:
        """Return what it shows, as a window since `before`; `by` is who looks.

        Raises:
            PermissionError: Who looks may not.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class DecisionRecord:
    """A decision, from the look that led to it to what became of it.

    Attributes:
        sensed_s: When the agent looked.
        told_s: When what it looked at had reached its node.
        decided_s: When the decision stood, at the agent's node.
        enforced_s: When it reached what it changes.
        age_s: Age of the oldest thing that it was shown.
        actions: What was wished.
        refused: Why each was refused; "" if it was done.
    """

    sensed_s: float
    told_s: float
    decided_s: float
    enforced_s: float
    age_s: float
    actions: tuple[Action, ...]
    refused: tuple[str, ...] = ()


@dataclass
class Mind:
    """What an agent knows: its record in the network.

    Attributes:
        policy: Its own copy.
        sees: Name of the twin that it looks at; "" is the network.
        start_s: When it began: its beats are whole multiples of `every_s` after that.
        next_s: When it wakes.
        sensed_s: When it last looked.
        before: What it saw the time before, if that was older.
        last: What it saw.
        age_s: Age of the oldest thing that it was shown at its last look; nan before the first.
        pending: The decision that is on its way.
        decisions: The latest ones.
        num_decisions: All that have arrived.
        num_refused: Wishes and looks that were refused.
        num_beats: That have passed, missed ones included.
        num_missed: Beats that fell into a decision.
    """

    policy: Any
    sees: str
    start_s: float
    next_s: float
    sensed_s: float
    decisions: deque[DecisionRecord]
    before: View | None = None
    last: View | None = None
    pending: DecisionRecord | None = None
    num_decisions: int = 0
    num_refused: int = 0
    num_beats: int = 0
    num_missed: int = 0
    age_s: float = nan

    def gauges(self) -> Mapping[str, float]:
        """Return what the network reports of it: decisions and refusals so far, the age of what it last saw."""
        age_s = self.age_s if self.age_s < inf else nan
        return {"decisions": self.num_decisions, "refusals": self.num_refused, "age seen (s)": age_s}

    @property
    def planned(self) -> list[tuple[float, NDArray[np.float64]]]:
        """The shares (min) that it has put into force, and since when; shape (slices named,)."""
        return [
            (decision.enforced_s, np.array([ratio.min for ratio in action.ratios.values()]))
            for decision in self.decisions
            for action, refused in zip(decision.actions, decision.refused, strict=True)
            if isinstance(action, SetRatios) and not refused
        ]


@dataclass(frozen=True)
class Agent:
    """Decides for a network, from a node of it.

    Attributes:
        policy: A `Policy`, or a `Plan`, which then reserves shares of links that are lent when idle
            (say `Reserve(plan, ...)` for another domain or element, or for shares that are not lent).
        sees: A twin, its name, or the network (None). While a twin has heard nothing yet, its agents wait.
        at: Node where it sits. What a twin shows takes the way from the twin's node; what the network itself shows
            takes the way from the farthest node. Actions take the way to their link or node, or to the farthest
            node if they concern all. "" sits beside the network and needs no time for anything.
        every_s: Its beat: from one look to the next.
        decide_s: Time that a decision takes, at a node.
        deadline_s: What is enforced later than that after the look is refused.
        mandate: What it may change; None: everything.
        name: Its name as an actor.

    Examples:
        >>> from wirelesslab.network import EMBB, URLLC, Network, ProportionalShares, metro
        >>> network = Network(metro(num_gnbs=3), (EMBB, URLLC))
        >>> agent = network.add(Agent(ProportionalShares(), at="edge-1", every_s=0.2))
        >>> _ = network.run(until_s=1.0)
        >>> network.record(network.name_of(agent), lambda: None).num_decisions
        5
    """

    policy: Policy | Plan
    _: KW_ONLY
    sees: Seen | str | None = None
    at: str = ""
    every_s: float = 0.1
    decide_s: float = 1e-3
    deadline_s: float = inf
    mandate: Mandate | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.policy, type):
            msg = f"policy: got the class {self.policy.__name__}, expected an instance such as {self.policy.__name__}()"
            raise TypeError(msg)
        if not hasattr(self.policy, "act") and not hasattr(self.policy, "shares"):
            msg = f"policy: got {self.policy!r}, expected one with act(view), or a plan such as ProportionalShares()"
            raise TypeError(msg)
        if self.sees is not None and not isinstance(self.sees, str) and not hasattr(self.sees, "view"):
            msg = f"sees: got {self.sees!r}, expected a twin, its name, or None for the network itself"
            raise TypeError(msg)
        if not isinstance(self.mandate, Mandate | None):
            msg = f"mandate: got {self.mandate!r}, expected a Mandate such as Mandate(domains=('transport',))"
            raise TypeError(msg)
        check.positive(every_s=self.every_s, decide_s=self.decide_s)
        if self.deadline_s != inf:
            check.positive(deadline_s=self.deadline_s)
        _ = self.reads

    @property
    def reads(self) -> tuple[str, ...]:
        """The attributes that it reads: what a twin asks before it lets it look."""
        return reads_of(policy_of(self.policy))

    def run(self, network: "Network") -> "Story":
        """Sense, decide and enforce, beat by beat.

        Raises:
            ValueError: There is no such node, nothing of that name to look at, or the mandate makes no sense here.
        """
        name = network.name_of(self)
        mind = network.record(name, lambda: begin(network, self))
        yield from live(network, self, name, mind)


def begin(network: "Network", agent: Agent, decisions_kept: int = DECISIONS_KEPT) -> Mind:
    """Return the mind of an agent that begins now."""
    seen, policy = agent.sees, deepcopy(policy_of(agent.policy))
    if seen is None or seen is network:
        sees = ""
    else:
        sees = seen if isinstance(seen, str) else network.name_of(seen)
    stage = network.seen(sees)
    if hasattr(policy, "act_with") and not hasattr(stage, "best_of"):
        msg = (
            f"sees: got {sees or 'the network'}, expected a DigitalTwin, in which {type(policy).__name__} tries wishes"
        )
        raise ValueError(msg)
    check_place(network, agent.at)
    if agent.mandate is not None:
        agent.mandate.check(network)
    if isinstance(policy, Reserve):
        policy.check([s.name for s in network.slices])
    return Mind(policy, sees, network.now_s, network.now_s, network.now_s, deque(maxlen=decisions_kept))


def live(network: "Network", agent: Agent, name: str, mind: Mind) -> "Story":
    """Sense, decide and enforce for ever: the loop of agents and planners."""
    while True:
        yield network.until(mind.next_s)
        if mind.pending is None:
            mind.pending = _decide(network, agent, name, mind)
            if mind.pending is not None and mind.pending.enforced_s > network.now_s:
                mind.next_s = mind.pending.enforced_s
                continue
        if mind.pending is not None:
            _enforce(network, agent, name, mind, mind.pending)
        # Multiples, not sums, which would drift: a twin that is told at an agent's beat is told before it looks.
        mind.num_beats += 1
        while (next_s := mind.start_s + mind.num_beats * agent.every_s) < network.now_s:
            mind.num_beats += 1
            mind.num_missed += 1
        mind.next_s = next_s


def _decide(network: "Network", agent: Agent, name: str, mind: Mind) -> DecisionRecord | None:
    """Look and decide; None changes nothing."""
    now = mind.sensed_s = network.now_s
    seen = network.seen(mind.sees)
    what = mind.sees or "the network"
    there_s = way_there_s(network, seen.at if mind.sees else None, agent.at)
    if there_s == inf:
        _refuse(network, name, mind, f"look at {what}", f"{agent.at} is cut off from it")
        return None
    try:
        view = _look(seen, name, mind)
    except PermissionError as error:
        _refuse(network, name, mind, f"look at {what}", str(error))
        return None
    if view.ages_s and min(view.ages_s.values()) == inf:
        return None  # a twin that has heard nothing yet
    if agent.mandate is not None:
        view = replace(view, reserved=agent.mandate.reserved(network))
    try:
        if hasattr(mind.policy, "act_with"):
            wishes = wishes_of(mind.policy.act_with(view, seen, by=name, forbids=partial(_forbids, network, agent)))
        else:
            wishes = wishes_of(mind.policy.act(view))
    except (ValueError, PermissionError) as error:
        _refuse(network, name, mind, f"decide from {what}", str(error))
        return None
    except Exception as error:
        error.add_note(f"in the policy {type(mind.policy).__name__} of the agent {name}, at {now:g} s")
        raise
    if not wishes:
        return None
    told_s = now + there_s
    decided_s = told_s + (agent.decide_s if agent.at else 0.0)
    back_s = max(way_back_s(network, agent.at, wish) for wish in wishes)
    if back_s == inf:
        for wish in wishes:
            _refuse(network, name, mind, wish, f"{agent.at} is cut off from what it would change")
        return None
    return DecisionRecord(
        sensed_s=now,
        told_s=told_s,
        decided_s=decided_s,
        enforced_s=decided_s + back_s,
        age_s=mind.age_s,
        actions=wishes,
    )


def _look(seen: Seen, name: str, mind: Mind) -> View:
    """Return what is seen; its window begins where the one before ended."""
    view = seen.view(mind.last, by=name)
    mind.age_s = max(view.ages_s.values(), default=0.0)
    if mind.last is not None and view.time_s <= mind.last.time_s:  # a twin that has heard nothing since
        return replace(view, before=mind.before)
    mind.before, mind.last = mind.last, replace(view, before=None)
    return view


def _refuse(network: "Network", name: str, mind: Mind, wish: Action | str, reason: str) -> None:
    network.refuse(Wish(wish) if isinstance(wish, str) else wish, reason, by=name)
    mind.num_refused += 1


def _enforce(network: "Network", agent: Agent, name: str, mind: Mind, decision: DecisionRecord) -> None:
    """Do what was wished, or refuse it; write down which."""
    refused = []
    late_s = network.now_s - decision.sensed_s - agent.deadline_s
    for wish in decision.actions:
        reason = ""
        if isinstance(wish, Wish):
            reason = "no action, expected SetRatios, SetUp, SetActive or SetSync"
        elif late_s > ROUNDING_S:
            reason = f"late: enforced {late_s:.3g} s after its deadline of {agent.deadline_s:g} s since the look"
        else:
            reason = _forbids(network, agent, wish)
        done = network.refuse(wish, reason, by=name) if reason else network.apply(wish, by=name)
        refused.append(done.refused)
    mind.pending = None
    mind.decisions.append(replace(decision, refused=tuple(refused)))
    mind.num_decisions += 1
    mind.num_refused += sum(map(bool, refused))
    if network.trace is not None and (agent.at or mind.sees):  # otherwise nothing takes time
        _write_spans(network.trace, name, mind.sees, decision)


def _forbids(network: "Network", agent: Agent, wish: Action) -> str:
    """Return why the agent may not have this wish now; "" if it may."""
    return "" if agent.mandate is None else agent.mandate.forbids(wish, network)


def _write_spans(trace: "Trace", name: str, sees: str, decision: DecisionRecord) -> None:
    """Write a decision's way: physical network -> (twin ->) agent -> physical network."""
    track = f"control/{name}"
    if sees:  # on a track of its own, for what a twin shows may be older than the decision before
        sensed_s = decision.sensed_s - decision.age_s
        trace.span(f"{track} senses", "sense", max(sensed_s, 0.0), decision.sensed_s)
    trace.span(track, "twin" if sees else "sense", decision.sensed_s, decision.told_s)
    trace.span(track, "decide", decision.told_s, decision.decided_s)
    trace.span(track, "enforce", decision.decided_s, decision.enforced_s)
