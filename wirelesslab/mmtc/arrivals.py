"""How a device's pilot arrives: on time or late, on the carrier or beside it.

A state is one way to arrive. The station does not know a device's state, but it knows the states that there
are, and each turns a pilot into another column: a device's block has Q pilots times as many states, each as
likely as any other. To add a law, write a class like these and name it in `ARRIVALS`.
References: integer delays within a guard and a grid of carrier offsets as enlarged dictionaries are common in
the literature of asynchronous random access; the laws and their numbers are our choice.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check

NOBODY = -1  # the state of who is silent
MOST_STATES = 1024


class Arrival(Protocol):
    """The law of a device's state, drawn anew in every frame, and what a state does to a pilot."""

    @property
    def num_states(self) -> int:
        """States of a device."""
        ...

    @property
    def max_delay_symbols(self) -> int:
        """The largest delay, in symbols; the station listens for so many symbols more than a pilot has."""
        ...

    @property
    def on_grid(self) -> bool:
        """Whether devices arrive in exactly the states that the station tries, not beside them."""
        ...

    def expand(self, pilots: NDArray[np.complexfloating[Any, Any]]) -> NDArray[np.complex128]:
        """Return every pilot in every state, shape (L + max_delay_symbols, K num_states), the state fastest."""
        ...

    def draw(self, rng: np.random.Generator, num_frames: int, num_devices: int) -> NDArray[np.int64]:
        """Return each device's state, 0..num_states - 1, shape (frames, N)."""
        ...

    def residuals(self, rng: np.random.Generator, num_frames: int, num_devices: int) -> NDArray[np.float64] | None:
        """Return how far each carrier is from its state's, in cycles per symbol, shape (frames, N), or None for 0."""
        ...

    def delays(self, states: ArrayLike) -> NDArray[np.int64]:
        """Return the delay of each state in symbols; -1 for who is silent (state -1)."""
        ...

    def frequencies(self, states: ArrayLike) -> NDArray[np.float64]:
        """Return the carrier offset of each state in cycles per symbol; NaN for who is silent (state -1)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Synchronous:
    """Everybody arrives on time and on the carrier: one state."""

    @property
    def num_states(self) -> int:
        """One."""
        return 1

    @property
    def max_delay_symbols(self) -> int:
        """No delay."""
        return 0

    @property
    def on_grid(self) -> bool:
        """Always."""
        return True

    def expand(self, pilots: NDArray[np.complexfloating[Any, Any]]) -> NDArray[np.complex128]:
        """Return the pilots as they are, shape (L, K)."""
        return np.asarray(pilots, dtype=np.complex128)

    def draw(self, rng: np.random.Generator, num_frames: int, num_devices: int) -> NDArray[np.int64]:  # noqa: ARG002
        """Return zeros, shape (frames, N)."""
        return np.zeros((num_frames, num_devices), dtype=np.int64)

    def residuals(self, rng: np.random.Generator, num_frames: int, num_devices: int) -> None:  # noqa: ARG002
        """Return None: everybody is on the carrier."""
        return

    def delays(self, states: ArrayLike) -> NDArray[np.int64]:
        """Return the delay of each state in symbols."""
        return _split(states, 1, 1)[0]

    def frequencies(self, states: ArrayLike) -> NDArray[np.float64]:
        """Return the carrier offset of each state in cycles per symbol."""
        return _frequencies(states, 1, _grid(0.0, 1))


@dataclass(frozen=True, kw_only=True)
class Delayed:
    """A pilot arrives up to some symbols late, by a whole number of symbols, uniform, anew in every frame.

    The station listens for L + `max_delay_symbols` symbols; noise and power per symbol stay the same.

    Attributes:
        max_delay_symbols: The largest delay, in symbols.
    """

    max_delay_symbols: int = 4

    def __post_init__(self) -> None:
        check.non_negative_integer(max_delay_symbols=self.max_delay_symbols)
        check.within(0, MOST_STATES - 1, max_delay_symbols=self.max_delay_symbols)

    @property
    def num_states(self) -> int:
        """Delays 0 to the largest."""
        return self.max_delay_symbols + 1

    @property
    def on_grid(self) -> bool:
        """Always."""
        return True

    def expand(self, pilots: NDArray[np.complexfloating[Any, Any]]) -> NDArray[np.complex128]:
        """Return every pilot at every delay, shape (L + max_delay_symbols, K num_states), the delay fastest."""
        return _expand(pilots, self.max_delay_symbols, _grid(0.0, 1))

    def draw(self, rng: np.random.Generator, num_frames: int, num_devices: int) -> NDArray[np.int64]:
        """Return each device's delay, shape (frames, N)."""
        return _uniform(rng, num_frames, num_devices, self.num_states)

    def residuals(self, rng: np.random.Generator, num_frames: int, num_devices: int) -> None:  # noqa: ARG002
        """Return None: everybody is on the carrier."""
        return

    def delays(self, states: ArrayLike) -> NDArray[np.int64]:
        """Return the delay of each state in symbols; -1 for who is silent."""
        return _split(states, self.num_states, 1)[0]

    def frequencies(self, states: ArrayLike) -> NDArray[np.float64]:
        """Return the carrier offset of each state, 0; NaN for who is silent."""
        return _frequencies(states, self.num_states, _grid(0.0, 1))


