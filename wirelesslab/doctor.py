"""What this machine offers to wirelesslab, and what it lacks."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from wirelesslab import check
from wirelesslab.threads import available_cores
from wirelesslab.units import readable_bytes

NEEDED = (
    "numpy", "scipy", "numba", "xarray", "h5netcdf", "matplotlib", "click", "rich", "threadpoolctl", "networkx",
    "simpy", "tensorflow", "sionna-no-rt",
)  # fmt: skip
EXTRAS = {
    "notebooks": "jupyterlab",
    "serve": "fastapi",
    "dask": "distributed",
    "rl": "gymnasium",
    "dev": "pytest",
}


def report() -> tuple[bool, str]:
    """Return whether everything needed is there, and the report."""
    lines, sound = [], True

    def say(mark: str, what: str, text: str) -> None:
        lines.append(f"{mark:4} {what:14} {text}")

    right_python = (3, 11) <= sys.version_info[:2] <= (3, 12)
    sound &= right_python
    hint = "" if right_python else "; wirelesslab needs 3.11 or 3.12"
    say("ok" if right_python else "BAD", "python", f"{platform.python_version()}{hint}")
    say(
        "ok",
        "machine",
        f"{available_cores()} cores, {readable_bytes(check.available_bytes())} of memory free",
    )
    for name in NEEDED:
        try:
            say("ok", name, version(name))
        except PackageNotFoundError:
            sound = False
            say("BAD", name, "missing; pip install wirelesslab")
    if _both_sionnas():
        sound = False
        say(
            "BAD",
            "sionna",
            "sionna and sionna-no-rt are both installed and own the same files; pip uninstall sionna",
        )
    for extra, package in EXTRAS.items():
        there = find_spec(package) is not None
        say(
            "ok" if there else "-",
            f"[{extra}]",
            version(package) if there else f"not installed; pip install 'wirelesslab[{extra}]'",
        )
    cache = Path(__file__).parent / "mmtc" / "__pycache__"
    say(
        "ok",
        "kernels",
        f"compiled code is kept in {'the package' if _writable(cache) else 'your cache folder'}",
    )
    sims = find_spec("wirelesslab_sims")
    sound &= sims is not None
    say("ok" if sims else "BAD", "sims", "found" if sims else "missing; pip install wirelesslab")
    lines.append("all is well" if sound else "something is missing: see BAD")
    return sound, "\n".join(lines)


def _both_sionnas() -> bool:
    try:
        requires("sionna")
    except PackageNotFoundError:
        return False
    return True


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(exist_ok=True)
        probe = folder / ".probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError:
        return False
    return True
