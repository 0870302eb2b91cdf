"""What goes wrong for a user who splits a batch: each token must count as much as in the whole one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import knowledge_distillation as kd
from knowledge_distillation import Term
from knowledge_distillation.errors import Terminated
from tests.ranks import run_ranks
from tests.run.stopping import StopsAt
from tests.training import unequal_ranks
from tests.training.toys import QUIET
from tests.training.unequal_ranks import OBJECTIVE, Tagger, texts, trained


@pytest.mark.parametrize("size", [1, 2])
def test_splitting_a_batch_changes_nothing(size: int) -> None:
    """Otherwise the short texts count more the smaller the batch that fits into memory."""
    whole = trained(4, OBJECTIVE)
    assert torch.allclose(whole, trained(size, OBJECTIVE, accumulate_grad_batches=4 // size), atol=1e-6)
    assert not torch.allclose(whole, Tagger(1).table.weight, atol=1e-3)


def test_the_whole_batchs_gradient_is_the_mean_over_its_tokens() -> None:
    """Otherwise both ways above may be wrong in the same way."""
    student, losses = Tagger(1), []
    for text in texts():
        there = text["attention_mask"]
        scores = student.table(text["input_ids"])[there]
        losses += [nn.functional.cross_entropy(scores, text["labels"][there], reduction="none")]
    gradient = torch.autograd.grad(torch.cat(losses).mean(), student.table.weight)[0]
    expected = student.table.weight.detach() - gradient
    assert torch.allclose(trained(1, {"cross_entropy": 1.0}, accumulate_grad_batches=4), expected, atol=1e-6)


def test_clipping_sees_the_gradient_of_the_whole_step() -> None:
    """Otherwise every step is clipped to the same length, since it looks as large as its tokens are many."""
    whole = trained(4, OBJECTIVE, gradient_clip_val=0.05)
    split = trained(1, OBJECTIVE, gradient_clip_val=0.05, accumulate_grad_batches=4)
    assert torch.allclose(whole, split, atol=1e-6)


def test_an_epoch_that_ends_early_is_a_step_of_what_was_there() -> None:
    """Otherwise the last step of an epoch is as small as its window is incomplete."""
    assert torch.allclose(trained(1, OBJECTIVE, accumulate_grad_batches=100), trained(4, OBJECTIVE), atol=1e-6)


def test_a_mean_over_samples_is_left_alone() -> None:
    """Otherwise a loss of the user's own, which is no mean over tokens, is weighed as if it were one."""

    class Own(nn.Module):
        uses_teacher = False

        def forward(self, student: Tensor, teacher: Any) -> Tensor:
            return student.square().mean()

    whole = trained(4, {"own": Term(Own())})
    assert torch.allclose(whole, trained(1, {"own": Term(Own())}, accumulate_grad_batches=4), atol=1e-6)


def test_parts_of_a_batch_that_memory_did_not_suffice_for_count_by_their_tokens() -> None:
    """Otherwise running out of memory while gradients accumulate changes what is learnt."""

    class Hungry(Tagger):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
            if len(input_ids) > 1 and self.training:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(input_ids, attention_mask)

    split = trained(2, OBJECTIVE, Hungry, accumulate_grad_batches=2)
    assert torch.allclose(split, trained(4, OBJECTIVE), atol=1e-6)


def test_a_run_that_is_broken_off_within_a_step_knows_its_tokens(tmp_path: Path) -> None:
    """Otherwise the first step after a resumption is divided by the tokens of its last batches alone."""

    def distil(place: Path, stop: int, resume: str | None = None) -> Tensor:
        student = Tagger(1)
        settings = {"optimizer": "sgd", "learning_rate": 1.0, "objective": OBJECTIVE, "max_epochs": 1, "doctor": False}
        trainer = {**QUIET, "accumulate_grad_batches": 4, "callbacks": [StopsAt(stop)]}
        loader = DataLoader(texts(), batch_size=1)
        kd.distill(Tagger(2), student, loader, directory=place, resume=resume, trainer=trainer, **settings)
        return student.table.weight.detach()

    with pytest.raises(Terminated):
        distil(tmp_path, 2)
    assert torch.allclose(distil(tmp_path, 0, "auto"), trained(4, OBJECTIVE), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_processes_count_by_their_tokens(sharded: bool, tmp_path: Path) -> None:
    """Otherwise a process with short texts pulls as hard as one with long ones."""
    found = run_ranks(Path(unequal_ranks.__file__), tmp_path, json.dumps({"sharded": sharded}))
    assert found[0] == found[1]
    assert torch.allclose(torch.tensor(found[0]["weights"]), trained(4, OBJECTIVE), atol=1e-6)
