"""An attack: how its files are made, and what a user does with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "kd_canary"
"""Stands in every name and text of an attack, so that a process that acts on one is caught."""
SECRET = "a secret outside, which nobody may read"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attack happens.

    Attributes:
        folder: empty, and the working directory of the victim.
        material: finished runs, caches and exports, to be copied and spoilt.
    """

    folder: Path
    material: Path

    @property
    def given(self) -> Path:
        """Where the stranger's files lie."""
        return self.folder / "given"

    @property
    def outside(self) -> Path:
        """A folder that nothing may reach from there."""
        return self.folder / "outside"

    @property
    def secret(self) -> Path:
        return self.outside / "secret.txt"

    @property
    def canary(self) -> Path:
        """The file that code out of an attack would make."""
        return self.folder / f"{MARK}_sang"

    @property
    def command(self) -> str:
        """What sings, for a shell."""
        return f"touch {self.canary}"

    def prepare(self) -> None:
        self.given.mkdir()
        self.outside.mkdir()
        self.secret.write_text(SECRET)
        module = self.folder / "importable" / f"{MARK}_module.py"
        module.parent.mkdir()
        module.write_text(f"open({str(self.canary)!r}, 'w')\ndef fire(*_, **__):\n    pass\n")


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        name: what it tries.
        make: writes the stranger's files.
        use: what the victim does with them.
        ignored: whether it may end without an error, having done nothing.
    """

    name: str
    make: Callable[[Place], Any]
    use: Callable[[Place], Any]
    ignored: bool = False


class Shell:
    """Pickled: a command that is run when it is read."""

    def __init__(self, place: Place) -> None:
        self.command = place.command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


class Source:
    """Pickled: Python source that is run when it is read."""

    def __init__(self, place: Place) -> None:
        self.source = f"open({str(place.canary)!r}, 'w')"

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self.source,)


def importing() -> bytes:
    """A pickle that names a function of a module, which is imported for that."""
    return f"c{MARK}_module\nfire\n.".encode()
