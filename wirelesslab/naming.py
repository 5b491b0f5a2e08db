"""Names on the command line: of sims, detectors, and laws with their numbers."""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from wirelesslab import check

T = TypeVar("T")


def slug(name: str) -> str:
    """Return a name as the command line writes it: lower case, hyphens.

    Examples:
        >>> slug("OMP one per device")
        'omp-one-per-device'
    """
    return "-".join(name.strip().lower().replace("_", " ").replace(",", "").split())


def build(family: Sequence[type[T]], text: str, *, name: str) -> T:
    """Return the member of `family` that `text` names, with its numbers.

    Args:
        family: Classes that take keyword arguments with defaults.
        text: A class's name, then its fields if they are not the usual ones:
            ``rician`` or ``rician:k_factor_db=3``, several separated by semicolons.
        name: The argument's name, for messages.

    Raises:
        ValueError: No such class, no such field, or a value of the wrong kind.

    Examples:
        >>> from wirelesslab.mmtc import FADINGS
        >>> build(FADINGS, "rician:k_factor_db=3", name="fading")
        Rician(k_factor_db=3.0)
    """
    word, _, rest = text.partition(":")
    known = {member.__name__.lower(): member for member in family}
    key = slug(word).replace("-", "")
    check.one_of(known, **{name: key})
    member = known[key]
    declared = {f.name: f.default for f in fields(member)}  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for part in filter(None, rest.split(";")):
        field, equals, value = part.partition("=")
        field = field.strip()
        if field not in declared or not equals:
            msg = (
                f"{name}: got {part!r} in {text!r}, expected one of "
                f"{', '.join(f'{f}=…' for f in declared) or 'no option'}{check.nearest(field, declared)}"
            )
            raise ValueError(msg)
        given[field] = _convert(value.strip(), declared[field], f"{name}: {field}")
    lacking = [f.name for f in fields(member) if f.default is MISSING and f.name not in given]  # type: ignore[arg-type]
    if lacking:
        msg = f"{name}: {text!r} lacks {lacking[0]}, write {slug(member.__name__)}:{lacking[0]}=…"
        raise ValueError(msg)
    return member(**given)


def _convert(text: str, default: object, where: str) -> Any:
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, int | float):
            return type(default)(text)
    except (ValueError, KeyError):
        msg = f"{where}: got {text!r}, expected a value such as {default!r}"
        raise ValueError(msg) from None
    return text
