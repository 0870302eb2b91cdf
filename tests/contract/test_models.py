"""B. What is asked of the two models: statements 11 to 18."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowledge_distillation.errors import ModelContractError
from tests.contract.toy import (
    BATCH,
    BATCHES,
    Accuracy,
    Classifier,
    Constant,
    Student,
    Teacher,
    column,
    first_step,
    labelled_loader,
    loader_of,
    rows,
    same,
    train,
    training,
    weights,
)


def in_training(model: Classifier) -> list[dict[str, Any]]:
    """The calls of the training steps: only they pass a temperature."""
    return [call for call in model.calls if call["keywords"]]


class Without(nn.Module):
    """A model whose output lacks one key."""

    def __init__(self, model: nn.Module, key: str) -> None:
        super().__init__()
        self.model = model
        self.key = key

    def forward(self, *inputs: Any, temperature: float = 1) -> dict[str, Any]:
        output: dict[str, Any] = self.model(*inputs, temperature=temperature)
        return {key: value for key, value in output.items() if key != self.key}


@pytest.mark.parametrize(
    "extra", [(), (torch.ones(BATCH, dtype=torch.bool),), (None, False, "asr")], ids=["1", "2", "4"]
)
def test_11_a_batch_is_unpacked_for_both_models(extra: tuple[Any, ...]) -> None:
    """Features, masks and flags would arrive in one argument, or the two models would see different data."""
    inputs = rows(BATCH)
    made = train(train_data_loader=loader_of((inputs, *extra)), temperature=3)
    module = made.pytorch_lightning_module
    for model in (module.student_model, module.teacher_model):
        (call,) = model.calls
        assert torch.equal(call["inputs"][0], inputs)
        assert len(call["inputs"]) == 1 + len(extra)
        for got, given in zip(call["inputs"][1:], extra, strict=True):
            assert torch.equal(got, given) if isinstance(given, Tensor) else got == given


@pytest.mark.parametrize("batch", [rows(BATCH), {"x": rows(BATCH)}], ids=["tensor", "dict"])
def test_12_a_batch_that_cannot_be_unpacked_is_refused(batch: Any) -> None:
    """The original split a bare tensor along the samples and failed with a riddle about 'temperature'."""
    student = Student()
    before = weights(student)
    made = training(train_data_loader=loader_of(batch), student_model=student)
    with pytest.raises(ModelContractError, match=r"must be a tuple or list.*collate_fn"):
        made.start_kd_training()
    assert same(before, weights(student))


@pytest.mark.parametrize("temperature", [1, 2.5])
def test_13_the_temperature_is_a_keyword_in_training_and_absent_in_validation(temperature: float) -> None:
    """A model that names its further inputs differently would take the temperature for one of them."""
    made = train(
        temperature=temperature, val_data_loaders={"dev": labelled_loader()}, inference_pipeline=Accuracy()
    )  # fmt: skip
    student, teacher = made.pytorch_lightning_module.student_model, made.pytorch_lightning_module.teacher_model
    assert [call["keywords"] for call in in_training(student)] == [{"temperature": temperature}] * BATCHES
    assert [call["keywords"] for call in teacher.calls] == [{"temperature": temperature}] * BATCHES
    assert len(student.calls) == BATCHES + 2 * BATCHES


@pytest.mark.parametrize(
    ("whose", "key"),
    [("teacher", "prob"), ("teacher", "logits"), ("student", "prob"), ("student", "logits"), ("student", "log_prob")],
)
def test_14_a_missing_key_is_named(whose: str, key: str) -> None:
    """The original failed with a bare KeyError that named neither the model nor what it must return."""
    models: dict[str, nn.Module] = {"student": Student(), "teacher": Teacher()}
    models[whose] = Without(models[whose], key)
    made = training(student_model=models["student"], teacher_model=models["teacher"])
    with pytest.raises(ModelContractError, match=rf"(?i){whose}.*lacks \['{key}'\]"):
        made.start_kd_training()


@pytest.mark.parametrize("further", [{}, {"loss": None}, {"loss": {}}, {"extra": 1, "hidden_states": [None], 3: "x"}])
def test_14_further_keys_are_ignored_and_losses_are_optional(further: dict[Any, Any]) -> None:
    """A student that returns hidden states, or no loss of its own, would be refused."""
    made = train(student_model=Student(add=lambda logits: further))
    assert made.trainer.global_step == BATCHES
    assert column("kd_loss")


def test_15_given_probabilities_are_used_as_they_come() -> None:
    """The toolkit would soften or normalise a second time, so the student would learn from other targets."""
    student, teacher = Student(add=lambda logits: {"log_prob": logits.log_softmax(dim=-1) - 0.5}), Teacher()
    log_prob = student(rows(BATCH))["log_prob"].detach()
    prob = teacher(rows(BATCH))["prob"]
    with pytest.warns(UserWarning, match=r"student's probabilities sum to 0\.607"):
        seen = first_step(student, teacher)
    assert seen["kd_loss"] == pytest.approx(F.kl_div(log_prob, prob, reduction="batchmean").item(), rel=1e-6)


@pytest.mark.parametrize("divide", [True, False], ids=["divided", "raw"])
def test_16_logits_are_compared_as_the_models_return_them(divide: bool) -> None:
    """One rule: nothing divides the logits by the temperature but the model, so its author knows what is compared."""
    said, taught = rows(BATCH, seed=1), rows(BATCH, seed=2)
    seen = first_step(Constant(said, divide=divide), Constant(taught, divide=divide), temperature=2)
    scale = 2 if divide else 1
    assert seen["train_logit_diff"] == pytest.approx(F.mse_loss(said / scale, taught / scale).item(), rel=1e-6)


def two_epochs(student: Student, teacher: Teacher, pipeline: Any) -> None:
    """A training of these models with validation."""
    train(
        student_model=student,
        teacher_model=teacher,
        max_epoch=2,
        val_data_loaders={"dev": labelled_loader()},
        inference_pipeline=pipeline,
    )


@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")
def test_17_modes_and_gradients_of_every_step() -> None:
    """A teacher in training mode gives noisy targets and moves its batch norms; a student in eval mode never learns
    to stand its dropout.
    """
    student, teacher = Student().eval(), Teacher().train()
    two_epochs(student, teacher, Accuracy())
    assert [(call["training"], call["grad"]) for call in teacher.calls] == [(False, False)] * 2 * BATCHES
    assert [(call["training"], call["grad"]) for call in in_training(student)] == [(True, True)] * 2 * BATCHES


def test_17_modes_hold_even_if_the_pipeline_changes_them() -> None:
    """A pipeline that scores the teacher too and leaves it in training mode would spoil every later target."""
    student, teacher = Student(), Teacher()

    class Careless:
        def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
            model.eval()
            teacher.train()
            return {"inference_result": 0.5}

    two_epochs(student, teacher, Careless())
    assert [call["training"] for call in in_training(student)] == [True] * 2 * BATCHES
    assert [call["training"] for call in teacher.calls] == [False] * 2 * BATCHES


@pytest.mark.parametrize(
    "value",
    [0, 0.25, torch.tensor(0.25), torch.tensor([0.25]), torch.tensor(2), np.float64(0.25), np.float32(0.25)],
    ids=["int", "float", "scalar", "one_element", "integer_tensor", "float64", "float32"],
)
def test_18_a_students_loss_may_be_a_tensor_or_a_plain_number(value: Any) -> None:
    """The original's wav2vec2 student returns "student_loss": 0; refusing it would break that demo."""
    student = Student(add=lambda logits: {"loss": {"student_loss": value}})
    seen = first_step(student, Teacher(), final_loss_coeff_dict={"kd_loss": 1, "student_loss": 0.5})
    assert seen["student_loss"] == pytest.approx(float(value))
    assert seen["train_final_loss"] == pytest.approx(seen["kd_loss"] + 0.5 * float(value), rel=1e-6)


def test_18_a_students_loss_trains_the_student(workplace: Path) -> None:
    """A loss that is logged but cut from the graph would look right and teach nothing."""
    student = Student(add=lambda logits: {"loss": {"student_loss": logits.square().mean()}})
    before = student.net.bias.detach().clone()
    inputs = rows(BATCH)
    logits = student(inputs)["logits"]
    (gradient,) = torch.autograd.grad(logits.square().mean(), [student.net.bias])
    train(
        student_model=student,
        train_data_loader=loader_of((inputs,)),
        final_loss_coeff_dict={"student_loss": 3},
        optimize_method="sgd",
        learning_rate=0.5,
    )
    assert torch.allclose(student.net.bias, before - 0.5 * 3 * gradient, atol=1e-6)
