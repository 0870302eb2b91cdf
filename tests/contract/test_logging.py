"""G. Logging and Comet: statements 43 to 48."""

from __future__ import annotations

import itertools
from collections import ChainMap
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from tests.contract.comet import FakeComet
from tests.contract.toy import (
    BATCH,
    Scorer,
    Student,
    Teacher,
    column,
    first_step,
    inputs_loader,
    labelled_loader,
    metrics,
    train,
    training,
    weights,
    written,
)


class Ticking(Student):
    """A student whose own loss "tick" is the number of the training step, from 0."""

    def __init__(self) -> None:
        super().__init__(add=self.tick)
        self.clock = itertools.count()

    def tick(self, logits: Tensor) -> dict[str, Any]:
        return {"loss": {"tick": float(next(self.clock))}} if self.training else {}


def test_43_every_component_is_logged_under_its_own_name() -> None:
    """A renamed or missing curve leaves the user's dashboard empty."""
    student = Student(add=lambda logits: {"loss": {"features_pen": logits.square().mean()}})
    made = train(student_model=student)
    names = {"kd_loss", "cos_embed_loss", "features_pen", "train_final_loss", "train_logit_diff", "train_prob_diff"}
    lines = [line for line in metrics() if "kd_loss" in line]
    assert lines
    assert all(names <= line.keys() for line in lines)
    assert names <= made.trainer.progress_bar_metrics.keys()


@pytest.mark.parametrize(("batches", "of_an_epoch"), [(1, [0]), (3, [0, 2]), (60, [0, 49, 59])])
def test_43_a_logged_number_belongs_to_its_step(batches: int, of_an_epoch: list[int]) -> None:
    """The curve would show the loss of an earlier batch at a later step, and progress that was not there.

    Lightning logged every 50th step; here the first and the last batch of an epoch are logged as well.
    """
    train(student_model=Ticking(), train_data_loader=inputs_loader(BATCH * batches), max_epoch=3)
    logged = [(int(line["step"]), int(float(line["tick"])), int(line["epoch"])) for line in metrics() if "tick" in line]
    expected = [(epoch * batches + batch, epoch) for epoch in range(3) for batch in of_an_epoch]
    assert logged == [(tick, tick, epoch) for tick, epoch in expected]


@pytest.mark.parametrize("epochs", [1, 2])
def test_43_numbers_are_logged_even_if_few_optimiser_steps_are_taken(epochs: int) -> None:
    """With accumulated gradients a whole training could pass without one line in the log."""
    train(
        student_model=Ticking(), train_data_loader=inputs_loader(BATCH * 8), accumulate_grad_batches=4, max_epoch=epochs
    )
    logged = [(int(line["step"]), float(line["tick"])) for line in metrics() if "tick" in line]
    assert logged
    for step, tick in logged:
        assert tick // 4 == step, f"step {step} shows the loss of batch {tick}"


@pytest.mark.parametrize("batches", [1, 3, 55])
def test_43_the_progress_bar_shows_the_last_batch_of_the_epoch(batches: int) -> None:
    """The number that stays on the screen when training ends must not be an old one."""
    made = train(student_model=Ticking(), train_data_loader=inputs_loader(BATCH * batches), max_epoch=2)
    assert float(made.trainer.progress_bar_metrics["tick"]) == 2 * batches - 1


@pytest.mark.parametrize(
    ("optimizer", "name"), [("adam", "lr-Adam"), ("sgd", "lr-SGD"), ("adamW_distilBert", "lr-AdamW")]
)
def test_44_the_learning_rate_is_logged_by_the_optimisers_name(optimizer: str, name: str) -> None:
    """Without this curve nobody sees that a schedule does not do what was meant."""
    train(optimize_method=optimizer, learning_rate=0.125)
    assert column(name) == [0.125]


@pytest.mark.parametrize("order", [2, 1, 3.0, float("inf")])
def test_45_gradient_norms_are_logged_for_each_parameter_and_in_total(order: float) -> None:
    """The first look at a training that explodes; a wrong norm sends the user after the wrong layer."""
    student = Student()
    student.unused = torch.nn.Parameter(torch.ones(2))
    before = student.net.weight.detach().clone(), student.net.bias.detach().clone()
    seen = first_step(student, Teacher(), optimize_method="sgd", learning_rate=1.0, track_grad_norm=order)
    gradients = [old - new.detach() for old, new in zip(before, (student.net.weight, student.net.bias), strict=True)]
    for name, gradient in zip(("weight", "bias"), gradients, strict=True):
        expected = torch.linalg.vector_norm(gradient, order).item()
        assert seen[f"grad_{float(order)}_norm_student_model.net.{name}"] == pytest.approx(expected, rel=1e-4)
    total = torch.linalg.vector_norm(torch.cat([gradient.flatten() for gradient in gradients]), order).item()
    assert seen[f"grad_{float(order)}_norm_total"] == pytest.approx(total, rel=1e-4)
    assert not [name for name in seen if "unused" in name]


