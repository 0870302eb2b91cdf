"""What goes wrong for a user who distils a speech model by a recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jiwer
import pytest
import torch
from safetensors.torch import load_file

from knowledge_distillation.domains.speech import load_characters
from knowledge_distillation.recipes.preparing import begun
from knowledge_distillation.recipes.reading import Recipe, read_recipe
from knowledge_distillation.recipes.rebuilding import rebuilt_run
from knowledge_distillation.recipes.running import run_recipe
from tests.domains.speech import tiny
from tests.training.toys import QUIET


def small(name: str, root: Path, **sections: Any) -> Recipe:
    """A shipped recipe on a tiny model and a few recordings."""
    recipe = read_recipe(name)
    path = tiny.saved(root / "model", tiny.model())
    return replace(
        recipe,
        teacher={**recipe.teacher, "path": path},  # type: ignore[dict-item]
        data={
            **recipe.data,
            "path": tiny.librispeech(root / "LibriSpeech"),
            "train": ["train-clean-100"],
            "window": tiny.WINDOW,
        },
        training={**recipe.training, "max_epochs": 2, "precision": "32-true", "trainer": QUIET},
        **sections,
    )


def twelve(root: Path) -> Recipe:
    recipe = small("wav2vec2_librispeech", root)
    keep = {**recipe.student["keep_layers"], "count": 2}
    return replace(recipe, student={"name": "from_teacher", "keep_layers": keep})


def test_the_recipe_trains_and_scores_what_jiwer_finds(tmp_path: Path) -> None:
    """Otherwise the reported word error rate is not that of the student that was kept."""
    recipe = twelve(tmp_path)
    run = run_recipe(recipe, directory=tmp_path / "run")
    data, characters = begun(recipe, {})[0], load_characters()
    said, heard = [], []
    for sample in data.validation["dev-clean"].dataset:
        ids = run.student(sample["input_values"][None]).logits[0].argmax(dim=-1).tolist()
        said.append("".join(list(characters.ids)[number] for number in sample["labels"].tolist()).replace("|", " "))
        heard.append(characters.decode(ids))
    assert run.scores["dev-clean"] == pytest.approx(jiwer.wer(said, heard))
    names = set(run.module.latest)
    assert {"kd_loss", "cos_embed_loss", "features_pen", "student_loss"} <= names
    findings = json.loads((tmp_path / "run" / "doctor.json").read_text())["findings"]
    # monitors, and as many epochs of warm-up as there are here, are meant
    assert {finding["check"] for finding in findings} <= {"silent_terms", "warm_up"}


def test_the_second_step_begins_at_the_first_ones_student(tmp_path: Path) -> None:
    """Otherwise the original's 24 to 12 to 4 layers cannot be had."""
    first = run_recipe(twelve(tmp_path), directory=tmp_path / "first")
    recipe = small("wav2vec2_librispeech_4", tmp_path)
    assert recipe.teacher is not None
    begins = {"path": recipe.teacher["path"], "previous": str(first.directory), "layers": 1}
    recipe = replace(recipe, student={**recipe.student, **begins})
    begin: Any = begun(recipe, {})[1]
    middle: Any = first.student
    assert torch.equal(begin.lm_head.weight, middle.lm_head.weight)
    run = run_recipe(recipe, directory=tmp_path / "second")
    assert not torch.equal(run.student.lm_head.weight, middle.lm_head.weight)  # type: ignore[union-attr, arg-type]
    back = rebuilt_run(tmp_path / "second")
    assert all(torch.equal(a, b) for a, b in zip(back.student.parameters(), run.student.parameters(), strict=True))


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """Otherwise hours on LibriSpeech are lost, or another student comes out."""
    recipe = twelve(tmp_path)
    whole = run_recipe(recipe, directory=tmp_path / "whole")
    short = replace(recipe, training={**recipe.training, "trainer": {**QUIET, "max_steps": 6}})
    run_recipe(short, directory=tmp_path / "stopped")
    resumed = run_recipe(recipe, directory=tmp_path / "stopped", resume="auto")
    for one, other in zip(whole.student.parameters(), resumed.student.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("default")
def test_the_student_is_exported(tmp_path: Path) -> None:
    """Otherwise what was distilled cannot be shipped."""
    run = run_recipe(twelve(tmp_path), directory=tmp_path / "run")
    run.export("safetensors")
    weights = load_file(tmp_path / "run" / "exports" / "safetensors" / "student.safetensors")
    assert torch.equal(weights["lm_head.weight"], run.student.lm_head.weight)  # type: ignore[union-attr, arg-type]


@pytest.mark.skipif(not tiny.PROMPTS.is_dir(), reason="Debian's asterisk-core-sounds-en-wav is not installed")
def test_real_telephone_prompts_are_learnt_from(tmp_path: Path) -> None:
    """Otherwise all of this works on tones alone."""
    recipe = twelve(tmp_path)
    data = {"name": "speech_manifest", "path": tiny.prompts(tmp_path, 24), "validation": 4, "batch_size": 4,
            "window": tiny.WINDOW}  # fmt: skip
    run = run_recipe(replace(recipe, data=data), directory=tmp_path / "run")
    assert run.scores["validation"] > 0