@dataclass(frozen=True, kw_only=True)
class CarrierOffset:
    """A device's carrier is off by a frequency within a band, anew in every frame.

    The band -max_offset..max_offset is cut into `num_frequencies` equal cells; a state is the middle of one.

    Attributes:
        max_offset: Half the band, in cycles per symbol; 1/(2L) turns a pilot by half a cycle.
        num_frequencies: States.
        on_grid: Whether devices have exactly the frequencies that the station tries; otherwise theirs are uniform
            in the band, and the station's columns are only near.
    """

    max_offset: float = 0.02
    num_frequencies: int = 3
    on_grid: bool = True

    def __post_init__(self) -> None:
        _check_band(self.max_offset, self.num_frequencies)

    @property
    def num_states(self) -> int:
        """Frequencies of the grid."""
        return self.num_frequencies

    @property
    def max_delay_symbols(self) -> int:
        """No delay."""
        return 0

    def expand(self, pilots: NDArray[np.complexfloating[Any, Any]]) -> NDArray[np.complex128]:
        """Return every pilot at every frequency, shape (L, K num_states), the frequency fastest."""
        return _expand(pilots, 0, _grid(self.max_offset, self.num_frequencies))

    def draw(self, rng: np.random.Generator, num_frames: int, num_devices: int) -> NDArray[np.int64]:
        """Return the number of each device's frequency, shape (frames, N)."""
        return _uniform(rng, num_frames, num_devices, self.num_states)

    def residuals(self, rng: np.random.Generator, num_frames: int, num_devices: int) -> NDArray[np.float64] | None:
        """Return the distance to the grid in cycles per symbol, shape (frames, N); None on the grid."""
        return None if self.on_grid else _residuals(rng, num_frames, num_devices, self.max_offset, self.num_frequencies)

    def delays(self, states: ArrayLike) -> NDArray[np.int64]:
        """Return the delay of each state, 0; -1 for who is silent."""
        return _split(states, 1, self.num_frequencies)[0]

    def frequencies(self, states: ArrayLike) -> NDArray[np.float64]:
        """Return the carrier offset of each state in cycles per symbol; NaN for who is silent."""
        return _frequencies(states, 1, _grid(self.max_offset, self.num_frequencies))


