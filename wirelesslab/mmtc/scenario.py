"""The cell, in numbers."""

from dataclasses import dataclass, field

from wirelesslab import check
from wirelesslab.mmtc.activity import ActivityLaw, Independent
from wirelesslab.mmtc.arrivals import Arrival, Synchronous
from wirelesslab.mmtc.channels import Fading, Rayleigh
from wirelesslab.mmtc.gains import GAIN_KNOWLEDGE, EqualGain, GainKnowledge, GainLaw
from wirelesslab.mmtc.pilots import Codebook, Gaussian
from wirelesslab.results import ADDED_LATER
from wirelesslab.units import db_to_linear


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A single-cell grant-free uplink in which each device embeds bits in its choice of pilot.

    Y = S X + W: device n owns Q = 2^J columns of S; when active it sends one of them, and that row
    of X is sqrt(β_n) h_n. W is CN(0, σ²) with σ² = 10^(-snr_db/10)/L. Where devices do not arrive in step,
    each column comes once per state of `arrival`, and the station listens until the last one is there.
    References: the model of Ma, Wu, Gao and Shen, IEEE Trans. Wireless Commun. 2023, arXiv 2301.00516.

    Attributes:
        num_devices: N, devices in the cell.
        bits_per_device: J, bits embedded in the choice of pilot; 0 detects activity only.
        pilot_length: L, in symbols.
        num_antennas: M, antennas at the base station.
        activity_prob: ε, probability that a device speaks in a frame.
        snr_db: Received, per pilot symbol and antenna, for a path gain of 1.
        codebook: The law of the pilots.
        gain_law: The law of the large-scale gains β.
        fading: The law of the small-scale channels h.
        activity_law: Who speaks together; its mean is `activity_prob`.
        gain_knowledge: What the station knows of β: "known", its "distribution", or its "mean".
        arrival: How late and how far off the carrier devices arrive.

    Examples:
        >>> Scenario(num_devices=100, bits_per_device=2).num_pilots
        400
    """

    num_devices: int = 100
    bits_per_device: int = 2
    pilot_length: int = 30
    num_antennas: int = 4
    activity_prob: float = 0.1
    snr_db: float = 0.0
    codebook: Codebook = Gaussian()
    gain_law: GainLaw = EqualGain()
    fading: Fading = Rayleigh()
    activity_law: ActivityLaw = Independent()
    gain_knowledge: GainKnowledge = "known"
    arrival: Arrival = field(default=Synchronous(), metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        check.positive_integer(
            num_devices=self.num_devices, pilot_length=self.pilot_length, num_antennas=self.num_antennas
        )
        check.non_negative_integer(bits_per_device=self.bits_per_device)
        check.within(0, 12, bits_per_device=self.bits_per_device)
        check.probability(activity_prob=self.activity_prob)
        check.within(-200, 200, snr_db=self.snr_db)
        check.one_of(GAIN_KNOWLEDGE, gain_knowledge=self.gain_knowledge)
        for name, example in (
            ("codebook", "Gaussian()"),
            ("gain_law", "PathLoss()"),
            ("fading", "Rician(k_factor_db=6)"),
            ("activity_law", "BetaBurst()"),
            ("arrival", "Delayed(max_delay_symbols=4)"),
        ):
            law, verb = getattr(self, name), "expand" if name == "arrival" else "draw"
            if isinstance(law, type) or not hasattr(law, verb):
                msg = f"{name}: got {law!r}, expected a law with its numbers, such as {example}"
                raise TypeError(msg)

    @property
    def pilots_per_device(self) -> int:
        """Q = 2^J, labels a device can send."""
        return int(2**self.bits_per_device)

    @property
    def num_pilots(self) -> int:
        """N Q, columns of the codebook."""
        return self.num_devices * self.pilots_per_device

    @property
    def window_length(self) -> int:
        """Symbols that the station listens for: L and the largest delay."""
        return self.pilot_length + self.arrival.max_delay_symbols

    @property
    def noise_power(self) -> float:
        """σ², per complex entry of the received signal, linear."""
        return db_to_linear(-self.snr_db) / self.pilot_length

    @property
    def load(self) -> float:
        """ε N / L, active devices per pilot symbol; AMP suffers from about 1/3 on."""
        return self.activity_prob * self.num_devices / self.pilot_length
