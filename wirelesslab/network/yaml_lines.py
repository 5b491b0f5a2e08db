"""Where in a YAML file something stands, so that an error can name the line."""

from pathlib import Path
from typing import Any

import yaml

from wirelesslab import check

Place = tuple[str | int, ...]


class ScenarioError(ValueError):
    """A scenario is wrong; the message names the line, the field and the reason of everything that is."""


class Lines:
    """A YAML text, as data and as lines.

    Args:
        text: The text.
        name: What the text is called in messages, such as the file's name.

    Raises:
        ScenarioError: It is not YAML, has a key twice, or is not a mapping.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        try:
            self.root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.data: Any = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            where = f"{name}, line {mark.line + 1}" if mark else name
            msg = f"{where}: not YAML: {error.problem}"
            raise ScenarioError(msg) from None
        except yaml.YAMLError as error:
            msg = f"{name}: not YAML: {error}"
            raise ScenarioError(msg) from None
        if not isinstance(self.data, dict):
            msg = f"{name}: got {type(self.data).__name__}, expected a mapping with topology, slices and traffic"
            raise ScenarioError(msg)
        self._refuse_twins(self.root)

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

    def _refuse_twins(self, node: Any) -> None:
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                if key.value in seen:
                    msg = (
                        f"{self.name}, line {key.start_mark.line + 1}: {key.value}: is already said in line "
                        f"{seen[key.value]}; keep one"
                    )
                    raise ScenarioError(msg)
                seen[key.value] = key.start_mark.line + 1
                self._refuse_twins(value)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                self._refuse_twins(value)

    def find(self, place: Place) -> tuple[int, str]:
        """Return the line of `place` and its name; steps that are not in the file (a kind's tag) are passed over."""
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
        if place and isinstance(place[-1], str) and not said.endswith(place[-1]):
            said = f"{said}.{place[-1]}" if said else place[-1]
        return line, said

    def complaint(self, place: Place, reason: str) -> str:
        """Return a line of an error message."""
        line, said = self.find(place)
        return f"{self.name}, line {line}: {said or 'scenario'}: {reason}"


def unknown_field(field: str, known: list[str]) -> str:
    """Return the reason for which a field is refused."""
    return f"is not a field here{check.nearest(field, known)}; known are {', '.join(known)}"
