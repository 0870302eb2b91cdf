"""What goes wrong for a user when a run does not hold what it says, or cannot be repeated."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader

import knowledge_distillation as kd
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.teachers import LiveTeacher
from knowledge_distillation.training.loaders import loader_length
from knowledge_distillation.training.planning import check_arguments
from tests.training.toys import QUIET, Scripted, Stream, filled, identical, loader, mlp, points, snapshot


class Noisy(nn.Module):
    """A student whose forward draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = filled(nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.Dropout(0.4), nn.Linear(16, 3)), 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.net(inputs)


def train(directory: Path, **changes: Any) -> kd.Run:
    arguments: dict[str, Any] = {
        "teacher": mlp(9),
        "student": mlp(1),
        "train_loader": loader(shuffle=True),
        "val_loaders": {"test": loader(16, seed=5)},
        "max_epochs": 2,
        "directory": directory,
        "trainer": {},
        **changes,
    }
    return kd.distill(**{**arguments, "trainer": {**QUIET, **arguments["trainer"]}})


def test_a_run_directory_holds_everything_that_was_promised(tmp_path: Path) -> None:
    """Otherwise a result cannot be explained or shipped a month later."""
    run = train(tmp_path / "run")
    written = {str(path.relative_to(run.directory)) for path in run.directory.rglob("*") if path.is_file()}
    assert {"recipe.yaml", "environment.json", "metrics.csv", "student.safetensors", "checkpoints/last.ckpt"} <= written
    checkpoints = sorted(name for name in written if name.startswith("checkpoints/") and "last" not in name)
    assert [name.partition("-test=")[0] for name in checkpoints] == [
        "checkpoints/student-epoch=000",
        "checkpoints/student-epoch=001",
    ]
    rows = list(csv.DictReader((run.directory / "metrics.csv").read_text().splitlines()))
    assert {"kd", "cross_entropy", "train_final_loss", "test"} <= set(rows[0])
    assert [float(row["test"]) for row in rows if row["test"]][-1] == run.scores["test"]
    assert run.directory == tmp_path / "run"


def test_the_written_student_is_the_student(tmp_path: Path) -> None:
    """Otherwise another model is shipped than was scored."""
    student = mlp(1)
    run = train(tmp_path / "run", student=student)
    assert run.student is student
    stored = load_file(run.directory / "student.safetensors")
    assert identical(stored, snapshot(student))
    fresh = mlp(2)
    fresh.load_state_dict(stored)
    inputs, labels = points(16, seed=5).tensors
    accuracy = float((fresh(inputs).argmax(-1) == labels).float().mean())
    assert run.scores == {"test": pytest.approx(accuracy)}


