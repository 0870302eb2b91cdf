"""What goes wrong for a user who trains from a cache that does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from knowledge_distillation import DistillationModule, distill
from knowledge_distillation.errors import CacheError, ConfigError, ShapeError
from knowledge_distillation.teachers import CachedTeacher, write_cache
from tests.ranks import Ranks
from tests.teachers.cache.samples import rows_loader, small_cache, steady
from tests.training.toys import CLASSES, FEATURES, QUIET, Losses, identical, mlp, points, quiet_trainer


def trained(teacher: Any, directory: Path, **settings: Any) -> dict[str, torch.Tensor]:
    student = mlp(9, 4)
    loader = DataLoader(points(), batch_size=8, shuffle=True)
    distill(teacher, student, loader, directory=directory, max_epochs=3, trainer=QUIET, **settings)
    return student.state_dict()


@pytest.mark.parametrize("objective", ["kd", "dkd", "fitnets"])
def test_a_student_from_the_cache_is_the_student_of_the_live_teacher(tmp_path: Path, objective: str) -> None:
    """With plain data in float32 nothing may differ, not by one bit: the cache is only a faster way."""
    signals = {"logits": "float32"}
    if objective == "fitnets":
        signals["layers.hidden"] = "float32"
    write_cache(Deep(), rows_loader(), tmp_path / "cache", signals)
    cached = CachedTeacher(tmp_path / "cache", teacher=Deep())
    live = trained(Deep(), tmp_path / "live", objective=settings_for(objective))
    learnt = trained(cached, tmp_path / "learnt", objective=settings_for(objective))
    assert identical(learnt, live)


class Deep(nn.Module):
    """A teacher whose layers have names, and whose answer to a sample no batch can round otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = steady()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(inputs)
        return logits


def settings_for(objective: str) -> Any:
    if objective != "fitnets":
        return objective
    hint = {"loss": "hint", "student": "hidden", "teacher": "layers.hidden", "projector": "auto"}
    return {"cross_entropy": 1.0, "hint": hint}


def test_a_cache_of_another_teacher_is_refused(tmp_path: Path) -> None:
    """The student would learn from a teacher that was replaced long ago."""
    small_cache(tmp_path, mlp(1))
    CachedTeacher(tmp_path, teacher=mlp(1))
    with pytest.raises(CacheError, match="answers of another teacher"):
        CachedTeacher(tmp_path, teacher=mlp(2))
    with pytest.raises(CacheError, match="answers of another teacher"):
        CachedTeacher(tmp_path, teacher="0" * 64)


@pytest.mark.parametrize("count", [23, 25])
def test_a_dataset_of_another_length_is_refused(tmp_path: Path, count: int) -> None:
    """Sample numbers would point at other samples."""
    cached = CachedTeacher(small_cache(tmp_path, mlp()))
    with pytest.raises(CacheError, match=f"24 samples and the dataset has {count}"):
        cached.loader(rows_loader(count))


def test_other_data_of_the_same_length_is_refused(tmp_path: Path) -> None:
    """The commonest slip: the cache of yesterday's cleaning of the data."""
    cached = CachedTeacher(small_cache(tmp_path, mlp()))
    inputs, labels = points().tensors
    with pytest.raises(CacheError, match="Sample 0, view 0, is not what the teacher saw"):
        cached.loader(DataLoader(TensorDataset(inputs + 1e-6, labels), batch_size=4))
    moved = inputs.clone()
    moved[[3, 4]] = moved[[4, 3]]
    with pytest.raises(CacheError, match="Sample 3, view 0"):
        list(cached.loader(DataLoader(TensorDataset(moved, labels), batch_size=4)))
    list(CachedTeacher(tmp_path, check_inputs=False).loader(DataLoader(TensorDataset(moved, labels), batch_size=4)))


def test_a_signal_that_was_not_kept_is_named(tmp_path: Path) -> None:
    """Otherwise the term that reads it would fail with a KeyError."""
    cached = CachedTeacher(small_cache(tmp_path, mlp()))
    hint = {"loss": "hint", "student": "hidden", "teacher": "hidden", "projector": "auto"}
    with pytest.raises(ConfigError, match="does not hold the teacher's 'hidden'"):
        distill(cached, mlp(9, 4), rows_loader(), objective={"hint": hint}, directory=tmp_path / "run", trainer=QUIET)


def test_batches_that_do_not_come_from_the_cache_are_refused(tmp_path: Path) -> None:
    """With your own Trainer it is easy to forget the cache's loader."""
    module = DistillationModule(mlp(9, 4), CachedTeacher(small_cache(tmp_path, mlp())), "kd")
    with pytest.raises(ConfigError, match=r"CachedTeacher.loader\(your_loader\)"):
        quiet_trainer(max_epochs=1).fit(module, rows_loader())


def test_ones_own_trainer_learns_from_the_cached_loader(tmp_path: Path) -> None:
    """Otherwise the cache is there for `distill` only."""
    cached = CachedTeacher(small_cache(tmp_path, mlp()))
    losses = Losses()
    module = DistillationModule(mlp(9, 4), cached, "kd", learning_rate=0.05)
    quiet_trainer(max_epochs=20, callbacks=[losses]).fit(module, cached.loader(rows_loader()))
    assert losses.values[-1] < 0.5 * losses.values[0]


