"""How far is a learned divider of a link from the square-root optimum, on the simulator, under moving load?

Two slices exchange the loads 0.6 and 0.1 every 20,000 mean service times. A policy learns on the reduced model, under
loads drawn anew for each phase, and is scored in a running network, through an `Agent` whose view shows loads of the
last windows and no queues. Rules decide by the same observation, or are told the loads: with loads known and queues
unseen, square-root shares are the best there are (3.966 jobs), and proportional ones cost 4.667; a server that sees
the queues and lends what is idle has 2.333.
"""

from collections.abc import Callable, Mapping
from math import sqrt

from wirelesslab import check
from wirelesslab.network.agents.agent import Agent
from wirelesslab.network.agents.learned import LearnedPolicy
from wirelesslab.network.agents.plans import ForeseenShares, Plan, ProportionalShares, SquareRootShares
from wirelesslab.network.agents.policy import Policy
from wirelesslab.network.agents.rules import MaxWeight, Reserve
from wirelesslab.network.learners.keeping import Keep
from wirelesslab.network.learners.policies import Trained
from wirelesslab.network.learners.ppo import PPO
from wirelesslab.network.learners.training import Progress, train
from wirelesslab.network.tasks.slice_alloc_reduced import MovingQueues, SliceAllocReducedVector
from wirelesslab.network.tasks.slice_alloc_rules import PlanRule
from wirelesslab.network.tasks.slice_alloc_worlds import LinkWorld

TASK = "wirelesslab/SliceAllocReduced-v0"
WORLD = LinkWorld()
# Rewards beside one queue for all: chance is a third, and the best policy the same. Phases are much shorter than those
# it is judged by: after a change each step that it waits costs more than all the noise of one window, and with phases
# of 150 steps it saw too few changes (in the model, on validation: 5.0 % from the square root told, one training; now
# 2.6 and 3.9, two trainings).
MODEL = MovingQueues(regret=True, phase_steps=60, total_load=(0.35, 0.8))
# A queue forgets in a step or two, one that was starved in four: so the discount; many small steps of learning, for
# two numbers must be right.
LEARNER = PPO(
    hidden=(32, 32), discount=0.85, trace=0.9, rollout=16, epochs=4, learning_rate=3e-3, entropy=0.0, first_spread=0.3
)
NUM_ENVS, STEPS = 256, 2_000_000
TUNED_FLOOR = 0.06  # of 0.03, 0.05, 0.06, 0.07, 0.08: 4.22, 4.12, 4.11, 4.12, 4.15 jobs
WARM_PHASES = 1
LEARNED = "learned"


def trained(
    seed: int, *, steps: int = STEPS, keep: Keep | None = None, show: Callable[[Progress], None] | None = None
) -> Trained:
    """Return a policy that was trained on the reduced model; about half a minute on one idle core."""
    env = SliceAllocReducedVector(NUM_ENVS, MODEL)
    return train(LEARNER, env, steps=steps, seed=seed, keep=keep, show=show, task=TASK)


def rules(world: LinkWorld = WORLD) -> dict[str, Policy]:
    """Return the rules that a learned policy is held against, as policies of an agent, by name.

    The first three see what learners see, by the mean of loads that serves them best of those that are shown (the last
    window's). One of them has a floor that was tuned on the reduced model for these very loads, as much effort as a
    learner's: nobody who has not the queues does much better. "Told" are given each step's load before it comes;
    max-weight sees queues and lends what is idle.
    """
    interface = world.interface
    seeing: dict[str, Plan] = {
        "proportional": ProportionalShares(least=0.0),
        "proportional, floor tuned": ProportionalShares(least=TUNED_FLOOR),
        "square root": SquareRootShares(capacity_bps=1.0, least=0.0),
    }
    told: dict[str, Plan] = {
        "proportional, told": ProportionalShares(least=0.0),
        "square root, told": SquareRootShares(capacity_bps=world.link_bps, least=0.0),
    }
    loads_bps = tuple(
        tuple(load * world.link_bps for load in loads) for loads in world.loads for _ in range(world.phase_steps)
    )
    return {
        **{name: LearnedPolicy(PlanRule(plan, interface), interface) for name, plan in seeing.items()},
        **{
            name: Reserve(ForeseenShares(rule=plan, loads_bps=loads_bps), dedicated=True) for name, plan in told.items()
        },
        "max-weight, idle lent": MaxWeight(),
    }


def policies(learned: Trained, world: LinkWorld = WORLD) -> dict[str, Policy]:
    """Return the learned policy and the rules, by name."""
    return {LEARNED: LearnedPolicy(learned, world.interface), **rules(world)}


def mean_jobs(policy: Policy, seed: int, *, world: LinkWorld = WORLD, phases: int = 4) -> float:
    """Return the mean jobs on the link of a running network whose agent follows a policy.

    Args:
        policy: It.
        seed: Of the network; policies under one seed meet the same arrivals.
        world: The link and its loads.
        phases: That are measured, after one that is not; an even number weighs both loads alike.

    Raises:
        AssertionError: A wish was refused: the policy does not fit the world.
    """
    check.positive_integer(phases=phases)
    network = world.network(seed)
    network.add(Agent(policy, every_s=world.step_s, name="agent"))
    phase_s = world.phase_steps * world.step_s
    network.agenda.run(WARM_PHASES * phase_s)
    began_s, before = world.reading(network)
    network.agenda.run((WARM_PHASES + phases) * phase_s)
    ended_s, after = world.reading(network)
    network.check()
    refused = [record for record in network.actions if record.refused]
    assert not refused, f"refused: {refused[0]}"
    return float((after - before).sum() / (ended_s - began_s))


def in_theory(loads: tuple[float, ...]) -> Mapping[str, float]:
    """Return mean jobs of M/M/1 queues of these loads in the long run, by how the link is shared.

    Examples:
        >>> {name: round(jobs, 3) for name, jobs in in_theory((0.6, 0.1)).items()}
        {'square root': 3.966, 'proportional': 4.667, 'work-conserving': 2.333}
    """
    total = sum(loads)
    check.within(0, 1, total_load=total)
    spare, roots = 1 - total, sum(sqrt(load) for load in loads)
    return {
        "square root": roots**2 / spare,
        "proportional": len([load for load in loads if load > 0]) * total / spare,
        "work-conserving": total / spare,
    }
