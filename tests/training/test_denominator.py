"""What goes wrong for a user who splits a batch: each token must count as much as in the whole one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import knowledge_distillation as kd
from knowledge_distillation.training.denominator import Denominator
from tests.training.toys import QUIET

CLASSES, LENGTHS = 7, (6, 1, 3, 2)


class Tagger(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table = nn.Embedding(11, CLASSES)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        return {"logits": self.table(input_ids)}


def batches(size: int) -> list[dict[str, Tensor]]:
    """Four texts of unequal lengths, so many at a time."""
    drawn = torch.Generator().manual_seed(3)
    ids = torch.randint(11, (4, 6), generator=drawn)
    labels = torch.randint(CLASSES, (4, 6), generator=drawn)
    mask = torch.arange(6) < torch.tensor(LENGTHS)[:, None]
    labels = labels.masked_fill(~mask, -100)
    whole = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return [{name: entry[at : at + size] for name, entry in whole.items()} for at in range(0, 4, size)]


def trained(size: int, folder: Path, objective: Any, **trainer: Any) -> Tensor:
    student = Tagger(1)
    settings = {**QUIET, "accumulate_grad_batches": 4 // size, **trainer}
    kd.distill(
        Tagger(2), student, batches(size), objective=objective, max_epochs=1, optimizer="sgd", learning_rate=1.0,
        directory=folder, doctor=False, trainer=settings,
    )  # fmt: skip
    return student.table.weight.detach()


OBJECTIVE = {"forward_kl": 1.0, "cross_entropy": 0.5}


@pytest.mark.parametrize("size", [1, 2])
def test_splitting_a_batch_changes_nothing(size: int, tmp_path: Path) -> None:
    """Otherwise the short texts count more the smaller the batch that fits into memory."""
    whole = trained(4, tmp_path / "whole", OBJECTIVE)
    split = trained(size, tmp_path / "split", OBJECTIVE)
    assert torch.allclose(whole, split, atol=1e-6)
    assert not torch.allclose(whole, Tagger(1).table.weight, atol=1e-3)


def test_the_whole_batchs_gradient_is_the_mean_over_its_tokens(tmp_path: Path) -> None:
    """Otherwise both ways above may be wrong in the same way."""
    (batch,) = batches(4)
    student = Tagger(1)
    logits = student.table(batch["input_ids"])[batch["attention_mask"]]
    loss = nn.functional.cross_entropy(logits, batch["labels"][batch["attention_mask"]])
    expected = student.table.weight.detach() - torch.autograd.grad(loss, student.table.weight)[0]
    assert torch.allclose(trained(1, tmp_path, {"cross_entropy": 1.0}), expected, atol=1e-6)


def test_clipping_sees_the_gradient_of_the_whole_step(tmp_path: Path) -> None:
    """Otherwise every step is clipped to the same length, since it looks as large as its tokens are many."""
    whole = trained(4, tmp_path / "whole", OBJECTIVE, gradient_clip_val=0.05)
    assert torch.allclose(whole, trained(1, tmp_path / "split", OBJECTIVE, gradient_clip_val=0.05), atol=1e-6)


def test_an_epoch_that_ends_early_is_a_step_of_what_was_there(tmp_path: Path) -> None:
    """Otherwise the last step of an epoch is as small as its window is incomplete."""
    student = Tagger(1)
    kd.distill(
        None, student, batches(1), objective={"cross_entropy": 1.0}, max_epochs=1, optimizer="sgd", learning_rate=1.0,
        directory=tmp_path, doctor=False, trainer={**QUIET, "accumulate_grad_batches": 100},
    )  # fmt: skip
    assert torch.allclose(student.table.weight, trained(4, tmp_path / "whole", {"cross_entropy": 1.0}), atol=1e-6)


def test_a_mean_over_samples_is_left_alone(tmp_path: Path) -> None:
    """Otherwise a loss of the user's own, which is no mean over tokens, is weighed as if it were one."""

    class Own(nn.Module):
        uses_teacher = False

        def forward(self, student: Tensor, teacher: Any) -> Tensor:
            return student.square().mean()

    whole = trained(4, tmp_path / "whole", {"own": kd.Term(Own())})
    assert torch.allclose(whole, trained(1, tmp_path / "split", {"own": kd.Term(Own())}), atol=1e-6)


def test_processes_count_by_their_items() -> None:
    """Otherwise a process with short texts pulls as hard as one with long ones."""
    weight = torch.zeros(1, requires_grad=True)
    values = torch.tensor([1.0, 2.0, 3.0, 10.0])
    gradients, counts = [], []
    for mine in (values[:3], values[3:]):  # two processes, one batch each
        denominator = Denominator()
        denominator.items = torch.tensor(len(mine))
        gradients += torch.autograd.grad(denominator.weighed((weight * mine).mean()), weight)
        counts.append(denominator)
    weight.grad = torch.stack(gradients).mean(dim=0)  # as DistributedDataParallel does
    strategy = SimpleNamespace(reduce=lambda count, reduce_op: count + 1)  # the other's one item
    counts[0].divide(SimpleNamespace(world_size=2, accumulate_grad_batches=1, strategy=strategy), [weight])  # type: ignore[arg-type]
    assert weight.grad.item() == pytest.approx(values.mean().item())
