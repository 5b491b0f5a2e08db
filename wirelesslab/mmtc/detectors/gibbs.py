"""Gibbs sampling of the exact posterior: the oracle for small cells."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.mmtc.detection import Detection, Real, resolvable_noise
from wirelesslab.mmtc.gibbs_kernels import gibbs
from wirelesslab.mmtc.rank_one_kernels import cross_terms, in_noise_alone
from wirelesslab.mmtc.uplink import Observation
from wirelesslab.rng import stream
from wirelesslab.threads import map_chunks

REBUILD_EVERY = 25  # sweeps
ANNEALED_FROM = 0.4  # factor on the power of the likelihood in the first sweep of an annealed burn-in


@dataclass(frozen=True)
class Gibbs:
    r"""Samples the labels from their exact posterior, the channels integrated out.

    Given all labels, the columns of Y are $CN(0, \Sigma)$ with $\Sigma = \sum_n \beta_n s s^H + \sigma^2 I$ over
    the pilots that are sent, so the label of one device given all others has a closed form: that of the
    genie. Chains visit the devices in turn and draw from it. The posterior is the mean over visits and
    chains of that conditional itself, not of the label drawn (Rao-Blackwell). Besides, a few speakers per sweep
    are *relocated*: which of the silent devices and itself speaks is drawn from the exact conditional. Gains that
    are known by their law are sampled along.

    One walker alone may stay in an explanation that is tens of nats worse than another (after 40 annealed sweeps in
    one of 160 frames at three pilot symbols per speaker and 0 dB, in one of fifteen at 15 dB). So each chain is a
    ladder: on its rungs stand walkers for which the likelihood is raised to powers from 1 down to `hottest`, and
    neighbours exchange rungs by the rule of Metropolis. What stands on the first rung is kept. Walkers start from
    silence; in the first half of the burn-in all powers are multiplied by a factor that grows from 0.4 to 1.

    What is exact: visits, relocations and exchanges each leave the posterior as it is, so that the detection
    becomes exact as sweeps grow, with any ladder, for Rayleigh fading and devices that speak independently. What is
    not: how long that takes, and the burn-in, is a choice; two explanations between which no walker ever went are
    weighed by where the walkers came to rest. It is the oracle against which detectors are judged in cells small
    enough. Its usual settings are those of a detector, chosen at ten speakers; an oracle takes more, such as
    ``Gibbs(chains=2, burn_in=40, sweeps=40)``, and looks at the disagreement of chains and at how often rungs are
    exchanged: larger cells and weaker noise ask for more rungs and a hotter one.

    A sweep of a walker costs about N Q M + (speakers + relocations + changes) L² + (relocations + changes) N Q L
    complex multiplications (see `complexity`), ``chains * rungs * (burn_in + sweeps)`` times per frame: some ten
    times AMP's. References: Geman and Geman, IEEE Trans. PAMI 6(6), 1984; Geyer, "Markov chain Monte Carlo maximum
    likelihood", Interface 1991 (exchanges); rank-one updates, relocations and the ladder's powers are our reading.

    Attributes:
        chains: Independent ladders.
        burn_in: Sweeps of each walker that are thrown away.
        sweeps: Sweeps of each chain that are averaged.
        relocations: Speakers relocated in each sweep.
        rungs: Walkers of a chain; one has nobody to exchange with.
        hottest: Power of the likelihood on the last of several rungs; those between are spaced geometrically.
        annealed: Whether the burn-in tempers the likelihood of all walkers.
        seed: Seeds the draws; each frame has a stream of its own, by its number.
    """

    chains: int = 1
    burn_in: int = 20
    sweeps: int = 20
    relocations: int = 4
    rungs: int = 3
    hottest: float = 0.55
    annealed: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check.positive_integer(chains=self.chains, sweeps=self.sweeps, rungs=self.rungs)
        check.non_negative_integer(burn_in=self.burn_in, relocations=self.relocations, seed=self.seed)
        check.within(0.01, 1, hottest=self.hottest)

    @property
    def name(self) -> str:
        """What curves call it: Gibbs, and every option that is not the usual one."""
        usual = (self.chains, self.burn_in, self.sweeps) == (1, 20, 20)
        words = ["Gibbs" if usual else f"Gibbs {self.chains}x{self.burn_in}+{self.sweeps}"]
        words += [] if self.relocations == 4 else [f"{self.relocations} relocations"]
        words += [] if self.rungs == 3 else [f"{self.rungs} rung{'s' * (self.rungs > 1)}"]
        words += [] if self.hottest == 0.55 else [f"hottest {self.hottest:g}"]
        words += [] if self.annealed else ["cold"]
        words += [f"seed {self.seed}"] if self.seed else []
        return ", ".join(words)

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame, with three traces of shape (frames, 1).

        ``chain_disagreement`` is the largest total variation distance, over devices and chains, between a
        chain's posterior of a device and the mean of all chains (0 for one chain): what is near 1 has not
        converged. ``exchanged`` is the share of exchanges that were accepted while conditionals were kept, between
        the two neighbouring rungs that exchange least (1 for one rung): near 0 the ladder serves nothing.
        ``drift`` is the largest relative rounding error that a rebuilding found.
        """
        o = observation
        noise_power = resolvable_noise(o.noise_power, float(np.max(np.abs(o.received)) ** 2))
        pilots, adjoint, energy = in_noise_alone(o.pilots, noise_power)
        with np.errstate(divide="ignore"):  # a prior of 0 is a weight of exp(-1e30)
            silent = max(float(np.log1p(-o.activity_prob)), -1e30)
            spoke = max(float(np.log(o.activity_prob / o.pilots_per_device)), -1e30)
        gains, log_weights = o.gains.nodes.astype(np.float64), np.log(o.gains.weights)
        heats = self._heats()
        shape = (self.chains, *heats.shape, o.num_devices + self.relocations, 3)
        posteriors = np.empty((o.num_frames, o.num_devices, o.pilots_per_device + 1))
        disagreement, exchanged, drift = (np.empty((o.num_frames, 1)) for _ in range(3))

        def work(part: slice) -> None:
            for frame in range(part.start, part.stop):
                cross = cross_terms(adjoint, o.received[frame : frame + 1], noise_power)[0]
                conditionals = np.empty((self.chains, *posteriors.shape[1:]))
                rng = stream(self.seed, "gibbs", frame)
                drift[frame], exchanged[frame] = gibbs(
                    cross, energy, pilots, noise_power, gains, log_weights, silent, spoke, heats, self.burn_in,
                    REBUILD_EVERY, rng.random(shape), rng.random((*shape[:2], self.rungs - 1)), conditionals,
                )  # fmt: skip
                mean = conditionals.mean(axis=0)
                posteriors[frame] = mean / mean.sum(axis=-1, keepdims=True)
                disagreement[frame] = 0.5 * np.abs(conditionals - mean).sum(axis=-1).max()

        map_chunks(work, o.num_frames, 1)
        used = np.full(o.num_frames, self.burn_in + self.sweeps, dtype=np.int64)
        history: dict[str, Real] = {"chain_disagreement": disagreement, "exchanged": exchanged, "drift": drift}
        return Detection.of(observation, posteriors, used, history)

    def _heats(self) -> NDArray[np.float64]:
        """The power of the likelihood in each sweep on each rung, shape (sweeps, rungs)."""
        ladder = np.geomspace(1.0, self.hottest, self.rungs)  # one rung is at 1
        factor = np.ones(self.burn_in + self.sweeps)
        if self.annealed:
            warm = self.burn_in // 2
            factor[:warm] = np.geomspace(ANNEALED_FROM, 1.0, warm) if warm > 1 else 1.0
        return np.asarray(factor[:, None] * ladder)
