"""What a station writes down about its packets, and the account by which nothing can get lost."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Book:
    """What a station has seen, a list over slices each; sums only, so that it never grows.

    Attributes:
        offered_packets: That came.
        offered_bytes: That came.
        served_packets: That left, served.
        served_bytes: That left, served.
        dropped_packets: Turned away, or lost in a failure.
        dropped_bytes: Turned away, or lost in a failure.
        refused_packets: Turned away at the door.
        begun_packets: Whose service has begun.
        delayed_packets: That found no free server.
        inside: Packets inside.
        wait_seconds: Waiting times of all that began service.
        sojourn_seconds: Times inside of all that left.
        packet_seconds: Integral of the packets inside over time, up to `touched_s`.
        work_done: Work of everything that left, served.
        touched_s: When `packet_seconds` was brought up to date.
    """

    offered_packets: list[int]
    offered_bytes: list[int]
    served_packets: list[int]
    served_bytes: list[int]
    dropped_packets: list[int]
    dropped_bytes: list[int]
    refused_packets: list[int]
    begun_packets: list[int]
    delayed_packets: list[int]
    inside: list[int]
    wait_seconds: list[float]
    sojourn_seconds: list[float]
    packet_seconds: list[float]
    work_done: list[float]
    touched_s: list[float]

    @classmethod
    def empty(cls, num_slices: int, now_s: float) -> "Book":
        """Return a book in which nothing is written."""

        def whole() -> list[int]:
            return [0] * num_slices

        def real() -> list[float]:
            return [0.0] * num_slices

        return cls(
            offered_packets=whole(), offered_bytes=whole(), served_packets=whole(), served_bytes=whole(),
            dropped_packets=whole(), dropped_bytes=whole(), refused_packets=whole(),
            begun_packets=whole(), delayed_packets=whole(), inside=whole(),
            wait_seconds=real(), sojourn_seconds=real(), packet_seconds=real(), work_done=real(),
            touched_s=[now_s] * num_slices,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class StationAccount:
    """Where every packet of a station is; arrays have shape (slices,).

    Exactly: offered = served + inside + dropped, in packets and in bytes.

    Attributes:
        offered_packets: That came.
        served_packets: That left, served.
        inside_packets: Waiting or in service.
        dropped_packets: Turned away, or lost in a failure.
        offered_bytes: As above, in bytes.
        served_bytes: As above, in bytes.
        inside_bytes: As above, in bytes.
        dropped_bytes: As above, in bytes.
        refused_packets: Of the dropped, those turned away at the door.
        begun_packets: Whose service has begun.
        delayed_packets: That found no free server and stayed.
        wait_seconds: Waiting times before all services, added up.
        sojourn_seconds: Times inside, those still inside counted until now.
        packet_seconds: Integral of the packets inside over time: by Little's law the same.
        work_done: Bits sent, or operations computed.
        now_s: The time of this account.
    """

    offered_packets: NDArray[np.int64]
    served_packets: NDArray[np.int64]
    inside_packets: NDArray[np.int64]
    dropped_packets: NDArray[np.int64]
    offered_bytes: NDArray[np.int64]
    served_bytes: NDArray[np.int64]
    inside_bytes: NDArray[np.int64]
    dropped_bytes: NDArray[np.int64]
    refused_packets: NDArray[np.int64]
    begun_packets: NDArray[np.int64]
    delayed_packets: NDArray[np.int64]
    wait_seconds: NDArray[np.float64]
    sojourn_seconds: NDArray[np.float64]
    packet_seconds: NDArray[np.float64]
    work_done: NDArray[np.float64]
    now_s: float

    def check(self) -> None:
        """Assert conservation (exact) and Little's law on the sample path (rounding only).

        Raises:
            AssertionError: The station lost or invented something: a bug, never bad input.
        """
        for what in ("packets", "bytes"):
            offered, served, inside, dropped = (
                getattr(self, f"{state}_{what}") for state in ("offered", "served", "inside", "dropped")
            )
            assert np.array_equal(offered, served + inside + dropped), (
                f"{what}: {offered} offered, {served} served + {inside} inside + {dropped} dropped"
            )
        scale = 1e-6 * np.maximum(1.0, self.packet_seconds) + 1e-9 * self.now_s * (1 + self.offered_packets)
        assert np.all(np.abs(self.packet_seconds - self.sojourn_seconds) <= scale), (
            f"Little's law: the integral of packets inside is {self.packet_seconds}, "
            f"their times inside add up to {self.sojourn_seconds}"
        )
