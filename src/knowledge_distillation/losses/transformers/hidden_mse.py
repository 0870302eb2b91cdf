"""Mean squared error between hidden states or embeddings."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    check_same_shape,
    full_precision,
    hide_masked,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def hidden_mse(
    student_hidden: Tensor, teacher_hidden: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    """Mean squared error between hidden states, one value per token (or per sentence embedding).

    sum over width of (s - t)**2 / width.

    When: the layers are paired and equally wide, or a projector made them so; also for sentence
    embeddings, where the student shall replace the teacher in an existing index.

    Args:
        student_hidden: shape [*items, width]: [N, L, width] for tokens, [N, width] for embeddings.
            Receives gradient.
        teacher_hidden: same shape. Detached inside.
        mask: shape [*items], True where the token counts; None counts all.
        reduction: "mean" over counted tokens, "sum", or "none" for one value per token, shape [*items].

    Returns:
        Squared units of the hidden states: a scalar, or [*items] for "none". 0 when no token counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the tokens.
        ConfigError: if reduction is unknown.

    Example:
        >>> import torch
        >>> student = torch.tensor([[[1.0, 2.0], [9.0, 9.0]]])
        >>> hidden_mse(student, torch.zeros(1, 2, 2), mask=torch.tensor([[True, False]])).item()
        2.5

    Reference: Jiao et al. (2019), TinyBERT, hidden states loss without the projection, arXiv:1909.10351;
        for sentence embeddings Reimers, Gurevych (2020), arXiv:2004.09813.
    """
    check_same_shape(student_hidden, teacher_hidden, "hidden")
    student = full_precision(hide_masked(student_hidden, mask))
    teacher = full_precision(hide_masked(teacher_hidden.detach(), mask))
    return reduce((student - teacher).square().mean(dim=-1), mask=mask, reduction=reduction)


class HiddenMSE(Loss):
    """`hidden_mse` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("transformers", "embeddings"),
        signal="hidden states",
        paper=Paper(
            title="TinyBERT: Distilling BERT for Natural Language Understanding",
            authors="Jiao, Yin, Shang, Jiang, Chen, Li, Wang, Liu",
            year=2019,
            arxiv="1909.10351",
        ),
    )

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.reduction: Reduction = reduction

    def forward(self, student_hidden: Tensor, teacher_hidden: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return hidden_mse(student_hidden, teacher_hidden, mask=mask, reduction=self.reduction)
