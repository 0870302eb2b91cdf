"""KL divergence between the similarities of a sample to the rest of its batch."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    check_positive,
    full_precision,
    hide_masked,
    log_probabilities,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.vectors import dot_products, unit


def similarity_kl(
    student_embeddings: Tensor,
    teacher_embeddings: Tensor,
    *,
    temperature: float = 0.04,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Similarity distribution KL: each sample ranks the rest of the batch as the teacher ranks it.

    KL(p_t || p_s) with p = softmax over the other samples j of cos(x_i, x_j) / temperature.

    When: embeddings of any two widths, and nearness is what matters (retrieval, clustering, nearest
    neighbours); no projection is needed. `queue_kl` compares with more samples than one batch holds.

    Args:
        student_embeddings: shape [N, student_width]. Receives gradient.
        teacher_embeddings: shape [N, teacher_width]. Detached inside.
        temperature: > 0, divides the cosines; 0.04 in the authors' code. Lower looks at the nearest samples only.
        mask: shape [N], True where the sample counts; a masked sample is compared with nobody. None
            counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [N].

    Returns:
        Nats: a scalar, or [N] for "none". 0 when fewer than two other samples count.

    Raises:
        ShapeError: if the embeddings are not 2-D, the batches differ, or the mask does not match them.
        ConfigError: if temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> student = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> round(similarity_kl(student, teacher, temperature=1.0).item(), 4)
        0.2311

    Reference: Koohpayegani, Tejankar, Pirsiavash (2020), CompRess, arXiv:2010.14713.

    Differs: the authors' code compares with a memory bank of 128,000 earlier embeddings of each side; here the
        rest of the batch takes its place.
    """
    check_positive("temperature", temperature)
    if (
        student_embeddings.dim() != 2
        or teacher_embeddings.dim() != 2
        or len(student_embeddings) != len(teacher_embeddings)
    ):
        raise ShapeError(
            "embeddings must have shapes [N, student_width] and [N, teacher_width] with the same N, got "
            f"{tuple(student_embeddings.shape)} and {tuple(teacher_embeddings.shape)}. Pool over tokens first."
        )
    student = _log_similarity_shares(student_embeddings, temperature=temperature, mask=mask)
    teacher = _log_similarity_shares(teacher_embeddings.detach(), temperature=temperature, mask=mask)
    values = (teacher.exp() * (teacher - student)).sum(dim=-1)
    return reduce(values, mask=mask, reduction=reduction)


def _log_similarity_shares(embeddings: Tensor, *, temperature: float, mask: Tensor | None) -> Tensor:
    directions = unit(full_precision(hide_masked(embeddings, mask)))
    left_out = torch.eye(len(directions), dtype=torch.bool, device=directions.device)
    if mask is not None:
        left_out = left_out | ~mask.bool()
    return log_probabilities(dot_products(directions, directions).masked_fill(left_out, float("-inf")), temperature)


class SimilarityKL(Loss):
    """`similarity_kl` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("embeddings", "relations"),
        signal="embeddings",
        paper=Paper(
            title="CompRess: Self-Supervised Learning by Compressing Representations",
            authors="Koohpayegani, Tejankar, Pirsiavash",
            year=2020,
            arxiv="2010.14713",
        ),
        exceptions={"micro_batches": "a sample is compared with the others in its batch"},
    )

    def __init__(self, temperature: float = 0.04, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_embeddings: Tensor, teacher_embeddings: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return similarity_kl(
            student_embeddings, teacher_embeddings, temperature=self.temperature, mask=mask, reduction=self.reduction
        )
