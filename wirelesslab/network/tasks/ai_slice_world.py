"""What moves around a learning job: its slice's share, the ways of its clients, and the loads of edge nodes."""

from dataclasses import dataclass, field

import numpy as np

from wirelesslab import check
from wirelesslab.network.tasks.ai_slice_job import Floats, LearningJob, World
from wirelesslab.rng import stream

LEAST_SHARE, MOST_LOAD = 0.02, 0.95  # however bad things are, a round ends some time


@dataclass(frozen=True, kw_only=True)
class AISliceConfig:
    """The job, where it runs, and what its end is worth; all numbers are our choice.

    What moves does so in the logarithm, as autoregressive normal variables of mean 0: from period to period they keep
    `memory` of their value. They are drawn before the episode begins and do not depend on actions.

    Attributes:
        job: What is to be learned.
        client_operations_per_s: Of each client.
        client_bps: Of each client's way up, all slices together, before it fades.
        down_over_up: The way down is so many times as fast.
        edge_operations_per_s: Of each edge node, before its load.
        edge_propagation_s: From the clients to each edge node.
        between_bps: Between edge nodes, all slices together.
        share: Of the ways, that the AI slice has in the middle.
        share_spread: Of the share's logarithm.
        fade_spread: Of the logarithm of each client's rate.
        way_spread: Of the logarithm of the rate towards each edge node.
        load: Of an edge node in the middle.
        load_spread: Of the logarithm of what is left there.
        memory: See above, in [0, 1).
        period_s: Between two decisions.
        horizon: Periods in an episode.
        deadline_s: By which the job should be done; seconds after it are a cost.
        progress_worth: Of the whole job.
        second_price: Of a second until the job is done.
        gigabyte_price: Of 1e9 bytes sent.
    """

    job: LearningJob = field(default_factory=LearningJob)
    client_operations_per_s: tuple[float, ...] = (2e11, 2e11, 2e11, 2e11, 1.5e11, 1.5e11, 1e11, 1e11)
    client_bps: tuple[float, ...] = (6e8, 6e8, 5e8, 5e8, 4e8, 4e8, 3e8, 3e8)
    down_over_up: float = 2.0
    edge_operations_per_s: tuple[float, ...] = (1e12, 1e12, 1e12)
    edge_propagation_s: tuple[float, ...] = (1e-4, 3e-4, 5e-4)
    between_bps: float = 1e9
    share: float = 0.2
    share_spread: float = 0.9
    fade_spread: float = 0.3
    way_spread: float = 0.8
    load: float = 0.5
    load_spread: float = 1.0
    memory: float = 0.9
    period_s: float = 60.0
    horizon: int = 150
    deadline_s: float = 6000.0
    progress_worth: float = 100.0
    second_price: float = 0.005
    gigabyte_price: float = 0.02

    def __post_init__(self) -> None:
        for name in ("client_operations_per_s", "client_bps", "edge_operations_per_s", "edge_propagation_s"):
            values = getattr(self, name)
            if not values:
                msg = f"{name}: got none, expected at least one number"
                raise ValueError(msg)
            check.positive(**{f"{name}[{i}]": value for i, value in enumerate(values)})
        if len(self.client_bps) != len(self.client_operations_per_s):
            msg = f"client_bps: got {len(self.client_bps)}, expected one for each of the clients, "
            raise ValueError(msg + f"{len(self.client_operations_per_s)}")
        if len(self.edge_propagation_s) != len(self.edge_operations_per_s):
            msg = f"edge_propagation_s: got {len(self.edge_propagation_s)}, expected one for each edge node, "
            raise ValueError(msg + f"{len(self.edge_operations_per_s)}")
        check.positive(
            down_over_up=self.down_over_up, between_bps=self.between_bps, period_s=self.period_s,
            deadline_s=self.deadline_s,
        )  # fmt: skip
        check.within(LEAST_SHARE, 1, share=self.share)
        check.within(0, MOST_LOAD, load=self.load)
        check.within(0, 0.999, memory=self.memory)
        for name in ("share_spread", "fade_spread", "way_spread", "load_spread"):
            check.within(0, 5, **{name: getattr(self, name)})
        for name in ("progress_worth", "second_price", "gigabyte_price"):
            check.within(0, 1e6, **{name: getattr(self, name)})
        check.positive_integer(horizon=self.horizon)

    @property
    def clients(self) -> int:
        """How many compute gradients."""
        return len(self.client_bps)

    @property
    def edges(self) -> int:
        """How many nodes the server could be at."""
        return len(self.edge_operations_per_s)


def drawn_moves(config: AISliceConfig, seed: int) -> Floats:
    """Return what moves in each period of an episode and in the one after it.

    Returns:
        Logarithms, shape (horizon + 1, 1 + clients + 2 edges): share, clients' fading, ways to edge nodes, and what is
        left there.
    """
    spreads = np.repeat(
        [config.share_spread, config.fade_spread, config.way_spread, config.load_spread],
        [1, config.clients, config.edges, config.edges],
    )
    moves = stream(seed, "AI slice", "moves").standard_normal((config.horizon + 1, spreads.size))
    moves[1:] *= np.sqrt(1 - config.memory**2)
    for period in range(1, config.horizon + 1):
        moves[period] += config.memory * moves[period - 1]
    return np.asarray(moves * spreads)


def world_of(config: AISliceConfig, moves: Floats) -> World:
    """Return what the job meets where things have moved so far.

    Args:
        config: The config.
        moves: As `drawn_moves` returns, shape (..., 1 + clients + 2 edges); zeros are the middle of everything.
    """
    clients, edges = config.clients, config.edges
    share = np.clip(config.share * np.exp(moves[..., 0]), LEAST_SHARE, 1.0)
    rates = np.array(config.client_bps) * np.exp(moves[..., 1 : 1 + clients])
    ways = np.exp(moves[..., 1 + clients : 1 + clients + edges])
    left = np.clip((1 - config.load) * np.exp(moves[..., 1 + clients + edges :]), 1 - MOST_LOAD, 1.0)
    up_bps = share[..., None, None] * rates[..., :, None] * ways[..., None, :]
    return World(
        share=share, up_bps=up_bps, down_bps=config.down_over_up * up_bps,
        edge_operations_per_s=np.array(config.edge_operations_per_s) * left, between_bps=share * config.between_bps,
        client_operations_per_s=np.array(config.client_operations_per_s),
        propagation_s=np.array(config.edge_propagation_s),
    )  # fmt: skip
