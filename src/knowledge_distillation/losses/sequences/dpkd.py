"""Direct preference knowledge distillation (DPKD): the teacher's response must beat the student's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    LOWEST_LOGIT,
    check_positive,
    check_same_shape,
    full_precision,
    hide_masked,
    log_probabilities,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def dpkd(
    student_log_probs: Tensor,
    teacher_log_probs: Tensor,
    *,
    token_mask: Tensor | None = None,
    beta: float = 0.1,
    length_normalised: bool = True,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Direct preference distillation: prefer the teacher's response, by a reward relative to the teacher.

    -log sigmoid(r(y_t) - r(y_s)) with the reward r(y) = beta / |y| * sum over tokens of
    (log p_s(token) - log p_t(token)). The item is the pair: y_t written by the teacher, y_s by the student.

    When: both sides' responses to each prompt are at hand and whole responses should be compared, not
    single tokens; the paper adds a language-modelling loss.

    Args:
        student_log_probs: the student's log-probabilities of the tokens that stand in the responses, shape
            [pairs, 2, tokens]: y_t first, y_s second; `token_log_probs` makes them. Receives gradient.
        teacher_log_probs: the teacher's, same shape. Detached inside.
        token_mask: shape [pairs, 2, tokens], True at the responses' own tokens; None counts all.
        beta: scale of the reward, > 0; 0.1 in the authors' code.
        length_normalised: divide each reward by its number of tokens, or not.
        mask: shape [pairs], True where the pair counts; None counts all.
        reduction: "mean" over counted pairs, "sum", or "none" for one value per pair, shape [pairs].

    Returns:
        Nats, log 2 where the student rewards both alike: a scalar, or [pairs] for "none". 0 when no pair counts.

    Raises:
        ShapeError: if the shapes differ or are not [pairs, 2, tokens], or a mask does not match.
        ConfigError: if beta is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> student = torch.tensor([[[-1.0, -2.0], [-1.0, -1.0]]])
        >>> teacher = torch.tensor([[[-1.0, -1.0], [-2.0, -2.0]]])
        >>> round(dpkd(student, teacher, beta=1.0).item(), 4)
        1.7014

    Reference: Li, Gu, Dong, Wang, Cheng, Wei (2024), arXiv:2406.19774.

    Differs: the authors' code takes the two models' most likely tokens at each place of a given text and
        applies the sigmoid token by token; here whole responses are compared.
    """
    check_positive("beta", beta)
    check_same_shape(student_log_probs, teacher_log_probs, "log_probs")
    if student_log_probs.dim() != 3 or student_log_probs.shape[1] != 2:
        raise ShapeError(
            "student_log_probs must be [pairs, 2, tokens], the teacher's response first, got "
            f"{tuple(student_log_probs.shape)}."
        )
    counted = torch.ones(student_log_probs.shape, dtype=torch.bool, device=student_log_probs.device)
    if token_mask is not None:
        if token_mask.shape != student_log_probs.shape:
            raise ShapeError(
                f"token_mask must have shape {tuple(student_log_probs.shape)}, got {tuple(token_mask.shape)}."
            )
        counted = token_mask.bool()
    student = full_precision(hide_masked(hide_masked(student_log_probs, mask), counted)).clamp(min=LOWEST_LOGIT)
    teacher = full_precision(hide_masked(hide_masked(teacher_log_probs.detach(), mask), counted)).clamp(
        min=LOWEST_LOGIT
    )
    rewards = beta * (student - teacher).sum(dim=-1)
    if length_normalised:
        rewards = rewards / counted.sum(dim=-1).clamp(min=1)
    return reduce(F.softplus(rewards[:, 1] - rewards[:, 0]), mask=mask, reduction=reduction)


def token_log_probs(logits: Tensor, token_ids: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Log-probability of each token that stands in the text; row n of the logits must predict token n.

    Args:
        logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        token_ids: shape [*batch]; ids where the mask is False may be anything.
        mask: shape [*batch], True where the token counts; None counts all.

    Returns:
        Nats, shape [*batch], 0 where the mask is False.

    Raises:
        ShapeError: if token_ids or mask do not have the shape [*batch].

    Example:
        >>> import torch
        >>> round(token_log_probs(torch.tensor([[1.0, 0.0]]), torch.tensor([0])).item(), 4)
        -0.3133
    """
    if token_ids.shape != logits.shape[:-1]:
        raise ShapeError(f"token_ids must have shape {tuple(logits.shape[:-1])}, got {tuple(token_ids.shape)}.")
    ids = hide_masked(token_ids, mask).long().unsqueeze(-1)
    return hide_masked(log_probabilities(hide_masked(logits, mask)).gather(-1, ids).squeeze(-1), mask)


class DPKD(Loss):
    """`dpkd` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences",),
        signal="log_probs of the tokens of response pairs",
        paper=Paper(
            title="Direct Preference Knowledge Distillation for Large Language Models",
            authors="Li, Gu, Dong, Wang, Cheng, Wei",
            year=2024,
            arxiv="2406.19774",
        ),
        takes=("token_mask",),
        same_classes=True,
        exceptions={"zero_at_equality": "a student that equals the teacher rewards both responses alike: log 2"},
    )

    def __init__(self, beta: float = 0.1, *, length_normalised: bool = True, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.beta = check_positive("beta", beta)
        self.length_normalised = length_normalised
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_log_probs: Tensor,
        teacher_log_probs: Tensor,
        *,
        token_mask: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        return dpkd(
            student_log_probs,
            teacher_log_probs,
            token_mask=token_mask,
            beta=self.beta,
            length_normalised=self.length_normalised,
            mask=mask,
            reduction=self.reduction,
        )
