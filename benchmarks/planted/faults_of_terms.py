"""Planted faults of terms, temperatures and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.planted import material as m
from benchmarks.planted.case import Case
from benchmarks.planted.faults_of_teachers import Around, changed
from benchmarks.planted.healthy import Original
from knowledge_distillation.objective import Term

KD = {"kd": {"loss": "kd", "temperature": 4.0}, "cross_entropy": 1.0}


def own_kl_without_factor(student: Tensor, teacher: Tensor) -> Tensor:
    """As it stands in many notebooks."""
    return nn.KLDivLoss(reduction="batchmean")(F.log_softmax(student / 4, dim=1), F.softmax(teacher / 4, dim=1))


def own_soft_cross_entropy(student: Tensor, teacher: Tensor) -> Tensor:
    return -(F.softmax(teacher / 3, dim=-1) * F.log_softmax(student / 3, dim=-1)).sum(-1).mean()


class OwnDistillation(nn.Module):
    """A loss with an attribute for its temperature; smoothed, so that no formula fits it."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        taught = 0.95 * F.softmax(teacher / self.temperature, dim=-1) + 0.05 / teacher.shape[-1]
        return F.kl_div(F.log_softmax(student / self.temperature, dim=-1), taught, reduction="batchmean")


def detached(student: Tensor, teacher: Tensor) -> Tensor:
    """Logged and returned by the same line."""
    return torch.tensor(F.mse_loss(student, teacher).item())


class Softening(Original):
    """Gives log-probabilities at a temperature that its caller did not ask for."""

    def __init__(self, inner: nn.Module, teaches: bool, power: float) -> None:
        super().__init__(inner, teaches)
        self.power = power

    def forward(self, pictures: Tensor, labels: Tensor, temperature: float = 1.0) -> dict[str, Any]:
        said = super().forward(pictures, labels, temperature**self.power)
        return {**said, "logits": self.inner(pictures)}


def original(power: float, whose: str) -> dict[str, Any]:
    recipe = m.picture_recipe()
    models = {"teacher": Original(recipe["teacher"], True), "student": Original(recipe["student"], False)}
    models[whose] = Softening(recipe[whose], whose == "teacher", power)
    objective = {"kd": {"loss": "kd_from_log_probs", "temperature": 4.0, "student": "log_probs",
                        "teacher": "log_probs"}, "own": {"loss": "own", "student": "student_loss"}}  # fmt: skip
    return {**recipe, **models, "adapter": "original", "temperature": 4.0, "objective": objective,
            "pipeline": m.MeanSquaredError(), "val_loaders": {"loss": recipe["val_loaders"]["test"]}}  # fmt: skip


def softened_twice(folder: Path) -> dict[str, Any]:
    """Log-probabilities at 4 go into a loss that softens by 4."""
    recipe = original(1.0, "teacher")
    kd = {"loss": "kd", "temperature": 4.0, "student": "log_probs", "teacher": "log_probs"}
    return {**recipe, "objective": {**recipe["objective"], "kd": kd}}


def factor_of_another(folder: Path) -> dict[str, Any]:
    recipe = original(1.0, "teacher")
    kd = {"loss": "kd_from_log_probs", "temperature": 1.0, "student": "log_probs", "teacher": "log_probs"}
    return {**recipe, "objective": {**recipe["objective"], "kd": kd}}


def logarithm_of_hard(student: Tensor, teacher: Tensor) -> Tensor:
    """A KL divergence from a one-hot teacher, by hand: 0 * log 0."""
    hard = F.one_hot(teacher.argmax(-1), teacher.shape[-1]).float()
    return (hard * (hard.log() - student.log_softmax(-1))).sum(-1).mean()


class Dead(m.Cnn):
    """Its stem has died: a bias far below 0 in front of the ReLU."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        with torch.no_grad():
            self.stem[1].bias.fill_(-100.0)


class Fixed(m.Cnn):
    """Its stem says the same of every picture: a saturated scale of 0."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        with torch.no_grad():
            self.stem[1].weight.fill_(0.0)
            self.stem[1].bias.fill_(1.0)


def hint(student: nn.Module, **changes: Any) -> dict[str, Any]:
    term = {"loss": "hint", "weight": 1.0, "student": "stem", "teacher": "stem", "projector": "auto", **changes}
    return m.picture_recipe(student=student, objective={"hint": term, "cross_entropy": 1.0})


def own_mse(student: Tensor, teacher: Tensor) -> Tensor:
    return F.mse_loss(student, teacher)


def channel_mean(student: Tensor, teacher: Tensor) -> Tensor:
    """Silently broadcasts [batch, 1, ...] against [batch, 16, ...]."""
    return (student - teacher).square().mean()


