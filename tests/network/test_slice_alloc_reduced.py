"""The reduced SliceAlloc: exact queues, many at once as one by one, and the simulator's figures."""

import gymnasium
import numpy as np
import pytest
from scipy import stats

from wirelesslab.network.agents.interfaces import LoadMemory, ShareInterface, shares_of
from wirelesslab.network.agents.learned import LearnedPolicy
from wirelesslab.network.agents.plans import ProportionalShares, SquareRootShares, StaticShares
from wirelesslab.network.tasks import slice_alloc_judgement as judgement
from wirelesslab.network.tasks.draws import counters
from wirelesslab.network.tasks.slice_alloc_judgement import in_theory, mean_jobs
from wirelesslab.network.tasks.slice_alloc_kernels import poisson
from wirelesslab.network.tasks.slice_alloc_reduced import MovingQueues, SliceAllocReduced, SliceAllocReducedVector
from wirelesslab.network.tasks.slice_alloc_rules import PlanRule, rules_of
from wirelesslab.network.tasks.slice_alloc_worlds import LinkWorld
from wirelesslab.network.theory import square_root_capacities
from wirelesslab.replicas import difference, mean

LOADS = (0.6, 0.1)


def long_run(loads, shares, *, seed=1, num=256, steps=400, warm=40, **options):
    """Return the mean jobs of each network over a long time at fixed shares."""
    env = SliceAllocReducedVector(num, loads=(loads,), horizon=10**6, num_slices=len(loads), least=0.0, **options)
    env.reset(seed=seed)
    actions = np.tile(np.array(shares) / max(shares), (num, 1))
    jobs = [env.step(actions)[4]["reward"]["jobs"] for _ in range(steps)]
    return -np.mean(jobs[warm:], axis=0)


# --- the queues -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plan", ["square root", "proportional"])
def test_mean_jobs_are_those_of_mm1_queues(plan):
    shares = square_root_capacities(LOADS, 1.0) if plan == "square root" else np.array(LOADS) / sum(LOADS)
    jobs = long_run(LOADS, shares)
    error = jobs.std(ddof=1) / np.sqrt(jobs.size)
    assert jobs.mean() == pytest.approx(in_theory(LOADS)[plan], abs=4 * error)  # false alarm 6e-5


def test_the_law_of_jobs_is_geometric_and_three_slices_are_three_queues():
    loads, shares = (0.3, 0.2, 0.1), (0.5, 0.3, 0.2)
    env = SliceAllocReducedVector(4000, loads=(loads,), horizon=10**6, num_slices=3, least=0.0)
    env.reset(seed=2)
    for _ in range(12):  # 600 service times, a dozen of a queue's memory
        env.step(np.tile(shares, (4000, 1)))
    for i, (load, share) in enumerate(zip(loads, shares, strict=True)):
        jobs, rho = env.snapshot()["queues"]["jobs"][:, i], load / share
        seen = np.bincount(np.minimum(jobs, 8), minlength=9)
        law = np.append((1 - rho) * rho ** np.arange(8), rho**8)
        assert stats.chisquare(seen, 4000 * law).pvalue > 1e-5


def test_one_queue_for_all_under_the_same_arrivals_has_fewer_jobs_and_its_own_mean():
    env = SliceAllocReducedVector(256, loads=(LOADS,), regret=True, horizon=10**6)
    env.reset(seed=3)
    parts = [env.step(np.tile([1.0, 0.23], (256, 1)))[4]["reward"] for _ in range(400)]
    together = np.mean([part["together"] for part in parts[40:]], axis=0)
    error = together.std(ddof=1) / 16
    assert together.mean() == pytest.approx(in_theory(LOADS)["work-conserving"], abs=4 * error)
    assert all((part["together"] <= -part["jobs"] + 1e-9).all() for part in parts)  # on every path, not on average


@pytest.mark.parametrize("mean_events", [0.3, 4.0, 10.0, 85.0, 900.0])
def test_the_number_of_events_of_a_step_has_the_poisson_law(mean_events):
    draws = counters([7], "events", "phases")
    seen = np.array([poisson(mean_events, draws, 0) for _ in range(20_000)])
    edges = np.unique(stats.poisson(mean_events).ppf(np.linspace(0, 1, 21)[1:-1]))
    law = np.diff(np.concatenate([[0.0], stats.poisson(mean_events).cdf(edges), [1.0]]))
    counted = np.bincount(np.searchsorted(edges, seen), minlength=edges.size + 1)
    assert stats.chisquare(counted, 20_000 * law).pvalue > 1e-5


