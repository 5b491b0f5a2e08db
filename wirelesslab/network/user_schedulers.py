"""Whose turn it is: the order in which the users of a slice are served in a slot.

A rule's comparison is a number per user, computed in `slot_kernels.find_candidates`; the largest is first and
ties go by index. To add one, write its config here, name it in `USER_SCHEDULERS` and give the kernel its number.
"""

from dataclasses import dataclass
from typing import Protocol

from wirelesslab import check
from wirelesslab.network import slot_kernels as kernels


class UserScheduler(Protocol):
    """Orders the users of a slice in a slot; see the module."""

    @property
    def code(self) -> int:
        """The kernel's number of the rule."""
        ...

    @property
    def window_slots(self) -> int:
        """Memory of the averages; 1 where the rule has none."""
        ...


@dataclass(frozen=True, kw_only=True)
class ProportionalFair:
    """First the user whose rate is highest relative to its average throughput.

    Attributes:
        window_slots: Time constant of the average, a first-order filter that every user's throughput passes
            in every slot, idle ones too.

    References:
        Viswanath, Tse and Laroia, IEEE Trans. Inf. Theory 48(6), 2002, section II.
    """

    window_slots: int = 1000

    def __post_init__(self) -> None:
        check.positive_integer(window_slots=self.window_slots)
        if self.window_slots < 2:
            msg = "window_slots: got 1, expected at least 2; without memory that is `MaxRate()`"
            raise ValueError(msg)

    @property
    def code(self) -> int:
        """The kernel's number of the rule."""
        return kernels.FAIR


@dataclass(frozen=True, kw_only=True)
class RoundRobin:
    """First the user after the one that was served last."""

    @property
    def code(self) -> int:
        """The kernel's number of the rule."""
        return kernels.ROUND_ROBIN

    @property
    def window_slots(self) -> int:
        """There is no average."""
        return 1


@dataclass(frozen=True, kw_only=True)
class MaxRate:
    """First the user with the best channel, whatever becomes of the others."""

    @property
    def code(self) -> int:
        """The kernel's number of the rule."""
        return kernels.MAX_RATE

    @property
    def window_slots(self) -> int:
        """There is no average."""
        return 1


@dataclass(frozen=True, kw_only=True)
class EarliestDeadline:
    """First the user whose oldest packet is due first.

    All users of a slice share its delay bound, so that is the oldest packet, and the bound itself does not
    matter. Saturated users, whose data have no age, come last.
    """

    @property
    def code(self) -> int:
        """The kernel's number of the rule."""
        return kernels.EARLIEST

    @property
    def window_slots(self) -> int:
        """There is no average."""
        return 1


USER_SCHEDULERS: tuple[type[UserScheduler], ...] = (ProportionalFair, RoundRobin, MaxRate, EarliestDeadline)
