"""Encoding LeNet's gradients: against drawing the random numbers alone, and beside other generators and codings."""

from functools import partial

import numpy as np

from benchmarks.timing import interleaved_seconds, verdict
from wirelesslab.rng import stream
from wirelesslab.vision.philox import BLOCK, draw_all, key_of
from wirelesslab.vision.terngrad import TernGradConfig
from wirelesslab.vision.wires import QSGD, Float32, SignSGD, Ternary, TopK, Wire
from wirelesslab.vision.wires.entropy import compress, decompress

LENET = ((5, 5, 1, 20), (20,), (5, 5, 20, 50), (50,), (800, 500), (500,), (500, 10), (10,))
SHARE = 0.146  # of codes that are not zero, as measured on digits with two workers


def gradients() -> list[np.ndarray]:
    """Return gradients with tails as heavy as real ones, shapes of LeNet."""
    rng = stream(1, "benchmark")
    return [np.asarray(1e-3 * rng.standard_t(4, shape), np.float32) for shape in LENET]


def encoder(wire: Wire) -> "partial[None]":
    """Return what encodes all exchanges of a step; what comes down in between is made beforehand."""
    given = gradients()
    end = wire.init(given, 1, 0, 1)
    received = [b""]
    for exchange in range(wire.exchanges - 1):
        received.append(wire.aggregate([wire.encode(end, given, 0, exchange, received[-1])], end.layout))

    def encode() -> None:
        end.checked_step = -1
        for exchange, down in enumerate(received):
            wire.encode(end, given, 0, exchange, down)

    return partial(encode)


def main() -> bool:
    """Print every ratio beside its bar; return whether it holds."""
    count = sum(int(np.prod(shape)) for shape in LENET)
    key, block = key_of(1, "wire", 0), np.empty((4, BLOCK), np.uint32)
    floats, sfc64 = np.empty(count, np.float32), np.random.Generator(np.random.SFC64(1))
    rng = stream(2, "codes")
    four = np.where(rng.random((4, count)) < SHARE, 2 * rng.integers(0, 2, (4, count)), 1).astype(np.uint8)
    codes, sums = four[0], four.sum(axis=0, dtype=np.uint8)
    coded, coded_sums = compress(codes), compress(sums, 9)
    wires: dict[str, Wire] = {
        "float32": Float32(), "2-bit": Ternary(), "base-3": Ternary(TernGradConfig(code="base3")),
        "entropy": Ternary(TernGradConfig(code="entropy")), "QSGD": QSGD(), "signSGD": SignSGD(), "top-k": TopK(),
    }  # fmt: skip
    seconds = interleaved_seconds(
        {name: encoder(wire) for name, wire in wires.items()}
        | {
            "Philox alone": partial(draw_all, 0, 0, key, block, count),
            "NumPy's SFC64 alone": partial(sfc64.random, dtype=np.float32, out=floats),
            f"entropy coder, {SHARE:.1%} not zero": partial(compress, codes),
            f"entropy decoder, {SHARE:.1%} not zero": partial(decompress, coded, count),
            "entropy coder, sums of four": partial(compress, sums, 9),
            "entropy decoder, sums of four": partial(decompress, coded_sums, count, 9),
        }
    )
    for name, value in seconds.items():
        print(f"      {name}: {1e3 * value:.3f} ms for {count} entries, {count / value / 1e6:.0f} million/s")
    ratio = seconds["Philox alone"] / seconds["2-bit"]
    return verdict("2-bit encoder's share of the rate of its random numbers alone", ratio, 0.4, at_least=True)


if __name__ == "__main__":
    main()
