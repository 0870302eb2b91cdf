"""Triton's kernels in its interpreter against the plain losses; prints each setting that holds."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from knowledge_distillation.kernels import triton_rows
from knowledge_distillation.losses import fused_divergence
from tests.kernels.setting import DIVERGENCES, Head, Setting, hold_in_float32

HEADS = (Head(), Head(bias=True, softcap=2.0), Head(projected=False), Head(scale=0.25))


def settings() -> Iterator[Setting]:
    """Every divergence with every kind of teacher; heads, labels and masks in turns."""
    for number, divergence in enumerate(DIVERGENCES):
        for turn, tail in enumerate(("dense", "dense", "bucket", "renormalise", "ignore")):
            sparse = tail != "dense"
            yield Setting(
                seed=number,
                divergence=divergence,
                k=4 if sparse else None,
                tail=tail if sparse else "bucket",
                student=HEADS[(number + turn) % 4],
                teacher=Head(projected=False) if sparse else HEADS[(number + turn + 1) % 4],
                temperature=1.0 if turn % 2 else 2.0,
                hard_weight=0.7 if (number + turn) % 3 else 0.0,
                masked=turn % 2 == 0,
                reduction=("mean", "sum", "none")[turn % 3],
                classes=37 if turn else 2,
                items=(5,),
                backend="triton",
            )


def impossible_classes_stay_alone() -> None:
    """Classes at -inf of one side or both."""
    student, teacher = torch.randn(2, 3, 9)
    student[:, 7:] = teacher[:, 8:] = -torch.inf
    student.requires_grad_()
    for divergence in DIVERGENCES:
        found, expected = (
            torch.autograd.grad(fused_divergence(student, teacher, divergence=divergence, backend=backend), student)
            for backend in ("triton", "chunked")
        )
        torch.testing.assert_close(found, expected, msg=divergence)


if __name__ == "__main__":
    torch.manual_seed(0)
    triton_rows.BLOCK = 16  # rows longer than what a program holds
    for setting in settings():
        hold_in_float32(setting)
        print(setting)
    impossible_classes_stay_alone()
    print("impossible classes")