@dataclass(frozen=True, kw_only=True)
class DelayedAndOffset:
    """Late and off the carrier, independently: see `Delayed` and `CarrierOffset`.

    Attributes:
        max_delay_symbols: The largest delay, in symbols.
        max_offset: Half the band of carriers, in cycles per symbol.
        num_frequencies: Frequencies of the grid; states are these times the delays, the frequency fastest.
        on_grid: Whether devices have exactly the frequencies of the grid.
    """

    max_delay_symbols: int = 2
    max_offset: float = 0.02
    num_frequencies: int = 3
    on_grid: bool = True

    def __post_init__(self) -> None:
        check.non_negative_integer(max_delay_symbols=self.max_delay_symbols)
        _check_band(self.max_offset, self.num_frequencies)
        check.within(1, MOST_STATES, num_states=self.num_states)

    @property
    def num_states(self) -> int:
        """Delays times frequencies."""
        return (self.max_delay_symbols + 1) * self.num_frequencies

    def expand(self, pilots: NDArray[np.complexfloating[Any, Any]]) -> NDArray[np.complex128]:
        """Return every pilot in every state, shape (L + max_delay_symbols, K num_states)."""
        return _expand(pilots, self.max_delay_symbols, _grid(self.max_offset, self.num_frequencies))

    def draw(self, rng: np.random.Generator, num_frames: int, num_devices: int) -> NDArray[np.int64]:
        """Return each device's state, shape (frames, N)."""
        return _uniform(rng, num_frames, num_devices, self.num_states)

    def residuals(self, rng: np.random.Generator, num_frames: int, num_devices: int) -> NDArray[np.float64] | None:
        """Return the distance to the grid in cycles per symbol, shape (frames, N); None on the grid."""
        return None if self.on_grid else _residuals(rng, num_frames, num_devices, self.max_offset, self.num_frequencies)

    def delays(self, states: ArrayLike) -> NDArray[np.int64]:
        """Return the delay of each state in symbols; -1 for who is silent."""
        return _split(states, self.max_delay_symbols + 1, self.num_frequencies)[0]

    def frequencies(self, states: ArrayLike) -> NDArray[np.float64]:
        """Return the carrier offset of each state in cycles per symbol; NaN for who is silent."""
        return _frequencies(states, self.max_delay_symbols + 1, _grid(self.max_offset, self.num_frequencies))


ARRIVALS: tuple[type[Arrival], ...] = (Synchronous, Delayed, CarrierOffset, DelayedAndOffset)


def _check_band(max_offset: float, num_frequencies: int) -> None:
    check.within(0, 0.5, max_offset=max_offset)
    check.positive_integer(num_frequencies=num_frequencies)
    check.within(1, MOST_STATES, num_frequencies=num_frequencies)
    if num_frequencies > 1 and max_offset == 0:
        msg = f"num_frequencies: got {num_frequencies} in a band of width 0, expected 1, or a max_offset above 0"
        raise ValueError(msg)


def _grid(max_offset: float, num_frequencies: int) -> NDArray[np.float64]:
    """The middles of the band's cells, cycles per symbol, shape (num_frequencies,)."""
    return max_offset * ((2 * np.arange(num_frequencies) + 1) / num_frequencies - 1)


def _expand(
    pilots: NDArray[np.complexfloating[Any, Any]], max_delay: int, grid: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """Every pilot at every delay and frequency, which turns from the pilot's own first symbol on."""
    length, num_pilots = pilots.shape
    turned = pilots[:, :, None] * np.exp(2j * np.pi * np.arange(length)[:, None, None] * grid)
    columns = np.zeros((length + max_delay, num_pilots, max_delay + 1, grid.size), dtype=np.complex128)
    for delay in range(max_delay + 1):
        columns[delay : delay + length, :, delay] = turned
    return columns.reshape(length + max_delay, -1)


def _uniform(rng: np.random.Generator, num_frames: int, num_devices: int, num_states: int) -> NDArray[np.int64]:
    # Scaled, not drawn as integers: a sweep over the number of states moves everybody by as little as can be.
    return np.asarray(num_states * rng.random((num_frames, num_devices)), dtype=np.int64)


def _residuals(
    rng: np.random.Generator, num_frames: int, num_devices: int, max_offset: float, num_frequencies: int
) -> NDArray[np.float64]:
    return max_offset / num_frequencies * rng.uniform(-1, 1, (num_frames, num_devices))


def _split(states: ArrayLike, num_delays: int, num_frequencies: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The delay and the frequency's number of each state, `NOBODY` for who is silent."""
    given = np.asarray(states)
    if given.dtype.kind not in "iu":
        msg = f"states: got an array of {given.dtype}, expected whole numbers"
        raise TypeError(msg)
    if given.size and not (given.min() >= NOBODY and given.max() < num_delays * num_frequencies):
        msg = (
            f"states: got {given.min()} to {given.max()}, expected 0..{num_delays * num_frequencies - 1}, "
            f"or {NOBODY} for who is silent; are they of a scenario with another arrival?"
        )
        raise ValueError(msg)
    signed = given.astype(np.int64)
    silent = signed == NOBODY
    return (
        np.where(silent, NOBODY, signed // num_frequencies),
        np.where(silent, NOBODY, signed % num_frequencies),
    )


def _frequencies(states: ArrayLike, num_delays: int, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    number = _split(states, num_delays, grid.size)[1]
    return np.where(number == NOBODY, np.nan, grid[number])
