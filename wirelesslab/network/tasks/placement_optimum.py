"""How well services can be placed at all: the best rule where states can be counted, and a bound everywhere.

`PlacementChain` is the exact optimum of a small instance: arrivals are Poisson and lives exponential, so that the
counts of what is hosted are a Markov chain. `foreseen_bound` knows all that comes in an episode.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse.linalg import spsolve

from wirelesslab import check
from wirelesslab.network.tasks.placement import Placement
from wirelesslab.network.tasks.placement_services import PlacementConfig, Ways
from wirelesslab.network.topology import Graph

MAX_STATES = 200_000  # beyond, solving takes minutes
TOLERANCE = 1e-9  # of the reward per second between two sweeps of the best rule

State = tuple[int, ...]
Choose = Callable[[State, int, int], int]  # counts, gNB, kind -> host, or the number of hosts to refuse


class PlacementChain:
    """All that can be hosted at once on a small instance, and what a rule earns there in the long run.

    A state counts the hosted services of each slot; a slot is (gNB, kind, host) where the bound can hold.

    Args:
        config: What comes; its horizon does not matter here.
        graph: The topology.

    Raises:
        ValueError: There are too many states.
    """

    def __init__(self, config: PlacementConfig, graph: Graph) -> None:
        self.config, self.ways = config, Ways(graph, config)
        bounds = [kind.delay_bound_s for kind in config.kinds]
        gnbs, kinds, hosts = self.ways.delay_s.shape
        self.slots = tuple(
            (g, k, h)
            for g, k, h in itertools.product(range(gnbs), range(kinds), range(hosts))
            if self.ways.delay_s[g, k, h] <= bounds[k]
        )
        self.calls = tuple(itertools.product(range(gnbs), range(kinds)))  # (gNB, kind): what can come
        self.rates = np.array([config.arrivals_per_s / gnbs * config.kind_probs[k] for _, k in self.calls])
        self._needs = np.zeros((len(self.slots), hosts + len(self.ways.links)), np.int64)
        for s, (g, k, h) in enumerate(self.slots):
            self._needs[s, h] = self.ways.operations_per_s[k]
            self._needs[s, hosts:] = self.ways.uses[g, h] * self.ways.bps[k]
        self._room = np.concatenate([self.ways.room_operations_per_s, self.ways.room_bps])
        self.states = self._all_states()
        self.index = {state: i for i, state in enumerate(self.states)}
        self._counts = np.array(self.states, np.int64).reshape(len(self.states), len(self.slots))
        self._deaths = np.array([1 / config.kinds[k].mean_life_s for _, k, _ in self.slots])

    def _all_states(self) -> list[State]:
        first: State = (0,) * len(self.slots)
        found, ahead = {first: None}, [first]
        while ahead:
            state = ahead.pop()
            used = np.array(state, np.int64) @ self._needs
            for s in np.flatnonzero(((used + self._needs) <= self._room).all(axis=1)):
                after = (*state[:s], state[s] + 1, *state[s + 1 :])
                if after not in found:
                    found[after] = None
                    ahead.append(after)
                    if len(found) > MAX_STATES:
                        msg = f"graph: got more than {MAX_STATES} states, expected fewer; take fewer hosts or less room"
                        raise ValueError(msg)
        return list(found)

    @cached_property
    def _moves(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """By call, action and state: the state after it (-1: impossible) and the reward, (calls, hosts + 1, states)."""
        hosts, num = len(self.ways.hosts), len(self.states)
        after = np.full((len(self.calls), hosts + 1, num), -1, np.int64)
        reward = np.full(after.shape, -self.config.refusal_price)
        after[:, hosts] = np.arange(num)
        for s, (g, k, h) in enumerate(self.slots):
            call, kind = self.calls.index((g, k)), self.config.kinds[k]
            price = self.config.delay_price * self.ways.delay_s[g, k, h] / kind.delay_bound_s
            reward[call, h] = kind.value - price
            for i, state in enumerate(self.states):
                after[call, h, i] = self.index.get((*state[:s], state[s] + 1, *state[s + 1 :]), -1)
        return after, reward

    @cached_property
    def _ends(self) -> sparse.csr_matrix:
        """Rates at which states lose a service to another state, shape (states, states)."""
        rows, columns, rates = [], [], []
        for s in range(len(self.slots)):
            for i in np.flatnonzero(self._counts[:, s]):
                state = self.states[int(i)]
                rows.append(int(i))
                columns.append(self.index[(*state[:s], state[s] - 1, *state[s + 1 :])])
                rates.append(float(state[s] * self._deaths[s]))
        return sparse.csr_matrix((rates, (rows, columns)), shape=(len(self.states),) * 2)

    @cached_property
    def best(self) -> tuple[NDArray[np.int64], float]:
        """The best rule: its action by call and state, shape (calls, states), and its reward per service.

        Relative value iteration on the uniformised chain. References: Puterman, Markov Decision Processes, 1994, 8.5.
        """
        after, reward = self._moves
        ends = np.asarray(self._ends.sum(axis=1)).ravel()
        pace = float(self.rates.sum() + ends.max())
        worth = np.zeros(len(self.states))
        while True:
            options = np.where(after >= 0, reward + worth[after], -np.inf)
            gained = self.rates @ options.max(axis=1) + self._ends @ worth
            fresh = (gained + (pace - self.rates.sum() - ends) * worth) / pace
            step = (fresh - worth) * pace
            worth = fresh - fresh[0]
            if step.max() - step.min() < TOLERANCE:
                break
        actions = np.asarray(options.argmax(axis=1), np.int64)
        return actions, float(step.mean() / self.rates.sum())

    def reward_per_service(self, choose: Choose) -> float:
        """Return what a rule earns in the long run for each service that comes, exactly.

        Raises:
            ValueError: It chooses a host that is not possible.
        """
        after, reward = self._moves
        num = len(self.states)
        flow = sparse.lil_matrix((num, num))
        earned = np.zeros(num)
        for i, state in enumerate(self.states):
            for c, (g, k) in enumerate(self.calls):
                action = choose(state, g, k)
                target = after[c, action, i]
                if target < 0:
                    msg = f"choose: got host {action} in state {state}, expected one with room; obey the mask"
                    raise ValueError(msg)
                flow[i, target] += self.rates[c]
                earned[i] += self.rates[c] * reward[c, action, i]
        generator = (flow.tocsr() + self._ends).tolil()
        generator.setdiag(0)
        generator = generator.tocsr()
        generator = generator - sparse.diags(np.asarray(generator.sum(axis=1)).ravel())
        balance = generator.T.tolil()
        balance[0, :] = 1.0  # instead of one balance equation, which the others imply: it adds up to 1
        law = spsolve(balance.tocsc(), np.eye(1, num)[0])
        return float(law @ earned / self.rates.sum())

    def counts(self, env: Placement) -> State:
        """Return the state that an environment of this instance is in."""
        tally = [0] * len(self.slots)
        for _, _, g, k, h in env.hosted:
            tally[self.slots.index((g, k, h))] += 1
        return tuple(tally)

    def best_action(self, env: Placement) -> int:
        """Return the best rule's action in an environment of this instance, whatever it shows."""
        return int(self.best[0][self.calls.index(env.service), self.index[self.counts(env)]])


