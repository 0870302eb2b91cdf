"""What goes wrong for a user when a fused loss is another loss than the one it stands for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from tests.kernels.setting import (
    DIVERGENCES,
    Head,
    Setting,
    assert_same,
    by_fused,
    by_plain,
    material,
    outcome,
    settings_drawn,
)

FEW = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
HEADS = {
    "plain": Head(),
    "bias": Head(bias=True),
    "softcap": Head(softcap=2.0, bias=True),
    "scale": Head(scale=0.25),
    "logits": Head(projected=False),
}


def hold(setting: Setting, share: float = 1e-9) -> None:
    given = material(setting)
    generator = torch.Generator().manual_seed(setting.seed + 1)
    fused, plain = by_fused(setting, given), by_plain(setting, given)
    incoming = torch.randn(plain.shape, generator=generator, dtype=torch.float64)
    assert_same(
        outcome(fused, given.leaves, incoming.to(fused.dtype)),
        outcome(plain, given.leaves, incoming.to(plain.dtype)),
        share=share,
    )


@given(setting=settings_drawn())
@FEW
def test_value_and_gradients_are_those_of_the_plain_losses(setting: Setting) -> None:
    """Otherwise a student that is trained by the fast loss is trained on something else."""
    if setting.k is not None:  # a sparse teacher's own head is not looked at
        setting = replace(setting, teacher=Head(projected=False))
    hold(setting)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("sparse", ["dense", "bucket", "renormalise", "ignore"])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_every_divergence_meets_every_head_and_teacher(divergence: str, sparse: str, head: str) -> None:
    """Otherwise a combination that no draw happened to meet is wrong for the one who needs it."""
    setting = Setting(
        divergence=divergence,  # type: ignore[arg-type]
        student=HEADS[head],
        teacher=HEADS[head] if sparse == "dense" else Head(projected=False),
        k=None if sparse == "dense" else 4,
        tail="bucket" if sparse == "dense" else sparse,
        temperature=2.0,
        hard_weight=0.7,
        masked=True,
        items=(7,),
    )
    hold(setting)


@pytest.mark.parametrize("chunk_size", [1, 2, 5, 100, None])
def test_the_chunk_size_changes_nothing(chunk_size: int | None) -> None:
    """Otherwise who saves memory trains another student."""
    setting = Setting(items=(3, 4), student=Head(bias=True), masked=True, hard_weight=0.5)
    given = material(setting)
    expected = outcome(by_fused(replace(setting, chunk_size=4), given), given.leaves)
    assert_same(outcome(by_fused(replace(setting, chunk_size=chunk_size), given), given.leaves), expected, share=1e-12)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("projected", [True, False], ids=["projected", "logits"])
def test_float32_is_as_near_as_float32_can_be(divergence: str, projected: bool) -> None:
    """Otherwise sums over a large vocabulary lose what training needs."""
    head = Head(projected=projected)
    setting = Setting(
        divergence=divergence,  # type: ignore[arg-type]
        classes=5000,
        items=(6,),
        width=16,
        student=head,
        teacher=head,
        hard_weight=0.5,
        dtype=torch.float32,
    )
    given = material(setting)
    exact = material(replace(setting, dtype=torch.float64))
    found = outcome(by_fused(setting, given), given.leaves)
    assert_same(found, outcome(by_plain(setting, exact), exact.leaves), share=1e-4)