def test_more_classes_than_the_student_has_are_refused(tmp_path: Path) -> None:
    """Ids beyond the student's classes would be looked up in another row."""
    wide = nn.Linear(FEATURES, CLASSES + 2)
    for number, encoding in enumerate(["float32", {"name": "top_k", "k": 4}, "sampled"]):
        home = tmp_path / f"cache-{number}"
        write_cache(wide, rows_loader(), home, {"logits": encoding})
        objective = ["kd", {"top_k_kl": 1.0}, {"sampled_cross_entropy": 1.0}][number]
        with pytest.raises((ShapeError, ConfigError), match=r"class|shape"):
            distill(
                CachedTeacher(home), mlp(9, 4), rows_loader(),
                objective=objective, directory=tmp_path / f"run-{number}", trainer=QUIET,
            )  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "objective"),
    [
        ({"name": "top_k", "k": 2}, {"top_k_kl": 1.0}),
        ({"name": "compact_top_k", "k": 2}, {"top_k_kl": 1.0}),
        ({"name": "sampled", "draws": 8}, {"sampled_cross_entropy": 1.0}),
    ],
)
def test_sparse_answers_teach(tmp_path: Path, encoding: Any, objective: Any) -> None:
    """A vocabulary of 128k does not fit on a disk in full; what fits must teach."""
    write_cache(mlp(), rows_loader(), tmp_path, {"logits": encoding})
    losses = Losses()
    cached = CachedTeacher(tmp_path)
    module = DistillationModule(mlp(9, 4), cached, objective, learning_rate=0.05)
    quiet_trainer(max_epochs=30, callbacks=[losses]).fit(module, cached.loader(rows_loader()))
    assert losses.values[-1] < 0.8 * losses.values[0]


def test_a_dense_loss_on_sparse_answers_is_explained(tmp_path: Path) -> None:
    """Otherwise the error is an attribute that a tuple does not have."""
    write_cache(mlp(), rows_loader(), tmp_path, {"logits": {"name": "top_k", "k": 2}})
    with pytest.raises(ConfigError, match="top_k_kl"):
        distill(
            CachedTeacher(tmp_path), mlp(9, 4), rows_loader(),
            objective="kd", directory=tmp_path / "run", trainer=QUIET,
        )  # fmt: skip


@pytest.mark.parametrize("objective", ["kd", "dkd", {"reverse_kl": 1.0}, {"logit_mse": 1.0}])
def test_draws_are_not_taken_for_scores(tmp_path: Path, objective: Any) -> None:
    """As many draws as classes have the shape of logits, and the student would learn the numbers of classes."""
    write_cache(mlp(), rows_loader(), tmp_path, {"logits": {"name": "sampled", "draws": CLASSES}})
    module = DistillationModule(mlp(9, 4), cached := CachedTeacher(tmp_path), objective)
    with pytest.raises(ConfigError, match=r"class ids .* such as draws"):
        quiet_trainer().fit(module, cached.loader(rows_loader()))


def test_scores_are_not_taken_for_draws(tmp_path: Path) -> None:
    """Logits between 0 and the number of classes would be rounded down to classes."""
    cached = CachedTeacher(small_cache(tmp_path, mlp()))
    module = DistillationModule(mlp(9, 4), cached, {"sampled_cross_entropy": 1.0})
    with pytest.raises(ConfigError, match=r"must be class ids, got torch\.float32"):
        quiet_trainer().fit(module, cached.loader(rows_loader()))


@pytest.mark.parametrize(("made", "read"), [(1.0, 4.0), (4.0, 1.0)])
def test_draws_at_another_temperature_are_refused(tmp_path: Path, made: float, read: float) -> None:
    """They come from another distribution, and nothing in the numbers shows it."""
    write_cache(mlp(), rows_loader(), tmp_path, {"logits": {"name": "sampled", "draws": 8, "temperature": made}})
    cached = CachedTeacher(tmp_path)
    for asked in (read, made):
        objective = {"drawn": {"loss": "sampled_cross_entropy", "temperature": asked}}
        module = DistillationModule(mlp(9, 4), cached, objective)
        if asked == made:
            quiet_trainer().fit(module, cached.loader(rows_loader()))
            continue
        with pytest.raises(ConfigError, match=f"draws at temperature {made}, and a loss reads them at {read}"):
            quiet_trainer().fit(module, cached.loader(rows_loader()))


def test_two_processes_learn_from_one_cache(tmp_path: Path) -> None:
    """Each rank must see its own half of the samples, with their own answers, and both the same student."""
    small_cache(tmp_path / "cache", mlp())
    Ranks(Path(__file__).with_name("learning_processes.py"), "cache", "run", directory=tmp_path).succeed()
    first, second = (json.loads((tmp_path / f"run-{rank}.json").read_text()) for rank in (0, 1))
    with torch.no_grad():
        every = mlp()(points().tensors[0])[:, 0].tolist()
    assert sorted(first["seen"] + second["seen"]) == pytest.approx(sorted(every))
    assert first["total"] == second["total"]
