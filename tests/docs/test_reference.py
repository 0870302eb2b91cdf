"""Tables and names in the documentation are those of the code."""

from __future__ import annotations

import inspect
import re

import pytest

import knowledge_distillation as kd
from docs.generate.original import TODAY, original_arguments
from docs.generate.tables import TABLES, filled
from knowledge_distillation import errors
from knowledge_distillation.kd_training import KnowledgeDistillationTraining
from tests.docs.blocks import PAGES, ROOT

TEXT = {page.name: page.read_text(encoding="utf-8") for page in PAGES}


@pytest.mark.parametrize("name", kd.__all__)
def test_public_name_is_mentioned(name: str) -> None:
    """A public name that no page mentions is one that nobody finds."""
    assert any(re.search(rf"\bkd\.{name}\b", text) for text in TEXT.values())


def test_errors_are_listed() -> None:
    """A reader who catches errors must know them all."""
    kinds = [name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)]
    assert all(f"`{name}`" in TEXT["index.md"] or f"`kd.{name}`" in TEXT["index.md"] for name in kinds)


@pytest.mark.parametrize("name", TABLES)
def test_table_is_used_and_filled(name: str) -> None:
    """A generated table that is empty, or that no page asks for, documents nothing."""
    assert any(f"<!-- generated: {name} -->" in text for text in TEXT.values())
    content = TABLES[name]()
    assert content.strip()
    assert not re.search(r"\| *\|", content.partition("\n")[2]) or name == "commands"


def test_unknown_table_is_refused() -> None:
    """A misspelt request must not leave a comment that nobody sees."""
    with pytest.raises(KeyError):
        filled("<!-- generated: nonsense -->")


def test_original_arguments_are_all_there() -> None:
    """All 25, in the order in which old code passes them."""
    parameters = inspect.signature(KnowledgeDistillationTraining).parameters
    assert list(TODAY) == list(parameters)
    assert len(parameters) == 25
    rows = [line for line in original_arguments().splitlines() if re.match(r"\| \d", line)]
    assert [re.findall(r"`(\w+)`", row)[0] for row in rows] == list(parameters)


def test_equivalents_exist() -> None:
    """What is said to replace an argument must be an argument of `distill`."""
    accepted = inspect.signature(kd.distill).parameters
    for name, (_, today) in TODAY.items():
        for span in re.findall(r"`([^`]+)`", today):
            argument = re.match(r"(\w+)(?==|$)", span)
            if argument and argument[1] not in ("COMET_API_KEY",):
                assert argument[1] in accepted, f"{name}: {span}"


def test_changelog_and_contributing() -> None:
    """The five commands that contributors are told are targets of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\| `make ([\w-]+)`", contributing, re.M)
    assert len(commands) == 5
    assert all(re.search(rf"^{command}:", makefile, re.M) for command in commands)
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
