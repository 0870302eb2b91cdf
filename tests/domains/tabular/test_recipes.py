"""What goes wrong for a user who distils a forest into a network by a recipe."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, root_mean_squared_error

from knowledge_distillation.cli import main
from knowledge_distillation.errors import ConfigError, Terminated
from knowledge_distillation.export import load
from knowledge_distillation.recipes.reading import Recipe, check_recipe, read_recipe, shipped, with_settings
from knowledge_distillation.recipes.rebuilding import rebuilt_run
from knowledge_distillation.recipes.running import cache_recipe, own_names, run_recipe
from knowledge_distillation.teachers import CachedTeacher
from tests.run.stopping import StopsAt
from tests.training.toys import QUIET

SHORT = {
    "teacher.settings": {"n_estimators": 10},
    "student.hidden": [8],
    "training.max_epochs": 2,
    "training.trainer": QUIET,
}
TABLES = [name for name in shipped() if name.startswith("table_")]


def short(name: str, **settings: Any) -> Recipe:
    return with_settings(read_recipe(name), {**SHORT, **settings})


@pytest.mark.parametrize("name", TABLES)
def test_a_recipe_gives_a_student_that_scores_as_scikit_learn_finds(name: str, tmp_path: Path) -> None:
    """Otherwise the score that decides which student is kept is that of another measure."""
    run = run_recipe(short(name), directory=tmp_path / "run")
    back = rebuilt_run(tmp_path / "run")
    rows, labels = back.data.validation["test"].dataset.tensors
    with torch.no_grad():
        answers = back.student(rows)
    expected = (
        root_mean_squared_error(labels.numpy(), answers.numpy())
        if labels.is_floating_point()
        else accuracy_score(labels.numpy(), answers.argmax(1).numpy())
    )
    assert run.scores["test"] == pytest.approx(expected, rel=1e-5)
    assert back.notes == ()
    torch.testing.assert_close(back.teacher(rows), run.module.teacher.model(rows))  # type: ignore[operator, union-attr]
    findings = json.loads((tmp_path / "run" / "doctor.json").read_text())["findings"]
    assert [finding["fault"] for finding in findings if finding["severity"] == "error"] == []


def test_there_are_recipes_of_both_kinds() -> None:
    """Otherwise the test above looks at nothing."""
    assert {"table_digits", "table_diabetes"} <= set(TABLES)


def test_a_broken_off_run_goes_on_to_the_same_student(tmp_path: Path) -> None:
    """Otherwise a power cut costs the training, or ends in another student."""
    whole = run_recipe(short("table_diabetes"), directory=tmp_path / "whole")
    with pytest.raises((KeyboardInterrupt, Terminated)):
        run_recipe(short("table_diabetes"), directory=tmp_path / "part", callbacks=[StopsAt(3)])
    resumed = run_recipe(short("table_diabetes"), directory=tmp_path / "part", resume="auto")
    for one, other in zip(whole.student.parameters(), resumed.student.parameters(), strict=True):
        torch.testing.assert_close(one, other)
    assert resumed.scores["test"] == pytest.approx(whole.scores["test"], rel=1e-6)


@pytest.mark.parametrize("name", TABLES)
def test_a_cached_forest_teaches_as_the_live_one(name: str, tmp_path: Path) -> None:
    """Otherwise the slow forest must be asked in every epoch, or its answers reach other rows."""
    live = run_recipe(short(name), directory=tmp_path / "live")
    cache = {"directory": str(tmp_path / "cache"), "signals": {"logits": "float32"}}
    cache_recipe(short(name, cache=cache))
    kept = run_recipe(short(name, cache=cache), directory=tmp_path / "cached")
    assert isinstance(kept.module.teacher, CachedTeacher)
    assert kept.scores["test"] == pytest.approx(live.scores["test"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_what_is_shipped_takes_rows_as_they_stand_in_the_table(name: str, tmp_path: Path, capsys: Any) -> None:
    """Otherwise whoever runs the file must know the means of somebody's training rows."""
    onnxruntime = pytest.importorskip("onnxruntime")
    run = run_recipe(short(name), directory=tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), "--to", "onnx"]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "run" / "exports" / "onnx" / "student.onnx")
    rows = rebuilt_run(tmp_path / "run").data.validation["test"].dataset.tensors[0]
    (found,) = session.run(None, {session.get_inputs()[0].name: rows.numpy()})
    with torch.no_grad():
        expected = run.student.eval().cpu()(rows).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    assert load(tmp_path / "run" / "exports" / "onnx")(rows).shape == expected.shape


