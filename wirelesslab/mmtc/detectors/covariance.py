"""Covariance-based maximum likelihood: the many antennas as many looks at one covariance."""

from dataclasses import dataclass

import numpy as np

from wirelesslab import check
from wirelesslab.mmtc.covariance_kernels import block_coordinate_descent, coordinate_descent, padded_pilots
from wirelesslab.mmtc.detection import Detection, Real, likelihood_ratio_readout, resolvable_noise
from wirelesslab.mmtc.uplink import Observation
from wirelesslab.rng import stream
from wirelesslab.threads import map_chunks

FRAMES_PER_CHUNK = 16


@dataclass(frozen=True)
class Covariance:
    """Maximum likelihood over the powers γ >= 0 in Σ = S Γ S^H + σ² I, by coordinate descent.

    Every coordinate has a closed-form optimum and a rank-one update of Σ^-1. The labels come from
    the block-MAP likelihood ratio with each device taken out of Σ, not from thresholding γ.
    References: Fengler, Haghighatshoar, Jung and Caire, IEEE Trans. Inf. Theory 67(5), 2021; Chen,
    Sohrabi and Yu, IEEE Trans. Inf. Theory 68(3), 2022.

    Attributes:
        sweeps: Passes over all pilots, each in a random order of its own.
        block_constrained: Let each device have power on one of its pilots at most.
        order_seed: Seeds the orders, which are the same for all frames.
    """

    sweeps: int = 12
    block_constrained: bool = False
    order_seed: int = 0

    def __post_init__(self) -> None:
        check.positive_integer(sweeps=self.sweeps)
        check.non_negative_integer(order_seed=self.order_seed)

    @property
    def name(self) -> str:
        """What curves call it."""
        options = [] if self.sweeps == 12 else [f"{self.sweeps} sweeps"]
        options += [f"order {self.order_seed}"] if self.order_seed else []
        return ", ".join(["covariance block" if self.block_constrained else "covariance", *options])

    def powers(self, observation: Observation) -> Real:
        """Return the maximum likelihood powers γ, shape (frames, N Q)."""
        o = observation
        num_coordinates = o.num_devices if self.block_constrained else o.pilots.shape[1]
        rng = stream(self.order_seed, "covariance sweeps", num_coordinates)
        order = np.stack([rng.permutation(num_coordinates) for _ in range(self.sweeps)])
        powers = np.zeros((o.num_frames, o.pilots.shape[1]))
        noise_power = resolvable_noise(o.noise_power, float(np.max(np.abs(o.received)) ** 2))
        pilots = padded_pilots(o.pilots)
        descend = block_coordinate_descent if self.block_constrained else coordinate_descent

        def work(part: slice) -> None:
            descend(np.ascontiguousarray(o.received[part]), pilots, noise_power, order, powers[part])

        map_chunks(work, o.num_frames, FRAMES_PER_CHUNK)
        return powers

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame."""
        posteriors = likelihood_ratio_readout(observation, self.powers(observation))
        return Detection.of(observation, posteriors, np.full(observation.num_frames, self.sweeps))
