"""Every piece of code in the documentation runs: what a reader copies must work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from knowledge_distillation.objective import as_objective
from knowledge_distillation.recipes.reading import check_recipe
from knowledge_distillation.untrusted import yaml_of
from tests.docs.blocks import ALLOWED_REASONS, PAGES, blocks

WITH_PYTHON = [page for page in PAGES if any(True for _ in blocks(page, "python"))]
YAML_BLOCKS = [block for page in PAGES for block in blocks(page, "yaml")]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # a warning of some library version is no fault of the page
@pytest.mark.parametrize("page", [pytest.param(page, id=page.stem) for page in WITH_PYTHON])
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page whose code fails teaches its reader something wrong."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": f"docs_{page.stem.replace('-', '_')}"}
    for block in blocks(page, "python"):
        if not block.not_run:
            # padded, so that a traceback names the line of the page
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), namespace)


def test_reasons_not_to_run() -> None:
    """A block may only be left out for what a test machine lacks, not because it is broken."""
    left_out = [block for page in PAGES for block in blocks(page, "python") if block.not_run]
    for block in left_out:
        assert any(word in block.not_run for word in ALLOWED_REASONS), f"{block.page.name}: {block.not_run}"
        compile(block.code, str(block.page), "exec")


@pytest.mark.parametrize("block", [pytest.param(b, id=f"{b.page.stem}-{b.line}") for b in YAML_BLOCKS])
def test_recipes_are_accepted(block: Any) -> None:
    """A recipe that is shown and then refused wastes its reader's first try."""
    content = yaml_of(block.code)
    if "student" in content:
        check_recipe(content, f"{block.page.name}:{block.line}")
    as_objective(content["objective"])
