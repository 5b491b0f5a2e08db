"""Gibbs sampling of the exact posterior: the oracle for small cells."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.mmtc.detection import Detection, resolvable_noise
from wirelesslab.mmtc.gibbs_kernels import gibbs
from wirelesslab.mmtc.rank_one_kernels import cross_terms, in_noise_alone
from wirelesslab.mmtc.uplink import Observation
from wirelesslab.rng import stream
from wirelesslab.threads import map_chunks

COLDEST = 0.4  # power of the likelihood in the first sweep of an annealed burn-in
REBUILD_EVERY = 25  # sweeps


@dataclass(frozen=True)
class Gibbs:
    r"""Samples the labels from their exact posterior, the channels integrated out.

    Given all labels, the columns of Y are $CN(0, \Sigma)$ with $\Sigma = \sum_n \beta_n s s^H + \sigma^2 I$ over
    the pilots that are sent, so the label of one device given all others has a closed form: that of the
    genie. Chains visit the devices in turn and draw from it. The posterior is the mean over visits and
    chains of that conditional itself, not of the label drawn (Rao-Blackwell). Besides, a few speakers per sweep
    are *relocated*: which of the silent devices and itself speaks is drawn from the exact conditional. Gains that
    are known by their law are sampled along. All chains start from silence; in the first half of the burn-in the
    likelihood is raised to a power that grows from 0.4 to 1.

    It is exact as the sweeps go to infinity, for Rayleigh fading and devices that speak independently: the
    oracle against which detectors are judged in cells small enough. Its usual settings are those of a detector;
    an oracle takes more, such as ``Gibbs(chains=4, burn_in=150, sweeps=50)``, and looks at the disagreement of chains:
    a frame of an overloaded cell can have two explanations between which no chain goes. A sweep costs about
    N Q M + (speakers + relocations + changes) L² + (relocations + changes) N Q L complex multiplications (see
    `complexity`), ``chains * (burn_in + sweeps)`` times per frame: some ten times AMP's, an oracle's a hundred times.
    References: Geman and Geman, IEEE Trans. PAMI 6(6), 1984; rank-one updates and relocations are our reading.

    Attributes:
        chains: Independent chains.
        burn_in: Sweeps of each chain that are thrown away.
        sweeps: Sweeps of each chain that are averaged.
        relocations: Speakers relocated in each sweep.
        annealed: Whether the burn-in tempers the likelihood.
        seed: Seeds the draws; each frame has a stream of its own, by its number.
    """

    chains: int = 2
    burn_in: int = 40
    sweeps: int = 20
    relocations: int = 4
    annealed: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check.positive_integer(chains=self.chains, sweeps=self.sweeps)
        check.non_negative_integer(burn_in=self.burn_in, relocations=self.relocations, seed=self.seed)

    @property
    def name(self) -> str:
        """What curves call it: Gibbs, and every option that is not the usual one."""
        usual = (self.chains, self.burn_in, self.sweeps) == (2, 40, 20)
        words = ["Gibbs" if usual else f"Gibbs {self.chains}x{self.burn_in}+{self.sweeps}"]
        words += [] if self.relocations == 4 else [f"{self.relocations} relocations"]
        words += [] if self.annealed else ["cold"]
        words += [f"seed {self.seed}"] if self.seed else []
        return ", ".join(words)

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame, with two traces of shape (frames, 1).

        ``chain_disagreement`` is the largest total variation distance, over devices and chains, between a
        chain's posterior of a device and the mean of all chains (0 for one chain): what is near 1 has not
        converged. ``drift`` is the largest relative rounding error that a rebuilding found.
        """
        o = observation
        noise_power = resolvable_noise(o.noise_power, float(np.max(np.abs(o.received)) ** 2))
        pilots, adjoint, energy = in_noise_alone(o.pilots, noise_power)
        with np.errstate(divide="ignore"):  # a prior of 0 is a weight of exp(-1e30)
            silent = max(float(np.log1p(-o.activity_prob)), -1e30)
            spoke = max(float(np.log(o.activity_prob / o.pilots_per_device)), -1e30)
        gains, log_weights = o.gains.nodes.astype(np.float64), np.log(o.gains.weights)
        shape = (self.chains, self.burn_in + self.sweeps, o.num_devices + self.relocations, 3)
        posteriors = np.empty((o.num_frames, o.num_devices, o.pilots_per_device + 1))
        disagreement, drift = np.empty((o.num_frames, 1)), np.empty((o.num_frames, 1))

        def work(part: slice) -> None:
            for frame in range(part.start, part.stop):
                cross = cross_terms(adjoint, o.received[frame : frame + 1], noise_power)[0]
                conditionals = np.empty((self.chains, *posteriors.shape[1:]))
                drift[frame] = gibbs(
                    cross, energy, pilots, noise_power, gains, log_weights, silent, spoke, self._heats(),
                    self.burn_in, REBUILD_EVERY, stream(self.seed, "gibbs", frame).random(shape), conditionals,
                )  # fmt: skip
                mean = conditionals.mean(axis=0)
                posteriors[frame] = mean / mean.sum(axis=-1, keepdims=True)
                disagreement[frame] = 0.5 * np.abs(conditionals - mean).sum(axis=-1).max()

        map_chunks(work, o.num_frames, 1)
        used = np.full(o.num_frames, self.burn_in + self.sweeps, dtype=np.int64)
        return Detection.of(observation, posteriors, used, {"chain_disagreement": disagreement, "drift": drift})

    def _heats(self) -> NDArray[np.float64]:
        """The power of the likelihood in each sweep."""
        heats = np.ones(self.burn_in + self.sweeps)
        if self.annealed:
            warm = self.burn_in // 2
            heats[:warm] = np.geomspace(COLDEST, 1.0, warm) if warm > 1 else 1.0
        return heats
