"""Read the sections of a docstring: summary, description, Args, Returns, Raises, Example and the rest."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SECTIONS = ("When", "Args", "Attributes", "Returns", "Raises", "Example", "Reference", "Differs", "Notes")
_HEAD = re.compile(rf"({'|'.join(SECTIONS)}):\s*(.*)")
_ENTRY = re.compile(r"    (\*{0,2}\w+(?:, \w+)*): ?(.*)")


@dataclass(frozen=True, slots=True)
class Docstring:
    """A docstring in its parts.

    Attributes:
        summary: the first line.
        description: the paragraphs after it, each on one line.
        sections: heading -> its lines, without the heading and with their indent.
    """

    summary: str
    description: tuple[str, ...]
    sections: Mapping[str, tuple[str, ...]]

    def text(self, section: str) -> str:
        """A section as one paragraph; empty if it is not there."""
        return " ".join(line.strip() for line in self.sections.get(section, ()) if line.strip())

    def entries(self, section: str) -> dict[str, str]:
        """A section of `name: text` lines by name; continuation lines are joined."""
        found: dict[str, list[str]] = {}
        last: list[str] = []
        for line in self.sections.get(section, ()):
            match = _ENTRY.fullmatch(line)
            if match:
                last = found.setdefault(match[1].lstrip("*"), [match[2]])
            elif line.strip():
                last.append(line.strip())
        return {name: " ".join(lines) for name, lines in found.items()}

    def block(self, section: str) -> str:
        """A section as it stands, without its indent."""
        return inspect.cleandoc("\n" + "\n".join(self.sections.get(section, ())))


def read(documented: Callable[..., Any] | type) -> Docstring:
    """The docstring of a function or class in its parts."""
    lines = (inspect.getdoc(documented) or "").splitlines()
    sections: dict[str, list[str]] = {"": []}
    current = ""
    for line in lines[1:]:
        head = _HEAD.fullmatch(line)
        if head:
            current = head[1]
            sections[current] = [head[2]] if head[2] else []
        else:
            sections[current].append(line)
    paragraphs = "\n".join(sections.pop("")).strip().split("\n\n")
    return Docstring(
        summary=lines[0] if lines else "",
        description=tuple(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph.strip()),
        sections={name: tuple(body) for name, body in sections.items()},
    )
