"""What goes wrong for a maintainer when CI installs something that nobody has seen before."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / ".ci" / "requirements.txt").read_text()
PINNED = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK, re.MULTILINE))


def required() -> list[Requirement]:
    """What the project and its development extra name, through the extras that this one names in turn."""
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found, waiting = [], [*project["dependencies"], *extras["dev"]]
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.name == project["name"]:
            waiting += [line for extra in requirement.extras for line in extras[extra]]
        else:
            found.append(requirement)
    return found


def test_the_lock_holds_what_the_project_needs() -> None:
    """Otherwise CI takes the newest release of a package that was added, whoever made it."""
    needed = {requirement.name.lower(): requirement for requirement in required()}
    assert len(needed) > 20
    assert {name for name in needed if name not in PINNED} == set()
    assert {name for name, asked in needed.items() if not asked.specifier.contains(PINNED[name])} == set()


def test_every_package_of_the_lock_has_hashes_and_no_address() -> None:
    """Otherwise an index decides what is installed."""
    entries = re.split(r"^(?=[a-z0-9])", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == len(PINNED) > 80
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []
    assert re.findall(r"https?://|--index-url|--find-links", LOCK) == []
