"""MiniLLM: reverse KL divergence of whole responses, by a policy gradient whose variance is kept down."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    check_labels,
    check_positive,
    full_precision,
    hide_masked,
    paired_log_probabilities,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce

IGNORED = -100


def minillm(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    labels: Tensor,
    sampled_log_probs: Tensor | None = None,
    clip: float = 0.2,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Reverse KL of responses that were drawn token by token: exact for the next token, sampled for what follows.

    Token t of a response y adds w_t * KL(p_s || p_t) - min(w_t * R_t, clip(w_t, 1 - clip, 1 + clip) * R_t), with
    w_t = p_s(y_t) / p_drawn(y_t), a constant in the first summand, and R_t the mean of log p_t(y_u) - log p_s(y_u) over
    the later tokens u > t, a constant: long responses are not favoured. p_drawn is what y_t was drawn from.

    When: on-policy distillation where a token should also be judged by what the student goes on to write after it.
    Responses are best drawn from a mixture with the teacher (`MixedSampler`).

    Args:
        student_logits: unnormalised scores, shape [N, L, classes]; row t predicts token t of labels. Receives gradient.
        teacher_logits: same shape. Detached inside.
        labels: the tokens that were drawn, shape [N, L]; -100 where none was: prompts and padding do not count.
        sampled_log_probs: log p_drawn(y_t), shape [N, L]; None for a student that drew them itself just now.
        clip: how far the weight of a token may help, > 0; 0.2 in the authors' code.
        mask: shape [N, L], True where the token counts; None counts all that have a label.
        reduction: "mean" over counted tokens, "sum", or "none" for one value per token, shape [N, L].

    Returns:
        Nats; may be negative, and its value says little, since it is made for its gradient: a scalar, or [N, L] for
        "none". 0 when no token counts.

    Raises:
        ShapeError: if the shapes do not fit, or the logits are not [N, L, classes].
        ConfigError: if labels are missing, clip is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> student = torch.tensor([[[0.5, 0.5], [0.8, 0.2]]]).log()
        >>> teacher = torch.tensor([[[0.5, 0.5], [0.4, 0.6]]]).log()
        >>> round(minillm(student, teacher, labels=torch.tensor([[0, 0]])).item(), 4)
        0.514

    Reference: Gu, Dong, Wei, Huang (2023), MiniLLM, arXiv:2306.08543: single-step decomposition, teacher-mixed
        sampling and length normalisation.

    Differs: the authors' code scales rewards by their running deviation and clips them; here they are as they come.
    """
    check_positive("clip", clip)
    if student_logits.dim() != 3:
        raise ShapeError(
            f"student_logits must be [N, L, classes], got {tuple(student_logits.shape)}: what follows a token cannot "
            "be told from other texts."
        )
    labels = check_labels(labels, student_logits)
    counted = labels != IGNORED
    if mask is not None:
        if mask.shape != counted.shape:
            raise ShapeError(f"mask must have shape {tuple(counted.shape)}, got {tuple(mask.shape)}.")
        counted = counted & mask.bool()
    student, teacher = paired_log_probabilities(student_logits, teacher_logits, mask=counted)
    divergence = (student.exp() * (student - teacher)).sum(dim=-1)
    token = labels.masked_fill(~counted, 0).unsqueeze(-1)
    said, taught = (side.gather(-1, token).squeeze(-1) for side in (student, teacher))
    drawn = said.detach() if sampled_log_probs is None else _drawn(sampled_log_probs, counted)
    reward = hide_masked(taught - said.detach(), counted)
    weight = (said - drawn).exp()
    later = _mean_of_later(reward, counted)
    clipped = weight.clamp(1.0 - clip, 1.0 + clip)
    values = weight.detach() * divergence - torch.minimum(weight * later, clipped * later)
    return reduce(values, mask=counted, reduction=reduction)


def _drawn(sampled_log_probs: Tensor, counted: Tensor) -> Tensor:
    if sampled_log_probs.shape != counted.shape:
        raise ShapeError(
            f"sampled_log_probs must have one entry per token, shape {tuple(counted.shape)}, got "
            f"{tuple(sampled_log_probs.shape)}."
        )
    return hide_masked(full_precision(sampled_log_probs.detach()), counted)


def _mean_of_later(values: Tensor, counted: Tensor) -> Tensor:
    """For each token the mean over the counted ones after it, 0 where none is left."""
    sums = values.flip(1).cumsum(1).flip(1) - values
    counts = counted.flip(1).cumsum(1).flip(1) - counted.long()
    return sums / counts.clamp(min=1)


class MiniLLM(Loss):
    """`minillm` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences",),
        signal="logits",
        paper=Paper(
            title="MiniLLM: On-Policy Distillation of Large Language Models",
            authors="Gu, Dong, Wei, Huang",
            year=2023,
            arxiv="2306.08543",
            venue="ICLR 2024",
        ),
        needs=("labels",),
        takes=("sampled_log_probs",),
        same_classes=True,
        exceptions={
            "non_negative": "it is made for its gradient: the sampled part has either sign",
            "gradcheck": "the rewards and the weights of the exact part are constants in the gradient",
        },
    )

    def __init__(self, clip: float = 0.2, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.clip = check_positive("clip", clip)
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        *,
        labels: Tensor,
        sampled_log_probs: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        return minillm(
            student_logits,
            teacher_logits,
            labels=labels,
            sampled_log_probs=sampled_log_probs,
            clip=self.clip,
            mask=mask,
            reduction=self.reduction,
        )
