"""A learning job by its bytes and operations: what a round costs, how long it takes, and how far it leads.

In a round every client computes a gradient over its part of the batch and sends it, coded, to the server at an edge
node; the server answers all. Nothing is learned here: that is what `services.training` is for. What the choice of
batch and coding does to the number of rounds is a declared law.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Coder:
    """How gradients travel. The steps factors of the default coders are our choice, no measurement.

    Attributes:
        name: For tables.
        bits_up: Of a value on its way to the server.
        bits_down: Of a value on its way back.
        steps_factor: Times as many rounds are needed as with exact gradients.
    """

    name: str
    bits_up: float
    bits_down: float
    steps_factor: float = 1.0

    def __post_init__(self) -> None:
        check.positive(bits_up=self.bits_up, bits_down=self.bits_down)
        check.within(1, 1e6, steps_factor=self.steps_factor)


CODERS = (
    Coder(name="float32", bits_up=32, bits_down=32),
    Coder(name="8 bit", bits_up=8, bits_down=8, steps_factor=1.05),
    Coder(name="2 bit", bits_up=2, bits_down=4, steps_factor=1.3),
    Coder(name="1 in 100", bits_up=0.64, bits_down=2, steps_factor=2.0),  # 64 bits for a value and its place
)


@dataclass(frozen=True, kw_only=True)
class LearningJob:
    r"""A job of synchronous data-parallel learning.

    Rounds to the target with batch B: $S = S_{min} (1 + B_{noise} / B)$ times the coder's factor. The noise scale grows
    geometrically from `noise_first` to `noise_last` as the job goes on: that it grows is the cited
    observation, this course of it is our choice.

    Attributes:
        num_values: Parameters, hence values of a gradient.
        header_bytes: Of every message.
        steps_least: $S_{min}$, rounds with an endless batch.
        noise_first: $B_{noise}$ at the start, samples.
        noise_last: $B_{noise}$ at the end.
        operations_per_sample: At a client, forward and backward.
        edge_operations_per_sample: At the server, for each sample of the batch (the part of the model that is there).
        edge_operations_per_value: At the server, for each value of each client.
        batches: Samples of a round that can be chosen, over all clients.
        coders: That can be chosen.

    References:
        McCandlish, Kaplan, Amodei, "An empirical model of large-batch training", arXiv 1812.06162, 2018.
    """

    num_values: int = 2_500_000
    header_bytes: int = 64
    steps_least: float = 500.0
    noise_first: float = 64.0
    noise_last: float = 4096.0
    operations_per_sample: float = 4e9
    edge_operations_per_sample: float = 4e8
    edge_operations_per_value: float = 6.0
    batches: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    coders: tuple[Coder, ...] = CODERS

    def __post_init__(self) -> None:
        check.positive_integer(num_values=self.num_values)
        check.non_negative_integer(header_bytes=self.header_bytes)
        check.positive(
            steps_least=self.steps_least, noise_first=self.noise_first, noise_last=self.noise_last,
            operations_per_sample=self.operations_per_sample,
        )  # fmt: skip
        check.within(0, 1e18, edge_operations_per_sample=self.edge_operations_per_sample)
        check.within(0, 1e18, edge_operations_per_value=self.edge_operations_per_value)
        if not self.batches or not self.coders:
            msg = f"batches, coders: got {self.batches} and {self.coders}, expected at least one of each"
            raise ValueError(msg)
        check.positive_integer(**{f"batches[{i}]": batch for i, batch in enumerate(self.batches)})

    def message_bytes(self, coder: Coder) -> tuple[int, int]:
        """Return the bytes of one message up and of one down."""
        up, down = (int(np.ceil(self.num_values * bits / 8)) for bits in (coder.bits_up, coder.bits_down))
        return up + self.header_bytes, down + self.header_bytes

    def round_bytes(self, coder: Coder, clients: int) -> int:
        """Return the bytes of a round: clients x (up + down)."""
        return clients * sum(self.message_bytes(coder))

    @property
    def state_bytes(self) -> int:
        """Bytes that a server takes along when it moves: weights and momentum in float32."""
        return 8 * self.num_values

    def noise_scale(self, progress: float) -> float:
        """Return $B_{noise}$, samples, when that part of the job is done."""
        return float(self.noise_first * (self.noise_last / self.noise_first) ** min(max(progress, 0.0), 1.0))

    def gains(self, progress: float) -> Floats:
        """Return which part of the job one round does from here, shape (batches, coders)."""
        rounds = self.steps_least * (1 + self.noise_scale(progress) / np.array(self.batches, float))
        factors = np.array([coder.steps_factor for coder in self.coders])
        return np.asarray(1 / (rounds[:, None] * factors))


@dataclass(frozen=True, eq=False)
class World:
    """What the job meets in a period, or, along leading axes that all arrays share, in many.

    Attributes:
        share: Of the ways, that is the AI slice's, shape (...).
        up_bps: From each client to each edge node, the slice's share of it, shape (..., clients, edges).
        down_bps: Back, shape (..., clients, edges).
        edge_operations_per_s: Left for the job at each edge node, shape (..., edges).
        between_bps: From edge node to edge node, the slice's share of it, shape (...).
        client_operations_per_s: Of each client, always the same, shape (clients,).
        propagation_s: To each edge node, always the same, shape (edges,).
    """

    share: Floats
    up_bps: Floats
    down_bps: Floats
    edge_operations_per_s: Floats
    between_bps: Floats
    client_operations_per_s: Floats
    propagation_s: Floats

    def at(self, period: int) -> "World":
        """Return one of many."""
        return replace(
            self, share=self.share[period], up_bps=self.up_bps[period], down_bps=self.down_bps[period],
            edge_operations_per_s=self.edge_operations_per_s[period], between_bps=self.between_bps[period],
        )  # fmt: skip


def round_seconds(job: LearningJob, world: World) -> Floats:
    r"""Return how long a round takes by every choice, shape (..., batches, coders, edges).

    $\max_c (\text{compute}_c + \text{up}_c) + \text{server} + \max_c \text{down}_c$: every client has a way of its own,
    the server begins when all are there, and the round is over when all have the answer.
    """
    batches, clients = np.array(job.batches, float), world.client_operations_per_s.size
    up, down = np.array([job.message_bytes(coder) for coder in job.coders], float).T[:, :, None, None] * 8.0
    compute = batches[:, None] / clients * job.operations_per_sample / world.client_operations_per_s  # (B, clients)
    send = up / world.up_bps[..., None, :, :] + world.propagation_s  # (..., coders, clients, edges)
    there = (compute[:, None, :, None] + send[..., None, :, :, :]).max(axis=-2)  # (..., B, coders, edges)
    work = job.edge_operations_per_sample * batches + job.edge_operations_per_value * job.num_values * clients
    server = work[:, None] / world.edge_operations_per_s[..., None, :]  # (..., B, edges)
    back = (down / world.down_bps[..., None, :, :] + world.propagation_s).max(axis=-2)  # (..., coders, edges)
    return np.asarray(there + server[..., :, None, :] + back[..., None, :, :])
