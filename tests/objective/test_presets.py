"""What goes wrong for a user when an objective's name is listed and then cannot train."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from knowledge_distillation import DistillationModule
from knowledge_distillation.objective import as_objective
from knowledge_distillation.objective.presets import PRESETS
from tests.training.toys import Losses, filled, quiet_trainer, seeded

OF_TOKENS = {"gkd", "distillm", "minillm"}
OF_TRANSFORMERS = {"tinybert", "patient"}
OF_ONE_WIDTH = {"fsp", "kdsvd", "patient"}
"""Methods whose papers ask for layers of equal width."""


class Cnn(nn.Module):
    """Three sizes of maps, an embedding and a head; called by keyword."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.stage2 = nn.Sequential(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU())
        self.stage3 = nn.Sequential(nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(2 * width, 5)
        filled(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stage3(self.stage2(self.stage1(images))).mean(dim=(2, 3)))


class Language(nn.Module):
    """Token logits, hidden states and attention maps, as a Hugging Face model returns them."""

    def __init__(self, width: int, layers: int, seed: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, width)
        self.mix = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.head = nn.Linear(width, 7)
        filled(self, seed)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Any]:
        hidden = [self.embed(input_ids)]
        attentions = []
        for mix in self.mix:
            scores = hidden[-1] @ hidden[-1].transpose(1, 2) / math.sqrt(hidden[-1].shape[-1])
            attentions.append(scores.softmax(-1).unsqueeze(1))
            hidden.append(torch.tanh(mix(attentions[-1][:, 0] @ hidden[-1])))
        return {"logits": self.head(hidden[-1]), "hidden_states": tuple(hidden), "attentions": tuple(attentions)}


class Pooled(Language):
    """The same with one label a sentence."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Any]:
        output = super().forward(input_ids)
        return {**output, "logits": output["logits"].mean(dim=1)}


def images() -> list[dict[str, Tensor]]:
    pixels, labels = torch.randn(16, 3, 12, 12, generator=seeded(0)), torch.arange(16) % 5
    return [{"images": pixels[i], "labels": labels[i], "index": torch.tensor(i)} for i in range(16)]


def sentences(per_token: bool) -> list[dict[str, Tensor]]:
    ids = torch.randint(7, (16, 6), generator=seeded(0))
    labels = ids.roll(-1, 1) if per_token else ids[:, 0]
    return [{"input_ids": ids[i], "labels": labels[i]} for i in range(16)]


def models_and_data(name: str) -> tuple[nn.Module, nn.Module, list[Any]]:
    if name in OF_TOKENS:
        return Language(8, 2, 1), Language(12, 4, 2), sentences(per_token=True)
    if name in OF_TRANSFORMERS:
        return Pooled(8, 2, 1), Pooled(8 if name in OF_ONE_WIDTH else 12, 4, 2), sentences(per_token=False)
    return Cnn(4, 1), Cnn(4 if name in OF_ONE_WIDTH else 6, 2), images()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_a_smaller_student(name: str) -> None:
    """Otherwise `kd list objectives` shows names that fail in the first step."""
    student, teacher, data = models_and_data(name)
    losses = Losses()
    module = DistillationModule(student, teacher, name, learning_rate=1e-3)
    before = [parameter.detach().clone() for parameter in student.parameters()]
    quiet_trainer(max_epochs=1, callbacks=[losses]).fit(module, DataLoader(data, batch_size=8))
    assert len(losses.values) == 2
    assert all(map(math.isfinite, losses.values))
    assert any(not torch.equal(a, b) for a, b in zip(before, student.parameters(), strict=True))
    assert module.objective.is_ready


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_what_it_is(name: str) -> None:
    """Otherwise the list of objectives has empty lines."""
    from knowledge_distillation.cli.list_command import _entries

    (entry,) = [entry for entry in _entries("objectives") if entry["name"] == name]
    assert len(entry["summary"]) > 15


def test_presets_are_built_anew_each_time() -> None:
    """Otherwise two runs in one process share a loss, its schedule and its learned parts."""
    for name in PRESETS:
        first, second = as_objective(name), as_objective(name)
        assert not {id(module) for module in first.losses.values()} & {id(module) for module in second.losses.values()}


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("kd", {"kd": 0.9, "cross_entropy": 0.1}),
        ("dkd", {"cross_entropy": 1.0, "dkd": 1.0}),
        ("fitnets", {"cross_entropy": 1.0, "hint": 100.0}),
        ("at", {"cross_entropy": 1.0, "at": 1000.0}),
        ("sp", {"cross_entropy": 1.0, "sp": 3000.0}),
        ("crd", {"cross_entropy": 1.0, "crd": 0.8}),
        ("rkd", {"cross_entropy": 1.0, "rkd": 1.0}),
        ("pkt", {"cross_entropy": 1.0, "pkt": 30000.0}),
        ("nst", {"cross_entropy": 1.0, "nst": 50.0}),
        ("vid", {"cross_entropy": 1.0, "vid": 1.0}),
        ("cc", {"cross_entropy": 1.0, "cc": 0.02}),
    ],
)
def test_weights_are_those_of_the_published_comparison(name: str, weights: dict[str, float]) -> None:
    """Otherwise a preset's result cannot be set beside the table of Tian et al. (2020), whose weights these are."""
    terms = as_objective(name).terms
    assert {term: value.weight for term, value in terms.items()} == {
        term: pytest.approx(value) for term, value in weights.items()
    }
