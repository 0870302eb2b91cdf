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
from torch.utils.data import DataLoader

from knowledge_distillation.domains.speech import ctc, load_characters
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.recipes.preparing import begun
from knowledge_distillation.recipes.reading import Recipe, read_recipe
from knowledge_distillation.recipes.rebuilding import rebuilt_run
from knowledge_distillation.recipes.running import run_recipe
from knowledge_distillation.teachers import write_cache
from tests.domains.speech import tiny
from tests.training.toys import QUIET


def small(name: str, root: Path, **sections: Any) -> Recipe:
    """A shipped recipe on a tiny model and a few real recordings, 8 kHz in the layout of LibriSpeech."""
    recipe = read_recipe(name)
    path = tiny.saved(root / "model", tiny.model())
    return replace(
        recipe,
        teacher={**recipe.teacher, "path": path},  # type: ignore[dict-item]
        data={
            **recipe.data,
            "path": tiny.spoken(root / "LibriSpeech"),
            "train": ["train-clean-100"],
            "window": tiny.WINDOW,
        },
        training={
            **recipe.training,
            "max_epochs": 2,
            "precision": "32-true",
            "doctor": False,
            "trainer": QUIET,
        },
        **sections,
    )


def twelve(root: Path) -> Recipe:
    recipe = small("wav2vec2_librispeech", root)
    keep = {**recipe.student["keep_layers"], "count": 2}
    return replace(recipe, student={"name": "from_teacher", "keep_layers": keep})


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder of the first recipe's inputs and run, and the run; the doctor looked at it."""
    root = tmp_path_factory.mktemp("speech")
    recipe = twelve(root)
    examined = replace(recipe, training={**recipe.training, "doctor": True})
    return root, run_recipe(examined, directory=root / "run")


def test_the_recipe_trains_and_scores_what_jiwer_finds(first: tuple[Path, Any]) -> None:
    """Otherwise the reported word error rate is not that of the student that was kept."""
    root, run = first
    data, characters = begun(twelve(root), {})[0], load_characters()
    said, heard = [], []
    for sample in data.validation["dev-clean"].dataset:
        ids = run.student(sample["input_values"][None]).logits[0].argmax(dim=-1).tolist()
        said.append("".join(list(characters.ids)[number] for number in sample["labels"].tolist()).replace("|", " "))
        heard.append(characters.decode(ids))
    assert run.scores["dev-clean"] == pytest.approx(jiwer.wer(said, heard))
    names = set(run.module.latest)
    assert {"kd_loss", "cos_embed_loss", "features_pen", "student_loss"} <= names
    findings = json.loads((root / "run" / "doctor.json").read_text())["findings"]
    # monitors, and as many epochs of warm-up as there are here, are meant
    assert {finding["check"] for finding in findings} <= {"silent_terms", "warm_up"}


def test_the_second_step_begins_at_the_first_ones_student(first: tuple[Path, Any], tmp_path: Path) -> None:
    """Otherwise the original's 24 to 12 to 4 layers cannot be had."""
    middle = first[1].student
    recipe = small("wav2vec2_librispeech_4", tmp_path)
    assert recipe.teacher is not None
    begins = {"path": recipe.teacher["path"], "previous": str(first[1].directory), "layers": 1}
    recipe = replace(recipe, student={**recipe.student, **begins})
    begin: Any = begun(recipe, {})[1]
    assert torch.equal(begin.lm_head.weight, middle.lm_head.weight)
    run = run_recipe(recipe, directory=tmp_path / "second")
    assert not torch.equal(run.student.lm_head.weight, middle.lm_head.weight)  # type: ignore[union-attr, arg-type]
    back = rebuilt_run(tmp_path / "second")
    assert all(torch.equal(a, b) for a, b in zip(back.student.parameters(), run.student.parameters(), strict=True))


def test_a_run_that_was_stopped_ends_as_one_that_was_not(first: tuple[Path, Any], tmp_path: Path) -> None:
    """Otherwise hours on LibriSpeech are lost, or another student comes out."""
    root, whole = first
    recipe = twelve(root)
    short = replace(recipe, training={**recipe.training, "trainer": {**QUIET, "max_steps": 8}})
    run_recipe(short, directory=tmp_path / "stopped")
    resumed = run_recipe(recipe, directory=tmp_path / "stopped", resume="auto")
    for one, other in zip(whole.student.parameters(), resumed.student.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("default")
def test_the_student_is_exported(first: tuple[Path, Any]) -> None:
    """Otherwise what was distilled cannot be shipped."""
    root, run = first
    run.export("safetensors")
    weights = load_file(root / "run" / "exports" / "safetensors" / "student.safetensors")
    assert torch.equal(weights["lm_head.weight"], run.student.lm_head.weight)


def begun_student(recipe: Recipe) -> Any:
    assert recipe.teacher is not None
    return ctc(str(recipe.teacher["path"]), layers=2)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 3], ids=["alone", "padded"])