def foreseen_bound(env: Placement, *, whole: bool = False, time_limit_s: float = 60.0) -> float:
    """Return what nobody can exceed in the episode that an environment has drawn, however much he foresees.

    One variable says how much of a service is at a host; at every arrival the shares of those that would live
    fit every host and link. With halves and quarters allowed this is a linear program.

    Args:
        env: After its reset.
        whole: Whether services are whole: the exact optimum of one who foresees all, for short episodes.
        time_limit_s: Of the search for whole services; when it is up the bound found so far is returned.

    Raises:
        RuntimeError: The solver failed.
    """
    check.positive(time_limit_s=time_limit_s)
    drawn, ways, config = env.services, env.ways, env.config
    num = config.horizon
    arrival, end = drawn["arrival_s"][:num], (drawn["arrival_s"] + drawn["life_s"])[:num]
    variables: list[tuple[int, int]] = []
    gain: list[float] = []
    for i in range(num):
        g, k = int(drawn["gnb"][i]), int(drawn["kind"][i])
        kind = config.kinds[k]
        for h in np.flatnonzero(ways.delay_s[g, k] <= kind.delay_bound_s):
            variables.append((i, int(h)))
            price = config.delay_price * float(ways.delay_s[g, k, h]) / kind.delay_bound_s
            gain.append(kind.value - price + config.refusal_price)
    owner = np.array([i for i, _ in variables], np.int64)
    needs = _needs(ways, variables, drawn["gnb"], drawn["kind"])
    once = sparse.csr_matrix((np.ones(owner.size), (owner, np.arange(owner.size))), shape=(num, owner.size))
    alive = [(arrival <= arrival[t]) & (end > arrival[t]) for t in range(num)]
    rows = [needs.multiply(now[owner][None, :]) for now in alive]
    limits = LinearConstraint(sparse.vstack([once, *rows], format="csr"), -np.inf, np.ones(num * (1 + needs.shape[0])))
    found = milp(
        -np.array(gain), constraints=limits, bounds=Bounds(0, 1), integrality=np.full(owner.size, int(whole)),
        options={"time_limit": time_limit_s},
    )  # fmt: skip
    bound = found.mip_dual_bound if whole else found.fun if found.status == 0 else None  # cut short it bounds nothing
    if bound is None:
        msg = f"foreseen_bound: the solver says {found.message!r}; give it a shorter horizon or more time_limit_s"
        raise RuntimeError(msg)
    return float(-bound - config.refusal_price * num)


def _needs(
    ways: Ways, variables: Sequence[tuple[int, int]], gnbs: NDArray[np.int64], kinds: NDArray[np.int64]
) -> sparse.csr_matrix:
    """Return which part of each host and link a variable takes, shape (hosts + links, variables)."""
    hosts = len(ways.hosts)
    rows: list[int] = []
    columns: list[int] = []
    parts: list[float] = []
    for v, (i, h) in enumerate(variables):
        g, k = int(gnbs[i]), int(kinds[i])
        links = ways.on_way[g][h]
        rows += [h, *(hosts + int(link) for link in links)]
        columns += [v] * (1 + links.size)
        parts += [float(ways.operations_per_s[k] / ways.room_operations_per_s[h])]
        parts += [float(ways.bps[k] / ways.room_bps[link]) for link in links]
    return sparse.csr_matrix((parts, (rows, columns)), shape=(hosts + len(ways.links), len(variables)))
