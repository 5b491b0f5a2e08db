"""What nobody can beat: who knows all calls to come, and how long each will stay, chooses among them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from wirelesslab import check
from wirelesslab.network.admission import LossSystem


class CallRecord(NamedTuple):
    """Calls in the order of their coming: when, of which class, how long each would stay; each of shape (calls,)."""

    arrivals_s: NDArray[np.float64]
    classes: NDArray[np.int64]
    holding_s: NDArray[np.float64]


def clairvoyant_bound(calls: CallRecord, system: LossSystem) -> float:
    """Return a reward that no choice among these calls exceeds, an empty station at the beginning.

    Admitting parts of calls is allowed (the linear relaxation of interval packing): with classes of one demand that
    gains nothing, otherwise the bound lies a little above the best choice.

    Args:
        calls: All that come.
        system: Capacity, demands and rewards; a class of negative reward is not let in.

    Raises:
        ValueError: Arrivals are not in order, classes unknown, times negative, or lengths differ.
        RuntimeError: The solver found no optimum.

    References:
        Interval packing (call admission with known calls): Faigle and Nawijn, "Note on scheduling intervals on-line",
        Discrete Applied Mathematics 58, 1995. Solved by HiGHS through scipy.

    Examples:
        >>> from wirelesslab.network.admission import CallClass
        >>> one = LossSystem(capacity=1, classes=(CallClass(arrival_rate=1.0),))
        >>> calls = CallRecord(np.array([0.0, 1.0, 2.0]), np.zeros(3, int), np.array([9.0, 0.5, 0.5]))
        >>> clairvoyant_bound(calls, one)  # leave out the long one
        2.0
    """
    arrivals_s = check.array(calls.arrivals_s, (None,), "calls", name="arrivals_s")
    size = arrivals_s.shape
    classes = check.array(calls.classes, size, "calls", name="classes", because="arrivals_s has as many")
    holding_s = check.array(calls.holding_s, size, "calls", name="holding_s", because="arrivals_s has as many")
    if (np.diff(arrivals_s) < 0).any():
        msg = "arrivals_s: got times that go back, expected them in order"
        raise ValueError(msg)
    if (holding_s < 0).any():
        msg = f"holding_s: got {holding_s.min():g}, expected times of at least 0"
        raise ValueError(msg)
    if classes.size and not (classes.min() >= 0 and classes.max() < len(system.classes)):
        msg = f"classes: got {classes.min()} to {classes.max()}, expected 0 to {len(system.classes) - 1}"
        raise ValueError(msg)
    if not classes.size:
        return 0.0
    demands = np.array([c.demand for c in system.classes], np.float64)[classes]
    rewards = np.array([c.reward for c in system.classes], np.float64)[classes]
    # the station is fullest at arrivals: call j is there at those after it, up to its end
    last = np.searchsorted(arrivals_s, arrivals_s + holding_s, side="left")
    present = np.maximum(last - np.arange(arrivals_s.size), 1)
    columns = np.repeat(np.arange(arrivals_s.size), present)
    rows = np.concatenate([np.arange(j, j + n) for j, n in enumerate(present)])
    held = sparse.csr_matrix((demands[columns], (rows, columns)), shape=(arrivals_s.size, arrivals_s.size))
    found = linprog(-rewards, A_ub=held, b_ub=np.full(arrivals_s.size, float(system.capacity)), bounds=(0, 1))
    if found.status != 0:
        msg = f"clairvoyant_bound: the solver found no optimum ({found.message})"
        raise RuntimeError(msg)
    return float(-found.fun)
