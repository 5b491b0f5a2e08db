"""Pydantic models made from the wing's own configs and builders, so that nothing about them is said twice.

A config class (a frozen dataclass) becomes a model with the same fields and defaults and one more, `kind`, its
name in snake case; its own checks run when it is built. A family (a tuple of classes) becomes a union that `kind`
tells apart. A new traffic model, scheduler or failure that is named in its family is thereby a word of the
scenario file.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import reduce
from operator import or_
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator


class Part(BaseModel):
    """A part of a scenario: unknown fields are refused, numbers must be numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Built(Part):
    """A part that stands for an object of the wing."""

    @model_validator(mode="after")
    def _can_be_built(self) -> "Built":
        self.build()
        return self

    __makes__: Callable[..., Any]

    def build(self) -> Any:
        """Return the object."""
        values = {name: _built(getattr(self, name)) for name in type(self).model_fields if name != "kind"}
        return type(self).__makes__(**values)


def _built(value: Any) -> Any:
    if isinstance(value, Built):
        return value.build()
    if isinstance(value, list | tuple):
        return tuple(_built(item) for item in value)
    return value


def kind_of(maker: Callable[..., Any]) -> str:
    """Return what a class or builder is called in a scenario file.

    Examples:
        >>> class XrVideo: ...
        >>> kind_of(XrVideo)
        'xr_video'
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", maker.__name__).lower()


def model_of(
    maker: Callable[..., Any],
    *,
    families: Mapping[Any, Any] | None = None,
    without: Sequence[str] = (),
    tagged: bool = True,
) -> type[Built]:
    """Return the model of a dataclass or of a function with annotated parameters.

    Args:
        maker: It.
        families: What stands for a protocol in its annotations, such as a union of models.
        without: Fields that a file does not set.
        tagged: Whether it says its `kind`; a part that can be one thing only need not.
    """
    kind = kind_of(maker)
    wanted: dict[str, Any] = {"kind": (Literal[kind], ...)} if tagged else {}
    hints = get_type_hints(maker)
    for name, default in _parameters(maker):
        if name not in without:
            annotation = _translated(hints[name], families or {})
            wanted[name] = (annotation, ... if default is MISSING else default)
    first = (inspect.getdoc(maker) or "").split("\n\n")[0].replace("\n", " ")
    model = create_model(maker.__name__, __base__=Built, __doc__=first, **wanted)
    model.__makes__ = staticmethod(maker)
    return model


def family(makers: Sequence[Callable[..., Any]], *, extra: Sequence[type[Part]] = (), **options: Any) -> Any:
    """Return the union of the models of a family, and of `extra` ones, told apart by `kind`."""
    models = (*(model_of(maker, **options) for maker in makers), *extra)
    if len(models) == 1:
        return models[0]
    return Annotated[reduce(or_, models), Field(discriminator="kind")]


def _parameters(maker: Callable[..., Any]) -> list[tuple[str, Any]]:
    if is_dataclass(maker):
        return [
            (f.name, f.default if f.default is not MISSING else f.default_factory() if f.default_factory is not MISSING else MISSING)  # noqa: E501
            for f in fields(maker)
            if f.init
        ]  # fmt: skip
    parameters = inspect.signature(maker).parameters.values()
    return [(p.name, MISSING if p.default is inspect.Parameter.empty else p.default) for p in parameters]


def _translated(annotation: Any, families: Mapping[Any, Any]) -> Any:
    if annotation in families:
        return families[annotation]
    arguments = get_args(annotation)
    if not arguments or get_origin(annotation) is Literal:
        return annotation
    translated = tuple(_translated(argument, families) for argument in arguments)
    origin = get_origin(annotation)
    if origin in {Union, UnionType}:
        return reduce(or_, translated) if all(isinstance(t, type) for t in translated) else Union[translated]  # noqa: UP007
    return origin[translated] if origin is not None else annotation


def reasons(error: ValidationError) -> list[tuple[tuple[str | int, ...], str]]:
    """Return (place, reason) of everything that pydantic found wrong, in words."""
    found = []
    for item in error.errors():
        place, kind, context = tuple(item["loc"]), item["type"], item.get("ctx", {})
        if kind == "extra_forbidden":
            reason = "is not a field here"
        elif kind == "missing":
            reason = "is missing"
        elif kind in {"union_tag_invalid", "union_tag_not_found"}:
            expected = context.get("expected_tags", "")
            reason = f"kind: got {context.get('tag', 'nothing')!r}, expected one of {expected or 'the known kinds'}"
        elif kind == "value_error":
            reason = str(context.get("error", item["msg"]))
        else:
            reason = f"got {item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}"
        found.append((place, reason))
    return found
