"""A Keras net as a `State`: what it starts from, a step of it, what travels, and the net as functions of given values.

The model's own variables are never used in training: weights and moving moments are arrays of the state, by the paths
of the net's variables. A method may train more than the net, in parts of the state beside "weights".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.vision.backbones import initial_weights, is_seed
from wirelesslab.vision.method import Array, State, state_of
from wirelesslab.vision.update_rules import UpdateRule

WEIGHTS = ("weights",)


@dataclass(frozen=True, eq=False)
class Net:
    """A Keras model as functions of the values of its variables.

    Attributes:
        model: The model; what its variables hold means nothing.
    """

    model: Any

    def seeds(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Return what layers such as Dropout draw from in one step; nothing is drawn for a net without them."""
        return [rng.integers(0, 2**30, tuple(v.shape)) for v in self.model.non_trainable_variables if is_seed(v)]

    def learning(self, weights: Any, moments: Any, seeds: Any, images: Any) -> tuple[Any, list[Any]]:
        """Return the outputs by the batch's own moments, and the moving moments after it. To be traced."""
        outputs, moved = self.model.stateless_call(weights, self._others(moments, seeds), images, training=True)
        others = zip(moved, self.model.non_trainable_variables, strict=True)
        return outputs, [value for value, variable in others if not is_seed(variable)]

    def seeing(self, weights: Any, moments: Any, images: Any) -> Any:
        """Return the outputs by the moving moments. To be traced."""
        from wirelesslab.tensorflow import tf

        still = [tf.zeros(v.shape, v.dtype) for v in self.model.non_trainable_variables if is_seed(v)]
        return self.model.stateless_call(weights, self._others(moments, still), images, training=False)[0]

    def _others(self, moments: Any, seeds: Any) -> list[Any]:
        """Return what is not trained, in the model's order."""
        values: Iterator[Any] = iter(moments)
        drawn: Iterator[Any] = iter(seeds)
        return [next(drawn if is_seed(v) else values) for v in self.model.non_trainable_variables]


def initial_state(
    model: Any, update: UpdateRule, seed: int, more: Mapping[str, Mapping[str, Array]] | None = None
) -> State:
    """Return the state at step 0 of a Keras model.

    Args:
        model: The net.
        update: What remembers things of each array that is trained.
        seed: Of the weights.
        more: Arrays that are trained beside the net, by the part of the state that they make up.
    """
    moments = {
        v.path: np.full(tuple(v.shape), float("variance" in v.path), np.float32)
        for v in model.non_trainable_variables
        if not is_seed(v)
    }
    state = State({}, {"step": 0}).with_part("weights", initial_weights(model, seed)).with_part("statistics", moments)
    for part, arrays in (more or {}).items():
        state = state.with_part(part, arrays)
    return state.with_part("optimizer", update.memory(trained(state, (*WEIGHTS, *(more or {})))))


def trained(state: State, parts: Sequence[str] = WEIGHTS) -> dict[str, Array]:
    """Return all that follows gradients, in order: "weights" by their own names, other parts with theirs before."""
    found: dict[str, Array] = {}
    for part in parts:
        found |= {n if part == "weights" else f"{part}/{n}": a for n, a in state.part(part).items()}
    return found


def stepped(
    update: UpdateRule, state: State, gradients: Sequence[Array], *, parts: Sequence[str] = WEIGHTS,
    rate_factor: float = 1.0,
) -> State:  # fmt: skip
    """Return the state one step along gradients of all that is trained, with the statistics that follow them.

    Args:
        update: The rule.
        state: Before.
        gradients: One for each array of `trained`, then the moving moments.
        parts: Of the state, that are trained.
        rate_factor: Times the rule's rate.

    Raises:
        ValueError: Another number of them.
    """
    values, moments, step = trained(state, parts), state.part("statistics"), int(state.numbers["step"])
    if len(gradients) != len(values) + len(moments):
        msg = f"gradients: got {len(gradients)}, expected {len(values)} and {len(moments)} statistics"
        raise ValueError(msg)
    arrays = list(gradients)
    fresh, memory = update.step(
        values, state.part("optimizer"), arrays[: len(values)], step, rate_factor=rate_factor
    )  # fmt: skip
    moved = {n if n.partition("/")[0] in parts[1:] else f"weights/{n}": w for n, w in fresh.items()}
    moved |= {f"statistics/{n}": np.asarray(a, np.float32) for n, a in zip(moments, arrays[len(values) :], strict=True)}
    moved |= {f"optimizer/{n}": a for n, a in memory.items()}
    return State({n: moved.get(n, a) for n, a in state.arrays.items()}, {**state.numbers, "step": step + 1})


def travelling(state: State, parts: Sequence[str] = WEIGHTS) -> dict[str, str]:
    """Return the names of what travels, in the order of `stepped`, each with "gradient" or "statistic"."""
    return dict.fromkeys(trained(state, parts), "gradient") | dict.fromkeys(state.part("statistics"), "statistic")


def restored_as(arrays: Mapping[str, NDArray[Any]], like: State, what: str) -> State:
    """Return the state that was written as arrays, in the order of one that was just built.

    Raises:
        ValueError: It is the state of another net or update rule.
    """
    state = state_of(arrays)
    shapes = [{n: (a.shape, a.dtype) for n, a in s.arrays.items()} for s in (state, like)]
    if shapes[0] != shapes[1]:
        odd = sorted(n for n in {*shapes[0], *shapes[1]} if shapes[0].get(n) != shapes[1].get(n))
        msg = f"state: got another architecture or update rule than {what}; {odd[0]!r} does not fit"
        raise ValueError(msg)
    return State({name: state.arrays[name] for name in like.arrays}, state.numbers)


def values_of(model: Any, state: State, what: str) -> dict[str, Array]:
    """Return a state's weights and moving moments by the names of the net's variables.

    Raises:
        ValueError: The state is of another net; what is missing, too much, or of another shape is named.
    """
    found = state.part("weights") | state.part("statistics")
    wanted = {v.path: tuple(v.shape) for v in model.variables if not is_seed(v)}
    odd = {
        "missing": [n for n in wanted if n not in found], "extra": [n for n in found if n not in wanted],
        "of another shape": [n for n, shape in wanted.items() if n in found and found[n].shape != shape],
    }  # fmt: skip
    if any(odd.values()):
        said = [f"{kind} {_some(names)}" for kind, names in odd.items() if names]
        msg = f"state: got one of another net than {what}: {'; '.join(said)}; give the state with the "
        raise ValueError(msg + "method that built or trained it")
    return {name: found[name] for name in wanted}


def filled(model: Any, values: Mapping[str, Array]) -> Any:
    """Put values into a model's variables, by name, and return it."""
    for variable in model.variables:
        if not is_seed(variable):
            variable.assign(values[variable.path])
    return model


def _some(names: Sequence[str]) -> str:
    """Return the first of many names, and how many more there are."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
