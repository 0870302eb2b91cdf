"""Run an attack in a process of its own, and look at everything that this process asks of the system."""

from __future__ import annotations

import os
import resource
import sys
import traceback
import types
from pathlib import Path
from typing import Any

from knowledge_distillation.errors import DistillationError
from tests.faults.attacks.attack import MARK, SECRET, Attack, Place
from tests.processes import Child

PROGRAM = "import sys; from tests.faults.attacks.judging import main; main(*sys.argv[1:])"
STARTS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.forkpty",
    "pty.spawn",
    "subprocess.Popen",
)
MEMORY = 400 * 2**20
"""Bytes that reading a file of some kilobytes may add to the process; a bomb adds a gigabyte."""
PARSED = "<unknown>"
"""What `ast.parse` calls a text that it takes apart and nobody runs."""
SECONDS = 60.0
"""Only against a process that hangs."""


def judge(attacks: str, number: int, folder: Path, material: Path) -> None:
    """Raise AssertionError unless an attack was refused, and nothing of it happened.

    Args:
        attacks: module that has them as ATTACKS.
        number: of the attack.
        folder: empty.
        material: as of `Place`.
    """
    done = Child(PROGRAM, attacks, str(number), folder, material, directory=folder).wait(SECONDS)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def main(attacks: str, number: str, folder: str, material: str) -> None:
    """The process: exits with 0 only where the attack did nothing."""
    __import__(attacks)
    attack: Attack = sys.modules[attacks].ATTACKS[int(number)]
    place = Place(Path(folder), Path(material))
    place.prepare()
    attack.make(place)
    sys.path.append(str(place.folder / "importable"))  # so that an import of it would succeed
    watch = Watch(place)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watch.begin()
    end = used(attack, place)
    watch.end()
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    faults = [*complaint(end, attack), *watch.seen]
    faults += ["the canary sang"] if place.canary.exists() else []
    faults += ["a file outside was changed"] if place.secret.read_text() != SECRET else []
    faults += (
        [f"something was written outside: {names}"] if (names := os.listdir(place.outside)) != ["secret.txt"] else []
    )
    faults += [f"it took {grown:,} bytes"] if grown > MEMORY else []
    sys.exit(f"{attack.name}: {faults}" if faults else 0)


def used(attack: Attack, place: Place) -> BaseException | None:
    """What the victim's step ended with."""
    try:
        attack.use(place)
    except BaseException as error:
        return error
    return None


def complaint(end: BaseException | None, attack: Attack) -> list[str]:
    """What is wrong with how it ended."""
    if end is None:
        return [] if attack.ignored else ["it was not refused"]
    if isinstance(end, SystemExit):
        return [] if end.code in (1, 2) else [f"the command ended with {end.code}"]
    said = "".join(traceback.format_exception(end))
    if not isinstance(end, DistillationError):
        return [f"it was no error of ours: {said[-3000:]}"]
    print(f"{type(end).__name__}: {end}"[:2000])
    return ["the secret is in the traceback"] if SECRET in said else []


class Watch:
    """Notes each event that no file may cause: code, processes, connections, imports and files outside."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.seen: list[str] = []
        self.watches = False
        sys.addaudithook(self._look)  # stays for as long as the process lives

    def begin(self) -> None:
        self.watches = True

    def end(self) -> None:
        self.watches = False

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watches:
            return
        if event in STARTS or event == "socket.connect":
            self.seen.append(f"{event} {arguments}")
        elif event == "import" and MARK in str(arguments[0]):
            self.seen.append(f"import {arguments[0]}")
        elif event in ("exec", "compile") and arguments[1:2] != (PARSED,) and _tells_of(arguments[0]):
            self.seen.append(f"{event} of {arguments}")
        elif event == "open" and isinstance(arguments[0], (str, os.PathLike)):
            path = Path(os.path.realpath(os.fspath(arguments[0])))
            if path.is_relative_to(self.place.outside.resolve()) or path == self.place.canary:
                self.seen.append(f"open {arguments}")


def _tells_of(value: Any) -> bool:
    """Whether code or its source holds the mark."""
    if isinstance(value, types.CodeType):
        return any(MARK in name for name in value.co_names) or any(map(_tells_of, value.co_consts))
    text = value.decode(errors="replace") if isinstance(value, bytes) else value
    return isinstance(text, str) and MARK in text