def test_a_student_with_tied_weights_is_written_and_loads_again(tmp_path: Path) -> None:
    """Otherwise language models with tied embeddings train for hours and fail at the last line."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 3, bias=False), nn.Linear(5, 3)
            self.second.weight = self.first.weight

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.first(inputs) + self.second(inputs)

    run = train(tmp_path / "run", student=Tied())
    from safetensors.torch import load_model

    fresh = Tied()
    load_model(fresh, str(run.directory / "student.safetensors"))
    assert identical(snapshot(fresh), snapshot(run.student))
    assert fresh.second.weight is fresh.first.weight


def test_recipe_and_environment_are_plain_data_that_say_what_was_done(tmp_path: Path) -> None:
    """Otherwise nobody knows with which settings and versions a student was made."""
    run = train(
        tmp_path / "run",
        objective={"kd": {"loss": "kd", "weight": 0.7, "temperature": 3.0}, "cross_entropy": 0.3},
        optimizer={"name": "sgd", "momentum": 0.5},
        schedule="cosine",
        learning_rate=0.02,
        seed=11,
        trainer={"accumulate_grad_batches": 2, "default_root_dir": tmp_path},
    )
    recipe = yaml.safe_load((run.directory / "recipe.yaml").read_text())
    training = recipe["training"]
    assert training["optimizer"] == {"name": "sgd", "momentum": 0.5}
    assert (training["max_epochs"], training["learning_rate"], training["schedule"], training["seed"]) == (
        2,
        0.02,
        "cosine",
        11,
    )
    assert training["trainer"]["accumulate_grad_batches"] == 2
    assert recipe["objective"]["kd"]["weight"] == 0.7
    assert recipe["objective"]["kd"]["loss"]["temperature"] == 3.0
    environment = json.loads((run.directory / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__
    assert environment["seed"] == 11
    assert environment["scores"] == run.scores
    assert environment["interrupted"] is False


def test_the_environment_names_the_teacher_by_its_fingerprint(tmp_path: Path) -> None:
    """Otherwise two runs with different teachers look the same."""
    teacher = mlp(9)
    run = train(tmp_path / "run", teacher=teacher)
    assert LiveTeacher(teacher).fingerprint in (run.directory / "environment.json").read_text()


def test_the_same_seed_gives_the_same_weights_to_the_bit(tmp_path: Path) -> None:
    """Otherwise no result can be repeated, and the two arms of a comparison differ in more than the teacher."""
    first, again, other = (
        train(tmp_path / name, student=Noisy(), seed=seed) for name, seed in (("a", 4), ("b", 4), ("c", 5))
    )
    assert identical(snapshot(first.student), snapshot(again.student))
    assert not identical(snapshot(first.student), snapshot(other.student))


def test_both_arms_see_the_same_batches_in_the_same_order(tmp_path: Path) -> None:
    """Otherwise a comparison of two runs of one seed measures the luck of the shuffle."""
    orders: list[list[float]] = []
    for name, teacher, objective in (("with", mlp(9), "kd"), ("without", None, "labels")):
        seen: list[float] = []

        class Watched(nn.Module):
            def __init__(self, seen: list[float] = seen) -> None:
                super().__init__()
                self.net, self.seen = mlp(1), seen

            def forward(self, inputs: torch.Tensor) -> torch.Tensor:
                if self.training:
                    self.seen.extend(inputs[:, 0].tolist())
                return self.net(inputs)

        train(tmp_path / name, teacher=teacher, student=Watched(), objective=objective)
        orders.append(seen)
    assert orders[0] == orders[1]
    assert len(orders[0]) == 48
    assert orders[0][:24] != orders[0][24:]


@pytest.mark.parametrize(("better", "best"), [(True, 1), (False, 2), (None, 1)])
def test_the_best_checkpoint_follows_the_score_in_its_direction(better: bool | None, best: int, tmp_path: Path) -> None:
    """Otherwise the last or the worst student is taken for the best."""
    pipeline = Scripted(0.5, 0.9, 0.2, 0.7, higher_is_better=better)
    run = train(tmp_path / "run", pipeline=pipeline, max_epochs=4)
    callback = run.module.trainer.checkpoint_callback
    assert f"epoch={best:03d}" in Path(callback.best_model_path).name
    saved = torch.load(callback.best_model_path, weights_only=True)["state_dict"]
    weights = {name.removeprefix("student_model."): tensor for name, tensor in saved.items()}
    assert identical(weights, pipeline.weights[best])
    assert run.scores == {"test": 0.7}


def test_without_validation_the_mean_training_loss_chooses(tmp_path: Path) -> None:
    """Otherwise a run without a validation set keeps no best checkpoint."""
    run = train(tmp_path / "run", val_loaders=None, max_epochs=3, learning_rate=0.02)
    callback = run.module.trainer.checkpoint_callback
    rows = list(csv.DictReader((run.directory / "metrics.csv").read_text().splitlines()))
    means = [float(row["train_final_loss_epoch"]) for row in rows if row.get("train_final_loss_epoch")]
    assert len(means) == 3
    assert f"epoch={means.index(min(means)):03d}" in Path(callback.best_model_path).name
    assert float(callback.best_model_score) == pytest.approx(min(means))


def test_gradient_clipping_given_to_distill_reaches_the_trainer(tmp_path: Path) -> None:
    """Otherwise the argument is accepted and the gradients explode."""
    student = mlp(1)
    train(
        tmp_path / "run",
        student=student,
        train_loader=loader(8),
        objective={"kd": 1000.0},
        optimizer="sgd",
        learning_rate=1.0,
        max_epochs=1,
        trainer={"gradient_clip_val": 1e-2},
    )
    moved = [a.detach() - b.detach() for a, b in zip(student.parameters(), mlp(1).parameters(), strict=True)]
    assert float(torch.cat([part.flatten() for part in moved]).norm()) == pytest.approx(1e-2, rel=1e-3)


def test_a_stream_without_length_trains(tmp_path: Path) -> None:
    """Otherwise large data that does not fit a map-style data set cannot be used."""
    student = mlp(1)
    run = train(tmp_path / "run", student=student, train_loader=DataLoader(Stream(points(16)), batch_size=8))
    assert run.module.trainer.global_step == 4
    assert not identical(snapshot(student), snapshot(mlp(1)))


def test_loader_workers_are_seeded_differently_and_repeatably(tmp_path: Path) -> None:
    """Otherwise every worker augments alike, or a run cannot be repeated. (Set through Lightning's own switch.)"""
    train(tmp_path / "run")
    import os

    assert os.environ["PL_GLOBAL_SEED"] == "0"
    assert os.environ["PL_SEED_WORKERS"] == "1"


def test_without_a_directory_the_next_free_one_is_taken(workplace: Path) -> None:
    """Otherwise the second run overwrites the first."""
    names = [train(None, max_epochs=1).directory for _ in range(2)]  # type: ignore[arg-type]
    assert [str(name) for name in names] == ["runs/run-001", "runs/run-002"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_loader": 3}, "train_loader must be iterable"),
        ({"train_loader": []}, r"train loader is empty.*drop_last"),
        ({"val_loaders": [loader()]}, "val_loaders must be a dict"),
        ({"val_loaders": {"a:b": loader()}}, "name must be text without"),
        ({"val_loaders": {"": loader()}}, "name must be text without"),
        ({"val_loaders": {"test": []}}, "'test' is empty"),
        ({"val_loaders": {"test": 3}}, "'test' must be iterable"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"max_epochs": 1.5}, "max_epochs"),
        ({"max_epochs": True}, "max_epochs"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"objective": "kdd"}, "'kdd'"),
        ({"optimizer": "adm"}, "'adm'"),
        ({"pipeline": 3}, "run_inference_pipeline"),
        ({"student": "net"}, "student must be an nn.Module"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_written(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Otherwise the mistake leaves a half-made run that blocks the next try."""
    with pytest.raises(ConfigError, match=message):
        train(tmp_path / "run", **change)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"track": ["tensorbord"]}, "Did you mean 'tensorboard'"),
        ({"trainer": {"acumulate_grad_batches": 2}}, "Did you mean 'accumulate_grad_batches'"),
    ],
    ids=["track", "trainer"],
)
def test_after_a_refused_argument_the_same_directory_can_be_used(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """Otherwise a typing error occupies the directory, and the corrected call is refused."""
    with pytest.raises(ConfigError, match=message):
        train(tmp_path / "run", **change)
    assert train(tmp_path / "run").scores


def test_a_validation_loader_named_like_a_metric_of_ours_is_scored(tmp_path: Path) -> None:
    """Otherwise a clash of names ends in an error of the logging library in the middle of an epoch."""
    scores = [train(tmp_path / name, val_loaders={name: loader(16, seed=5)}).scores for name in ("kd", "other")]
    assert scores == [{"kd": scores[1]["other"]}, {"other": scores[0]["kd"]}]


def test_labels_of_an_unscorable_loader_are_asked_for(tmp_path: Path) -> None:
    """Otherwise an unlabelled validation set gives a score of nothing."""
    unlabelled = DataLoader(torch.utils.data.TensorDataset(points(8).tensors[0]), batch_size=4)
    with pytest.raises(ModelContractError, match="Accuracy needs logits and labels"):
        train(tmp_path / "run", val_loaders={"test": unlabelled})


def test_the_length_of_a_loader_is_none_where_it_knows_none() -> None:
    """Otherwise streams are taken for empty."""
    assert loader_length(loader(24)) == 3
    assert loader_length(DataLoader(Stream(points(8)))) is None
    check_arguments(DataLoader(Stream(points(8))), None, 1, 0)


@pytest.mark.parametrize(
    ("argument", "steps"), [({"overfit_batches": 2}, 4), ({"fast_dev_run": True}, 1), ({"limit_train_batches": 2}, 4)]
)
def test_lightnings_ways_to_train_less_work(argument: dict[str, Any], steps: int, tmp_path: Path) -> None:
    """Otherwise the first thing that one tries with a new model ends in a traceback."""
    settings = {"train_loader": loader(), "trainer": argument}
    assert train(tmp_path / "run", **settings).module.trainer.global_step == steps


def test_the_users_own_callback_is_the_one_that_is_called(tmp_path: Path) -> None:
    """Otherwise what it noted is in a copy that nobody can reach."""

    class Notes(Callback):
        def __init__(self) -> None:
            self.batches = 0

        def on_train_batch_end(self, *given: Any) -> None:
            self.batches += 1

    notes = Notes()
    train(tmp_path / "run", trainer={"callbacks": [notes]})
    assert notes.batches == 6
