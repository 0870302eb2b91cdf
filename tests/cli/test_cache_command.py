"""What goes wrong for a user who keeps a teacher's answers from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from knowledge_distillation.cli import main
from tests.cli.test_commands import code_of
from tests.recipes.test_running import MODULE

RECIPE = """
description: tiny
teacher: {name: net, train: {max_epochs: 2, trainer: {accelerator: cpu, enable_progress_bar: false}}}
student: {name: net}
data: {name: points}
cache: {directory: kept, signals: {logits: float32}}
training: {max_epochs: 2, trainer: {accelerator: cpu, enable_progress_bar: false}}
"""


@pytest.fixture
def files(workplace: Path) -> list[str]:
    (workplace / "tiny.yaml").write_text(RECIPE)
    (workplace / "mine.py").write_text(MODULE)
    return ["tiny.yaml", "--module", "mine.py"]


def test_cache_train_inspect_and_verify_go_together(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The line from a recipe to a student must need no Python."""
    assert main(["cache", *files, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["complete"]
    assert facts["views_written"] == facts["samples"] * facts["views"]
    teacher = Path("kept/teacher/student.safetensors").read_bytes()
    assert main(["train", *files, "--directory", "cached"]) == 0
    assert Path("kept/teacher/student.safetensors").read_bytes() == teacher  # not trained a second time
    assert json.loads(Path("cached/environment.json").read_text())["teacher"] != facts["teacher"]
    assert main(["cache", "inspect", "kept"]) == 0
    assert "samples" in capsys.readouterr().out
    assert main(["cache", "verify", "kept"]) == 0
    assert "every checksum is as written" in capsys.readouterr().out


def test_training_writes_the_cache_that_is_not_there(files: list[str]) -> None:
    """Otherwise the first `kd train` of a shared recipe fails."""
    assert main(["train", *files, "--directory", "first"]) == 0
    written = {path: path.stat().st_mtime_ns for path in Path("kept").rglob("*.safetensors")}
    assert main(["train", *files, "--directory", "second"]) == 0
    assert {path: path.stat().st_mtime_ns for path in Path("kept").rglob("*.safetensors")} == written
    one, two = (Path(run, "student.safetensors").read_bytes() for run in ("first", "second"))
    assert one == two


def test_a_cached_run_is_the_live_run(files: list[str]) -> None:
    """In float32 and on plain data the cache may change nothing but the time, and how a sum is rounded."""
    assert main(["train", *files, "--directory", "cached"]) == 0
    live = [*files, "--set", "cache=null", "--set", "teacher={name: net, weights: kept/teacher/student.safetensors}"]
    assert main(["train", *live, "--directory", "live"]) == 0
    one, two = (load_file(Path(run, "student.safetensors")) for run in ("cached", "live"))
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_a_teacher_that_is_to_be_trained_otherwise_is_not_taken_from_the_cache(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The recipe says four epochs, and the student would learn from the teacher of two: its fingerprint fits."""
    assert main(["train", *files, "--directory", "first"]) == 0
    before = {path: path.read_bytes() for path in Path("kept").rglob("*") if path.is_file()}
    for command in ("train", "cache"):
        assert main([command, *files, "--set", "teacher.train.max_epochs=4"]) == 1
        said = capsys.readouterr().err
        assert '"max_epochs": 2' in said
        assert '"max_epochs": 4' in said
    assert {path: path.read_bytes() for path in Path("kept").rglob("*") if path.is_file()} == before
    assert main(["train", *files, "--directory", "second", "--set", "training.max_epochs=1"]) == 0


def test_damage_is_listed_and_fails(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A script that copies a cache must be able to ask whether the copy is whole."""
    assert main(["cache", *files]) == 0
    (shard,) = Path("kept/shards").glob("*.safetensors")
    content = bytearray(shard.read_bytes())
    content[-1] ^= 4
    shard.write_bytes(content)
    capsys.readouterr()
    assert main(["cache", "verify", "kept"]) == 1
    printed = capsys.readouterr()
    assert shard.name in printed.out
    assert "damaged" in printed.err
    assert main(["train", *files, "--directory", "run"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect"], "needs the directory"),
        (["tiny.yaml", "kept"], "--directory kept"),
        (["tiny.yaml", "--set", "teacher=null", "--directory", "kept"], "no teacher section"),
        (["tiny.yaml", "--set", "cache=null"], "no cache section"),
        (["tiny.yaml", "--set", "cache.view=2"], "unknown key 'view'"),
        (["tiny.yaml", "--set", "cache.signals.logits=float7"], "no encoding 'float7'"),
    ],
)
def test_wrong_input_is_named(
    files: list[str], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 is the difference between a typing error and a lost day."""
    assert code_of(["cache", *arguments, "--module", "mine.py"]) == 2
    assert message in capsys.readouterr().err


def test_a_method_of_several_teachers_has_no_cache(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The second generation would learn from the first one's teacher."""
    assert code_of(["train", *files, "--set", "method={name: born_again, generations: 2}"]) == 2
    assert "A cache holds one teacher's answers" in capsys.readouterr().err


def test_looking_for_a_cache_that_is_not_there_says_so(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise a mistyped path looks like an empty cache."""
    assert main(["cache", "inspect", "nowhere"]) == 1
    assert "no teacher cache in nowhere" in capsys.readouterr().err
