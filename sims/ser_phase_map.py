"""Where does each detector work? Symbol error rate over pilot length, active load and antennas.

wirelesslab run ser_phase_map          (about 2 minutes on two cores; --quick: 15 seconds)

Expect: a cliff. From two or three pilot symbols per speaker on, all detectors come near the genie; with
fewer they collapse. With 2 antennas all classical detectors are alike; with 8 the covariance method hears
far into the region where AMP is lost, and plain AMP can be worse than saying nothing. Nobody is
significantly below the genie.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wirelesslab import check
from wirelesslab.mmtc import Scenario, symbol_error_trial
from wirelesslab.mmtc.detectors import named
from wirelesslab.mmtc.report import error_figures, error_table, label_axes, significantly_below
from wirelesslab.plot import heat_maps
from wirelesslab.session import Session, Table
from wirelesslab.study import Stop

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Config:
    """The map's axes, the cell, and how well each rate must be known.

    Attributes:
        pilots_per_device: L/N, pilot symbols per device in the cell.
        activity_prob: ε, the share of devices that are active.
        num_antennas: Antennas at the base station, one row of maps each.
        detectors: Names of detectors; the genie always comes along.
        num_devices: Devices in the cell.
        bits_per_device: Bits embedded in the choice of pilot.
        snr_db: Received SNR, per pilot symbol and antenna, in dB.
        frames_per_batch: Frames in each cell that is drawn.
        target_errors: Stop a detector at a grid point after so many errors.
        min_batches: Draw at least so many cells: a few pilot draws tell little about all.
        max_batches: Stop it after so many cells in any case.
    """

    pilots_per_device: tuple[float, ...] = (0.1, 0.15, 0.2, 0.3, 0.4, 0.6)
    activity_prob: tuple[float, ...] = (0.02, 0.05, 0.1, 0.15, 0.2)
    num_antennas: tuple[int, ...] = (2, 8)
    detectors: tuple[str, ...] = ("amp-block", "amp-re-tuned", "covariance")
    num_devices: int = 100
    bits_per_device: int = 1
    snr_db: float = 4.0
    frames_per_batch: int = 64
    target_errors: int = 200
    min_batches: int = 8
    max_batches: int = 30


QUICK: Mapping[str, Any] = {
    "pilots_per_device": (0.1, 0.2, 0.4), "activity_prob": (0.05, 0.15), "num_antennas": (4,),
    "target_errors": 30, "min_batches": 2, "max_batches": 4,
}  # fmt: skip


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Run the study over pilot length, activity and antennas."""
    session = session or Session()
    base = Scenario(num_devices=config.num_devices, bits_per_device=config.bits_per_device, snr_db=config.snr_db)
    check.positive(**{f"pilots_per_device[{i}]": ratio for i, ratio in enumerate(config.pilots_per_device)})
    lengths = [round(ratio * config.num_devices) for ratio in config.pilots_per_device]
    if len(set(lengths)) < len(lengths):
        msg = f"pilots_per_device: got {config.pilots_per_device}, rounded to pilot lengths {lengths}: one comes twice"
        raise ValueError(msg)
    over = {
        "num_antennas": config.num_antennas,
        "activity_prob": config.activity_prob,
        "pilot_length": lengths,
    }
    trial = symbol_error_trial(*named(config.detectors), frames_per_batch=config.frames_per_batch)
    stop = Stop(errors=config.target_errors, min_batches=config.min_batches, max_batches=config.max_batches)
    result = label_axes(session.study(trial, base, over, stop))
    result["pilot_length"].attrs["long_name"] = f"pilot length L, for N = {config.num_devices} devices"
    return result


def table(result: "xr.Dataset") -> Table:
    """Return the symbol error rates with their intervals."""
    return error_table(result, "Symbol error rate over pilot length, activity and antennas", across="pilot_length")


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw one map per detector and number of antennas."""
    title = "Symbol error rate; 'all silent' would score ε"
    return {"phase_map": heat_maps(result, x="pilot_length", y="activity_prob", title=title)}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return every point's rate with its interval and counts, and who beats the genie (nobody should)."""
    return {**error_figures(result), "significantly below the genie": significantly_below(result, "genie")}


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
