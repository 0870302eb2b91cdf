"""What goes wrong for a user who distils an encoder by a recipe."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from knowledge_distillation.cli import main
from knowledge_distillation.recipes.reading import Recipe, as_yaml, check_recipe, read_recipe
from knowledge_distillation.recipes.rebuilding import rebuilt_run
from knowledge_distillation.recipes.running import cache_recipe, run_recipe
from knowledge_distillation.teachers import CachedTeacher
from tests.domains.text import tiny
from tests.training.toys import QUIET


@pytest.fixture(scope="module")
def teacher(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A classifier of four layers for the two topics; what it says is arbitrary, and always the same."""
    labels = {0: "cache", 1: "doctor"}
    model = tiny.bert(len(tokenizer), tiny.CLASSIFIER, id2label=labels, classifier_dropout=0.0)
    return tiny.saved(tmp_path_factory.mktemp("teacher"), model, tokenizer)


def plan_of(teacher: str, topics: str, **sections: Any) -> dict[str, Any]:
    plan = {
        "teacher": {"name": "text_classifier", "path": teacher},
        "student": {"name": "from_teacher", "keep_layers": {"count": 2, "rule": "every_k"}},
        "data": {
            "name": "labelled_texts", "path": topics, "tokenizer": teacher, "text": "sentence", "length": 32,
            "batch_size": 8, "validation": 0.3,
        },
        "objective": {"kd": {"loss": "kd", "weight": 0.5, "temperature": 2.0}, "cross_entropy": 0.5},
        "training": {"max_epochs": 1, "learning_rate": 1e-3, "trainer": QUIET},
    }  # fmt: skip
    return {**plan, **sections}


def recipe_of(teacher: str, topics: str, **sections: Any) -> Recipe:
    return check_recipe(plan_of(teacher, topics, **sections), "recipe")


