"""Padded sentences must train as the same sentences without padding do, whatever stands in the padding."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from knowledge_distillation.losses.transformers.attention_kl import attention_kl, attention_kl_from_probs
from knowledge_distillation.losses.transformers.attention_mse import attention_mse
from knowledge_distillation.losses.transformers.minilm import minilm
from knowledge_distillation.losses.transformers.minilmv2 import minilmv2
from knowledge_distillation.losses.transformers.patient import patient
from knowledge_distillation.losses.transformers.tinybert import tinybert

LENGTH, KEPT = 6, 4
MASK = torch.tensor([[True] * KEPT + [False] * (LENGTH - KEPT)])
MATRIX = torch.eye(6, dtype=torch.float64)[:, :4]


def scores() -> Tensor:
    return torch.randn(1, 3, LENGTH, LENGTH, dtype=torch.float64)


def states(width: int) -> Tensor:
    return torch.randn(1, LENGTH, width, dtype=torch.float64)


def cropped(signal: Tensor) -> Tensor:
    return signal[:, :KEPT] if signal.dim() == 3 else signal[:, :, :KEPT, :KEPT]


def spoiled(signal: Tensor) -> Tensor:
    """NaN wherever a padded token stands, as query and as key."""
    signal = signal.detach().clone()
    if signal.dim() == 3:
        signal[:, KEPT:] = math.nan
    else:
        signal[:, :, KEPT:] = math.nan
        signal[..., KEPT:] = math.nan
    return signal.requires_grad_()


LOSSES: dict[str, Callable[..., Tensor]] = {
    "attention_mse": lambda student, teacher, **k: attention_mse(student[0], teacher[0], **k),
    "attention_kl": lambda student, teacher, **k: attention_kl(student[0], teacher[0], **k),
    "attention_kl_from_probs": lambda student, teacher, **k: attention_kl_from_probs(student[0], teacher[0], **k),
    "minilm": lambda student, teacher, **k: minilm(student, teacher, heads=2, **k),
    "minilmv2": lambda student, teacher, **k: minilmv2(student, teacher, relation_heads=4, **k),
    "tinybert": lambda student, teacher, **k: tinybert(student, teacher, projection=MATRIX, **k),
    "patient": lambda student, teacher, **k: patient(student, teacher, **k),
}
SIGNALS: dict[str, Callable[[], tuple[list[Tensor], list[Tensor]]]] = {
    "attention_mse": lambda: ([scores()], [scores()]),
    "attention_kl": lambda: ([scores()], [scores()]),
    "attention_kl_from_probs": lambda: ([scores().softmax(-1)], [scores().softmax(-1)]),
    "minilm": lambda: ([states(4) for _ in range(3)], [states(8) for _ in range(3)]),
    "minilmv2": lambda: ([states(4) for _ in range(3)], [states(8) for _ in range(3)]),
    "tinybert": lambda: ([states(4), states(4), scores()], [states(6), states(6), scores()]),
    "patient": lambda: ([states(4)], [states(4)]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_padding_does_not_count(name: str) -> None:
    """Long batches would otherwise train on padding: more so, the shorter the sentence."""
    torch.manual_seed(0)
    student, teacher = SIGNALS[name]()
    short = [cropped(signal).detach().clone().requires_grad_() for signal in student]
    short_teacher = [cropped(signal) for signal in teacher]
    if name == "attention_kl_from_probs":
        with torch.no_grad():
            for signal in [*short, *short_teacher]:
                signal /= signal.sum(dim=-1, keepdim=True)
    padded = [spoiled(signal) for signal in student]
    expected = LOSSES[name](short, short_teacher)
    found = LOSSES[name](padded, [spoiled(signal) for signal in teacher], mask=MASK)
    torch.testing.assert_close(found, expected)
    expected.backward()
    found.backward()
    for long, brief in zip(padded, short, strict=True):
        assert long.grad.isfinite().all()
        assert long.grad.abs().sum().item() == pytest.approx(cropped(long.grad).abs().sum().item())
        if name != "attention_kl_from_probs":
            torch.testing.assert_close(cropped(long.grad), brief.grad)


def test_scores_and_probabilities_agree() -> None:
    """The two ways to read a model's attention must not train it differently."""
    torch.manual_seed(0)
    student, teacher = scores(), scores()
    from_probs = attention_kl_from_probs(student.softmax(-1), teacher.softmax(-1), mask=MASK)
    torch.testing.assert_close(from_probs, attention_kl(student, teacher, mask=MASK))


@pytest.mark.parametrize("blocked", [-math.inf, torch.finfo(torch.float32).min, -1e9, -1e4])
@pytest.mark.parametrize("loss", [attention_mse, attention_kl])
def test_additive_masks_are_no_attention(loss: Callable[..., Tensor], blocked: float) -> None:
    """A causal mask's -inf on both sides would otherwise give NaN, and its -10000 would drown the real scores."""
    torch.manual_seed(0)
    future = torch.ones(LENGTH, LENGTH).triu(1).bool()
    student = scores().float().masked_fill(future, blocked).requires_grad_()
    teacher = scores().float().masked_fill(future, blocked)
    value = loss(student, teacher)
    value.backward()
    assert value.item() < 10
    assert student.grad.isfinite().all()
    assert (student.grad[..., future] == 0).all()


def test_a_hole_in_the_middle_of_two_sentences() -> None:
    """Every counted query weighs the same, over its own sentence's keys."""
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 1, 3, 3, dtype=torch.float64)
    mask = torch.tensor([[True, False, True], [False, True, False]])
    first = (student - teacher)[0, 0][[0, 2]][:, [0, 2]].square().mean(-1)
    second = (student - teacher)[1, 0, 1, 1].square()
    found = attention_mse(student, teacher, mask=mask, reduction="none")
    torch.testing.assert_close(
        found, torch.stack([first[0], first[0] * 0, first[1], second * 0, second, second * 0]).view(2, 3)
    )
