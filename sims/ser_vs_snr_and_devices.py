"""How does the symbol error rate fall with the SNR, and when do more devices overload the cell?

wirelesslab run ser_vs_snr_and_devices          (one to two minutes on two cores; --quick: 10 seconds)

Expect: with 80 devices (3.8 pilot symbols per speaker) all AMP variants and the covariance method fall
together, a few dB from the genie. With 160 devices (1.9 symbols per speaker) plain AMP stays near
"all silent" at every SNR, re-tuned AMP, the covariance method and MAMPNet flatten out near 1 %, OMP is
worse than silence, and the genie keeps falling. MAMPNet has the lowest rate at every point, by a tenth to a
half with 80 devices and by up to a quarter with 160.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wirelesslab.mmtc import ACTIVITY_LAWS, CODEBOOKS, FADINGS, GAIN_LAWS, Scenario, symbol_error_trial
from wirelesslab.mmtc.detectors import named
from wirelesslab.mmtc.gains import GainKnowledge
from wirelesslab.mmtc.limits import with_limits
from wirelesslab.mmtc.report import error_figures, error_table, label_axes
from wirelesslab.naming import build
from wirelesslab.plot import waterfall
from wirelesslab.session import Session, Table
from wirelesslab.study import Stop

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is swept, the cell, and how well each rate must be known.

    Attributes:
        snr_db: Received SNRs, per pilot symbol and antenna, in dB.
        num_devices: Numbers of devices in the cell.
        detectors: Names of detectors; an unknown one lists them all.
        bits_per_device: Bits embedded in the choice of pilot.
        pilot_length: Pilot symbols.
        num_antennas: Antennas at the base station.
        activity_prob: Probability that a device speaks in a frame.
        codebook: gaussian, qpsk, partialdft, zadoffchu, orthogonalblocks:block=4 or designed:block=4.
        gain_law: equalgain, uniformgaindb:low_db=-5;high_db=5, or pathloss.
        gain_knowledge: What the station knows of the gains.
        fading: rayleigh, rician:k_factor_db=6, kronecker:correlation_coefficient=0.7 or localscattering; 3GPP channels
            are in the sim ser_over_channels.
        activity_law: independent, betaburst, clustered:cluster_size=10, or activitytrace:path=FILE.
        frames_per_batch: Frames in each cell that is drawn.
        target_errors: Stop a detector at a grid point after so many errors.
        min_batches: Draw at least so many cells: a few pilot draws tell little about all.
        max_batches: Stop it after so many cells in any case.
    """

    snr_db: tuple[float, ...] = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)
    num_devices: tuple[int, ...] = (80, 160)
    detectors: tuple[str, ...] = (
        "matched-filter", "lmmse", "omp-one-per-device", "amp-row", "amp-block", "amp-re-tuned", "covariance",
        "mampnet",
    )  # fmt: skip
    bits_per_device: int = 2
    pilot_length: int = 30
    num_antennas: int = 4
    activity_prob: float = 0.1
    codebook: str = "gaussian"
    gain_law: str = "equalgain"
    gain_knowledge: GainKnowledge = "known"
    fading: str = "rayleigh"
    activity_law: str = "independent"
    frames_per_batch: int = 64
    target_errors: int = 300
    min_batches: int = 10
    max_batches: int = 60


QUICK: Mapping[str, Any] = {
    "snr_db": (-4.0, 0.0, 4.0),
    "num_devices": (80,),
    "target_errors": 30,
    "min_batches": 2,
    "max_batches": 4,
}


def scenario(config: Config) -> Scenario:
    """Return the cell of the first grid point."""
    return Scenario(
        num_devices=config.num_devices[0],
        bits_per_device=config.bits_per_device,
        pilot_length=config.pilot_length,
        num_antennas=config.num_antennas,
        activity_prob=config.activity_prob,
        snr_db=config.snr_db[0],
        codebook=build(CODEBOOKS, config.codebook, name="codebook"),
        gain_law=build(GAIN_LAWS, config.gain_law, name="gain_law"),
        fading=build(FADINGS, config.fading, name="fading"),
        activity_law=build(ACTIVITY_LAWS, config.activity_law, name="activity_law"),
        gain_knowledge=config.gain_knowledge,
    )


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Run the study and add the closed-form limits."""
    session = session or Session()
    base, over = scenario(config), {"num_devices": config.num_devices, "snr_db": config.snr_db}
    trial = symbol_error_trial(*named(config.detectors), frames_per_batch=config.frames_per_batch)
    stop = Stop(errors=config.target_errors, min_batches=config.min_batches, max_batches=config.max_batches)
    return label_axes(with_limits(session.study(trial, base, over, stop), base, over))


def table(result: "xr.Dataset") -> Table:
    """Return the symbol error rates with their intervals."""
    return error_table(result, "Symbol error rate over SNR and number of devices", across="snr_db")


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw the waterfall, and what kind of errors they are."""
    return {
        "ser": waterfall(result, title="Grant-free access: symbol error rate over SNR and number of devices"),
        "collapse": waterfall(result, metric="frame_collapse", title="Frames lost as a whole"),
    }


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return every point's rate with its interval and counts."""
    return error_figures(result)


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
