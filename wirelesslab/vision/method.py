"""What a method of vision is: a value that builds, trains and judges a state, and says what that costs to compute.

A method holds choices (numbers and names) and can be sent to another process; all that training changes is in a
`State` of plain arrays. One model, four nets or a table of prototypes are the same thing here: names with arrays.
Nothing in this module needs TensorFlow.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from wirelesslab.vision.data import Data

Array = NDArray[np.float32]
Number = int | float | str
Arrays = Mapping[str, NDArray[Any]]
Batch = tuple[NDArray[Any], NDArray[Any]]
S = TypeVar("S")


@dataclass(frozen=True, eq=False)
class State:
    """All that training changes; steps return a new one and leave the old one alone.

    Names are paths whose first part says what it belongs to: "weights/conv_1/kernel", "optimizer/momentum/3",
    "student_2/weights/...", "prototypes". They are saved as they are, without pickling (`vision.saving`).

    Attributes:
        arrays: By name; nobody writes into them.
        numbers: Counters and words, such as the step or the stage.

    Examples:
        >>> state = State({"weights/bias": np.zeros(2, np.float32)}, {"step": 0})
        >>> list(state.part("weights"))
        ['bias']
    """

    arrays: Mapping[str, NDArray[Any]]
    numbers: Mapping[str, Number] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, array in self.arrays.items():
            if not isinstance(array, np.ndarray) or array.dtype.hasobject:
                msg = f"state: got {type(array).__name__} under {name!r}, expected an array of numbers"
                raise TypeError(msg)
        for name, number in self.numbers.items():
            if not isinstance(number, int | float | str):
                msg = f"state: got {type(number).__name__} under {name!r}, expected a number or a word"
                raise TypeError(msg)

    def part(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the arrays below `name`, in order, without that part of their names."""
        return {key[len(name) + 1 :]: array for key, array in self.arrays.items() if key.startswith(f"{name}/")}

    def with_part(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> "State":
        """Return a state in which `arrays` are what is below `name`; all else is as it was."""
        rest = {key: array for key, array in self.arrays.items() if not key.startswith(f"{name}/")}
        return State(rest | {f"{name}/{key}": array for key, array in arrays.items()}, self.numbers)

    @property
    def num_bytes(self) -> int:
        """What the arrays take."""
        return sum(array.nbytes for array in self.arrays.values())


@dataclass(frozen=True, eq=False)
class Gradients(Sequence[Array]):
    """What one batch says about a state; as a sequence it is what travels: gradients, then statistics.

    Attributes:
        arrays: One per trainable array of the state, in its order, of the mean loss of the batch.
        loss: That loss.
        statistics: What the step also changes but no gradient tells, such as the moving moments of BatchNorm after
            this batch. Workers average them as they are; a wire must not clip or round them (`Trainable.travels`).
    """

    arrays: tuple[Array, ...]
    loss: float
    statistics: tuple[Array, ...] = ()

    @overload
    def __getitem__(self, place: int) -> Array: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Array, ...]: ...

    def __getitem__(self, place: int | slice) -> Array | tuple[Array, ...]:
        return (*self.arrays, *self.statistics)[place]

    def __len__(self) -> int:
        return len(self.arrays) + len(self.statistics)

    def __iter__(self) -> Iterator[Array]:
        return iter((*self.arrays, *self.statistics))


@dataclass(frozen=True)
class Epoch:
    """One line of a training's history.

    Attributes:
        step: Steps taken by then.
        scores: By name, such as "loss" or "validation accuracy".
    """

    step: int
    scores: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Fit:
    """What a training came to.

    Attributes:
        state: The trained state.
        history: What was noted on the way, in order.
    """

    state: State
    history: tuple[Epoch, ...] = ()


class Method(Protocol):
    """Learns to see. It knows nothing of networks, only what it costs to move (`State`) and to compute."""

    def build(self, seed: int, /) -> State:
        """Return the state that training starts from; equal seeds give equal states in all processes."""
        ...

    def fit(self, state: State, data: Data, seed: int, /) -> Fit:
        """Train on the split called "train"; choices are made on "validation"; "test" is not looked at."""
        ...

    def predict(self, state: State, images: Array, /) -> Any:
        """Return what is seen in images, shape (n, h, w, c)."""
        ...

    def evaluate(self, state: State, data: Data, /) -> dict[str, float]:
        """Return scores on data, by name."""
        ...

    def operations(self, state: State, batch: int, /) -> int:
        """Return the multiply-adds of learning from `batch` images once: forward once, backward twice as many."""
        ...

    def query_macs(self, state: State, /) -> int:
        """Return the multiply-adds of answering one image: forward alone, with nothing that only learning needs."""
        ...


class Learner(Protocol[S]):
    """What data-parallel training asks: gradients of a batch, and a step along a mean gradient.

    A learner is a value (it is sent to other processes); what it trains is its state, of whatever type S.
    """

    def build(self, seed: int, /) -> S:
        """Return the state that training starts from; equal seeds give equal states in all processes."""
        ...

    def gradients(self, state: S, batch: Any, rng: np.random.Generator, /) -> Sequence[Array]:
        """Return the gradients of the mean loss of a batch; all of its randomness comes from `rng`."""
        ...

    def apply(self, state: S, gradients: Sequence[Array], /) -> S:
        """Return the state one step along the (mean) gradients and statistics; weight decay is added here.

        It depends on nothing but its arguments, so that replicas that get the same stay the same to the last bit.
        """
        ...

    def written(self, state: S, /) -> Arrays:
        """Return the whole state as arrays, for a checkpoint or a worker that comes back."""
        ...

    def restored(self, arrays: Arrays, seed: int, /) -> S:
        """Return the state that was written."""
        ...


class Trainable(Method, Learner[State], Protocol):
    """A method that learns by gradients, which may come from many workers."""

    def gradients(self, state: State, batch: Batch, rng: np.random.Generator, /) -> Gradients:
        """Return the gradients of the mean loss of a batch, that loss, and statistics."""
        ...

    def travels(self, state: State, /) -> dict[str, str]:
        """Return the names of what travels, in the order of `Gradients`, each with "gradient" or "statistic"."""
        ...


NUMBERS = "numbers"  # the name under which a state's numbers are kept among its arrays


def state_arrays(state: State) -> dict[str, NDArray[Any]]:
    """Return a state as arrays alone, its numbers as the bytes of their JSON."""
    said = json.dumps(dict(state.numbers), sort_keys=True).encode()
    return {**state.arrays, NUMBERS: np.frombuffer(said, np.uint8)}


def state_of(arrays: Mapping[str, NDArray[Any]]) -> State:
    """Return the state of which `state_arrays` made arrays.

    Raises:
        ValueError: They lack the numbers, or these cannot be read.
    """
    if NUMBERS not in arrays:
        msg = f"state: got arrays without {NUMBERS!r}, expected what state_arrays gives"
        raise ValueError(msg)
    numbers = json.loads(np.asarray(arrays[NUMBERS]).tobytes())
    if not isinstance(numbers, dict):
        msg = f"state: got {type(numbers).__name__} as {NUMBERS!r}, expected names with values"
        raise ValueError(msg)
    return State({name: array for name, array in arrays.items() if name != NUMBERS}, numbers)
