"""AMP unfolded into a network: its architecture and its parameters, as plain arrays.

Nothing here needs TensorFlow. `unfolded_graph` builds the trainable network from these parameters,
`unfolded_kernels` runs the same network compiled, and `weight_files` keeps them in files.

A network is `num_layers` AMP iterations followed by `num_passes` refinement passes. Each layer has
six *controls*, real numbers that bend one iteration and are (0, 0, 1, 1, 0, 0) in plain AMP:

=========  =====================================================================================
log_odds   added to the prior log-odds log((ε/Q) / (1-ε)) of each label: the learned sparsity
log_gain   log of a factor on the gain β in the denoiser
onsager    factor of the Onsager term
step       factor of the matched filter's output: R = X + step S^H Z
log_slope  log of a factor on the log-likelihood ratios
bias       added to them, nats
=========  =====================================================================================

The parameters hold the *difference* of every control from plain AMP's, so that zeros are AMP.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream

Parameters = dict[str, NDArray[np.float32]]
Controls = Literal["shared", "layer", "device", "context"]
Refinement = Literal["none", "block", "across", "covariance"]

# What both engines must agree on.
FAINT = 1e-3  # posterior below which a pilot's power is spread evenly, and later passes let it be
OUT_OF_PLAY = -40.0  # log ratio that stands for "not tested"
LEAST_SHARE = 1e-3  # of interference that is not a pilot's own; below it float32 has no digits left
RESOLVES = {4: 1e-6, 8: 1e-13}  # noise beside the strongest power that a covariance of so many bytes can tell apart

NUM_CONTROLS, NUM_DEVICE_CONTROLS, NUM_GATES = 6, 3, 3
# What the context networks see; `context` and the graph compute them in this order.
CELL_FEATURES = ("log load", "log L/NQ", "log M", "SNR", "log ε", "gain spread", "log Q")
LAYER_FEATURES = ("τ² over the noise", "τ² over its start", "Onsager coefficient")
PASS_FEATURES = ("power left unexplained", "undecided blocks", "speakers over expected")
# What the block refinement sees of each pilot; the covariance's are 0 without one.
BLOCK_FEATURES = (
    "log ratio", "its distance to the block's best", "posterior", "posterior that the device speaks",
    "covariance log ratio", "its distance to the block's best", "own share of the interference",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The shape of an unfolded network.

    Attributes:
        num_layers: AMP iterations.
        num_passes: Refinement passes after them; 0 without refinement.
        prior: What the denoiser supposes, as in `AMP`: "block" or "row".
        controls: Where a layer's six controls come from: one set "shared" by all layers, one per
            "layer", one per layer with three more for each "device" (log-odds, log gain, bias: a
            network for one set of pilots), or a small network that sees the "context": load,
            shape, SNR, and the residual power with its history.
        refinement: "none"; "block", a small network shared by all devices that sees the Q pilots of
            a block; "across", which also sees the mean over all blocks; "covariance", whose passes
            first test every pilot against the covariance that the current posteriors suppose.
        context_width: Hidden units of the context networks.
        block_width: Hidden units of the block refinement.
        num_devices: N of the one cell of a network with "device" controls, otherwise 0.
    """

    num_layers: int = 10
    num_passes: int = 3
    prior: Literal["block", "row"] = "block"
    controls: Controls = "context"
    refinement: Refinement = "covariance"
    context_width: int = 32
    block_width: int = 16
    num_devices: int = 0

    def __post_init__(self) -> None:
        check.positive_integer(
            num_layers=self.num_layers, context_width=self.context_width, block_width=self.block_width
        )
        check.non_negative_integer(num_passes=self.num_passes, num_devices=self.num_devices)
        check.one_of(("block", "row"), prior=self.prior)
        check.one_of(("shared", "layer", "device", "context"), controls=self.controls)
        check.one_of(("none", "block", "across", "covariance"), refinement=self.refinement)
        if (self.num_passes == 0) != (self.refinement == "none"):
            msg = (
                f"num_passes: got {self.num_passes} with refinement={self.refinement!r}, "
                "expected 0 passes exactly when the refinement is 'none'"
            )
            raise ValueError(msg)
        if (self.num_devices > 0) != (self.controls == "device"):
            msg = (
                f"num_devices: got {self.num_devices} with controls={self.controls!r}, "
                "expected the cell's N exactly when the controls are per 'device'"
            )
            raise ValueError(msg)

    @property
    def num_outputs(self) -> int:
        """Layers and passes: each gives log-odds of every label."""
        return self.num_layers + self.num_passes

    @property
    def has_context(self) -> bool:
        """Whether a context network gives the controls."""
        return self.controls == "context"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter."""
        t, k, h, w = self.num_layers, self.num_passes, self.context_width, self.block_width
        shapes: dict[str, tuple[int, ...]] = {"layer.bias": (1 if self.controls == "shared" else t, NUM_CONTROLS)}
        if self.has_context:
            shapes["layer.inputs"] = (len(CELL_FEATURES) + len(LAYER_FEATURES), h)
            shapes["layer.hidden_bias"] = (t, h)
            shapes["layer.outputs"] = (t, h, NUM_CONTROLS)
        if self.controls == "device":
            shapes["layer.device"] = (t, self.num_devices, NUM_DEVICE_CONTROLS)
        if k:
            shapes["pass.bias"] = (k, NUM_GATES)
            shapes["block.inputs"] = (k, len(BLOCK_FEATURES), w)
            shapes["block.hidden_bias"] = (k, w)
            shapes["block.outputs"] = (k, w)
            if self.refinement == "across":
                shapes["block.across"] = (k, len(BLOCK_FEATURES), w)
            if self.has_context:
                shapes["pass.inputs"] = (len(CELL_FEATURES) + len(PASS_FEATURES), h)
                shapes["pass.hidden_bias"] = (k, h)
                shapes["pass.outputs"] = (k, h, NUM_GATES)
                shapes["block.context"] = (k, h, w)
        return shapes

    def initial(self, seed: int) -> Parameters:
        """Return parameters with which the network *is* AMP: hidden weights random, all outputs zero."""
        rng = stream(seed, "unfolded network")
        random = ("layer.inputs", "pass.inputs", "block.inputs", "block.across", "block.context")
        parameters = {}
        for name, shape in self.shapes().items():
            values = rng.normal(size=shape) / np.sqrt(shape[-2]) if name in random else np.zeros(shape)
            parameters[name] = values.astype(np.float32)
        return parameters

    def checked(self, parameters: dict[str, NDArray[Any]], *, where: str) -> Parameters:
        """Return `parameters` as float32 if they are those of this architecture.

        Raises:
            ValueError: One is missing, unknown, of another shape or kind, or not finite.
        """
        shapes = self.shapes()
        missing, unknown = sorted(shapes.keys() - parameters), sorted(parameters.keys() - shapes)
        if missing or unknown:
            msg = f"{where}: lacks the parameters {missing} and has {unknown}, which are of another network"
            raise ValueError(msg)
        for name, shape in shapes.items():
            values = parameters[name]
            if values.shape != shape or values.dtype.kind != "f" or not np.all(np.isfinite(values)):
                msg = f"{where}: {name} is {values.dtype} {values.shape}, expected finite reals of shape {shape}"
                raise ValueError(msg)
        return {name: np.asarray(parameters[name], dtype=np.float32) for name in shapes}

    def describe(self) -> dict[str, Any]:
        """Return the fields, as a weight file keeps them."""
        return asdict(self)

    @classmethod
    def from_description(cls, description: dict[str, Any], *, where: str) -> "Architecture":
        """Return the architecture that `describe` described.

        Raises:
            ValueError: A field is missing, unknown or out of range.
        """
        names = {f.name for f in fields(cls)}
        if not isinstance(description, dict) or set(description) != names:
            msg = f"{where}: architecture has {description!r}, expected the fields {sorted(names)}"
            raise ValueError(msg)
        try:
            return cls(**description)
        except (TypeError, ValueError) as error:
            msg = f"{where}: architecture: {error}"
            raise ValueError(msg) from error
