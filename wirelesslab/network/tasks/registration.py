"""The tasks by name, as Gymnasium knows them.

To add one, write the environment and name it here; its specs (checker, seeds, snapshots, refusals) run by themselves.
"""

from dataclasses import dataclass

import gymnasium

HERE = "wirelesslab.network.tasks"


@dataclass(frozen=True)
class Task:
    """A task under its name.

    Attributes:
        id: For `gymnasium.make`.
        entry: Module below `tasks` and class, "admission:Admission".
        vector: The same of its native form that plays many at once; "" if it has none.
    """

    id: str
    entry: str
    vector: str = ""


TASKS: tuple[Task, ...] = (
    Task("wirelesslab/Admission-v0", "admission:Admission", "admission_vector:AdmissionVector"),
    Task("wirelesslab/SliceAlloc-v0", "slice_alloc:SliceAlloc"),
    Task(
        "wirelesslab/SliceAllocReduced-v0",
        "slice_alloc_reduced:SliceAllocReduced",
        "slice_alloc_reduced:SliceAllocReducedVector",
    ),
    Task("wirelesslab/TwinSync-v0", "twin_sync:TwinSync"),
    Task(
        "wirelesslab/TwinSyncReduced-v0", "twin_sync_reduced:TwinSyncReduced", "twin_sync_reduced:TwinSyncReducedVector"
    ),
    Task("wirelesslab/Placement-v0", "placement:Placement"),
    Task("wirelesslab/PlacementRows-v0", "placement_rows:with_rows"),  # the same in the form that learners take
    Task("wirelesslab/AISlice-v0", "ai_slice:AISlice"),
    Task("wirelesslab/AISliceChoices-v0", "ai_slice_choices:with_choices"),  # likewise
)


def register() -> None:
    """Make the tasks known to Gymnasium; those that are known already stay as they are."""
    for task in TASKS:
        if task.id not in gymnasium.registry:
            gymnasium.register(
                task.id,
                entry_point=f"{HERE}.{task.entry}",
                vector_entry_point=f"{HERE}.{task.vector}" if task.vector else None,
            )
