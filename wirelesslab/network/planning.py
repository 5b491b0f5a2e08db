"""Two clocks: planning windows set the slices' reservations, operation schedules inside them.

A `Planner` is an agent whose beat is the window: it applies a plan (see `agents.plans`) at the start of each window
and at no other time. Operators are agents with a faster beat and a `Mandate` whose floor is the planner.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wirelesslab import check
from wirelesslab.network.agents.agent import Agent, Mind, Seen, begin, live
from wirelesslab.network.agents.plans import Plan
from wirelesslab.network.agents.rules import Reserve
from wirelesslab.network.agents.ways import longest_way_s
from wirelesslab.network.slices import Domain

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network, Story


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Sets the slices' reservations at the start of each window; they stand until the next one.

    Attributes:
        plan: The rule.
        window_s: Length of a window.
        domain: What is reserved.
        dedicated: Whether the shares are each slice's own, idle or not; otherwise they are guarantees,
            and what is idle is lent.
        sees: A twin, its name, or the network (None).
        at: Node where it sits: what it sees takes the way to get there, and what it decides the way back (see
            `Agent`). "" sits beside the network and needs no time.
        decide_s: Time that a decision takes, at a node.
        history_windows: Windows that are remembered.
        part: Of the domain that is reserved; operators may give the rest to whom they like.
        name: Its name as an actor.
    """

    plan: Plan
    window_s: float
    domain: Domain = "transport"
    dedicated: bool = True
    sees: Seen | str | None = None
    at: str = ""
    decide_s: float = 1e-3
    history_windows: int = 1000
    part: float = 1.0
    name: str = ""

    def __post_init__(self) -> None:
        check.positive(window_s=self.window_s)
        _ = self.agent

    @property
    def agent(self) -> Agent:
        """The agent that it is."""
        policy = Reserve(
            self.plan,
            domain=self.domain,
            dedicated=self.dedicated,
            part=self.part,
            history_windows=self.history_windows,
        )
        return Agent(policy, sees=self.sees, at=self.at, every_s=self.window_s, decide_s=self.decide_s)

    @property
    def reads(self) -> tuple[str, ...]:
        """The attributes that it reads of a twin."""
        return self.agent.reads

    def run(self, network: "Network") -> "Story":
        """Sense at the start of every window, decide, and enforce as soon as the way there and back allows.

        Raises:
            ValueError: The way is longer than the window, or the plan is for another number of slices.
        """
        name, agent = network.name_of(self), self.agent
        mind = network.record(name, lambda: self._begin(network, agent))
        yield from live(network, agent, name, mind)

    def _begin(self, network: "Network", agent: Agent) -> Mind:
        several = any(node.get("num_servers", 1) > 1 for node in network.graph.nodes.values())
        if self.domain == "compute" and self.dedicated and several:
            msg = "dedicated: shares of several servers must be whole servers; say dedicated=False for compute"
            raise ValueError(msg)
        mind = begin(network, agent, self.history_windows)
        delay_s = 2 * longest_way_s(network, self.at) + self.decide_s if self.at else 0.0
        if delay_s >= self.window_s:
            msg = f"window_s: got {self.window_s}, expected more than the {delay_s:g} s of a decision at {self.at}"
            raise ValueError(msg)
        return mind
