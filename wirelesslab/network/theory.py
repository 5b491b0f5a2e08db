"""Closed forms of queues, shared links, access channels and ages: what every simulation must meet.

Rates are per second and times in seconds, but any one unit of time will do. Loads are in Erlang:
mean arrivals during one mean service.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import beta as beta_function
from scipy.special import lambertw

from wirelesslab import check


def stable_load(arrival_rate: float, service_rate: float = 1.0, servers: int = 1) -> float:
    """Return the load per server, which must stay below 1 for the queue to have a mean at all.

    Raises:
        ValueError: The queue is unstable; the message says by how much.

    Examples:
        >>> stable_load(0.8)
        0.8
        >>> stable_load(1.2)
        Traceback (most recent call last):
        ValueError: load: got 1.2 per server, expected below 1; arrivals exceed service by 0.2 per second: serve above 1.2 in all or send less
    """  # noqa: E501 (the message is one line)
    check.positive(arrival_rate=arrival_rate, service_rate=service_rate)
    check.positive_integer(servers=servers)
    load = arrival_rate / (servers * service_rate)
    if load >= 1:
        msg = (
            f"load: got {load:g} per server, expected below 1; arrivals exceed service by "
            f"{arrival_rate - servers * service_rate:g} per second: serve above {arrival_rate:g} in all or send less"
        )
        raise ValueError(msg)
    return load


# --- one server -----------------------------------------------------------------------------------


def mm1_sojourn(arrival_rate: float, service_rate: float = 1.0) -> float:
    """Mean time in an M/M/1 queue, service included; first come first served or processor sharing.

    Examples:
        >>> mm1_sojourn(0.5), round(mm1_sojourn(0.8), 9)
        (2.0, 5.0)
    """
    stable_load(arrival_rate, service_rate)
    return 1 / (service_rate - arrival_rate)


def mm1_sojourn_quantile(probability: float, arrival_rate: float, service_rate: float = 1.0) -> float:
    """Quantile of the (exponential) time in an M/M/1 queue served first come first served.

    Examples:
        >>> round(mm1_sojourn_quantile(0.99, 0.5), 3), round(mm1_sojourn_quantile(0.99, 0.8), 3)
        (9.21, 23.026)
    """
    check.probability(probability=probability)
    if probability == 1:
        msg = "probability: got 1, expected below 1; the sojourn has no upper bound"
        raise ValueError(msg)
    return -math.log1p(-probability) * mm1_sojourn(arrival_rate, service_rate)


def mg1_wait(arrival_rate: float, service_mean_s: float = 1.0, scv: float = 1.0) -> float:
    """Mean wait before service in M/G/1 (Pollaczek-Khinchine); `scv` is the service's variance over its squared mean.

    Examples:
        >>> [round(mg1_wait(load, scv=4), 9) for load in (0.5, 0.8)]
        [2.5, 10.0]
    """
    check.positive(service_mean_s=service_mean_s)
    check.within(0, math.inf, scv=scv)
    load = stable_load(arrival_rate, 1 / service_mean_s)
    return load * service_mean_s * (1 + scv) / (2 * (1 - load))


def md1_wait(arrival_rate: float, service_s: float = 1.0) -> float:
    """Mean wait before service in M/D/1.

    Examples:
        >>> [round(md1_wait(load), 9) for load in (0.5, 0.8)]
        [0.5, 2.0]
    """
    return mg1_wait(arrival_rate, service_s, 0.0)


def ps_sojourn(service_s: float, load: float) -> float:
    """Mean time of a job that alone would take `service_s`, in M/G/1 with processor sharing, any law of sizes.

    A cell shared by downloads. References: Kleinrock, Queueing Systems II, 1976, 4.4.

    Examples:
        >>> round(ps_sojourn(2.0, 0.6), 9)
        5.0
    """
    check.positive(service_s=service_s)
    return service_s / (1 - stable_load(load))


# --- several servers, and loss --------------------------------------------------------------------


def erlang_b(servers: int, load: float) -> float:
    """Blocking of M/G/c/c, insensitive to the law of holding; `load` in Erlang, any size.

    Examples:
        >>> round(erlang_b(10, 7.0), 6), round(erlang_b(30, 21.0), 4)
        (0.078741, 0.0136)
    """
    check.positive_integer(servers=servers)
    check.positive(load=load)
    blocking = 1.0
    for server in range(1, servers + 1):
        blocking = load * blocking / (server + load * blocking)
    return blocking


def erlang_c(servers: int, load: float) -> float:
    """Probability of having to wait in M/M/c.

    Examples:
        >>> round(erlang_c(10, 7.0), 6)
        0.221731
    """
    per_server = stable_load(load, 1.0, servers)
    blocking = erlang_b(servers, load)
    return blocking / (1 - per_server * (1 - blocking))


def mmc_wait(arrival_rate: float, servers: int, service_rate: float = 1.0) -> float:
    """Mean wait before service in M/M/c.

    Examples:
        >>> round(mmc_wait(7.0, 10), 6)
        0.07391
        >>> round(mmc_wait(7.0, 10) / mmc_wait(21.0, 30), 1)  # three pools of 10 merged into one of 30
        15.1
    """
    stable_load(arrival_rate, service_rate, servers)
    return erlang_c(servers, arrival_rate / service_rate) / (servers * service_rate - arrival_rate)


class Occupancy(NamedTuple):
    """A shared resource in the long run: `blocking` of each class, `busy` the law of units in use, (C + 1,)."""

    blocking: NDArray[np.float64]
    busy: NDArray[np.float64]


def kaufman_roberts(capacity: int, demands: Sequence[int], loads: Sequence[float]) -> Occupancy:
    """Blocking of calls that take several units of one resource each, everybody admitted who fits.

    Args:
        capacity: Units of the resource.
        demands: Units that a call of each class takes, shape (classes,).
        loads: Offered loads in Erlang (calls, not units), shape (classes,).

    References:
        Kaufman, IEEE Trans. Commun. 29(10), 1981; Roberts, 1981. Insensitive to the law of holding.

    Examples:
        >>> kaufman_roberts(30, (1, 4), (10.0, 3.0)).blocking.round(6)
        array([0.030374, 0.14666 ])
    """
    check.positive_integer(capacity=capacity, **{f"demands[{i}]": d for i, d in enumerate(demands)})
    check.within(0, math.inf, **{f"loads[{i}]": load for i, load in enumerate(loads)})
    if not demands or len(demands) != len(loads):
        msg = f"loads: got {len(loads)} for {len(demands)} classes, expected one for each demand"
        raise ValueError(msg)
    busy = np.zeros(capacity + 1)
    busy[0] = 1.0
    for units in range(1, capacity + 1):
        terms = (d * a * busy[units - d] for d, a in zip(demands, loads, strict=True) if d <= units)
        busy[units] = sum(terms) / units
        if busy[units] > 1e200:
            busy[: units + 1] *= 1e-200
    busy /= busy.sum()
    return Occupancy(np.array([busy[max(0, capacity + 1 - d) :].sum() for d in demands]), busy)


# --- networks -------------------------------------------------------------------------------------


class JacksonFlow(NamedTuple):
    """A Jackson network in the long run.

    Attributes:
        rates: Arrivals per second at each node, returns included, shape (nodes,).
        jobs: Mean number at each node, shape (nodes,).
        end_to_end_s: Mean time from entering the network to leaving it.
    """

    rates: NDArray[np.float64]
    jobs: NDArray[np.float64]
    end_to_end_s: float


def jackson(arrivals: ArrayLike, routing: ArrayLike, service_rates: ArrayLike) -> JacksonFlow:
    """Return the flow of an open network of exponential single servers with Bernoulli routing.

    Args:
        arrivals: From outside, per second, shape (nodes,).
        routing: Probability of going from row to column after service, shape (nodes, nodes); the
            rest of a row leaves.
        service_rates: Per second, shape (nodes,).

    Raises:
        ValueError: A node is unstable, or jobs cannot leave.

    Examples:
        >>> flow = jackson((0.4, 0, 0), ((0, 0.7, 0.3), (0.2, 0, 0), (0, 0, 0)), (1, 1, 0.5))
        >>> flow.rates.round(5), round(flow.end_to_end_s, 6)
        (array([0.46512, 0.32558, 0.13953]), 4.348552)
    """
    external = check.array(arrivals, (None,), "nodes", name="arrivals").astype(float)
    n = external.size
    moves = check.array(routing, (n, n), "nodes, nodes", name="routing", because="nodes are set by arrivals")
    service = check.array(service_rates, (n,), "nodes", name="service_rates", because="nodes are set by arrivals")
    if external.min() < 0 or external.sum() <= 0:
        msg = f"arrivals: got {external.tolist()}, expected rates of at least 0, one of them above"
        raise ValueError(msg)
    if moves.min() < 0 or moves.sum(axis=1).max() > 1 + 1e-12:
        msg = "routing: got a row that is no sub-probability, expected entries of at least 0 and row sums of at most 1"
        raise ValueError(msg)
    if max(abs(np.linalg.eigvals(moves))) > 1 - 1e-12:
        msg = "routing: got a circle that nobody leaves, expected a way out of every node"
        raise ValueError(msg)
    rates = np.linalg.solve(np.eye(n) - moves.T, external)
    loads = np.array([stable_load(a, m) if a > 0 else 0.0 for a, m in zip(rates, service, strict=True)])
    jobs = loads / (1 - loads)
    return JacksonFlow(rates, jobs, float(jobs.sum() / external.sum()))


def square_root_capacities(loads: ArrayLike, capacity: float, prices: ArrayLike | None = None) -> NDArray[np.float64]:
    """Divide `capacity` among M/M/1 links so that the mean delay over all traffic is least.

    Each link gets its load, and of what is left a part in proportion to the square root of its
    load: c_i = a_i + s sqrt(a_i / p_i) / sum_j sqrt(a_j p_j), with s = capacity - sum_j a_j p_j.

    Args:
        loads: Traffic of each link in the unit of `capacity` (bit/s, jobs/s), shape (links,).
        capacity: To be divided; with prices, the budget that sum_i p_i c_i spends.
        prices: Cost of a unit on each link, shape (links,); all 1 unless given.

    References:
        Kleinrock, Communication Nets, 1964, ch. 4.

    Examples:
        >>> loads = np.array([0.6, 0.1])
        >>> capacities = square_root_capacities(loads, 1.0)
        >>> round(float((loads / (capacities - loads)).sum()), 3)  # mean jobs
        3.966
    """
    a = check.array(loads, (None,), "links", name="loads").astype(float)
    p = np.ones_like(a) if prices is None else check.array(prices, a.shape, "links", name="prices").astype(float)
    check.positive(capacity=capacity)
    if a.min() < 0 or a.max() <= 0 or p.min() <= 0:
        msg = "loads: got a negative load, no load at all or a price of at most 0, expected loads >= 0 and prices > 0"
        raise ValueError(msg)
    spare = capacity - float(a @ p)
    if spare <= 0:
        msg = f"capacity: got {capacity:g}, expected above {a @ p:g}, the load; it lacks {-spare:g}"
        raise ValueError(msg)
    return np.asarray(a + spare * np.sqrt(a / p) / np.sqrt(a * p).sum())


class LineRates(NamedTuple):
    """Rates on a line of links: `long` of the flow that crosses all, `short` of each flow that crosses one."""

    long: float
    short: float


def line_rates(num_links: int, fairness: Literal["max-min", "proportional"], capacity: float = 1.0) -> LineRates:
    """Return the fair rates of one long flow and one short flow per link.

    References:
        Massoulié and Roberts, IEEE/ACM Trans. Netw. 10(3), 2002.

    Examples:
        >>> line_rates(2, "max-min"), line_rates(3, "proportional")
        (LineRates(long=0.5, short=0.5), LineRates(long=0.25, short=0.75))
    """
    check.positive_integer(num_links=num_links)
    check.positive(capacity=capacity)
    check.one_of(("max-min", "proportional"), fairness=fairness)
    long = capacity / 2 if fairness == "max-min" else capacity / (num_links + 1)
    return LineRates(long, capacity - long)


def multiuser_gain(num_users: int) -> float:
    """Mean gain over taking turns of a proportional-fair scheduler: the harmonic number H_K.

    Holds for users with independent Rayleigh fading of any mean, rates proportional to SNR, full
    buffers and a long averaging window (at least 1,000 slots).

    Examples:
        >>> round(multiuser_gain(16), 5)
        3.38073
    """
    check.positive_integer(num_users=num_users)
    return math.fsum(1 / k for k in range(1, num_users + 1))


# --- random access --------------------------------------------------------------------------------


def beta_burst_rate(
    time_s: ArrayLike, num_devices: int, duration_s: float, alpha: float = 3.0, beta: float = 4.0
) -> NDArray[np.float64]:
    """Arrivals per second at `time_s` in a burst in which every device wakes once.

    References:
        3GPP TR 37.868, traffic model 2: Beta(3, 4) over 10 s.

    Examples:
        >>> beta_burst_rate((0.0, 4.0, 11.0), 30_000, 10.0).round(1)
        array([   0. , 6220.8,    0. ])
    """
    check.positive_integer(num_devices=num_devices)
    check.positive(duration_s=duration_s, alpha=alpha, beta=beta)
    x = np.asarray(time_s, dtype=float) / duration_s
    inside = np.clip(x, 0, 1)
    density = inside ** (alpha - 1) * (1 - inside) ** (beta - 1) / beta_function(alpha, beta)
    return np.asarray(np.where(inside == x, density, 0.0) * num_devices / duration_s)


def beta_burst_peak(num_devices: int, duration_s: float, alpha: float = 3.0, beta: float = 4.0) -> float:
    """Arrivals per second at the top of the burst, for shapes above 1.

    Examples:
        >>> peak = beta_burst_peak(30_000, 10.0)
        >>> round(peak, 1), round(peak * 5e-3, 2)  # per second, per slot of 5 ms
        (6220.8, 31.1)
    """
    check.positive(alpha_above_1=alpha - 1, beta_above_1=beta - 1)
    mode_s = duration_s * (alpha - 1) / (alpha + beta - 2)
    return float(beta_burst_rate(mode_s, num_devices, duration_s, alpha, beta))


def no_collision(num_preambles: int, num_contenders: int) -> float:
    """Probability that one of exactly `num_contenders` devices is alone on its preamble.

    Examples:
        >>> round(no_collision(54, 31), 4)
        0.5708
    """
    check.positive_integer(num_preambles=num_preambles, num_contenders=num_contenders)
    return (1 - 1 / num_preambles) ** (num_contenders - 1)


def no_collision_poisson(num_preambles: int, mean_contenders: float) -> float:
    """Probability that a tagged device is alone on its preamble when the others are Poisson.

    Examples:
        >>> round(no_collision_poisson(54, 31.10), 4)
        0.5622
    """
    check.positive_integer(num_preambles=num_preambles)
    check.within(0, math.inf, mean_contenders=mean_contenders)
    return math.exp(-mean_contenders / num_preambles)


def slotted_aloha(load: float) -> float:
    """Successes per slot when transmissions are Poisson of mean `load` per slot; at most 1/e, at load 1.

    Examples:
        >>> slotted_aloha(1.0) == 1 / math.e
        True
    """
    check.within(0, math.inf, load=load)
    return load * math.exp(-load)


# --- ages -----------------------------------------------------------------------------------------
# Age: now minus when the freshest update received was made. First come first served, updates are
# made when they arrive at the queue. References: Kaul, Yates and Gruteser, IEEE INFOCOM 2012
# (M/M/1, M/D/1, D/M/1); Costa, Codreanu and Ephremides, IEEE Trans. Inf. Theory 62(4), 2016 (peaks).


def mm1_age(update_rate: float, service_rate: float = 1.0) -> float:
    """Mean age under M/M/1; least at load 0.531.

    Examples:
        >>> round(mm1_age(0.5), 9), round(mm1_age(0.8), 9), round(mm1_age(0.531), 4)
        (3.5, 5.45, 3.4844)
    """
    load = stable_load(update_rate, service_rate)
    return (1 + 1 / load + load**2 / (1 - load)) / service_rate


def mm1_peak_age(update_rate: float, service_rate: float = 1.0) -> float:
    """Mean age just before an update comes in, under M/M/1: an interval between updates and a sojourn.

    Examples:
        >>> mm1_peak_age(0.5), round(mm1_peak_age(0.8), 9)
        (4.0, 6.25)
    """
    return 1 / update_rate + mm1_sojourn(update_rate, service_rate)


def md1_age(update_rate: float, service_s: float = 1.0) -> float:
    """Mean age under M/D/1.

    Examples:
        >>> round(md1_age(0.5), 5), round(md1_age(0.8), 5)
        (3.14872, 3.55639)
    """
    check.positive(service_s=service_s)
    load = stable_load(update_rate, 1 / service_s)
    return service_s * (1 / (2 * (1 - load)) + 0.5 + (1 - load) * math.exp(load) / load)


def dm1_age(update_rate: float, service_rate: float = 1.0) -> float:
    """Mean age under D/M/1 (updates at a fixed interval); least at load 0.517.

    Examples:
        >>> [round(dm1_age(load), 4) for load in (0.5, 0.8, 0.517)]
        [2.255, 3.3177, 2.2526]
    """
    load = stable_load(update_rate, service_rate)
    beta = float((-load * lambertw(-math.exp(-1 / load) / load, 0)).real)
    return 1 / (2 * load * service_rate) + 1 / (service_rate * (1 - beta))


def periodic_age(period_s: float, loss: float = 0.0, delay_s: float = 0.0) -> float:
    """Mean age of a twin that is sent an update every `period_s`, each lost with probability `loss`.

    Examples:
        >>> round(periodic_age(1.0, 0.1, 0.2), 5)
        0.81111
    """
    check.positive(period_s=period_s)
    check.probability(loss=loss)
    check.within(0, math.inf, delay_s=delay_s)
    if loss == 1:
        msg = "loss: got 1, expected below 1; a twin that hears nothing ages for ever"
        raise ValueError(msg)
    return delay_s + period_s * (1 + loss) / (2 * (1 - loss))
