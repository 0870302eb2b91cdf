"""What goes wrong for a user when an objective's name is listed and then cannot train."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from knowledge_distillation import DistillationModule
from knowledge_distillation.objective import as_objective
from knowledge_distillation.objective.presets import PRESETS, gold
from tests.objective.preset_models import ADAPTERS, models_and_data
from tests.training.toys import Losses, quiet_trainer

NEEDS_MORE: dict[str, Any] = {"gold": lambda: gold(student_ids=[0, 1, 2], teacher_ids=[3, 1, 0])}
"""Presets that nobody can finish without the user, as the user finishes them."""


def module_of(name: str, student: Any, teacher: Any) -> DistillationModule:
    objective = NEEDS_MORE[name]() if name in NEEDS_MORE else name
    return DistillationModule(student, teacher, objective, learning_rate=1e-3, adapter=ADAPTERS.get(name, "auto"))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_a_smaller_student(name: str) -> None:
    """Otherwise `kd list objectives` shows names that fail in the first step."""
    student, teacher, data = models_and_data(name)
    losses = Losses()
    module = module_of(name, student, teacher)
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


PUBLISHED = {
    "ab": {"cross_entropy": 1.0, "ab": 0.003},
    "ofd": {"cross_entropy": 1.0, "ofd": 0.001},
    "ft": {"cross_entropy": 1.0, "ft": 500.0},
    "simkd": {"simkd": 1.0},
    "srrl": {"cross_entropy": 1.0, "srrl": 1.0},
    "catkd": {"cross_entropy": 1.0, "catkd": 400.0},
    "sskd": {"cross_entropy": 0.1, "kd": 0.9, "kd_transformed": 2.7, "sskd": 10.0},
    "pixel_kd": {"cross_entropy": 1.0, "pixel_kd": 10.0},
    "cwd": {"cross_entropy": 1.0, "cwd": 3.0},
    "fgd": {"task": 1.0, "fgd": 1.0},
    "fbkd": {"task": 1.0, "fbkd": 1.0},
    "pkd_features": {"task": 1.0, "pkd_features": 10.0},
    "minilm": {"minilm": 1.0},
    "minilmv2": {"minilmv2": 1.0},
    "distillm2": {"distillm2": 1.0},
    "akl": {"adaptive_kl": 1.0},
    "f_distill": {"tvd": 1.0},
    "dpkd": {"dpkd": 1.0},
    "uld": {"cross_entropy": 1.0, "uld": 1.5},
    "gold": {"hybrid_uld": 1.0},
    "ctc_kd": {"ctc_kd": 1.0},
    "margin_mse": {"margin_mse": 1.0},
    "compress": {"similarity_kl": 1.0},
    "seed": {"queue_kl": 1.0},
    "multi_label": {"binary_cross_entropy": 1.0, "binary_kl": 10.0},
    "label_smoothing": {"label_smoothing_teacher": 1.0},
    "distilbert": {"kd": 5.0, "cross_entropy": 2.0, "cosine": 1.0},
    "distillm_reverse": {"skew_reverse_kl": 1.0},
    "top_k": {"top_k_kl": 1.0},
    "one_stage_head": {"task": 1.0, "one_stage_head_kd": 1.0},
    "two_stage_head": {"task": 1.0, "two_stage_head_kd": 1.0},
    "bounded_regression": {"smooth_l1": 1.0, "bounded_regression": 0.5},
    "logit_regression": {"logit_mse": 1.0},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_are_those_that_the_preset_says(name: str) -> None:
    """Otherwise a result cannot be set beside the paper's, and nobody sees why."""
    assert {term: value.weight for term, value in as_objective(name).terms.items()} == PUBLISHED[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_term_reaches_the_student_and_the_method_is_learnt(name: str) -> None:
    """Otherwise a term is logged and trains nothing, or drives the student away from the teacher."""
    student, teacher, data = models_and_data(name)
    losses = Losses()
    module = module_of(name, student, teacher)
    module.learning_rate = 3e-3
    quiet_trainer(max_epochs=12, callbacks=[losses]).fit(module, DataLoader(data, batch_size=16))
    if name != "ab":  # which changes what it minimises after an eighth
        assert losses.values[-1] < losses.values[0]
    module.setup("fit")
    student.train()
    assert module.teacher is not None
    module.teacher.prepare(torch.device("cpu"))
    batch = next(iter(DataLoader(data, batch_size=16)))
    _, components = module.distillation_loss(batch)
    module.let_go()
    for term in module.objective.terms:
        gradients = torch.autograd.grad(
            components[term], list(student.parameters()), retain_graph=True, allow_unused=True
        )
        assert any(gradient is not None and bool((gradient != 0).any()) for gradient in gradients), term