def test_a_command_trains_a_student_with_the_accuracy_that_a_plain_loop_finds(
    teacher: str, topics: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the score that decides which student is kept is that of other texts, or of padding."""
    (tmp_path / "recipe.yaml").write_text(as_yaml(plan_of(teacher, topics)))
    assert main(["doctor", str(tmp_path / "recipe.yaml")]) == 0
    capsys.readouterr()
    assert main(["train", str(tmp_path / "recipe.yaml"), "--directory", str(tmp_path / "run"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.strip().split("\n")[-1])["scores"]["validation"]
    back = rebuilt_run(tmp_path / "run")
    assert back.notes == ()
    student: Any = back.student
    rows: Any = back.data.validation["validation"].dataset
    right = 0
    for row in rows:
        with torch.no_grad():
            logits = student(row["input_ids"][None], token_type_ids=row["token_type_ids"][None]).logits
        right += int(logits.argmax() == row["labels"])
    assert told == pytest.approx(right / len(rows))


@pytest.mark.slow
def test_a_run_that_was_broken_off_ends_as_an_unbroken_one(teacher: str, topics: str, tmp_path: Path) -> None:
    """Otherwise who loses the machine after an epoch gets another student, or begins anew."""

    def run(directory: str, epochs: int, resume: str | None = None) -> Any:
        training = {"max_epochs": epochs, "learning_rate": 1e-3, "trainer": QUIET}
        return run_recipe(recipe_of(teacher, topics, training=training), directory=tmp_path / directory, resume=resume)

    whole = run("whole", 2)
    run("parts", 1)
    parts = run("parts", 2, "auto")
    for one, other in zip(whole.student.parameters(), parts.student.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("labelled", [None, 4])
def test_a_cached_teacher_gives_the_live_ones_losses(
    labelled: int | None, teacher: str, topics: str, tmp_path: Path
) -> None:
    """Otherwise padding of another batch moves the answers of a cache, each meets another token, or few labels need
    another cache."""
    hidden = {"loss": "cosine", "student": "@last", "teacher": "@last"}
    plan = plan_of(teacher, topics, objective={"kd": 1.0, "hidden": hidden})
    plan["data"] |= {"group_by_length": True}
    recipe = check_recipe(plan, "recipe")
    cache = {"directory": str(tmp_path / "cache")}
    cache_recipe(replace(recipe, cache=cache))
    recipe = replace(recipe, data={**recipe.data, "labelled": labelled})
    live = run_recipe(recipe, directory=tmp_path / "live")
    kept = run_recipe(replace(recipe, cache=cache), directory=tmp_path / "cached")
    assert isinstance(kept.module.teacher, CachedTeacher)
    assert {"kd", "hidden"} <= set(live.module.latest)
    for name, value in live.module.latest.items():
        assert float(value) == pytest.approx(float(kept.module.latest[name]), abs=5e-3), name


@pytest.mark.slow
def test_what_ships_in_eight_bits_answers_as_the_student(
    teacher: str, topics: str, tokenizer: Any, tmp_path: Path
) -> None:
    """Otherwise the file that goes to production is another model, or asks for segments that its student has not."""
    place = tiny.saved(tmp_path / "distilbert", tiny.distilbert(len(tokenizer)).distilbert, tokenizer)
    student = {"name": "text_classifier", "path": place, "pooling": "mean"}
    run = run_recipe(recipe_of(teacher, topics, student=student), directory=tmp_path / "run")
    shipped = run.export("int8")
    assert {entry["name"] for entry in shipped.manifest["inputs"]} == {"input_ids", "attention_mask"}
    assert shipped.manifest["equality"]["agreement"] > 0.8
    assert shipped.file.is_file()


def test_taggers_train_and_are_scored(encoder: str, tagged: str, tmp_path: Path) -> None:
    """Otherwise tagging fails where its parts work: the mask, the labels of pieces, or the score."""
    data = {"name": "tagged_words", "path": tagged, "tokenizer": encoder, "length": 48, "batch_size": 4}
    train = {"max_epochs": 2, "learning_rate": 3e-3, "schedule": "linear", "trainer": QUIET}
    content = {
        "teacher": {"name": "token_classifier", "path": encoder, "train": train},
        "student": {"name": "from_teacher", "keep_layers": {"count": 2, "rule": "every_k"}},
        "data": {**data, "validation": 0.2},
        "objective": {"kd": {"loss": "kd", "temperature": 2.0}, "cross_entropy": 0.5},
        "training": {"max_epochs": 1, "learning_rate": 1e-3, "trainer": QUIET},
    }
    run = run_recipe(check_recipe(content, "recipe"), directory=tmp_path / "run")
    assert 0.0 < run.scores["validation"] <= 1.0
    findings = json.loads((tmp_path / "run" / "doctor.json").read_text())["findings"]
    assert {finding["check"] for finding in findings if finding["severity"] == "error"} == set()


MASKED = {"data.path": str(tiny.PAGES), "data.train": "cache.md", "data.length": 32, "data.batch_size": 8}
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
CUT = {"student.keep_layers": {"count": 2, "rule": "every_k"}}


@pytest.mark.parametrize(
    ("name", "settings", "terms"),
    [
        ("text_classification", CUT, {"kd", "cross_entropy"}),
        ("patient_kd", CUT, {"kd", "cross_entropy", "patient"}),
        ("tinybert_task", {}, {"tinybert", "soft_cross_entropy"}),
        ("distilbert", {**MASKED, **CUT}, {"kd", "cross_entropy", "cosine"}),
        ("minilm", {**MASKED, **CUT}, {"minilm"}),
        ("tinybert_general", {**MASKED, "small": SMALL}, {"tinybert"}),
        ("token_classification", CUT, {"kd", "cross_entropy"}),
    ],
)
def test_shipped_recipes_run_on_other_models_and_texts(
    name: str, settings: Any, terms: set[str], teacher: str, topics: str, tagged: str, encoder: str, tokenizer: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Otherwise the recipe that a user begins with is refused, or a term of it counts nothing."""
    settings = dict(settings)
    masked = tiny.saved(tmp_path / "masked", tiny.bert(len(tokenizer), tiny.MASKED), tokenizer)
    places = {"text_classification": encoder, "token_classification": encoder, "patient_kd": teacher}
    place = masked if settings.get("data.train") else places.get(name, teacher)
    labelled = (
        {"data.path": tagged} if name == "token_classification" else {"data.path": topics, "data.text": "sentence"}
    )
    given = {"teacher.path": place, "data.tokenizer": place, "data.length": 48, **labelled}
    if settings.get("data.train"):
        given = {"teacher.path": place, "data.tokenizer": place}
    if name == "tinybert_task":
        student = tiny.bert(len(tokenizer), layers=2, seed=3, hidden_size=16)
        given["student.path"] = tiny.saved(tmp_path / "student", student, tokenizer)
    small = settings.pop("small", {})
    given |= {f"student.settings.{key}": value for key, value in small.items()}
    given |= {"student.settings.vocab_size": len(tokenizer)} if small else {}
    short = {"max_epochs": 1, "trainer": {**QUIET, "limit_train_batches": 2}}
    given |= {f"training.{key}": value for key, value in short.items()}
    recipe = read_recipe(name)
    if "train" in (recipe.teacher or {}):
        given |= {f"teacher.train.{key}": value for key, value in short.items()}
    lines = [f"{path}={json.dumps(value)}" for path, value in {**given, **settings}.items()]
    run = run_recipe(read_recipe(name, lines), directory=tmp_path / "run")
    assert set(run.module.latest) >= terms
    assert all(math.isfinite(score) for score in run.scores.values())