def test_arrivals_do_not_depend_on_what_is_done():
    def loads_seen(action):
        env = SliceAllocReduced()
        env.reset(seed=4)
        return [env.step(action)[0] for _ in range(80)]

    np.testing.assert_array_equal(loads_seen([1.0, 0.1]), loads_seen([0.2, 0.9]))


def test_loads_of_phases_come_in_turn_or_are_drawn_within_their_range():
    env = SliceAllocReduced(loads=((0.6, 0.1), (0.1, 0.6)), phase_steps=3)
    env.reset(seed=1)
    turns = []
    for _ in range(9):
        turns.append(env.snapshot()["queues"]["load"][0, 0])
        env.step([1.0, 1.0])
    assert turns == [0.6] * 3 + [0.1] * 3 + [0.6] * 3
    drawn = SliceAllocReducedVector(2000, total_load=(0.4, 0.7), num_slices=3)
    drawn.reset(seed=1)
    loads = drawn.snapshot()["queues"]["load"]
    assert loads.sum(axis=1).min() >= 0.4
    assert loads.sum(axis=1).max() <= 0.7
    parts = loads[:, 0] / loads.sum(axis=1)  # of a uniform division into three: Beta(1, 2)
    assert stats.kstest(parts, stats.beta(1, 2).cdf).pvalue > 1e-5


# --- what is seen is what an agent sees ---------------------------------------------------------------------


def test_shares_and_observations_are_those_of_the_interface():
    model = MovingQueues(num_slices=3, queues=True, least=0.05)
    env = SliceAllocReduced(model)
    env.reset(seed=5)
    interface, memory = model.interface, model.interface.begin()
    assert isinstance(memory, LoadMemory)
    for action in np.random.default_rng(1).random((20, 3)):
        observation = env.step(action)[0]
        state = env.snapshot()["queues"]
        np.testing.assert_allclose(state["shares"][0], interface.shares(action)[0], rtol=1e-12)
        memory.take(state["means"][0, 0], np.array(model.memory, float))  # the mean over one window is the window
        np.testing.assert_allclose(state["means"][0], memory.means, rtol=1e-12)
        shown = {"queues": state["jobs"][0] * model.service_s}
        np.testing.assert_allclose(observation, interface.rows(memory.means, shown), rtol=1e-6)


def test_equal_shares_if_nobody_asks_and_the_least_share_always():
    assert shares_of(np.zeros(4), 0.1) == pytest.approx([0.25] * 4)
    assert shares_of(np.array([1.0, 0.0]), 0.1) == pytest.approx([0.9, 0.1])


# --- many at once -------------------------------------------------------------------------------------------


def test_many_at_once_are_as_one_by_one_beyond_the_end_of_an_episode():
    options = {"horizon": 7, "phase_steps": 3, "queues": True, "regret": True}
    many = SliceAllocReducedVector(3, **options)
    alone = [SliceAllocReduced(**options) for _ in range(3)]
    observations, _ = many.reset(seed=20)
    np.testing.assert_array_equal(observations, [one.reset(seed=20 + i)[0] for i, one in enumerate(alone)])
    for actions in np.random.default_rng(2).random((25, 3, 2)):
        observations, rewards, _, truncated, infos = many.step(actions)
        for i, (one, action) in enumerate(zip(alone, actions, strict=True)):
            observation, reward, _, ended, info = one.step(action)
            assert rewards[i] == reward
            told = infos["final_info"] if ended else infos
            assert told["reward"]["together"][i] == info["reward"]["together"]
            assert truncated[i] == ended
            if ended:
                np.testing.assert_array_equal(infos["final_obs"][i], observation)
                observation, _ = one.reset()
            np.testing.assert_array_equal(observations[i], observation)


def test_a_vector_goes_on_from_a_snapshot_to_the_last_bit():
    many, other = SliceAllocReducedVector(4, horizon=9), SliceAllocReducedVector(4, horizon=9)
    many.reset(seed=3)
    actions = np.random.default_rng(3).random((20, 4, 2))
    for action in actions[:5]:
        many.step(action)
    other.restore(many.snapshot())
    for action in actions[5:]:
        for one, two in zip(many.step(action)[:4], other.step(action)[:4], strict=True):
            np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="snapshot: got one of"):
        SliceAllocReducedVector(4, horizon=8).restore(many.snapshot())
    with pytest.raises(ValueError, match="snapshot: got jobs of shape"):
        SliceAllocReducedVector(5, horizon=9).restore(many.snapshot())


