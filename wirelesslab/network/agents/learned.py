"""Learned policies in a running network: what was trained in a task decides through views and actions."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import ArrayLike

from wirelesslab.network.agents.interfaces import Interface
from wirelesslab.network.view import Action, View


class Answering(Protocol):
    """What answers observations of a task: `Trained`, or a rule of the task."""

    @property
    def task(self) -> str:
        """Id of the task."""
        ...

    def act(self, observation: ArrayLike, /) -> Any:
        """Return the answer to an observation."""
        ...


@dataclass(eq=False)
class LearnedPolicy:
    """Shows a view to what was trained in a task, and wishes what it answers.

    It plugs into ``Agent(LearnedPolicy(trained, interface), sees=twin, at="edge-1")``. The agent's beat should be the
    task's step: windows are then as long as in training. What does not fit at all is refused here; what is wrong with
    a view in a running network is a ValueError, which the agent records, and the run goes on.

    Attributes:
        trained: A `Trained` policy, or a rule of the task.
        interface: What it sees and changes; the one of the task in which it was trained.
        memory: What the interface remembers.

    Raises:
        TypeError: `trained` answers no observations, or `interface` is none.
        ValueError: It is a policy of another task, or for other observations or answers.
    """

    trained: Answering
    interface: Interface
    memory: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, value, methods in (
            ("trained", self.trained, ("act", "task")), ("interface", self.interface, ("observe", "actions", "tasks")),
        ):  # fmt: skip
            if isinstance(value, type) or not all(hasattr(value, method) for method in methods):
                expected = {
                    "trained": "a trained policy such as load_policy(path)",
                    "interface": "the task's interface, such as ShareInterface(slices=..., capacity_bps=...)",
                }[name]
                msg = f"{name}: got {value!r}, expected {expected}"
                raise TypeError(msg)
        if self.trained.task not in self.interface.tasks:
            msg = (
                f"trained: got a policy of {self.trained.task}, expected one of {' or '.join(self.interface.tasks)}, "
                f"for which {type(self.interface).__name__} is made"
            )
            raise ValueError(msg)
        self._check_form()
        self.memory = self.interface.begin()

    def _check_form(self) -> None:
        form = getattr(self.trained, "interface", None)  # of `Trained`: shapes and bounds
        if form is None or not hasattr(form, "observation_shape"):
            return
        got = tuple(form.observation_shape)
        if got != self.interface.observation_shape:
            msg = (
                f"trained: sees {got} numbers, expected {self.interface.observation_shape} by the interface "
                "(rows of slices and domains, features); build the interface with the slices and options of the task"
            )
            raise ValueError(msg)
        if hasattr(form, "size") and (form.size,) != self.interface.answer_shape:
            msg = f"trained: answers {form.size} numbers, expected {self.interface.answer_shape} by the interface"
            raise ValueError(msg)

    @property
    def reads(self) -> tuple[str, ...]:
        """The attributes of a view that it reads."""
        return self.interface.reads

    def act(self, view: View) -> tuple[Action, ...]:
        """Return what is wished.

        Raises:
            ValueError: The view shows other slices, or something in it is no number.
        """
        return tuple(self.interface.actions(self.trained.act(self.interface.observe(view, self.memory))))
