"""Trainings with nothing wrong: every finding above a note is a false alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.planted import material as m
from benchmarks.planted.case import Case
from knowledge_distillation.domains.vision import digits_cnn
from knowledge_distillation.objective import Term
from knowledge_distillation.teachers import CachedTeacher, EMATeacher, EnsembleTeacher, SelfTeacher, write_cache


class Original(nn.Module):
    """The original toolkit's contract around a classifier: called with a temperature, returns a dict."""

    def __init__(self, inner: nn.Module, teaches: bool) -> None:
        super().__init__()
        self.inner, self.teaches = inner, teaches

    def forward(self, pictures: Tensor, labels: Tensor, temperature: float = 1.0) -> dict[str, Any]:
        logits = self.inner(pictures)
        said = {"logits": logits, "prob": (logits / temperature).softmax(-1)}
        if self.teaches:
            return said
        own = {"student_loss": F.cross_entropy(logits, labels)}
        return {**said, "log_prob": (logits / temperature).log_softmax(-1), "loss": own}


class Shifting(nn.Module):
    """A language model that shifts its labels itself and returns its own loss."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, input_ids: Tensor, target_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Any]:
        logits = self.inner(input_ids)
        value = F.cross_entropy(logits[:, :-1].flatten(0, 1), target_ids[:, 1:].flatten())
        return {"logits": logits, "loss": {"language": value}}


def own_kd(student: Tensor, teacher: Tensor) -> Tensor:
    """A distillation loss as users write it, with its factor."""
    said, taught = F.log_softmax(student / 4, dim=-1), F.softmax(teacher / 4, dim=-1)
    return F.kl_div(said, taught, reduction="batchmean") * 16


def features(folder: Path) -> dict[str, Any]:
    terms = {"hint": {"loss": "hint", "weight": 1.0, "student": "stem", "teacher": "stem", "projector": "auto"}}
    return m.picture_recipe(student=m.Cnn(width=4), objective={**terms, "cross_entropy": 1.0})


def cached(folder: Path) -> dict[str, Any]:
    recipe = m.picture_recipe()
    write_cache(recipe["teacher"], recipe["train_loader"], folder, signals=("logits",),
                engine={"accelerator": "cpu", "devices": 1})  # fmt: skip
    return {**recipe, "teacher": CachedTeacher(folder)}


def ensemble(folder: Path) -> dict[str, Any]:
    members = [m.picture_teacher(), m.picture_teacher(epochs=5)]
    return m.picture_recipe(teacher=EnsembleTeacher(members, temperature=4.0))


def unlabelled(folder: Path) -> dict[str, Any]:
    images, _, _, _ = m.pictures()
    return m.picture_recipe(train_loader=DataLoader(TensorDataset(images), 64, shuffle=True), val_loaders=None,
                            objective="soft")  # fmt: skip


def few_labels(folder: Path) -> dict[str, Any]:
    images, labels, _, _ = m.pictures()
    kept = labels.clone()
    kept[torch.randperm(len(kept), generator=torch.Generator().manual_seed(0))[100:]] = -100
    return m.picture_recipe(train_loader=DataLoader(TensorDataset(images, kept), 64, shuffle=True))


def original(folder: Path) -> dict[str, Any]:
    recipe = m.picture_recipe()
    objective = {
        "kd": {"loss": "kd_from_log_probs", "temperature": 4.0, "student": "log_probs", "teacher": "log_probs"},
        "own": {"loss": "own", "student": "student_loss"},
    }
    pipeline = m.MeanSquaredError()
    return {**recipe, "teacher": Original(recipe["teacher"], True), "student": Original(recipe["student"], False),
            "adapter": "original", "temperature": 4.0, "objective": objective, "pipeline": pipeline,
            "val_loaders": {"loss": recipe["val_loaders"]["test"]}}  # fmt: skip


def shifts_itself(folder: Path) -> dict[str, Any]:
    def collate(rows: list[Tensor]) -> dict[str, Tensor]:
        ids = torch.stack(rows)
        return {"input_ids": ids, "target_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}

    objective = {"kd": {"loss": "forward_kl"}, "own": {"loss": "own", "student": "language"}}
    recipe = m.language_recipe(student=Shifting(m.Language(width=8)), objective=objective)
    return {**recipe, **m.language_loaders(change=collate), "teacher": Shifting(recipe["teacher"]), "val_loaders": None}


def ema(folder: Path) -> dict[str, Any]:
    student = m.mlp()
    return m.picture_recipe(student=student, teacher=EMATeacher(student))


def own_teacher(folder: Path) -> dict[str, Any]:
    exits = {"exit": {"loss": "hint", "student": "stem", "teacher": "stem"}, "cross_entropy": 1.0}
    return m.picture_recipe(teacher=SelfTeacher(), student=m.Cnn(width=4), objective=exits)


def segmentation(folder: Path) -> dict[str, Any]:
    def labels(images: Tensor) -> Tensor:
        return (images[:, 0] * 2.999).long()

    images, _, test, _ = m.pictures()

    class Pixels(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.stack = nn.Sequential(nn.Conv2d(1, width, 1), nn.ReLU(), nn.Conv2d(width, 3, 1))

        def forward(self, pictures: Tensor) -> Tensor:
            return self.stack(pictures)

    data = TensorDataset(images, labels(images))
    teacher = m.learnt(lambda: Pixels(16), data, epochs=4, loss=F.cross_entropy, rate=3e-2)
    objective = {"pixels": {"loss": "pixel_kd"}, "cross_entropy": {"loss": "cross_entropy", "class_axis": 1}}
    return {"teacher": teacher, "student": Pixels(4), "train_loader": DataLoader(data, 64, shuffle=True),
            "val_loaders": {"pixels_accuracy": DataLoader(TensorDataset(test, labels(test)), 100)},
            "pipeline": m.MeanSquaredError(), "objective": objective}  # fmt: skip


def multi_label(folder: Path) -> dict[str, Any]:
    images, labels, test, test_labels = m.pictures()
    facts = torch.stack([torch.arange(10) % 2, torch.arange(10) > 4, torch.arange(10) % 3 == 0], dim=1).float()
    data = TensorDataset(images, facts[labels])
    teacher = m.learnt(lambda: m.mlp(64, classes=3), data, epochs=6, loss=F.binary_cross_entropy_with_logits)
    return {"teacher": teacher, "student": m.mlp(8, classes=3), "train_loader": DataLoader(data, 64, shuffle=True),
            "val_loaders": {"error": DataLoader(TensorDataset(test, facts[test_labels]), 100)},
            "pipeline": m.MeanSquaredError(), "objective": "multi_label"}  # fmt: skip


HEALTHY = (
    Case("picture perceptron", lambda folder: m.picture_recipe()),
    Case("picture, sure teacher", lambda folder: m.picture_recipe(teacher=m.picture_teacher(digits_cnn, epochs=20))),
    Case("picture network", lambda folder: m.picture_recipe(student=m.Cnn(width=4))),
    Case("picture, decoupled kd", lambda folder: m.picture_recipe(objective="dkd")),
    Case("picture, attention maps", lambda folder: m.picture_recipe(student=m.Cnn(width=4), objective="at_kd")),
    Case("picture, hint with projector", features),
    Case("picture, colour and normalised", lambda folder: m.picture_recipe(render=normalised_colour, student=m.mlp(
        inputs=192))),
    Case("picture, own loss", lambda folder: m.picture_recipe(objective={"soft": Term(own_kd), "cross_entropy": 0.5})),
    Case("picture, labels alone", lambda folder: m.picture_recipe(teacher=None, objective="labels")),
    Case("picture, no labels", unlabelled),
    Case("picture, few labels", few_labels),
    Case("picture, cached teacher", cached),
    Case("picture, ensemble", ensemble),
    Case("picture, moving average", ema),
    Case("picture, own deepest exit", own_teacher),
    Case("picture, the original's contract", original),
    Case("picture, dropout in both", lambda folder: m.picture_recipe(
        teacher=m.picture_teacher(dropped).train(), student=m.Cnn(width=4, dropout=0.2))),
    Case("picture, warm-up and clipping", lambda folder: m.picture_recipe(
        schedule="cosine", warm_up_epochs=1, optimizer="sgd_momentum", learning_rate=0.05,
        trainer={"gradient_clip_val": 1.0, "accelerator": "cpu", "precision": "16-mixed"})),
    Case("pixels", segmentation),
    Case("yes-or-no labels", multi_label),
    Case("text with padding", lambda folder: m.text_recipe()),
    Case("text, tags", lambda folder: m.tag_recipe()),
    Case("text, BERT", lambda folder: m.bert_recipe()),
    Case("language", lambda folder: m.language_recipe()),
    Case("language, GPT-2", lambda folder: m.language_recipe(
        teacher=m.language_teacher(m.gpt2, 10), student=m.gpt2(16, 1))),
    Case("language, own shifted loss", shifts_itself),
    Case("frames with padding", lambda folder: m.frame_recipe()),
    Case("values", lambda folder: m.value_recipe()),
)  # fmt: skip


def normalised_colour(images: Tensor) -> Tensor:
    """Three channels, normalised as ImageNet's."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (m.coloured(images) - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)


def dropped() -> nn.Module:
    """A network with dropout."""
    return m.Cnn(dropout=0.3)
