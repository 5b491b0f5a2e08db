"""AMP against its matrix products and a per-frame oracle; covariance and MAMPNet against AMP."""

from functools import partial

import numpy as np

from benchmarks.timing import interleaved_seconds, verdict
from tests.references.amp import amp as oracle
from wirelesslab.mmtc import Observation, Scenario, Truth, simulate
from wirelesslab.mmtc.detectors import AMP, Covariance, MAMPNet
from wirelesslab.rng import stream

ITERATIONS = 20


def cell(num_devices: int, pilot_length: int, num_antennas: int, num_frames: int) -> tuple[Observation, Truth]:
    """Return frames at four pilots per device, 0 dB and ε = 0.1."""
    scenario = Scenario(
        num_devices=num_devices, bits_per_device=2, pilot_length=pilot_length, num_antennas=num_antennas, snr_db=0.0
    )
    return simulate(scenario, stream(1, "benchmark"), num_frames=num_frames)


def matrix_products(observation: Observation) -> None:
    """The two products of each AMP iteration, all frames side by side, on all of NumPy's threads."""
    o = observation
    side_by_side = np.ascontiguousarray(o.received.transpose(1, 0, 2).reshape(o.pilot_length, -1))
    adjoint = np.ascontiguousarray(o.pilots.conj().T)
    rows = np.empty((o.pilots.shape[1], side_by_side.shape[1]), side_by_side.dtype)
    back = np.empty_like(side_by_side)
    for _ in range(ITERATIONS):
        np.matmul(adjoint, side_by_side, out=rows)
        np.matmul(o.pilots, rows, out=back)


def per_frame(observation: Observation, truth: Truth, num_frames: int) -> None:
    """The float64 oracle, one frame after the other."""
    o = observation
    pilots = o.pilots.astype(np.complex128)
    for frame in range(num_frames):
        oracle(
            o.received[frame].astype(np.complex128),
            pilots,
            truth.path_gain,
            o.noise_power,
            o.activity_prob,
            o.pilots_per_device,
            prior="block",
            iterations=ITERATIONS,
        )


def main() -> bool:
    """Print every ratio beside its bar; return whether all hold."""
    held = []
    for num_devices, length, antennas, products_bar, oracle_bar in ((200, 64, 16, 0.5, 4.0), (100, 20, 4, None, 15.0)):
        observation, truth = cell(num_devices, length, antennas, 256)
        frames, some = 256, 16
        seconds = interleaved_seconds(
            {
                "AMP": partial(AMP(iterations=ITERATIONS).detect, observation),
                "products": partial(matrix_products, observation),
                "oracle": partial(per_frame, observation, truth, some),
            }
        )
        each = {"AMP": seconds["AMP"] / frames, "products": seconds["products"] / frames}
        each["oracle"] = seconds["oracle"] / some
        point = f"N={num_devices} Q=4 L={length} M={antennas}"
        print(f"      {point}: " + ", ".join(f"{name} {value * 1e3:.3f} ms/frame" for name, value in each.items()))
        if products_bar is not None:
            ratio = each["products"] / each["AMP"]
            held.append(
                verdict(f"AMP's share of its matrix products' rate, {point}", ratio, products_bar, at_least=True)
            )
        ratio = each["oracle"] / each["AMP"]
        held.append(verdict(f"AMP's frames/s over the per-frame oracle's, {point}", ratio, oracle_bar, at_least=True))
    observation, _ = cell(100, 30, 4, 256)
    seconds = interleaved_seconds(
        {"AMP": partial(AMP().detect, observation), "covariance": partial(Covariance().detect, observation)}
    )
    print("      N=100 Q=4 L=30 M=4: " + ", ".join(f"{n} {s / 256 * 1e3:.3f} ms/frame" for n, s in seconds.items()))
    ratio = seconds["covariance"] / seconds["AMP"]
    held.append(verdict("covariance's time per frame over AMP's, N=100 Q=4 L=30 M=4", ratio, 12.0, at_least=False))
    held.append(network())
    return all(held)


def network() -> bool:
    """MAMPNet against AMP of as many layers and against covariance, over shapes from many to few antennas."""
    net = MAMPNet.pretrained(quiet=True)
    layers = net.network.architecture.num_outputs
    shapes = ((101, 1, 21, 7), (100, 2, 20, 4), (139, 2, 43, 8), (177, 1, 54, 4), (150, 2, 39, 2), (170, 1, 32, 2))
    over_amp, over_covariance = [], []
    for n, bits, length, antennas in shapes:
        scenario = Scenario(num_devices=n, bits_per_device=bits, pilot_length=length, num_antennas=antennas)
        observation, _ = simulate(scenario, stream(1, "benchmark"), num_frames=128)
        seconds = interleaved_seconds(
            {
                "MAMPNet": partial(net.detect, observation),
                "AMP": partial(AMP(iterations=layers).detect, observation),
                "covariance": partial(Covariance().detect, observation),
            }
        )
        over_amp.append(seconds["MAMPNet"] / seconds["AMP"])
        over_covariance.append(seconds["MAMPNet"] / seconds["covariance"])
        point = f"N={n} Q={2**bits} L={length} M={antennas}"
        ratios = f"{over_amp[-1]:.2f} of AMP of {layers} layers, {over_covariance[-1]:.3f} of covariance"
        print(f"      {point}: MAMPNet takes {ratios}")
    amp, covariance = (float(np.exp(np.mean(np.log(ratios)))) for ratios in (over_amp, over_covariance))
    return all([
        verdict(f"MAMPNet's time over that of AMP of {layers} layers, geometric mean", amp, 1.5, at_least=False),
        verdict("MAMPNet's time over covariance's, geometric mean", covariance, 0.2, at_least=False),
    ])  # fmt: skip
