"""Bandits: agents that choose among a few arms by what each has paid, with the context in which it paid.

Each arm is believed to pay a linear function of the context, with noise; the belief about its weights is kept as
sums, so that a bandit's memory is two arrays and, for Thompson's, a generator.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check

Floats = NDArray[np.float64]


class Bandit(Protocol):
    """Chooses one of several arms, again and again."""

    def choose(self, context: ArrayLike) -> int:
        """Return the arm to pull in this context, shape (features,)."""
        ...

    def learn(self, context: ArrayLike, arm: int, payoff: float) -> None:
        """Take in what an arm paid in the context in which it was chosen."""
        ...


@dataclass(eq=False)
class Beliefs:
    """What is believed of each arm's weights: Bayesian linear regression, arm by arm.

    Attributes:
        num_arms: Arms.
        num_features: Entries of a context.
        ridge: Precision of the belief before anything was paid, in units of the noise.
        memory: Weight of what came before at each pull of the arm; 1 forgets nothing, 0.99 all but some hundred.
        precision: Sum over contexts x of an arm of x x^T, beyond `ridge`, shape (arms, features, features).
        weighted: Sum of payoff times x, shape (arms, features).
        pulls: How often each arm was pulled.
    """

    num_arms: int
    num_features: int
    ridge: float = 1.0
    memory: float = 1.0
    precision: Floats = field(init=False, repr=False)
    weighted: Floats = field(init=False, repr=False)
    pulls: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        check.positive_integer(num_arms=self.num_arms, num_features=self.num_features)
        check.positive(ridge=self.ridge, memory=self.memory)
        check.within(0, 1, memory=self.memory)
        self.precision = np.zeros((self.num_arms, self.num_features, self.num_features))
        self.weighted = np.zeros((self.num_arms, self.num_features))
        self.pulls = np.zeros(self.num_arms, np.int64)

    def posterior(self) -> tuple[Floats, Floats]:
        """Return mean weights (arms, features) and their covariance over the noise's (arms, features, features)."""
        covariance: Floats = np.linalg.inv(self.precision + self.ridge * np.eye(self.num_features)).astype(np.float64)
        return np.einsum("aij,aj->ai", covariance, self.weighted), covariance

    def context(self, context: ArrayLike) -> Floats:
        """Return a context as an array, or say what is wrong with it."""
        return check.array(context, (self.num_features,), "features", name="context").astype(np.float64)

    def learn(self, context: ArrayLike, arm: int, payoff: float) -> None:
        """See `Bandit`.

        Raises:
            ValueError: There is no such arm, or the payoff or the context is no number; nothing was learned.
        """
        values = self.context(context)
        check.finite(payoff=payoff)
        if not 0 <= arm < self.num_arms:
            msg = f"arm: got {arm}, expected one from 0 to {self.num_arms - 1}"
            raise ValueError(msg)
        self.precision[arm] = self.memory * self.precision[arm] + np.outer(values, values)
        self.weighted[arm] = self.memory * self.weighted[arm] + payoff * values
        self.pulls[arm] += 1


class LinUCB:
    """Pulls the arm that would pay most if it paid as well as it credibly may; a tie goes to the first.

    An arm's score in context x is its mean ``x . w`` plus ``alpha * sqrt(x^T A^-1 x)``, A the arm's precision.

    Args:
        num_arms: Arms.
        num_features: Entries of a context.
        alpha: Width of the confidence, in units of the noise.
        ridge: See `Beliefs`.
        memory: See `Beliefs`.

    References:
        Li, Chu, Langford, Schapire, "A contextual-bandit approach to personalized news article recommendation",
        WWW 2010, algorithm 1 (disjoint linear models). The forgetting `memory` is our addition, after the discounted
        bandits of the literature.

    Examples:
        >>> bandit = LinUCB(2, 1, alpha=0.5)
        >>> bandit.learn([1.0], 0, 4.0)
        >>> bandit.scores([1.0]).round(4).tolist()  # 4 / 2 + 0.5 * sqrt(1 / 2), and 0 + 0.5 * sqrt(1)
        [2.3536, 0.5]
    """

    def __init__(
        self, num_arms: int, num_features: int, *, alpha: float = 1.0, ridge: float = 1.0, memory: float = 1.0
    ) -> None:
        check.positive(alpha=alpha)
        self.alpha = alpha
        self.beliefs = Beliefs(num_arms, num_features, ridge, memory)

    def scores(self, context: ArrayLike) -> Floats:
        """Return the upper confidence of each arm's payoff, shape (arms,)."""
        values = self.beliefs.context(context)
        means, covariance = self.beliefs.posterior()
        spread = np.sqrt(np.einsum("i,aij,j->a", values, covariance, values))
        scores: Floats = means @ values + self.alpha * spread
        return scores

    def choose(self, context: ArrayLike) -> int:
        """See `Bandit`."""
        return int(np.argmax(self.scores(context)))

    def learn(self, context: ArrayLike, arm: int, payoff: float) -> None:
        """See `Bandit`."""
        self.beliefs.learn(context, arm, payoff)


class ThompsonSampling:
    """Draws weights of each arm from what it believes of them and pulls the arm that would then pay most.

    The belief is normal: mean ``A^-1 b``, covariance ``noise**2 * A^-1``, with A the arm's precision.

    Args:
        num_arms: Arms.
        num_features: Entries of a context.
        rng: Its own randomness.
        noise: Standard deviation of a payoff about its mean.
        ridge: See `Beliefs`.
        memory: See `Beliefs`.

    References:
        Thompson, Biometrika 25, 1933; Agrawal and Goyal, "Thompson sampling for contextual bandits with linear
        payoffs", ICML 2013, here with weights of their own for each arm.
    """

    def __init__(
        self, num_arms: int, num_features: int, rng: np.random.Generator, *, noise: float = 1.0, ridge: float = 1.0,
        memory: float = 1.0,
    ) -> None:  # fmt: skip
        check.positive(noise=noise)
        self.noise, self.rng = noise, rng
        self.beliefs = Beliefs(num_arms, num_features, ridge, memory)

    def posterior(self) -> tuple[Floats, Floats]:
        """Return the mean (arms, features) and covariance (arms, features, features) of each arm's weights."""
        means, covariance = self.beliefs.posterior()
        return means, self.noise**2 * covariance

    def choose(self, context: ArrayLike) -> int:
        """See `Bandit`."""
        values = self.beliefs.context(context)
        means, covariance = self.posterior()
        roots = np.linalg.cholesky(covariance)
        drawn = means + np.einsum("aij,aj->ai", roots, self.rng.standard_normal(means.shape))
        return int(np.argmax(drawn @ values))

    def learn(self, context: ArrayLike, arm: int, payoff: float) -> None:
        """See `Bandit`."""
        self.beliefs.learn(context, arm, payoff)