def test_the_control_of_a_regression_learns_from_the_labels_alone(tmp_path: Path) -> None:
    """Otherwise a student is said to be helped because its control learnt nothing, or rmse counts upwards."""
    run = run_recipe(short("table_diabetes"), directory=tmp_path / "run")
    comparison = run.compare(seeds=2, equal="steps")
    assert "label_regression alone" in comparison.control
    gains = np.subtract(comparison.without_teacher, comparison.with_teacher)
    assert comparison.difference == pytest.approx(gains.mean())


def test_a_recipe_of_a_users_own_file_says_what_it_leaves_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise rows vanish between the file and the student."""
    numbers = np.random.default_rng(0).normal(size=(400, 2))
    lines = ["a,b,kind", *(f"{a:.4f},{b:.4f},{'round' if a * b > 0 else 'long'}" for a, b in numbers)]
    lines[7] = "x,1.0,round"
    (tmp_path / "t.csv").write_text("\n".join(lines))
    plan = {
        "teacher": {"name": "gradient_boosting", "settings": {"n_estimators": 10}},
        "student": {"name": "tabular_mlp", "hidden": [8]},
        "data": {"name": "csv_table", "path": str(tmp_path / "t.csv"), "target": "kind"},
        "training": {"max_epochs": 1, "trainer": QUIET},
    }
    with caplog.at_level(logging.WARNING):
        run = run_recipe(check_recipe(plan, "recipe"), directory=tmp_path / "run")
    assert "1 of 400 rows cannot be read" in caplog.text
    assert "line 8: 'x' in column 'a'" in caplog.text
    assert 0 <= run.scores["test"] <= 1


OWN = """
from sklearn.neighbors import KNeighborsClassifier
from knowledge_distillation.domains.tabular import Estimator

def neighbours(training):
    known = training.given >= 0
    return Estimator(KNeighborsClassifier().fit(training.rows[known], training.given[known]), training.classes)
"""


def test_a_fitted_estimator_of_a_users_own_file_teaches_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the log calls it untrained, and reports leave it out."""
    (tmp_path / "own.py").write_text(OWN)
    own = own_names(tmp_path / "own.py")
    plan = {
        "teacher": "neighbours",
        "student": {"name": "tabular_mlp", "hidden": [8]},
        "data": {"name": "digits_table", "labelled": 100},
        "training": {"max_epochs": 1, "trainer": QUIET},
    }
    with caplog.at_level(logging.WARNING):
        run = run_recipe(check_recipe(plan, "recipe"), directory=tmp_path / "run", own=own)
    assert "untrained" not in caplog.text
    back = rebuilt_run(tmp_path / "run", own)
    assert back.notes == ()
    rows, _ = back.data.validation["test"].dataset.tensors
    torch.testing.assert_close(back.teacher(rows), run.module.teacher.model(rows))  # type: ignore[operator, union-attr]


def test_trees_with_a_train_section_are_refused(tmp_path: Path) -> None:
    """Otherwise an optimiser complains of an empty list, or the trees stay what they were and nobody knows."""
    recipe = short("table_digits", **{"teacher.train": {"max_epochs": 1}})
    with pytest.raises(ConfigError, match=r"'\w+' has a train section and no parameters.*its own settings"):
        run_recipe(recipe, directory=tmp_path / "run")
