"""What goes wrong for a user who distils an embedding model by a recipe."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from knowledge_distillation.cli import main
from knowledge_distillation.domains.embedding import embedded, sentence_encoder, sentences
from knowledge_distillation.recipes.reading import Recipe, as_yaml, check_recipe, read_recipe
from knowledge_distillation.recipes.rebuilding import rebuilt_run
from knowledge_distillation.recipes.running import run_recipe
from knowledge_distillation.students import keep_layers
from knowledge_distillation.teachers import CachedTeacher
from tests.training.toys import QUIET

RELATIONS = {"loss": "sp", "weight": 15, "student": "logits", "teacher": "logits"}


def plan_of(model: str, lines: str, **sections: Any) -> dict[str, Any]:
    plan = {
        "teacher": {"name": "sentence_encoder", "path": model},
        "student": {"name": "from_teacher", "keep_layers": {"count": 2, "rule": "every_k"}},
        "data": {
            "name": "sentences", "path": lines, "tokenizer": model, "length": 48, "batch_size": 16,
            "validation": 0.2, "pairs": 60,
        },
        "objective": {"cosine": 1.0, "relations": RELATIONS},
        "training": {"max_epochs": 1, "learning_rate": 1e-3, "trainer": QUIET},
    }  # fmt: skip
    return {**plan, **sections}


def recipe_of(model: str, lines: str, **sections: Any) -> Recipe:
    return check_recipe(plan_of(model, lines, **sections), "recipe")


TERMS: dict[str, Any] = {
    "cosine": ({"cosine": 1.0}, lambda ours, theirs: (1 - (ours * theirs).sum(dim=1)).mean()),
    "mse": (
        {"mse": {"loss": "logit_mse", "weight": 1.0}},
        lambda ours, theirs: (ours - theirs).square().mean(),
    ),
    "relations": (
        {"relations": {**RELATIONS, "weight": 1.0}},
        lambda ours, theirs: (
            (nn.functional.normalize(ours @ ours.T, dim=1) - nn.functional.normalize(theirs @ theirs.T, dim=1))
            .square()
            .mean()
        ),
    ),
}


@pytest.mark.parametrize("name", TERMS)
def test_each_kind_of_objective_compares_the_embeddings(name: str, model: str, lines: str, tmp_path: Path) -> None:
    """Otherwise a recipe compares hidden states, or padding, and its loss is of something else."""
    objective, expected = TERMS[name]
    recipe = recipe_of(model, lines, objective=objective)
    training = {**recipe.training, "trainer": {**QUIET, "limit_train_batches": 1}, "seed": 5, "doctor": False}
    small = {**recipe.data, "batch_size": 1000}  # all texts in the one batch, so that their order does not count
    recipe = replace(recipe, data=small, training=training)
    run = run_recipe(recipe, directory=tmp_path / "run")
    rows = sentences(**{key: value for key, value in small.items() if key != "name"}).facts["training_rows"]
    teacher = sentence_encoder(model)
    theirs = embedded(teacher, rows).double()
    ours = embedded(keep_layers(teacher, 2), rows).double()
    assert float(run.module.latest[name]) == pytest.approx(float(expected(ours, theirs)), rel=1e-3)


def test_a_shortened_teacher_and_its_whole_copy_agree_from_the_first_step(
    model: str, lines: str, tmp_path: Path
) -> None:
    """Otherwise teacher and student are compared in different axes, and training begins by turning them."""
    recipe = recipe_of(
        model,
        lines,
        teacher={"name": "sentence_encoder", "path": model, "dimensions": 8},
        student={"name": "from_teacher", "keep_layers": {"count": 4}},
        training={
            "max_epochs": 1,
            "learning_rate": 1e-6,
            "trainer": {**QUIET, "limit_train_batches": 1},
            "doctor": False,
        },
    )
    run = run_recipe(recipe, directory=tmp_path / "run")
    assert float(run.module.latest["cosine"]) < 1e-5
    assert float(run.module.latest["relations"]) < 1e-5
    assert run.student.dimensions == 8  # type: ignore[union-attr]
    assert run.scores["random"] > 0.8  # the score is still the whole teacher's cosine


def test_the_cut_that_is_searched_is_the_nearest_to_the_teacher(model: str, lines: str, tmp_path: Path) -> None:
    """Otherwise the choice that matters most is left to a rule."""
    search = {"name": "from_teacher", "search_layers": {"count": 2, "by": "cosine", "batches": 100}}
    recipe = recipe_of(model, lines, student=search)
    run = run_recipe(recipe, directory=tmp_path / "run")
    chosen = read_recipe(run.directory / "recipe.yaml").student["keep_layers"]["rule"]
    rows = sentences(**{key: value for key, value in recipe.data.items() if key != "name"}).facts["training_rows"]
    teacher = sentence_encoder(model)
    theirs = embedded(teacher, rows)
    near = {
        kept: float((embedded(keep_layers(teacher, 2, kept), rows) * theirs).sum(dim=1).mean())
        for kept in combinations(range(4), 2)
    }
    assert tuple(chosen) == max(near, key=lambda kept: near[kept])


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["embeddings", "hidden"])
def test_a_cached_teacher_gives_the_live_ones_loss(objective: str, model: str, lines: str, tmp_path: Path) -> None:
    """Otherwise the answers of a cache are those of other texts than those of the batch."""
    hidden = {"hidden": {"loss": "cosine", "student": "@last", "teacher": "@last"}}
    given: Any = hidden if objective == "hidden" else {"cosine": 1.0, "relations": RELATIONS}
    recipe = recipe_of(model, lines, objective=given)
    live = run_recipe(recipe, directory=tmp_path / "live")
    kept = run_recipe(replace(recipe, cache={"directory": str(tmp_path / "cache")}), directory=tmp_path / "cached")
    assert isinstance(kept.module.teacher, CachedTeacher)
    for name, value in live.module.latest.items():
        assert float(value) == pytest.approx(float(kept.module.latest[name]), abs=5e-3), name


def test_padding_does_not_count_where_hidden_states_are_compared(model: str, lines: str, tmp_path: Path) -> None:
    """Otherwise a term on hidden states learns those of padding, more the shorter a text is."""
    hidden = {"hidden": {"loss": "cosine", "student": "@last", "teacher": "@last"}}
    training = {"max_epochs": 1, "learning_rate": 1e-3, "trainer": {**QUIET, "limit_train_batches": 1}, "doctor": False}
    recipe = recipe_of(model, lines, objective=hidden, training=training)
    recipe = replace(recipe, data={**recipe.data, "batch_size": 1000})
    run = run_recipe(recipe, directory=tmp_path / "run")
    rows = sentences(**{key: value for key, value in recipe.data.items() if key != "name"}).facts["training_rows"]
    teacher: Any = sentence_encoder(model)
    student: Any = keep_layers(teacher, 2)
    found = []
    for row in rows:
        inputs = {"input_ids": torch.tensor([row]), "attention_mask": torch.ones(1, len(row))}
        with torch.no_grad():
            states = [each.encoder(**inputs).last_hidden_state[0] for each in (student.eval(), teacher.eval())]
        found.append(1 - nn.functional.cosine_similarity(*states, dim=-1))
    assert float(run.module.latest["hidden"]) == pytest.approx(float(torch.cat(found).mean()), rel=1e-3)


def test_a_finished_run_is_rebuilt_and_saved_for_use(model: str, lines: str, tmp_path: Path) -> None:
    """Otherwise what was trained by a command can be used nowhere but here."""
    run = run_recipe(recipe_of(model, lines), directory=tmp_path / "run")
    back = rebuilt_run(tmp_path / "run")
    assert back.notes == ()
    back.student.save_pretrained(tmp_path / "small")  # type: ignore[operator]
    rows = back.data.facts["training_rows"][:5]
    torch.testing.assert_close(embedded(sentence_encoder(str(tmp_path / "small")), rows), embedded(run.student, rows))


@pytest.mark.slow
def test_a_run_that_was_broken_off_ends_as_an_unbroken_one(model: str, lines: str, tmp_path: Path) -> None:
    """Otherwise batches of like length come in another order after an interruption, and the student is another."""

    def run(directory: str, epochs: int, resume: str | None = None) -> Any:
        training = {"max_epochs": epochs, "learning_rate": 1e-3, "trainer": QUIET}
        return run_recipe(recipe_of(model, lines, training=training), directory=tmp_path / directory, resume=resume)

    whole = run("whole", 2)
    run("parts", 1)
    parts = run("parts", 2, "auto")
    for one, other in zip(whole.student.parameters(), parts.student.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["layers", "static"])
def test_onnx_answers_as_the_student(kind: str, model: str, lines: str, tmp_path: Path) -> None:
    """Otherwise the file that goes to production gives other vectors."""
    static = {"name": "static_embedding", "path": model}
    run = run_recipe(recipe_of(model, lines, **({"student": static} if kind == "static" else {})),
                     directory=tmp_path / "run")  # fmt: skip
    shipped = run.export("onnx")
    assert {entry["name"] for entry in shipped.manifest["inputs"]} == {"input_ids", "attention_mask"}
    assert shipped.file.is_file()
    assert shipped.manifest["equality"]["agreement"] is None  # the largest entry of a vector is no class


@pytest.mark.parametrize("name", ["embedding_layers", "embedding_dimensions", "embedding_static"])
def test_shipped_recipes_run_on_other_models_and_texts(name: str, model: str, lines: str, tmp_path: Path) -> None:
    """Otherwise the recipe that a user begins with is refused, or teaches nothing."""
    recipe = read_recipe(name)
    given: dict[str, Any] = {
        "teacher.path": model, "data.tokenizer": model, "data.path": lines, "data.length": 48, "data.batch_size": 16,
        "data.validation": 0.3, "data.pairs": 50, "training.trainer": {**QUIET, "limit_train_batches": 2},
        "training.max_epochs": 1,
    }  # fmt: skip
    if "search_layers" in recipe.student:
        given["student.search_layers.count"] = 2
    if "dimensions" in (recipe.teacher or {}):
        given["teacher.dimensions"] = 8
    if name == "embedding_static":
        given |= {"student.path": model, "student.dimensions": 8, "cache.directory": str(tmp_path / "cache")}
    lines_set = [f"{path}={json.dumps(value)}" for path, value in given.items()]
    run = run_recipe(read_recipe(name, lines_set), directory=tmp_path / "run")
    assert set(run.module.latest) >= {"cosine", "relations"}
    assert {"random", "mixed"} == set(run.scores)
    assert all(math.isfinite(score) for score in run.scores.values())


def test_a_command_line_trains_and_compares(
    model: str, lines: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise what works in Python fails for who only has a recipe, or a control without labels stops it."""
    file = tmp_path / "recipe.yaml"
    file.write_text(as_yaml(plan_of(model, lines)))
    assert main(["doctor", str(file)]) == 0
    assert main(["compare", str(file), "--directory", str(tmp_path / "run"), "--seeds", "2", "--metric", "mixed"]) == 0
    assert "the same student untrained" in (tmp_path / "run" / "comparison.json").read_text()
    assert (tmp_path / "run" / "student.safetensors").is_file()
