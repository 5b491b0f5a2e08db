"""wirelesslab: a simulation-first wireless and network toolkit.

The wings (`wirelesslab.mmtc`, `wirelesslab.network`, `wirelesslab.vision`), the hall (`wirelesslab.services`) and the
tools of the floor (`wirelesslab.Study`, `wirelesslab.plot`) are imported on first use, so that `import wirelesslab` is
quick and loads no TensorFlow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_MODULES = (
    "check", "mmtc", "network", "plot", "replicas", "results", "rng", "services", "stats", "study", "threads", "units",
    "vision",
)  # fmt: skip
_NAMES = {"Count": "stats", "Stop": "study", "Study": "study"}
__all__ = [
    "Count",
    "Stop",
    "Study",
    "check",
    "mmtc",
    "network",
    "plot",
    "replicas",
    "results",
    "rng",
    "services",
    "stats",
    "study",
    "threads",
    "units",
    "vision",
]

if TYPE_CHECKING:
    from wirelesslab import (
        check,
        mmtc,
        network,
        plot,
        replicas,
        results,
        rng,
        services,
        stats,
        study,
        threads,
        units,
        vision,
    )
    from wirelesslab.stats import Count
    from wirelesslab.study import Stop, Study


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"wirelesslab.{name}")
    if name in _NAMES:
        return getattr(import_module(f"wirelesslab.{_NAMES[name]}"), name)
    msg = f"module 'wirelesslab' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
