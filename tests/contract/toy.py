"""Tiny models that speak the original's contract, tiny data, and a short way to train on them."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from knowledge_distillation.kd_training import KnowledgeDistillationTraining

FEATURES, CLASSES, ROWS, BATCH = 4, 3, 12, 4
BATCHES = ROWS // BATCH


class Classifier(nn.Module):
    """One linear layer; notes the arguments, the mode and the gradient context of every call."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.net = nn.Linear(FEATURES, CLASSES)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.net.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.calls: list[dict[str, Any]] = []

    def forward(self, *inputs: Any, **keywords: Any) -> dict[str, Any]:
        note = {"inputs": inputs, "keywords": keywords, "training": self.training, "grad": torch.is_grad_enabled()}
        self.calls.append(note)
        return self.answer(self.net(inputs[0]) / keywords.get("temperature", 1))

    def answer(self, logits: Tensor) -> dict[str, Any]:
        """What both models must return."""
        return {"prob": logits.softmax(dim=-1), "logits": logits}


class Teacher(Classifier):
    """Exactly what a teacher must return, and one key that nobody asked for."""

    def answer(self, logits: Tensor) -> dict[str, Any]:
        return {**super().answer(logits), "hidden": "not asked for"}


class Student(Classifier):
    """Exactly what a student must return; `add` makes further or other entries from the logits."""

    def __init__(self, seed: int = 1, add: Callable[[Tensor], Mapping[str, Any]] | None = None) -> None:
        super().__init__(seed)
        self.add = add

    def answer(self, logits: Tensor) -> dict[str, Any]:
        output = {**super().answer(logits), "log_prob": logits.log_softmax(dim=-1)}
        return {**output, **(self.add(logits) if self.add else {})}


class NoisyStudent(Student):
    """Dropout from torch's generator, layer dropping from NumPy's, and noise from Python's."""

    def answer(self, logits: Tensor) -> dict[str, Any]:
        if self.training:
            logits = nn.functional.dropout(logits, 0.3)
            logits = logits * (0.5 if np.random.rand() < 0.5 else 1.0)
            logits = logits + 0.1 * logits.detach() * random.random()
        return super().answer(logits)


class Constant(nn.Module):
    """A model whose raw logits are its only parameter, of any shape [*batch, classes]."""

    def __init__(self, logits: Tensor, *, divide: bool = True, loss: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.raw = nn.Parameter(logits.clone())
        self.divide = divide
        self.loss = loss

    def forward(self, *inputs: Any, temperature: float = 1) -> dict[str, Any]:
        soft = self.raw / temperature
        output: dict[str, Any] = {"prob": soft.softmax(dim=-1), "log_prob": soft.log_softmax(dim=-1)}
        output["logits"] = soft if self.divide else self.raw * 1
        return output if self.loss is None else {**output, "loss": self.loss}


class Scorer:
    """A pipeline that notes what it was given and returns the scores it was told, the last one again and again."""

    def __init__(self, *scores: Any) -> None:
        self.scores = list(scores) or [0.5]
        self.models: list[nn.Module] = []
        self.loaders: list[Any] = []
        self.training: list[bool] = []
        self.weights: list[Tensor] = []

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
        self.models.append(model)
        self.loaders.append(data_loader)
        self.training.append(model.training)
        self.weights.append(next(model.parameters()).detach().clone())
        return {"inference_result": self.scores.pop(0) if len(self.scores) > 1 else self.scores[0]}


class Accuracy:
    """The original README's pipeline: share of rows whose likeliest class is the label."""

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
        model.eval()
        right = 0
        with torch.no_grad():
            for inputs, labels in data_loader:
                right += int((model(inputs)["prob"].argmax(dim=1) == labels).sum())
        return {"inference_result": right / len(data_loader.dataset)}


def rows(count: int = ROWS, seed: int = 7) -> Tensor:
    """Inputs [count, FEATURES], the same for the same seed, without a draw from torch's own generator."""
    return torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(seed))


def inputs_loader(count: int = ROWS, *, shuffle: bool = False) -> DataLoader[Any]:
    """Batches (inputs,), as a collate function of the original returns."""
    return DataLoader(TensorDataset(rows(count)), batch_size=BATCH, shuffle=shuffle)


def labelled_loader(count: int = ROWS, seed: int = 8) -> DataLoader[Any]:
    """Batches (inputs, labels), labelled by the teacher of seed 0."""
    inputs = rows(count, seed)
    with torch.no_grad():
        labels = Teacher(0)(inputs)["prob"].argmax(dim=1)
    return DataLoader(TensorDataset(inputs, labels), batch_size=BATCH)


class _Given(Dataset[Any]):
    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        return self.batches[index]


def loader_of(*batches: Any) -> DataLoader[Any]:
    """A DataLoader that gives exactly these batches."""
    return DataLoader(_Given(batches), batch_size=None, collate_fn=lambda batch: batch)


class Stream(torch.utils.data.IterableDataset[Any]):
    """Rows without a length."""

    def __init__(self, entries: Iterable[Any]) -> None:
        self.entries = list(entries)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.entries)


def training(**changes: Any) -> KnowledgeDistillationTraining:
    """The front door on toy data, 32-bit, without validation; any argument can be changed."""
    arguments: dict[str, Any] = {
        "max_epoch": 1,
        "precision": 32,
        "train_data_loader": inputs_loader(),
        "student_model": Student(),
        "teacher_model": Teacher(),
    }
    made = KnowledgeDistillationTraining(**{**arguments, **changes})
    bar = getattr(made.trainer, "progress_bar_callback", None)
    if bar is not None:
        bar.disable()
    return made


def train(**changes: Any) -> KnowledgeDistillationTraining:
    """`training(...)`, run to its end."""
    made = training(**changes)
    made.start_kd_training()
    return made


def metrics(version: int = 0) -> list[dict[str, str]]:
    """The lines of the CSV log in the working directory; empty cells are left out."""
    with (Path("lightning_logs") / f"version_{version}" / "metrics.csv").open() as file:
        return [{name: cell for name, cell in line.items() if cell} for line in csv.DictReader(file)]


def column(name: str, version: int = 0) -> list[float]:
    """Every logged value of one metric, in order."""
    return [float(line[name]) for line in metrics(version) if name in line]


def first_step(student: nn.Module, teacher: nn.Module, **changes: Any) -> dict[str, float]:
    """Everything logged about one training step on one batch."""
    train(train_data_loader=loader_of((rows(BATCH),)), student_model=student, teacher_model=teacher, **changes)
    merged: dict[str, float] = {}
    for line in metrics():
        merged.update({name: float(cell) for name, cell in line.items()})
    return merged


def weights(model: nn.Module) -> list[Tensor]:
    """A copy of every parameter."""
    return [parameter.detach().clone() for parameter in model.parameters()]


def student_from(state: Mapping[str, Tensor], seed: int) -> Student:
    """A student of another seed, filled from the state dict of a checkpoint."""
    student = Student(seed)
    student.load_state_dict({name.removeprefix("student_model."): tensor for name, tensor in state.items()})
    return student


def same(left: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    """Whether both lists hold the same numbers to the bit."""
    return len(left) == len(right) and all(map(torch.equal, left, right))


def written(folder: Path) -> list[str]:
    """Every file and folder under a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
