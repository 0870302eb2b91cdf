"""What goes wrong for a user who has a recipe examined on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from knowledge_distillation.cli import main
from tests.cli.test_compare_command import RECIPE
from tests.recipes.test_running import MODULE


@pytest.fixture
def files(workplace: Path) -> list[str]:
    (workplace / "tiny.yaml").write_text(RECIPE)
    (workplace / "mine.py").write_text(MODULE)
    return ["doctor", "tiny.yaml", "--module", "mine.py"]


def test_an_error_is_the_exit_code(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise a script goes on and trains."""
    assert main([*files, "--quick", "--set", "training.learning_rate=-1.0"]) == 1
    shown = capsys.readouterr().out
    for expected in ("error: Training refuses learning_rate. [arguments]", "seen:", "harm:", "fix:", "1 error"):
        assert expected in shown


def test_a_warning_is_not(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise doubts stop what may be right."""
    code = main([*files, "--checks", "warm_up", "--set", "training.warm_up_epochs=1", "--json"])
    read = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == 0
    assert [finding["severity"] for finding in read["findings"]] == ["warning"]
    assert read["checks"] == ["warm_up"]


def test_nothing_is_kept_unless_a_directory_is_named(files: list[str], workplace: Path) -> None:
    """A look must leave nothing behind; where it is asked to, the teacher that took long to train stays too."""
    before = sorted(path.name for path in workplace.iterdir())
    main([*files, "--quick"])
    after = {path.name for path in workplace.iterdir()} - {"__pycache__"}
    assert sorted(after) == before
    main([*files, "--quick", "--directory", "kept"])
    assert json.loads(Path("kept/doctor.json").read_text())["checks"]
    weights = Path("kept/teacher/student.safetensors")
    trained = weights.stat().st_mtime_ns
    main([*files, "--quick", "--directory", "kept"])
    assert weights.stat().st_mtime_ns == trained  # found again, not trained again


def test_a_misspelt_check_is_refused(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise a check that did not run reads as health."""
    assert main([*files, "--checks", "warmup"]) == 2
    assert "no check named 'warmup'" in capsys.readouterr().err
