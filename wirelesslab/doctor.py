"""What this machine offers to wirelesslab, and what it lacks."""

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from wirelesslab import check
from wirelesslab.threads import available_cores
from wirelesslab.units import readable_bytes


def wanted() -> dict[str, list[str]]:
    """Return the packages that wirelesslab wants, from its own metadata: under "" what it needs, then each extra's.

    Raises:
        PackageNotFoundError: wirelesslab runs from its source without being installed.
    """
    found: dict[str, list[str]] = {"": []}
    for line in requires("wirelesslab") or ():
        package, _, condition = line.partition(";")
        name = re.match(r"[\w.-]+", package)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", condition)
        if name is not None and name[0] != "wirelesslab":  # an extra of extras
            found.setdefault(extra[1] if extra else "", []).append(name[0])
    return found


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
    try:
        packages = wanted()
    except PackageNotFoundError:
        packages = {"": ["wirelesslab"]}
    for name in packages.pop(""):
        there = _version(name)
        sound &= there is not None
        say("ok" if there else "BAD", name, there or "missing; pip install wirelesslab")
    if _version("sionna") and _version("sionna-no-rt"):
        sound = False
        say(
            "BAD",
            "sionna",
            "sionna and sionna-no-rt are both installed and own the same files; pip uninstall sionna",
        )
    for extra, names in packages.items():
        versions = {name: _version(name) for name in names}
        lacking = [name for name, found in versions.items() if found is None]
        hint = f"without {', '.join(lacking)}; pip install 'wirelesslab[{extra}]'"
        say(
            "-" if lacking else "ok",
            f"[{extra}]",
            hint if lacking else ", ".join(f"{n} {v}" for n, v in versions.items()),
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


def _version(package: str) -> str | None:
    """Return the version that is installed; None if none is."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(exist_ok=True)
        probe = folder / ".probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError:
        return False
    return True
