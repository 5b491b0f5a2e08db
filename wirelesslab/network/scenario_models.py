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
from math import inf
from operator import or_
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from wirelesslab import check


class Part(BaseModel):
    """A part of a scenario: unknown fields are refused, numbers must be numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Built(Part):
    """A part that stands for an object of the wing."""

    @model_validator(mode="after")
    def _can_be_built(self) -> "Built":
        self.build()
        return self

    __makes__: ClassVar[Callable[..., Any]]
    __endless__: ClassVar[frozenset[str]] = frozenset()  # fields that are infinite when they are not given

    def build(self) -> Any:
        """Return the object."""
        values = {name: _built(getattr(self, name)) for name in type(self).model_fields if name != "kind"}
        values |= {name: inf for name in self.__endless__ if values[name] is None}
        return type(self).__makes__(**values)


def _built(value: Any) -> Any:
    if isinstance(value, Built):
        return value.build()
    if isinstance(value, list | tuple):
        return tuple(_built(item) for item in value)
    if isinstance(value, dict):
        return {name: _built(item) for name, item in value.items()}
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
    needed: Sequence[str] = (),
    tagged: bool = True,
    suffix: str = "",
) -> type[Built]:
    """Return the model of a dataclass or of a function with annotated parameters.

    Args:
        maker: It.
        families: What stands for a protocol in its annotations, such as a union of models.
        without: Fields that a file does not set.
        needed: Fields that a file must set even where the class has a default.
        tagged: Whether it says its `kind`; a part that can be one thing only need not.
        suffix: Of the model's name, where one class has two models.
    """
    kind = kind_of(maker)
    wanted: dict[str, Any] = {"kind": (Literal[kind], ...)} if tagged else {}
    hints, endless = get_type_hints(maker), set[str]()
    for name, default in _parameters(maker):
        if name not in without and name not in hints:
            msg = f"{maker.__name__}.{name} has no type, which scenario files need; write the class as a dataclass"
            raise TypeError(msg)
        if name not in without:
            wanted[name] = _field(_translated(hints[name], families or {}), MISSING if name in needed else default)
            endless |= {name} if default == inf else set()
    first = (inspect.getdoc(maker) or "").split("\n\n")[0].replace("\n", " ")
    model = create_model(maker.__name__ + suffix, __base__=Built, __doc__=first, **wanted)
    model.__makes__, model.__endless__ = staticmethod(maker), frozenset(endless)
    return model


def family(
    makers: Sequence[Callable[..., Any]], *, protocol: Any = None, extra: Sequence[type[Part]] = (), **options: Any
) -> Any:
    """Return the union of the models of a family, and of `extra` ones, told apart by `kind`.

    A member that holds another one (a field whose type is the family's `protocol`) may hold any that holds none.
    """
    holders = [maker for maker in makers if protocol in get_type_hints(maker).values()]
    simple = [maker for maker in makers if maker not in holders]
    models = [model_of(maker, **options) for maker in simple]
    if holders:
        inner = dict(options.pop("families", None) or {})
        inner[protocol] = family(simple, families=inner, **{"suffix": "Inside", **options})
        models += [model_of(maker, families=inner, **options) for maker in holders]
    return _union((*models, *extra))


def _union(models: Sequence[type[Part]]) -> Any:
    if len(models) == 1:
        return models[0]
    return Annotated[reduce(or_, models), Field(discriminator="kind")]


def _field(annotation: Any, default: Any) -> tuple[Any, Any]:
    if default is MISSING:
        return annotation, ...
    if isinstance(default, float) and default == inf:  # JSON has no infinity: a file says nothing instead
        return annotation | None, None
    if default is None or isinstance(default, bool | int | float | str | tuple):
        return annotation, default
    return annotation, Field(default_factory=lambda: default)


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
    if get_origin(annotation) is np.ndarray:
        return list[int] if arguments[1] == np.dtype[np.int64] else list[float]
    if not arguments or get_origin(annotation) is Literal:
        return annotation
    translated = tuple(_translated(argument, families) for argument in arguments)
    origin = get_origin(annotation)
    if origin in {Union, UnionType}:
        return reduce(or_, translated) if all(isinstance(t, type) for t in translated) else Union[translated]  # noqa: UP007
    return origin[translated] if origin is not None else annotation


def reasons(error: ValidationError, model: type[Part]) -> list[tuple[tuple[str | int, ...], str]]:
    """Return (place, reason) of everything that pydantic found wrong with data for `model`, in words."""
    found = []
    for item in error.errors():
        place, kind, context = tuple(item["loc"]), item["type"], item.get("ctx", {})
        if kind == "extra_forbidden":
            known = _fields_at(model, place[:-1])
            reason = f"is not a field here{check.nearest(str(place[-1]), known)}; known are {', '.join(known)}"
        elif kind == "missing":
            reason = "is missing"
        elif kind == "union_tag_not_found":
            place, reason = (*place, "kind"), f"is missing; expected one of {_known_kinds(model, place)}"
        elif kind == "union_tag_invalid":
            kinds = _known_kinds(model, place)
            near = check.nearest(str(context["tag"]), kinds.split(", "))
            place, reason = (*place, "kind"), f"got {context['tag']!r}, expected one of {kinds}{near}"
        elif kind == "value_error":
            reason = str(context.get("error", item["msg"]))
        elif kind in {"model_type", "model_attributes_type", "dict_type"}:
            reason = f"got {item['input']!r}, expected a mapping of fields, such as {{kind: ...}}"
        else:
            reason = f"got {item['input']!r}, expected {item['msg'][0].lower()}{item['msg'][1:]}"
            reason = reason.replace("expected input should be ", "expected ")
        found.append((place, reason))
    return found


def _known_kinds(model: type[Part], place: tuple[str | int, ...]) -> str:
    return ", ".join(str(_kind(m)) for m in _models_at(model, place) if _kind(m))


def _kind(model: type[Part]) -> str | None:
    field = model.model_fields.get("kind")
    return None if field is None else str(get_args(field.annotation)[0])


def _fields_at(model: type[Part], place: tuple[str | int, ...]) -> list[str]:
    return list(dict.fromkeys(name for m in _models_at(model, place) for name in m.model_fields))


def _models_at(model: type[Part], place: tuple[str | int, ...]) -> list[type[Part]]:
    """Return the models that may stand at a place; a step is a field, a number in a list, or a kind."""
    models = [model]
    for step in place:
        with_field = [m for m in models if step in m.model_fields]
        if with_field:
            models = [inner for m in with_field for inner in _models_in(m.model_fields[str(step)].annotation)]
        else:
            models = [m for m in models if _kind(m) == step] or models
    return models


def _models_in(annotation: Any) -> list[type[Part]]:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]
