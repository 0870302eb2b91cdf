"""Planted faults of the plan: student, optimiser, schedule, precision, device, scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.planted import material as m
from benchmarks.planted.case import Case
from benchmarks.planted.faults_of_teachers import Around, scaled_up


class Silent(m.MeanSquaredError):
    """A pipeline that does not say which way its score improves."""

    higher_is_better = None  # type: ignore[assignment]


def frozen(model: nn.Module) -> nn.Module:
    return model.requires_grad_(False)


def frozen_body(folder: Path) -> dict[str, Any]:
    """Everything was frozen for a probe of the last layer, which is another one now."""
    student = frozen(m.Cnn(width=4))
    student.head = nn.Linear(128, 10)
    return m.picture_recipe(student=frozen(student))


def loud(model: nn.Module, factor: float) -> nn.Module:
    """Scores as they are before a normalisation that was forgotten."""
    return Around(model, lambda logits: logits * factor)


class Summed(m.Cnn):
    """Sums what others average: large inside, and divided at the end."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.total = nn.Identity()

    def forward(self, pictures: Tensor) -> Tensor:
        inside = self.total(self.body(self.stem(pictures)).flatten(1) * 1e5)
        return self.head(inside / 1e5)


def half(**changes: Any) -> dict[str, Any]:
    return m.picture_recipe(**{"trainer": {"precision": "16-mixed"}, **changes})


def wrong_call(folder: Path) -> dict[str, Any]:
    """A student that takes two inputs, and a loader that gives one."""

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = m.mlp()

        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return self.inner(left + right)

    return m.picture_recipe(student=Pair())


def other_size(folder: Path) -> dict[str, Any]:
    return m.picture_recipe(student=m.mlp(inputs=256))


def broken_loader(folder: Path) -> dict[str, Any]:
    """Texts of unlike lengths and no collate function."""
    loader = torch.utils.data.DataLoader(m.texts(), 32, shuffle=True)  # type: ignore[arg-type]
    return m.text_recipe(train_loader=loader)


FAULTS_OF_PLANS = (
    Case("frozen student", lambda folder: m.picture_recipe(student=frozen(m.mlp())), "frozen_student"),
    Case("frozen body and head", frozen_body, "frozen_student"),
    Case("frozen student of texts", lambda folder: m.text_recipe(student=frozen(m.Bag(width=8))), "frozen_student"),
    Case("a GPU that is not there", lambda folder: m.picture_recipe(trainer={"accelerator": "gpu", "devices": 64}),
         "devices"),
    Case("a device number that is not there", lambda folder: m.picture_recipe(
        trainer={"accelerator": "cuda", "devices": [63]}), "devices"),
    Case("warm-up as long as the training", lambda folder: m.picture_recipe(
        schedule="cosine", warm_up_epochs=10, max_epochs=10), "warm_up"),
    Case("most of the training is warm-up", lambda folder: m.picture_recipe(
        schedule="linear", warm_up_epochs=6, max_epochs=10), "warm_up"),
    Case("warm-up with a schedule that has none", lambda folder: m.picture_recipe(warm_up_epochs=2), "warm_up"),
    Case("max_steps ends within the warm-up", lambda folder: m.picture_recipe(
        schedule="linear_decay_with_warm_up", warm_up_epochs=3, max_epochs=10, trainer={"max_steps": 30}), "warm_up"),
    Case("warm-up of less than a step", lambda folder: m.language_recipe(
        schedule="cosine", warm_up_epochs=0.01), "warm_up"),
    Case("score without a direction", lambda folder: m.value_recipe(
        pipeline=Silent(), val_loaders={"held_out": m.value_recipe()["val_loaders"]["mse"]}), "metric_direction"),
    Case("score without a direction, texts", lambda folder: m.text_recipe(
        pipeline=Silent(), val_loaders={"news": m.text_recipe()["val_loaders"]["test"]}), "metric_direction"),
    Case("float16 overflows in the teacher's scores", lambda folder: half(
        **{key: value for key, value in scaled_up(m.picture_recipe(), 2e4).items() if key == "teacher"}),
        "half_precision"),
    Case("float16 overflows inside the student", lambda folder: half(student=Summed(width=4)), "half_precision"),
    Case("float16 near its end, texts", lambda folder: m.text_recipe(
        trainer={"precision": "16-true"}, teacher=loud(m.text_recipe()["teacher"], 6000.0)), "half_precision"),
    Case("learning rate 1000 times too large", lambda folder: m.picture_recipe(
        optimizer="sgd_momentum", learning_rate=100.0), "learning_rate"),
    Case("learning rate of a larger batch, Adam", lambda folder: m.text_recipe(learning_rate=3.0), "learning_rate"),
    Case("learning rate too large, values", lambda folder: m.value_recipe(
        optimizer="sgd", learning_rate=5.0), "learning_rate"),
    Case("student that takes two inputs", wrong_call, "models_run"),
    Case("student for other sizes", other_size, "models_run"),
    Case("loader that cannot collate", broken_loader, "models_run"),
    Case("objective misspelt", lambda folder: m.picture_recipe(objective="dkdd"), "arguments"),
    Case("teacher forgotten", lambda folder: m.picture_recipe(teacher=None), "arguments"),
    Case("learning rate of 0", lambda folder: m.text_recipe(learning_rate=0.0), "arguments"),
)  # fmt: skip
