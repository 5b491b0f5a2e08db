"""DL-mAMPnet: AMP unfolded into a network, trained to hear where AMP gets lost."""

import warnings
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from wirelesslab import check
from wirelesslab.mmtc import kernels, unfolded_kernels
from wirelesslab.mmtc.detection import Detection
from wirelesslab.mmtc.message_passing import Chunk, Pilots, Real
from wirelesslab.mmtc.unfolded import RESOLVES, Architecture, Parameters
from wirelesslab.mmtc.uplink import Observation
from wirelesslab.mmtc.weight_files import SHIPPED, Network, OutsideTrainingRangeWarning, load

Shipped = Literal["known", "distribution", "one_cell", "asynchronous"]
Engine = Literal["compiled", "tensorflow"]


@dataclass(frozen=True, eq=False)
class MAMPNet:
    r"""AMP unfolded into layers with trained controls, then refined block by block.

    Each layer is an AMP iteration whose sparsity log-odds, gain, Onsager factor, step, and slope and
    bias of the log-likelihood ratios are trained; in the shipped networks a small network sets them
    from what the station can see (load, shape, SNR, residual power and its history). Refinement
    passes follow: a small network shared by all devices looks at the Q pilots of a block, after every
    pilot has been tested against the covariance that the current posteriors suppose. Untrained, it
    *is* `AMP`. Antennas enter by energies only: rotating them changes nothing.
    References: Ma, Wu, Gao and Shen, IEEE Trans. Wireless Commun. 2023, arXiv 2301.00516 (unfolding,
    learned sparsity and gain, refinement of the block). The context network, the covariance test and
    all sizes are our choice.

    Attributes:
        weights: A network from `training.fit` or `weight_files.load`, or the path of a shipped one, which is
            read on first use.
        label: What curves call it.
        engine: "compiled" runs everywhere and needs no TensorFlow; "tensorflow" runs the graph that was
            trained, on a GPU if there is one. They agree to rounding.
        quiet: Do not warn when a scenario is outside of what the network was trained for.
    """

    weights: Network | Path = field(repr=False)
    label: str = "MAMPNet"
    engine: Engine = "compiled"
    quiet: bool = False

    def __post_init__(self) -> None:
        check.one_of(("compiled", "tensorflow"), engine=self.engine)

    @classmethod
    def pretrained(cls, kind: Shipped = "known", *, engine: Engine = "compiled", quiet: bool = False) -> "MAMPNet":
        """Return a shipped network.

        Args:
            kind: "known", for known gains in cells of any shape in its range; "distribution", for gains
                of which the station knows only the law; "one_cell", for the one set of pilots of
                `mixture.ONE_CELL`, with parameters for each of its devices; "asynchronous", for known gains
                and devices that come late or off the carrier.
            engine: See the class.
            quiet: See the class.
        """
        check.one_of(get_args(Shipped), kind=kind)
        label = "MAMPNet" if kind == "known" else f"MAMPNet {kind.replace('_', ' ')}"
        return cls(SHIPPED / kind, label, engine, quiet)

    @classmethod
    def load(cls, path: str | Path, *, label: str = "MAMPNet", engine: Engine = "compiled") -> "MAMPNet":
        """Return the network that a training saved as ``<path>.npz`` and ``<path>.json``.

        Raises:
            WeightFileError: A file is missing, damaged, or of something else.
        """
        return cls(load(Path(path)), label, engine)

    @classmethod
    def untrained(cls, architecture: Architecture | None = None, *, engine: Engine = "compiled") -> "MAMPNet":
        """Return a network as training starts: it decides as AMP does."""
        shape = architecture or Architecture()
        return cls(Network(shape, shape.initial(0)), "MAMPNet untrained", engine)

    @property
    def network(self) -> Network:
        """Architecture, parameters and training record."""
        return self.weights if isinstance(self.weights, Network) else _read(self.weights)

    def describe(self) -> dict[str, Any]:
        """Return what a result needs to say of it."""
        return {"label": self.label, "engine": self.engine, "network": self.network.describe()}

    @property
    def name(self) -> str:
        """What curves call it."""
        return self.label if self.engine == "compiled" else f"{self.label} in TensorFlow"

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame; compiled, with the trace ``effective_noise`` (τ² per layer).

        Raises:
            MemoryError: The pilots' outer products, K L² numbers, do not fit into memory.
            ValueError: The network has parameters per device, and the observation another number of devices.
        """
        shape, o = self.network.architecture, observation
        if shape.num_devices and shape.num_devices != o.num_devices:
            msg = (
                f"observation: got {o.num_devices} devices, expected the {shape.num_devices} of the cell that "
                f"{self.label} was trained in; take a network without parameters per device"
            )
            raise ValueError(msg)
        if not self.quiet and self.network.trained_for is not None:
            outside = self.network.trained_for.outside(o)
            if outside:
                msg = f"{self.label} is outside of what it was trained for: {'; '.join(outside)}"
                warnings.warn(msg, OutsideTrainingRangeWarning, stacklevel=2)
        if self.engine == "tensorflow":
            return self._detect_in_graph(o)
        pilots = Pilots(o)
        outer = _outer_products(pilots) if shape.refinement == "covariance" else None

        def work(chunk: Chunk) -> tuple[Real, Real]:
            return _Run(self.network.parameters, shape, pilots, chunk, outer).detect()

        posteriors, noise = zip(*pilots.map(work), strict=True)
        return Detection.of(
            o,
            np.concatenate(posteriors),
            np.full(o.num_frames, shape.num_outputs, dtype=np.int64),
            {"effective_noise": np.concatenate(noise)},
        )

    def _detect_in_graph(self, observation: Observation) -> Detection:
        from wirelesslab.mmtc import unfolded_graph

        posteriors = unfolded_graph.posteriors(self.network.parameters, self.network.architecture, observation)
        return Detection.of(
            observation, posteriors, np.full(observation.num_frames, self.network.architecture.num_outputs)
        )


@cache
def _read(path: Path) -> Network:
    """A shipped network, read once in a process; shipped files do not change."""
    return load(path)


def _outer_products(pilots: Pilots) -> Real:
    """B, shape (K, L²); see `unfolded_kernels`."""
    columns = pilots.observation.pilots
    check.fits_in_memory(
        columns.size * columns.shape[0] * pilots.real.itemsize,
        "MAMPNet's covariance test (num_pilots x pilot_length²)",
        "take a network with refinement='block', or fewer or shorter pilots",
    )
    packed = np.empty((columns.shape[1], columns.shape[0], columns.shape[0]), pilots.real)
    unfolded_kernels.packed_outer_products(columns, packed)
    return packed.reshape(columns.shape[1], -1)


class _Run:
    """One chunk of frames on its way through the network."""

    def __init__(
        self, parameters: Parameters, architecture: Architecture, pilots: Pilots, chunk: Chunk, outer: Real | None
    ) -> None:
        self.p = {name: values.astype(pilots.real, copy=False) for name, values in parameters.items()}
        self.architecture, self.pilots, self.chunk, self.outer = architecture, pilots, chunk, outer
        o = pilots.observation
        self.frames, self.devices, self.labels = chunk.num_frames, o.num_devices, o.pilots_per_device
        eps = pilots.activity_prob
        self.log_odds = float(np.log(eps / self.labels / (1 - eps)))
        self.features = self._cell_features()

    def _cell_features(self) -> Real:
        """What does not change from layer to layer, shape (7, F); see `unfolded.CELL_FEATURES`."""
        o, eps = self.pilots.observation, self.pilots.activity_prob
        log_gains = np.log(self.chunk.gains.astype(np.float64))
        weights = o.gains.weights
        mean = float((log_gains.mean(0) * weights).sum())
        spread = float((((log_gains - mean) ** 2).mean(0) * weights).sum())
        n, length, m, q = o.num_devices, o.pilot_length, o.num_antennas, o.pilots_per_device
        features = [
            np.log(eps * n / length), np.log(length / (n * q)) / 2, np.log(m) / 2 - 0.7,
            (mean - np.log(o.noise_power * length)) / 3, np.log(eps) + 2.3, np.sqrt(spread + 1e-9) / 2, np.log(q) - 1,
        ]  # fmt: skip
        return np.tile(np.array(features, self.pilots.real)[:, None], (1, self.frames))

    def _context(self, part: str, index: int, seen: list[Real]) -> Real:
        """Hidden units of a context network, shape (F, H)."""
        inputs = np.concatenate([self.features, np.stack(seen)]).T
        return np.asarray(np.tanh(inputs @ self.p[f"{part}.inputs"] + self.p[f"{part}.hidden_bias"][index]))

    def detect(self) -> tuple[Real, Real]:
        """Return posteriors (frames, N, Q + 1) and τ² (frames, layers)."""
        logits, gains, noise = self._layers()
        posteriors = np.empty((self.devices, self.labels + 1, self.frames), self.pilots.real)
        unfolded_kernels.posteriors_of(logits, posteriors)
        for index in range(self.architecture.num_passes):
            self._pass(index, logits, posteriors, gains)
            unfolded_kernels.posteriors_of(logits, posteriors)
        return np.ascontiguousarray(np.moveaxis(posteriors, -1, 0)), noise

    def _controls(self, t: int, start: Real, coefficient: Real) -> tuple[Real, Real, Real]:
        """Controls of the denoiser (4, 1 or N, F), and the Onsager factor and step of each frame (F,)."""
        chunk, shape = self.chunk, self.architecture
        control = np.tile(self.p["layer.bias"][0 if shape.controls == "shared" else t], (self.frames, 1))
        if shape.has_context:
            sigma2 = self.pilots.real.type(self.pilots.observation.noise_power)
            seen = [np.log(chunk.tau2 / sigma2) / 3, np.log(chunk.tau2 / start) / 3, coefficient]
            control += self._context("layer", t, seen) @ self.p["layer.outputs"][t]
        log_odds, log_gain, onsager, step, log_slope, bias = control.T
        denoiser = np.stack([log_odds + self.log_odds, log_gain, log_slope, bias])[:, None]
        if shape.controls == "device":
            more = self.p["layer.device"][t].T  # (3, N)
            denoiser = np.repeat(denoiser, self.devices, axis=1)
            denoiser[[kernels.LOG_ODDS, kernels.GAIN, kernels.BIAS]] += more[:, :, None]
        denoiser[1:3] = np.exp(denoiser[1:3])
        return np.ascontiguousarray(denoiser, dtype=self.pilots.real), 1 + onsager, 1 + step

    def _layers(self) -> tuple[Real, Real, Real]:
        """Log-odds (N, Q, F), mean gains if active (N, Q, F), and τ² (frames, layers)."""
        chunk, shape = self.chunk, self.architecture
        length, m = chunk.received.shape[1:3]
        start, coefficient = chunk.tau2.copy(), np.zeros_like(chunk.tau2)
        prior = kernels.BLOCK if shape.prior == "block" else kernels.ROW
        eps, q = self.pilots.activity_prob, self.labels
        own_silence = np.log((1 - eps) / (1 - eps / q)) if prior == kernels.ROW else 0.0
        noise = np.empty((self.frames, shape.num_layers))
        for t in range(shape.num_layers):
            noise[:, t] = chunk.tau2
            controls, onsager, step = self._controls(t, start, coefficient)
            chunk.correlate(step)
            if t == shape.num_layers - 1:
                break
            controls[kernels.LOG_ODDS] += own_silence
            chunk.denoise(controls, prior)
            trace = np.einsum("iif->f", chunk.jacobian[0])
            coefficient = trace / self.pilots.real.type(m * length)
            chunk.subtract(onsager)
        logits, gains = np.empty((2, self.devices, q, self.frames), self.pilots.real)
        unfolded_kernels.row_logits(chunk.rows(), chunk.tau2, chunk.log_weights, chunk.gains, controls, logits, gains)
        return logits, gains, noise

    def _pass(self, index: int, logits: Real, posteriors: Real, gains: Real) -> None:
        """Refine the log-odds and the mean gains if active, in place."""
        shape, real, p = self.architecture, self.pilots.real, self.p
        eps = self.pilots.activity_prob
        powers = np.empty((self.devices * self.labels, self.frames), real)
        faint, undecided, heard = np.empty((3, self.frames), real)
        audible = unfolded_kernels.summarise(posteriors, gains, powers, faint, undecided, heard)
        tested, share = np.zeros((2, *logits.shape), real)
        unexplained = np.ones(self.frames, real)
        # The first pass tests all pilots; the others go on with what is still in play.
        only_audible = self.outer is not None and index > 0
        if self.outer is not None:
            test = _CovarianceTest(self, powers, faint, sparse=audible < MOST_AUDIBLE * powers.size)
            unexplained = test.run(tested, share, gains, only_audible=only_audible)
        gates = np.tile(p["pass.bias"][index], (self.frames, 1))
        hidden_bias = np.tile(p["block.hidden_bias"][index][:, None], (1, self.frames))
        if shape.has_context:
            seen = [
                np.log(unexplained + real.type(1e-6)),
                np.log(undecided / real.type(self.devices * eps) + real.type(1e-4)) / 4,
                heard / real.type(self.devices * eps) - 1,
            ]
            hidden = self._context("pass", index, seen)
            gates += hidden @ p["pass.outputs"][index]
            hidden_bias += (hidden @ p["block.context"][index]).T
        gates = np.ascontiguousarray(gates.T, dtype=real)
        gates[1] = np.exp(gates[1])
        if self.outer is None:
            gates[0] = 0
        features = np.empty((self.devices, self.labels, p["block.inputs"].shape[1], self.frames), real)
        unfolded_kernels.block_features(logits, posteriors, tested, share, self.log_odds, features)
        if shape.refinement == "across":
            hidden_bias += p["block.across"][index].T @ features.mean(axis=(0, 1))
        unfolded_kernels.refine(
            features, tested, self.log_odds, gates, p["block.inputs"][index],
            np.ascontiguousarray(hidden_bias, dtype=real), p["block.outputs"][index], powers, only_audible, logits,
        )  # fmt: skip


class _CovarianceTest:
    """The covariance test of one pass; see `unfolded_graph`."""

    def __init__(self, run: _Run, powers: Real, faint: Real, *, sparse: bool) -> None:
        assert run.outer is not None
        self._run, self._powers, self._sparse, self._outer = run, powers, sparse, run.outer
        floor = RESOLVES[run.pilots.real.itemsize] * powers.max(axis=0)
        o = run.pilots.observation
        noise = run.pilots.real.type(o.noise_power) + faint / run.pilots.real.type(o.pilot_length)
        self._noise = np.maximum(noise, floor).astype(run.pilots.real)

    def run(self, tested: Real, share: Real, gains: Real, *, only_audible: bool) -> Real:
        """Fill the log ratios and the log of the others' share, bring the gains up to date.

        Returns:
            The power left unexplained in each frame, shape (F,).
        """
        run, powers, chunk = self._run, self._powers, self._run.chunk
        inverse = self._inverse()
        whitened, unexplained = np.empty_like(chunk.received), np.empty(run.frames, run.pilots.real)
        unfolded_kernels.whiten(inverse, chunk.received, whitened, unexplained)
        flat_inverse = inverse.reshape(-1, run.frames)
        if only_audible and self._sparse:
            quadratic = np.empty_like(powers)
            frames_first = np.ascontiguousarray(flat_inverse.T)
            unfolded_kernels.quadratic_forms(self._outer, frames_first, powers, quadratic)
        else:
            quadratic = self._outer @ flat_inverse
        chunk.residual[:] = whitened
        chunk.correlate()
        unfolded_kernels.try_pilots(
            chunk.correlation, quadratic, powers, chunk.log_weights, chunk.gains, only_audible, tested, share, gains
        )
        return unexplained

    def _inverse(self) -> Real:
        """The inverse covariance, packed, shape (L, L, F)."""
        run, powers, noise = self._run, self._powers, self._noise
        real, length = run.pilots.real, run.chunk.received.shape[1]
        if self._sparse:
            frames_first = np.empty((run.frames, self._outer.shape[1]), real)
            unfolded_kernels.add_outer_products(self._outer, powers, frames_first)
            packed = np.ascontiguousarray(frames_first.T)
        else:
            packed = self._outer.T @ powers
        packed = packed.reshape(length, length, run.frames)
        # Strong devices spread the eigenvalues over more digits than float32 has.
        wide = real == np.float64 or bool(np.any(powers.max(axis=0) > MOST_SPREAD * noise))
        packed = packed.astype(np.float64 if wide else real, copy=False)
        unfolded_kernels.invert(packed, noise.astype(packed.dtype))
        return packed.astype(real, copy=False)


MOST_SPREAD = 3e3  # power over noise up to which a covariance is inverted in single precision
MOST_AUDIBLE = 0.3  # share of pilots with power up to which going through them beats a matrix product
