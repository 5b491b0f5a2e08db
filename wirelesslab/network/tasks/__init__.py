"""Tasks: what an agent can be asked to do on a network, as Gymnasium and PettingZoo environments.

Importing this package makes them known: ``gymnasium.make("wirelesslab/SliceAlloc-v0")``.
"""

try:
    import gymnasium  # noqa: F401
except ImportError as error:
    msg = "tasks need Gymnasium and PettingZoo: pip install 'wirelesslab[rl]'"
    raise ImportError(msg) from error

from wirelesslab.network.tasks.registration import TASKS, register
from wirelesslab.network.tasks.task import SOURCES, Source

register()

__all__ = ["SOURCES", "TASKS", "Source", "register"]
