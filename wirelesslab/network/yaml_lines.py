"""Where in a YAML file something stands, so that an error can name the line."""

import re
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str | int, ...]
MOST_NODES = 1_000_000  # of a file with its aliases written out


class ScenarioError(ValueError):
    """A scenario is wrong; the message names the line, the field and the reason of everything that is."""


class Lines:
    """A YAML text, as data and as lines.

    Numbers are read as YAML 1.2 reads them: 1e6 is a number, 010 is ten, and only true and false are truths.

    Args:
        text: The text.
        name: What the text is called in messages, such as the file's name.

    Raises:
        ScenarioError: It is not YAML, has a key twice, or is not a mapping.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        try:
            self.root = yaml.compose(text, Loader=_Loader)
            twins: list[str] = []
            if self.root is not None and self._explore(self.root, twins, {}) > MOST_NODES:
                msg = f"{name}: its aliases stand for more than {MOST_NODES} values; write what you mean"
                raise ScenarioError(msg)
            if twins:
                raise ScenarioError("\n".join(twins))
            self.data: Any = yaml.load(text, Loader=_Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            where = f"{name}, line {mark.line + 1}" if mark else name
            msg = f"{where}: not YAML: {error.problem}"
            raise ScenarioError(msg) from None
        except (yaml.YAMLError, RecursionError) as error:
            msg = f"{name}: not YAML: {error}"
            raise ScenarioError(msg) from None
        if not isinstance(self.data, dict):
            kind = "nothing" if self.data is None else type(self.data).__name__
            msg = f"{name}, line 1: got {kind}, expected a mapping with topology, slices, traffic and until_s"
            raise ScenarioError(msg)

    @classmethod
    def of_file(cls, path: Path) -> "Lines":
        """Return the lines of a file.

        Raises:
            ScenarioError: It cannot be read as text.
        """
        try:
            return cls(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{path}: cannot be read: {error}"
            raise ScenarioError(msg) from None

    def _explore(self, node: Any, twins: list[str], sizes: dict[int, int]) -> int:
        """Return how many values a node stands for, aliases written out; keys that come twice go to `twins`."""
        if id(node) in sizes:
            return sizes[id(node)]
        sizes[id(node)] = MOST_NODES + 1  # what contains itself is endless
        children = []
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if key.value in seen:
                    twins.append(
                        f"{self.name}, line {line}: {key.value}: is already said in line {seen[key.value]}; keep one"
                    )
                elif isinstance(key.value, str):
                    seen[key.value] = line
                children.append(value)
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        sizes[id(node)] = 1 + sum(self._explore(child, twins, sizes) for child in children)
        return sizes[id(node)]

    def find(self, place: Place) -> tuple[int, str]:
        """Return the line of `place` and its name; steps that are not in the file (a kind's tag) are passed over."""
        _, line, said = self._walk(place)
        return line, said

    def _walk(self, place: Place) -> tuple[Any, int, str]:
        node, line, said = self.root, 1, ""
        for step in place:
            if isinstance(node, yaml.MappingNode) and isinstance(step, str):
                found = next(((key, value) for key, value in node.value if key.value == step), None)
                if found is None:
                    continue
                line, node = found[0].start_mark.line + 1, found[1]
                said = f"{said}.{step}" if said else step
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line, said = node.start_mark.line + 1, f"{said}[{step}]"
        return node, line, said

    def complaint(self, place: Place, reason: str) -> str:
        """Return a line of an error message."""
        return self.complaints([(place, reason)])

    def complaints(self, wrong: list[tuple[Place, str]]) -> str:
        """Return an error message with a line for each (place, reason), in the order of the file."""
        found: dict[tuple[int, str], list[str]] = {}
        for given, given_reason in wrong:
            place, reason = given, given_reason
            node, line, said = self._walk(place)
            # What a class refuses begins with the name of its argument, which is a field of the file.
            named = re.match(r"(\w+): (.*)", reason, re.DOTALL)
            while named and isinstance(node, yaml.MappingNode):
                if not any(key.value == named[1] for key, _ in node.value):
                    break
                place, reason = (*place, named[1]), named[2]
                node, line, said = self._walk(place)
                named = re.match(r"(\w+): (.*)", reason, re.DOTALL)
            if named and place and place[-1] == named[1]:
                reason = named[2]
            if reason.startswith("is missing"):
                said = f"{said}.{place[-1]}" if said else str(place[-1])
            told = found.setdefault((line, said), [])
            if reason not in told:
                told.append(reason)
        return "\n".join(
            f"{self.name}, line {line}: {said or 'scenario'}: {'; or '.join(told)}"
            for (line, said), told in sorted(found.items(), key=lambda item: item[0][0])
        )


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Plain data only, with the numbers and truths of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (yaml's own way)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("merge", r"<<", "<"),
):  # fmt: skip
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))