def test_45_the_default_is_the_two_norm() -> None:
    """The original's dashboards look for grad_2.0_norm_total."""
    assert "grad_2.0_norm_total" in first_step(Student(), Teacher())


def test_45_norms_can_be_turned_off() -> None:
    """Lightning's -1 means none; a norm of order -1 would be logged instead."""
    assert not [name for name in first_step(Student(), Teacher(), track_grad_norm=-1) if name.startswith("grad_")]


def test_45_norms_are_those_of_the_whole_accumulated_gradient() -> None:
    """The norm of a part of the gradient would not explain the step that is taken."""
    student = Student()
    before = weights(student)
    train(
        student_model=student,
        accumulate_grad_batches=3,
        optimize_method="sgd",
        learning_rate=1.0,
    )
    step = torch.cat([(old - new).flatten() for old, new in zip(before, weights(student), strict=True)])
    assert column("grad_2.0_norm_total") == [pytest.approx(step.norm().item(), rel=1e-4)]


@pytest.mark.parametrize("kind", [dict, ChainMap])
def test_46_logging_param_goes_to_comet_as_hyperparameters(kind: Any, comet: type[FakeComet], comet_file: Path) -> None:
    """An experiment without its settings cannot be told from the next one."""
    made = training(log_to_comet=True, comet_info_path=str(comet_file), logging_param=kind({"lr": 0.1, "note": "a"}))
    (experiment,) = comet.made
    assert experiment in made.trainer.loggers
    assert experiment.hyperparameters == {"lr": 0.1, "note": "a"}
    assert experiment.arguments["auto_histogram_weight_logging"] is True


def test_46_metrics_reach_comet(comet: type[FakeComet], comet_file: Path) -> None:
    """An empty experiment would be found only after the training."""
    train(
        log_to_comet=True,
        comet_info_path=str(comet_file),
        val_data_loaders={"dev": labelled_loader()},
        inference_pipeline=Scorer(0.25),
    )
    (experiment,) = comet.made
    wanted = {"kd_loss", "train_final_loss", "train_logit_diff", "lr-Adam", "grad_2.0_norm_total", "dev"}
    assert wanted <= experiment.metrics.keys()


def test_46_logging_param_is_kept_without_comet_too() -> None:
    """The settings of a run without Comet were lost in the original."""
    training(logging_param=ChainMap({"lr": 0.1}, {"note": "a"}))
    stored = yaml.safe_load(Path("lightning_logs/version_0/hparams.yaml").read_text())
    assert stored == {"lr": 0.1, "note": "a"}


@pytest.mark.parametrize(
    "text",
    [
        "key\nproject\nspace\n",
        "key\nproject\nspace",
        "key\r\nproject\r\nspace\r\n",
        " key \nproject\t\nspace\n\nmore\n",
    ],
    ids=["unix", "no_last_newline", "windows", "blanks"],
)
def test_47_the_comet_file_holds_key_project_and_workspace(text: str, comet: type[FakeComet], workplace: Path) -> None:
    """A key with a line end in it is refused by Comet with a message that shows nothing wrong."""
    file = workplace / "info.txt"
    file.write_bytes(text.encode())
    training(log_to_comet=True, comet_info_path=str(file), comet_exp_name="retrain_exp9")
    (experiment,) = comet.made
    given = experiment.arguments
    assert (given["api_key"], given["workspace"]) == ("key", "space")
    assert experiment.name == "project"
    assert given.get("name", given.get("experiment_name")) == "retrain_exp9"


def test_48_without_comet_only_a_csv_file_is_written(workplace: Path) -> None:
    """TensorBoard files in every working directory, or a connection to a service, would surprise the user."""
    made = train()
    assert [type(logger) for logger in made.trainer.loggers] == [CSVLogger]
    files = [name for name in written(workplace) if name.startswith("lightning_logs/version_0/")]
    assert "lightning_logs/version_0/metrics.csv" in files
    assert not [name for name in files if "tfevents" in name]


def test_48_a_second_run_does_not_write_over_the_first() -> None:
    """The numbers of last night's training would be gone."""
    train(max_epoch=1)
    first = metrics()
    train(max_epoch=2)
    assert metrics(0) == first
    assert len(metrics(1)) > len(first)
