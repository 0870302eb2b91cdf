"""TinyBERT: embedding output, hidden states and attention scores of mapped layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import full_precision, hide_masked
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.transformers.attention_mse import attention_mse
from knowledge_distillation.losses.transformers.hidden_mse import hidden_mse


def tinybert(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    *,
    projection: Tensor | None = None,
    layers: Sequence[int] | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """TinyBERT's transformer distillation: embeddings, hidden states and attention, layer by layer.

    MSE(E_s W, E_t) + sum over student layers m of MSE(H_s[m] W, H_t[g(m)]) + MSE(A_s[m], A_t[g(m)]),
    with one matrix W for all and g(m) the teacher's layer for student layer m.

    When: the student has as many attention heads as the teacher and fewer, narrower layers. The
    prediction layer is a term of its own (`soft_cross_entropy` at temperature 1), in the paper a later stage.

    Args:
        student: of a student with M layers, M + 1 hidden states [N, L, student_width], the embedding output
            first, then M attention scores [N, heads, L, L]. Receives gradient.
        teacher: likewise of a teacher with K layers, [N, L, teacher_width] and [N, heads, L, L]. Detached
            inside.
        projection: the matrix W, shape [teacher_width, student_width]. Receives gradient. None for
            equal widths without projection.
        layers: the teacher's layer, 1 to K, for student layers 1 to M; None is the paper's uniform
            g(m) = m * K / M.
        mask: tokens, shape [N, L], True where the token counts, as query and as key; None counts all.
        reduction: "mean" over counted tokens, "sum", or "none" for one value per token, shape [N, L].

    Returns:
        Squared units of the signals: a scalar, or [N, L] for "none". 0 when no token counts.

    Raises:
        ShapeError: if a side is not hidden states followed by attention scores, or shapes do not fit.
        ConfigError: if layers do not name a teacher layer for each student layer, M does not divide K
            while layers is None, or reduction is unknown.

    Example:
        >>> import torch
        >>> student = [torch.ones(1, 2, 3), torch.ones(1, 2, 3), torch.ones(1, 4, 2, 2)]
        >>> teacher = [torch.zeros(1, 2, 3)] * 3 + [torch.zeros(1, 4, 2, 2)] * 2
        >>> tinybert(student, teacher).item()
        3.0

    Reference: Jiao et al. (2019), with every weight 1, arXiv:1909.10351.

    Differs: padding does not count, as in `attention_mse`. The authors' code adds a bias to W.
    """
    student_hidden, student_attention = _split("student", student)
    teacher_hidden, teacher_attention = _split("teacher", teacher)
    chosen = _chosen_layers(layers, student_layers=len(student_attention), teacher_layers=len(teacher_attention))
    values = []
    for ours, layer in zip(student_hidden, (0, *chosen), strict=True):
        # The tokens are hidden before W: its gradient would multiply their content by 0, and NaN survives that.
        projected = full_precision(hide_masked(ours, mask))
        if projection is not None:
            projected = projected @ projection.to(projected.dtype).T
        values.append(hidden_mse(projected, teacher_hidden[layer], mask=mask, reduction="none"))
    for ours, layer in zip(student_attention, chosen, strict=True):
        values.append(attention_mse(ours, teacher_attention[layer - 1], mask=mask, reduction="none"))
    return reduce(torch.stack(values).sum(dim=0), mask=mask, reduction=reduction)


def _split(side: str, signals: Sequence[Tensor]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    hidden, attention = signals[: len(signals) // 2 + 1], signals[len(signals) // 2 + 1 :]
    fits = all(tensor.dim() == 3 for tensor in hidden) and all(tensor.dim() == 4 for tensor in attention)
    if len(signals) < 3 or len(signals) % 2 == 0 or not fits:
        raise ShapeError(
            f"{side} must be M + 1 hidden states [N, L, width], the embedding output first, then M attention scores "
            f"[N, heads, L, L], got {[tuple(tensor.shape) for tensor in signals]}."
        )
    return hidden, attention


def _chosen_layers(layers: Sequence[int] | None, *, student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    if layers is None:
        if teacher_layers % student_layers:
            raise ConfigError(
                f"layers must be given when {student_layers} student layers do not divide {teacher_layers} teacher "
                "layers: one teacher layer, counted from 1, for each student layer."
            )
        return tuple(range(teacher_layers // student_layers, teacher_layers + 1, teacher_layers // student_layers))
    if len(layers) != student_layers or not all(1 <= layer <= teacher_layers for layer in layers):
        raise ConfigError(
            f"layers must name one teacher layer from 1 to {teacher_layers} for each of {student_layers} student "
            f"layers, got {list(layers)!r}."
        )
    return tuple(layers)


class TinyBERT(Loss):
    """`tinybert` as a module; see there for shapes, units and sources. Learns the shared projection W.

    Args:
        student_width: width of the student's hidden states; 312 for the paper's four-layer student.
        teacher_width: width of the teacher's hidden states; 768 for the paper's BERT-base.
    """

    facts = Facts(
        families=("transformers",),
        signal="hidden states and attention scores",
        paper=Paper(
            title="TinyBERT: Distilling BERT for Natural Language Understanding",
            authors="Jiao, Yin, Shang, Jiang, Chen, Li, Wang, Liu",
            year=2019,
            arxiv="1909.10351",
        ),
        learns="one linear projection from the student's to the teacher's width, shared by all layers",
        exceptions={"zero_at_equality": "the student's hidden states are projected first"},
    )

    def __init__(
        self,
        student_width: int,
        teacher_width: int,
        *,
        layers: Sequence[int] | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.projection = nn.Linear(student_width, teacher_width, bias=False)
        self.layers = None if layers is None else tuple(layers)
        self.reduction: Reduction = reduction

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], *, mask: Tensor | None = None) -> Tensor:
        return tinybert(
            student,
            teacher,
            projection=self.projection.weight,
            layers=self.layers,
            mask=mask,
            reduction=self.reduction,
        )