def dead_teacher(folder: Path) -> dict[str, Any]:
    recipe = hint(m.Cnn(width=4))
    with torch.no_grad():
        recipe["teacher"].stem[1].bias.fill_(-100.0)
    return recipe


def unlabelled_term(folder: Path) -> dict[str, Any]:
    """All labels are -100, and a term waits for them."""
    return {**m.picture_recipe(objective=KD), **m.loaders(labels=lambda labels: torch.full_like(labels, -100))}


FAULTS_OF_TERMS = (
    Case("factor missing, notebook's KL", lambda folder: m.picture_recipe(
        objective={"soft": Term(own_kl_without_factor), "cross_entropy": 1.0}), "temperature_squared"),
    Case("factor missing, own soft cross-entropy of texts", lambda folder: m.text_recipe(
        objective={"soft": Term(own_soft_cross_entropy), "cross_entropy": 1.0}), "temperature_squared"),
    Case("factor missing, own module", lambda folder: m.picture_recipe(
        objective={"soft": Term(OwnDistillation(4.0)), "cross_entropy": 1.0}), "temperature_squared"),
    Case("factor missing, forward KL of language", lambda folder: m.language_recipe(
        objective={"soft": {"loss": "forward_kl", "temperature": 4.0}, "cross_entropy": 1.0}), "temperature_squared"),
    Case("factor of another temperature", factor_of_another, "temperature_squared"),
    Case("teacher divides by the temperature too", lambda folder: changed(
        m.picture_recipe(objective=KD), lambda logits: logits / 4), "temperature_use"),
    Case("student divides by the temperature too, texts", lambda folder: changed(
        m.text_recipe(objective=KD), lambda logits: logits / 4, "student"), "temperature_use"),
    Case("teacher of language divides too", lambda folder: {**changed(
        m.language_recipe(), lambda logits: logits / 2),
        "objective": {"kd": {"loss": "kd", "temperature": 2.0}, "cross_entropy": 1.0}}, "temperature_use"),
    Case("temperature applied twice by a model", lambda folder: original(2.0, "teacher"), "temperature_use"),
    Case("temperature never applied by a model", lambda folder: original(0.0, "student"), "temperature_use"),
    Case("softened log-probabilities softened again", softened_twice, "temperature_use"),
    Case("temperature given to nobody", lambda folder: m.picture_recipe(
        objective={"kd": {"loss": "kd", "temperature": 1.0}, "cross_entropy": 1.0}, temperature=4.0),
        "temperature_use"),
    Case("weight 0", lambda folder: m.picture_recipe(
        objective={"kd": {"loss": "kd", "weight": 0.0}, "cross_entropy": 1.0}), "silent_terms", "note"),
    Case("schedule that stays at 0", lambda folder: m.picture_recipe(
        objective={"kd": Term("kd", schedule=lambda progress: 0.0), "cross_entropy": 1.0}), "silent_terms"),
    Case("term without gradient", lambda folder: m.picture_recipe(
        objective={"soft": Term(detached), "cross_entropy": 1.0}), "silent_terms"),
    Case("no label, and a term that waits for them", unlabelled_term, "silent_terms"),
    Case("one term 10,000 times the other", lambda folder: m.picture_recipe(
        objective={"kd": {"loss": "kd", "weight": 1e4}, "cross_entropy": 1.0}), "term_balance"),
    Case("hint at the weight of another paper", lambda folder: hint(m.Cnn(width=4), weight=1e4), "term_balance"),
    Case("labels drowned, texts", lambda folder: m.text_recipe(
        objective={"kd": {"loss": "kd"}, "cross_entropy": 1e-5}), "term_balance"),
    Case("dead layer of the student", lambda folder: hint(Dead(width=4)), "tapped_layers"),
    Case("constant layer of the student", lambda folder: hint(Fixed(width=4)), "tapped_layers"),
    Case("dead layer of the teacher", dead_teacher, "tapped_layers"),
    Case("no projector for other widths", lambda folder: hint(m.Cnn(width=4), projector=None), "projector"),
    Case("no projector, own loss", lambda folder: m.picture_recipe(student=m.Cnn(width=4), objective={
        "hint": Term(own_mse, student="stem", teacher="stem"), "cross_entropy": 1.0}), "projector"),
    Case("no projector, silently broadcast", lambda folder: m.picture_recipe(student=m.Cnn(width=1), objective={
        "hint": Term(channel_mean, student="stem", teacher="stem"), "cross_entropy": 1.0}), "projector"),
    Case("student of infinite scores", lambda folder: m.picture_recipe(
        student=Around(m.mlp(), lambda logits: logits.exp().exp().exp().exp().exp())), "finite"),
    Case("logarithm of 0 in a loss", lambda folder: m.picture_recipe(objective={
        "soft": Term(logarithm_of_hard), "cross_entropy": 1.0}), "finite"),
)  # fmt: skip