def test_a_vector_refuses_what_one_refuses_and_nothing_has_happened():
    many = gymnasium.make_vec("wirelesslab/SliceAllocReduced-v0", num_envs=2, vectorization_mode="vector_entry_point")
    many.reset(seed=1)
    before = many.unwrapped.snapshot()["queues"]
    for wrong in (np.full((2, 2), np.nan), np.ones((2, 3)), [[0.1, 0.2], [0.3, 1.1]]):
        with pytest.raises(ValueError, match="action: got"):
            many.step(wrong)
    for name, values in many.unwrapped.snapshot()["queues"].items():
        np.testing.assert_array_equal(values, before[name])
    with pytest.raises(ValueError, match="total_load"):
        MovingQueues(total_load=(0.8, 0.4))
    with pytest.raises(TypeError, match="model"):
        SliceAllocReduced(MovingQueues(), step=3.0)


# --- against the simulator ------------------------------------------------------------------------------------

WORLD = LinkWorld(phase_steps=40, loads=((0.4, 0.1), (0.2, 0.3)))  # phases of 2,000 service times


def reduced_jobs(rule, num=64, phases=4):
    env = SliceAllocReducedVector(
        num, loads=WORLD.loads, phase_steps=WORLD.phase_steps, horizon=10**6, least=WORLD.least
    )
    observations, _ = env.reset(seed=100)
    jobs = []
    for _ in range((2 + phases) * WORLD.phase_steps):
        observations, rewards, *_ = env.step(np.array([rule(one) for one in observations]))
        jobs.append(-rewards)
    return np.mean(jobs[2 * WORLD.phase_steps :], axis=0)


@pytest.mark.parametrize(
    "plan",
    [
        StaticShares(shares_of_slices=(0.56, 0.44)),
        ProportionalShares(least=0.02),
        SquareRootShares(capacity_bps=1.0, least=0.0),
    ],
    ids=["static", "proportional", "square root"],
)
def test_mean_jobs_under_a_policy_are_those_of_the_simulator(plan):
    rule = PlanRule(plan, WORLD.interface)
    reduced = reduced_jobs(rule)
    simulated = np.array([
        mean_jobs(LearnedPolicy(rule, WORLD.interface), seed, world=WORLD, phases=6) for seed in range(6)
    ])  # fmt: skip
    error = np.hypot(reduced.std(ddof=1) / 8, simulated.std(ddof=1) / np.sqrt(6))
    assert simulated.mean() == pytest.approx(reduced.mean(), abs=4 * error)
    assert error < 0.03 * reduced.mean()  # so that the agreement says something


def test_square_root_shares_beat_proportional_ones_on_the_simulator_too():
    jobs = {
        name: np.array([
            mean_jobs(LearnedPolicy(rules_of(WORLD.interface)[name], WORLD.interface), seed, world=WORLD, phases=4)
            for seed in range(4)
        ])
        for name in ("square root", "proportional")
    }  # fmt: skip
    assert difference(jobs["square root"], jobs["proportional"]).high < 0
    assert mean(jobs["square root"]).value > in_theory((0.4, 0.1))["work-conserving"]


def test_the_interface_of_the_model_shows_what_that_of_the_link_shows():
    model, world = MovingQueues().interface, LinkWorld().interface
    assert model.features == world.features
    assert (model.least, model.memory) == (world.least, world.memory)
    assert isinstance(world, ShareInterface)


def test_a_training_of_the_judgement_gives_a_policy_that_plugs_into_its_network():
    trained = judgement.trained(1, steps=2 * judgement.NUM_ENVS * judgement.LEARNER.rollout)
    policies = judgement.policies(trained)
    assert judgement.LEARNED in policies
    world = LinkWorld(phase_steps=10)
    for name, policy in policies.items():
        assert 0 < mean_jobs(policy, 1, world=world, phases=2) < 1000, name


def test_what_learns_sees_what_it_will_see_when_it_is_judged():
    model, world = judgement.MODEL, judgement.WORLD
    assert model.step * world.service_s == pytest.approx(world.step_s)
    assert (model.memory, model.least, model.queues) == (world.memory, world.least, world.queues)
    assert world.phase_steps * model.step >= 1000  # service times, as the bar has it
