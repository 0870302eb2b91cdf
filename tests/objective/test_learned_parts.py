"""What goes wrong for a user when the parts that a method learns start anew, stand still, or are shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader

import knowledge_distillation as kd
from tests.objective.preset_models import ADAPTERS, Cnn, images, models_and_data
from tests.training.toys import QUIET, identical, snapshot

LEARNING = ["ctkd", "vid", "crd", "fitnets", "ab", "ft", "reviewkd", "semckd", "mgd", "srrl", "seed", "sskd"]
LEARNING += ["fgd", "fbkd", "tinybert"]
BALANCED = {"kd": 1.0, "vid": {"student": "@last", "teacher": "@last"}, "balance": "uncertainty"}
BY_GRADIENT = {"kd": 1.0, "cross_entropy": 1.0, "balance": "gradient_norm"}


def train(directory: Path, objective: Any, epochs: int, resume: str | None = None) -> kd.Run:
    if isinstance(objective, str):
        student, teacher, data = models_and_data(objective)
    else:
        student, teacher, data = Cnn(4, 1), Cnn(6, 2), images()
    return kd.distill(
        teacher,
        student,
        DataLoader(data, batch_size=8, shuffle=True),
        objective=objective,
        adapter=ADAPTERS.get(objective, "auto") if isinstance(objective, str) else "auto",
        max_epochs=epochs,
        optimizer="adam",
        learning_rate=1e-2,
        directory=directory,
        resume=resume,
        trainer=QUIET,
    )


@pytest.mark.slow
@pytest.mark.parametrize("objective", [*LEARNING, BALANCED, BY_GRADIENT], ids=[*LEARNING, "uncertainty", "norms"])
def test_a_resumed_run_goes_on_with_what_its_method_has_learned(objective: Any, tmp_path: Path) -> None:
    """Otherwise a projector, a temperature or a bank of embeddings begins anew beside a trained student."""
    whole = train(tmp_path / "whole", objective, 3)
    first = train(tmp_path / "cut", objective, 1)
    begun = snapshot(first.module.objective)
    assert begun
    resumed = train(tmp_path / "cut", objective, 3, "auto")
    assert identical(snapshot(resumed.module.objective), snapshot(whole.module.objective))
    assert identical(snapshot(resumed.student), snapshot(whole.student))
    assert not identical(snapshot(resumed.module.objective), begun)


@pytest.mark.parametrize("objective", LEARNING)
def test_what_only_training_needs_is_not_shipped(objective: str, tmp_path: Path) -> None:
    """Otherwise the student that goes out carries projectors and banks, and is larger than it was to be."""
    run = train(tmp_path / "run", objective, 1)
    shipped = load_file(run.directory / "student.safetensors")
    bare, _, _ = models_and_data(objective)
    assert shipped.keys() == bare.state_dict().keys()
    saved = torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert any(name.startswith("objective.") for name in saved)
