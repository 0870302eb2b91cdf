"""What goes wrong for a user who distils a language model by a recipe."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from knowledge_distillation.cli import main
from knowledge_distillation.domains.language import causal_lm
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses import FusedDivergence, Projected, TopK
from knowledge_distillation.recipes.preparing import begun
from knowledge_distillation.recipes.reading import Recipe, as_yaml, check_recipe, read_recipe
from knowledge_distillation.recipes.rebuilding import rebuilt_run
from knowledge_distillation.recipes.running import cache_recipe, run_recipe
from knowledge_distillation.students import keep_layers
from knowledge_distillation.teachers import CachedTeacher
from tests.domains.language import tiny
from tests.training.toys import QUIET


def recipe_of(teacher: str, data: dict[str, Any], **sections: Any) -> Recipe:
    plan = {
        "teacher": {"name": "causal_lm", "path": teacher},
        "student": {"name": "from_teacher", "keep_layers": {"count": 2, "rule": "every_k"}},
        "data": {"tokenizer": teacher, "batch_size": 2, **data},
        "objective": {"forward_kl": 1.0, "cross_entropy": 0.5},
        "training": {"max_epochs": 1, "learning_rate": 1e-3, "trainer": QUIET},
    }
    return check_recipe({**plan, **sections}, "recipe")


def running_text(texts: Path) -> dict[str, Any]:
    return {"name": "text_files", "path": str(texts), "length": 16, "validation": {"val": "1920*"}}


def test_a_recipe_gives_a_student_with_the_perplexity_that_transformers_finds(
    teacher: str, texts: Path, tmp_path: Path
) -> None:
    """Otherwise the score that decides which student is kept is that of another loss, or of the padding."""
    recipe = recipe_of(teacher, running_text(texts))
    run = run_recipe(recipe, directory=tmp_path / "run")
    total, count = 0.0, 0
    for row in begun(recipe, {})[0].validation["val"].dataset:
        ids, labels = row["input_ids"][None], row["labels"][None]
        logits = run.student(ids).logits[..., :98].detach()  # the tokenizer's columns
        counted = labels[:, 1:] != -100
        losses = torch.nn.functional.cross_entropy(logits[:, :-1][counted], labels[:, 1:][counted], reduction="none")
        total, count = total + float(losses.sum()), count + len(losses)
    assert run.scores["val"] == pytest.approx(math.exp(total / count), rel=1e-5)
    findings = json.loads((tmp_path / "run" / "doctor.json").read_text())["findings"]
    assert {finding["check"] for finding in findings} <= {"teacher_skill"}  # the teacher is untrained


def test_a_run_is_read_back_with_its_teacher(teacher: str, texts: Path, tmp_path: Path) -> None:
    """Otherwise a report cannot say how much of the teacher is left, though its weights lie where they lay."""
    run = run_recipe(recipe_of(teacher, running_text(texts)), directory=tmp_path / "run")
    back = rebuilt_run(tmp_path / "run")
    assert back.notes == ()
    assert all(torch.equal(a, b) for a, b in zip(back.student.parameters(), run.student.parameters(), strict=True))
    theirs = AutoModelForCausalLM.from_pretrained(teacher)
    assert back.teacher is not None
    assert all(torch.equal(a, b) for a, b in zip(back.teacher.parameters(), theirs.parameters(), strict=True))  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize("documents", ["joined", "apart"])
def test_a_cached_teacher_gives_the_live_ones_loss(documents: str, teacher: str, texts: Path, tmp_path: Path) -> None:
    """Otherwise shift or mask of the cache is another than that of training, and each answer meets the next token."""
    data = {**running_text(texts), "documents": documents}
    _same_losses(recipe_of(teacher, data), tmp_path, 1e-3, signals={"logits": "float32"})


def test_a_cached_teacher_gives_the_live_ones_loss_on_padded_records(
    teacher: str, records: Path, tmp_path: Path
) -> None:
    """Otherwise prompts or padding move the answers of a cache to other tokens."""
    data = {"name": "jsonl", "path": str(records), "length": 32, "validation": 0.2}
    objective = {"top_k_kl": {"loss": "top_k_kl", "k": 98}, "cross_entropy": 0.5}
    signals = {"logits": {"name": "top_k", "k": 98}}
    _same_losses(recipe_of(teacher, data, objective=objective), tmp_path, 5e-3, signals=signals)


def _same_losses(recipe: Recipe, folder: Path, error: float, signals: Any) -> None:
    live = run_recipe(recipe, directory=folder / "live")
    cache = {"directory": str(folder / "cache"), "signals": signals}
    kept = run_recipe(replace(recipe, cache=cache), directory=folder / "cached")
    assert isinstance(kept.module.teacher, CachedTeacher)
    latest = [{name: float(value) for name, value in run.module.latest.items()} for run in (live, kept)]
    assert latest[0].keys() == latest[1].keys()
    for name, value in latest[0].items():
        assert value == pytest.approx(latest[1][name], abs=error), name


@pytest.mark.parametrize(
    ("encoding", "objective"),
    [
        ({"name": "compact_top_k", "k": 20}, {"top_k_kl": {"loss": "top_k_kl", "k": 20}}),
        ({"name": "sampled", "draws": 5}, {"sampled_cross_entropy": 1.0}),
    ],
    ids=["compact", "sampled"],
)
def test_small_encodings_teach(encoding: Any, objective: Any, teacher: str, texts: Path, tmp_path: Path) -> None:
    """Otherwise what makes a cache of a large vocabulary small cannot be used for one."""
    data = {**running_text(texts), "documents": "apart"}
    cache = {"directory": str(tmp_path / "cache"), "signals": {"logits": encoding}}
    recipe = recipe_of(teacher, data, objective=objective, cache=cache)
    manifest = cache_recipe(recipe)
    assert manifest["signals"]["logits"]["per_token"]
    run = run_recipe(recipe, directory=tmp_path / "run")
    assert math.isfinite(run.scores["val"])


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("k", [None, 20], ids=["live", "cached"])
def test_a_fused_loss_trains_as_the_plain_ones_do(
    k: int | None, packed: bool, teacher: str, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a recipe that saves memory gives another student: by its shift, its mask, or padding columns."""
    taken, forward = set(), FusedDivergence.forward

    def noted(loss: Any, ours: Any, theirs: Any, **beside: Any) -> Any:
        taken.add((type(ours), type(theirs)))
        return forward(loss, ours, theirs, **beside)

    monkeypatch.setattr(FusedDivergence, "forward", noted)
    data = {"name": "jsonl", "path": str(records), "length": 64, "validation": 0.2, "packed": packed}
    fused: dict[str, Any] = {"mix": {"loss": "fused_divergence", "hard_weight": 0.5}}
    plain: dict[str, Any] = {"forward_kl": 1.0, "cross_entropy": 0.5}
    sections: dict[str, Any] = {}
    if k:
        plain = {"top_k_kl": {"loss": "top_k_kl", "k": k}, "cross_entropy": 0.5}
        sections["cache"] = {"directory": str(tmp_path / "cache"), "signals": {"logits": {"name": "top_k", "k": k}}}
        cache_recipe(recipe_of(teacher, data, objective=plain, **sections))
    students = [
        run_recipe(recipe_of(teacher, data, objective=objective, **sections), directory=tmp_path / name).student
        for name, objective in (("fused", fused), ("plain", plain))
    ]
    assert (Projected, TopK if k else Projected) in taken
    for one, other in zip(*(student.parameters() for student in students), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_layers_are_searched_on_the_tokens_that_count(teacher: str, records: Path, tmp_path: Path) -> None:
    """Otherwise the cut is chosen by how well it repeats prompts and padding."""
    data = {"name": "jsonl", "path": str(records), "length": 32, "validation": 0.2, "batch_size": 8}
    student = {"name": "from_teacher", "search_layers": {"count": 2}}
    run = run_recipe(recipe_of(teacher, data, student=student), directory=tmp_path / "run")
    whole = causal_lm(teacher)
    (batch,) = begun(recipe_of(teacher, data), {})[0].train
    counted = (batch["labels"][:, 1:] != -100).flatten()

    def distance(kept: tuple[int, ...]) -> float:
        cut = keep_layers(whole, 2, kept).eval()
        asked = {name: batch[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            ours, theirs = (m(**asked).logits[:, :-1, :98].log_softmax(-1).flatten(0, 1)[counted] for m in (cut, whole))
        return float((theirs.exp() * (theirs - ours)).sum(-1).mean())

    best = min(combinations(range(4), 2), key=distance)
    resolved = read_recipe(tmp_path / "run" / "recipe.yaml").student
    assert tuple(resolved["keep_layers"]["rule"]) == best
    assert run.student.config.num_hidden_layers == 2


@pytest.mark.parametrize("objective", ["uld", "gold", "projection_kl"])
def test_a_teacher_with_another_tokenizer_teaches_by_a_recipe(
    objective: str, teacher: str, records: Path, tmp_path: Path
) -> None:
    """Otherwise only who writes Python can learn from another family of models."""
    tokenizer = tiny.pieces(["1+1=2 2+2=4 10+10=20"] * 3)
    foreign = tiny.saved(tmp_path / "foreign", tiny.llama(len(tokenizer) + 4), tokenizer)
    data = {"name": "jsonl", "path": str(records), "length": 32, "validation": 0.2, "teacher_tokenizer": foreign}
    student = {"name": "causal_lm", "path": teacher}
    recipe = recipe_of(teacher, data, student=student, objective=objective)
    run = run_recipe(replace(recipe, teacher={"name": "causal_lm", "path": foreign}), directory=tmp_path / "run")
    assert math.isfinite(run.scores["validation"])
    assert {name for name, value in run.module.latest.items() if value != 0} >= {
        "hybrid_uld" if objective == "gold" else objective
    }


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft reads it
def test_a_lora_student_trains_its_added_matrices_alone(teacher: str, records: Path, tmp_path: Path) -> None:
    """Otherwise all weights of a large model are trained, or the added ones are not saved."""
    pytest.importorskip("peft")
    data = {"name": "jsonl", "path": str(records), "length": 32, "validation": 0.2}
    student = {"name": "causal_lm", "path": teacher, "lora": {"r": 2, "target_modules": ["q_proj"]}}
    run = run_recipe(recipe_of(teacher, data, student=student), directory=tmp_path / "run")
    trained = {name for name, parameter in run.student.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    base = AutoModelForCausalLM.from_pretrained(teacher).state_dict()
    now = run.student.get_base_model().state_dict()  # type: ignore[operator]
    assert torch.equal(base["model.layers.0.mlp.up_proj.weight"], now["model.layers.0.mlp.up_proj.weight"])
    assert rebuilt_run(tmp_path / "run").student.state_dict().keys() == run.student.state_dict().keys()


def test_a_report_measures_a_language_run(teacher: str, texts: Path, tmp_path: Path) -> None:
    """Otherwise the page that shall convince others is empty, or calls a language model a classifier of images."""
    run_recipe(recipe_of(teacher, running_text(texts)), directory=tmp_path / "run")
    assert main(["report", str(tmp_path / "run")]) == 0
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    quality = {name: model["quality"] for name, model in found["models"].items()}
    assert quality["student"]["metric"] == "perplexity"
    assert not quality["student"]["higher_is_better"]
    assert set(quality) >= {"student", "teacher"}


def test_a_command_line_caches_and_trains(teacher: str, records: Path, tmp_path: Path) -> None:
    """Otherwise what works in Python fails for who only has a recipe."""
    data = {"name": "jsonl", "path": str(records), "tokenizer": teacher, "length": 32, "validation": 0.2}
    content = {
        "teacher": {"name": "causal_lm", "path": teacher},
        "student": {"name": "from_teacher", "keep_layers": {"count": 2}},
        "data": data,
        "objective": {"top_k_kl": {"loss": "top_k_kl", "k": 20}},
        "cache": {"directory": str(tmp_path / "cache"), "signals": {"logits": {"name": "top_k", "k": 20}}},
        "training": {"max_epochs": 1, "trainer": QUIET},
    }
    (tmp_path / "recipe.yaml").write_text(as_yaml(content))
    assert main(["cache", str(tmp_path / "recipe.yaml")]) == 0
    assert main(["train", str(tmp_path / "recipe.yaml"), "--directory", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "student.safetensors").is_file()


def test_rows_longer_than_the_models_positions_are_refused_before_training(
    teacher: str, texts: Path, tmp_path: Path
) -> None:
    """Otherwise positions are made up that the model never saw, and its answers there are taught."""
    recipe = recipe_of(teacher, {**running_text(texts), "length": 500}, student={"name": "causal_lm", "path": teacher})
    with pytest.raises(ConfigError, match=r"at most 128 tokens.*have 500"):
        run_recipe(recipe, directory=tmp_path / "run")


def test_more_likeliest_tokens_than_there_are_is_all_of_them(teacher: str, texts: Path, tmp_path: Path) -> None:
    """Otherwise a k that suits a large vocabulary is an index error in a small one."""
    plan = {
        "objective": {"top_k_kl": {"loss": "top_k_kl", "k": 5000}},
        "cache": {"directory": str(tmp_path / "cache"), "signals": {"logits": {"name": "top_k", "k": 5000}}},
    }
    run = run_recipe(recipe_of(teacher, running_text(texts), **plan), directory=tmp_path / "run")
    assert math.isfinite(run.scores["val"])


@pytest.mark.slow
def test_a_teacher_in_half_precision_teaches_as_in_full(teacher: str, texts: Path, tmp_path: Path) -> None:
    """Otherwise a large teacher that fits only in bfloat16 gives another loss, or an error about dtypes."""
    found = []
    for dtype in ("float32", "bfloat16"):
        student = {"name": "causal_lm", "path": teacher}
        recipe = recipe_of(teacher, running_text(texts), student=student)
        recipe = replace(recipe, teacher={"name": "causal_lm", "path": teacher, "dtype": dtype})
        run = run_recipe(recipe, directory=tmp_path / dtype)
        found.append(run.scores["val"])
    assert found[0] == pytest.approx(found[1], rel=0.01)


@pytest.mark.parametrize("name", ["language_text", "smollm_sotu"])
def test_shipped_recipes_run_on_other_models_and_texts(name: str, teacher: str, tmp_path: Path) -> None:
    """Otherwise the recipe that a user begins with is refused, or splits the years in another way than it says."""
    texts = tmp_path / "sotu"
    texts.mkdir()
    for year in (1900, 1946, 1955, 1996, 1997, 1999, 2000, 2021):
        (texts / f"{year}_somebody_n.txt").write_text(f"The union of {year} is strong. " * 20)
    cut = {"count": 2, "rule": "every_k"}
    settings = {"teacher.path": teacher, "data.tokenizer": teacher, "data.path": texts, "student.keep_layers": cut}
    settings |= {"training.trainer": {**QUIET, "limit_train_batches": 2}, "data.length": 64}
    settings |= {"cache.directory": tmp_path / "cache"} if name == "smollm_sotu" else {}
    given = [f"{path}={json.dumps(value, default=str)}" for path, value in settings.items()]
    run = run_recipe(read_recipe(name, given), directory=tmp_path / "run")
    assert set(run.scores) == {"test" if name == "smollm_sotu" else "validation"}
    assert all(map(math.isfinite, run.scores.values()))
