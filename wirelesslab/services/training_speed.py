r"""How long a step of data-parallel training takes, as a formula: what `DistributedTraining` should come to.

$T(N)$ = gradient + codecs + for each exchange (up + server's sum + down), where a message takes what its bytes take on
its worker's own link, then on the link that all share, if there is one, where N messages queue; plus one latency each
way (four in a step of two exchanges). Assumed: all workers begin together and are alike, nothing is lost, and there is
no other traffic. On a shared link answers come down one after the other, so that the next messages go up one after the
other as well: a single large exchange overlaps with its predecessor, and the formula is an upper bound.
"""

from dataclasses import dataclass

from wirelesslab import check


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """What a step's time depends on.

    Attributes:
        num_workers: N.
        up_bytes: A worker's message, for each exchange.
        down_bytes: The server's answer, for each exchange.
        gradient_s: A worker's gradient.
        encode_s: Encoding, per exchange.
        aggregate_s: The server's work per worker and exchange.
        finish_s: Decoding and applying the mean.
        access_bps: Each worker's own link, each way.
        shared_bps: Link in front of the server that all share, each way; None is so fast that it takes no time.
        latency_s: One way.
        segment_bytes: Messages travel in segments of at most so many bytes.
        multicast: Whether an answer crosses the shared link once for all.
    """

    num_workers: int
    up_bytes: tuple[int, ...]
    down_bytes: tuple[int, ...]
    gradient_s: float
    encode_s: float = 0.0
    aggregate_s: float = 0.0
    finish_s: float = 0.0
    access_bps: float
    shared_bps: float | None = None
    latency_s: float = 0.0
    segment_bytes: int = 65_536
    multicast: bool = False

    def __post_init__(self) -> None:
        check.positive_integer(num_workers=self.num_workers, segment_bytes=self.segment_bytes)
        check.positive(access_bps=self.access_bps)
        if self.shared_bps is not None:
            check.positive(shared_bps=self.shared_bps)
        for name in ("gradient_s", "encode_s", "aggregate_s", "finish_s", "latency_s"):
            check.within(0, 1e12, **{name: getattr(self, name)})
        if not self.up_bytes or len(self.up_bytes) != len(self.down_bytes):
            msg = f"down_bytes: got {len(self.down_bytes)} for {len(self.up_bytes)} exchanges, expected one each"
            raise ValueError(msg)

    @property
    def compute_s(self) -> float:
        """Gradient, codecs and sums."""
        exchanges = len(self.up_bytes)
        return self.gradient_s + self.finish_s + exchanges * (self.encode_s + self.num_workers * self.aggregate_s)

    @property
    def network_s(self) -> float:
        """Messages up and down, latencies included."""
        up = sum(self.up_s(size) for size in self.up_bytes)
        return up + sum(self.down_s(size) for size in self.down_bytes)

    @property
    def step_s(self) -> float:
        """T(N)."""
        return self.compute_s + self.network_s

    def up_s(self, num_bytes: int) -> float:
        """Return when the last of N messages that leave together is at the server."""
        own_s = 8 * num_bytes / self.access_bps
        if self.shared_bps is None:
            return own_s + self.latency_s
        first, last = self._segments(num_bytes)
        shared_s = 8 * self.num_workers / self.shared_bps  # of a byte of each
        return max(8 * first / self.access_bps + num_bytes * shared_s, own_s + last * shared_s) + self.latency_s

    def down_s(self, num_bytes: int) -> float:
        """Return when the last worker has its answer."""
        own_s = 8 * num_bytes / self.access_bps
        if self.shared_bps is None:
            return own_s + self.latency_s
        first, last = self._segments(num_bytes)
        copies = 1 if self.multicast else self.num_workers
        all_s, before_s = (
            8 * size / self.shared_bps for size in (copies * num_bytes, (copies - 1) * num_bytes + first)
        )
        return max(all_s + 8 * last / self.access_bps, before_s + own_s) + self.latency_s

    def _segments(self, num_bytes: int) -> tuple[int, int]:
        """Return the sizes of a message's first and last segment."""
        first = min(num_bytes, self.segment_bytes)
        return first, num_bytes - (-(-num_bytes // self.segment_bytes) - 1) * self.segment_bytes


def speed_up(slow: StepTime, fast: StepTime) -> float:
    """Return how many times shorter a step of `fast` is.

    Examples:
        >>> common = {"num_workers": 4, "gradient_s": 0.01, "access_bps": 1e7}
        >>> floats = StepTime(up_bytes=(1_724_410,), down_bytes=(1_724_410,), **common)
        >>> ternary = StepTime(up_bytes=(90, 108_160), down_bytes=(90, 215_910), **common)
        >>> round(speed_up(floats, ternary), 1)
        10.3
    """
    return slow.step_s / fast.step_s