def test_a_cached_teacher_teaches_what_a_live_one_does(batch_size: int, tmp_path: Path) -> None:
    """Otherwise answers stand at other frames than they were given to, and padding is learnt from."""
    recipe = twelve(tmp_path)
    last = {"loss": "hidden_mse", "student": "wav2vec2.encoder.layers.1", "teacher": "wav2vec2.encoder.layers.3"}
    recipe = replace(
        recipe,
        data={**recipe.data, "batch_size": batch_size},
        objective={"kd": {"loss": "kd", "temperature": 2}, "hidden": last},
        # AdamW makes a step of the rounding where there is no gradient
        training={**recipe.training, "optimizer": "sgd", "learning_rate": 1e-3, "schedule": "", "warm_up_epochs": 0},
    )
    cache = {"directory": str(tmp_path / "cache"), "signals": dict.fromkeys(("logits", last["teacher"]), "float32")}
    live, cached = (
        run_recipe(replace(recipe, cache=given), directory=tmp_path / name)
        for name, given in (("live", None), ("cached", cache))
    )
    moved = max(
        float((one - other).detach().abs().max())
        for one, other in zip(live.student.parameters(), begun_student(recipe).parameters(), strict=True)
    )
    assert moved > 1e-3
    for one, other in zip(live.student.parameters(), cached.student.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_what_has_no_item_for_each_frame_cannot_be_cached(tmp_path: Path) -> None:
    """Otherwise the convolutions of padding are kept as if they were of the recording."""
    data = begun(twelve(tmp_path), {})[0]
    padded = DataLoader(data.train.dataset, batch_size=3, collate_fn=data.train.collate_fn)
    place = "wav2vec2.feature_extractor.conv_layers.2"
    with pytest.raises(ConfigError, match="padding differs from batch to batch"):
        write_cache(tiny.model(), padded, tmp_path / "cache", [place], adapter=data.adapter)


def test_two_layers_predict_three_by_heads_of_their_own(tmp_path: Path) -> None:
    """Otherwise DistilHuBERT's student learns the last layer alone, or keeps what is thrown away."""
    recipe = read_recipe("distilhubert")
    taught = {term: spec["teacher"].rsplit(".", 1) for term, spec in recipe.objective.items()}
    assert taught == {f"layer{number}": ["hubert.encoder.layers", str(number - 1)] for number in (4, 8, 12)}
    assert recipe.student["keep_layers"] == {"count": 2, "rule": "first_k", "stack": "hubert.encoder.layers"}
    path = tiny.saved(tmp_path / "hubert", tiny.model("hubert"))
    objective = {
        name: {**spec, "teacher": f"hubert.encoder.layers.{number}"}
        for number, (name, spec) in enumerate(recipe.objective.items(), start=1)
    }
    recipe = replace(small("distilhubert", tmp_path), objective=objective)
    recipe = replace(recipe, teacher={"name": "ctc", "path": path}, data={**recipe.data, "batch_size": 3})
    run = run_recipe(recipe, directory=tmp_path / "run")
    heads = [name for name, _ in run.module.objective.named_parameters()]
    assert len([name for name in heads if name.endswith("weight")]) == 3
    student: Any = run.student
    assert len(student.hubert.encoder.layers) == 2
    kept = load_file(tmp_path / "run" / "student.safetensors")
    assert kept.keys() == student.state_dict().keys()
    losses = [row for row in (tmp_path / "run" / "metrics.csv").read_text().splitlines() if row]
    assert "layer12" in losses[0]


def test_whispers_encoder_is_trained_cut_taught_from_a_cache_and_exported(tmp_path: Path) -> None:
    """Otherwise the shipped recipes do not fit each other: the second begins at what the first one left."""
    path, table = tiny.whisper(tmp_path / "whisper"), tiny.recordings(tmp_path, 9)
    data = {"path": table, "validation": {"validation": table}, "batch_size": 3}
    plan = {"max_epochs": 1, "warm_up_epochs": 0, "doctor": False, "trainer": QUIET}
    first = read_recipe("whisper_ctc_teacher")
    head = replace(
        first,
        student={**first.student, "path": path, "trained": "head"},
        data={**first.data, **data},
        training={**first.training, **plan},
    )
    trained = run_recipe(head, directory=tmp_path / "head")
    weights = str(tmp_path / "head" / "student.safetensors")
    recipe = read_recipe("whisper_ctc")
    recipe = replace(
        recipe,
        teacher={**(recipe.teacher or {}), "path": path, "weights": weights},
        data={**recipe.data, **data},
        cache={**(recipe.cache or {}), "directory": str(tmp_path / "cache"), "views": 2},
        training={**recipe.training, **plan},
    )
    run = run_recipe(recipe, directory=tmp_path / "run")
    given, found = trained.student.state_dict(), run.student.state_dict()
    assert not torch.equal(given["lm_head.weight"], found["lm_head.weight"])
    assert torch.equal(given["encoder.embed_positions.weight"], found["encoder.embed_positions.weight"])
    assert len({name.split(".")[2] for name in found if name.startswith("encoder.layers.")}) == 2
    assert set(run.module.latest) >= {"kd", "hidden", "student_loss"}
    back = rebuilt_run(tmp_path / "run")
    score = back.data.pipeline.run_inference_pipeline(back.student, back.data.validation["validation"])  # type: ignore[union-attr]
    assert run.scores["validation"] == pytest.approx(score["cer"])
