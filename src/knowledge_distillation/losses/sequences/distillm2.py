"""Contrastive skew divergences of DistiLLM-2: one for the teacher's responses, one for the student's."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.kernels.log_ratios import log_ratios_to_mixture
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_between, check_positive, paired_log_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.sequences.mixture import check_share


def distillm2(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    from_teacher: Tensor,
    token_mask: Tensor | None = None,
    skew: float | Tensor = 0.1,
    student_weight: float = 0.5,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Contrastive distillation: skew forward KL on what the teacher wrote, skew reverse KL on what the student wrote.

    The item is the response. Mean over its tokens of `skew_forward_kl`, times 2 * (1 - student_weight), where
    the teacher wrote it; of `skew_reverse_kl`, times 2 * student_weight, where the student did.

    When: each prompt has one response of either side, sampled before the epoch: the first pulls the
    student up where the teacher goes, the second pushes it down where only the student goes.

    Args:
        student_logits: unnormalised scores, shape [responses, tokens, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        from_teacher: True where the teacher wrote the response, False where the student did, shape [responses].
        token_mask: shape [responses, tokens], True at the response's own tokens; None counts all.
        skew: share of the other side in the mixture, above 0 and below 1; at most 0.1 in the authors' code.
            A tensor [responses] gives each response its own, as the curriculum of that code does.
        student_weight: share of the student's responses in the loss, 0 to 1; 0.5 in the authors' code, which
            can raise it to 0.75 during training.
        temperature: softening, > 0, dimensionless; the authors' code has none.
        mask: shape [responses], True where the response counts; None counts all.
        reduction: "mean" over counted responses, "sum", or "none" for one value per response, shape [responses].

    Returns:
        Nats per token: a scalar, or [responses] for "none". 0 for a response without tokens, and when no
        response counts.

    Raises:
        ShapeError: if the shapes differ, or from_teacher or a mask does not match the responses.
        ConfigError: if from_teacher is missing, skew, student_weight or temperature is out of range, or
            reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[2.0, 0.0, 0.0]], [[2.0, 0.0, 0.0]]])
        >>> student = torch.tensor([[[1.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]]])
        >>> values = distillm2(student, teacher, from_teacher=torch.tensor([True, False]), reduction="none")
        >>> [round(value, 4) for value in values.tolist()]
        [0.0815, 0.0876]

    Reference: Ko, Chen, Kim, Ding, Liang, Zharkov, Yun (2025), DistiLLM-2, arXiv:2503.07067.

    Differs: the authors' code keeps the student inside the mixture of the reverse part out of the gradient
        and adds both responses of a prompt; here gradient flows through the mixture, as in the formula,
        and the mean is over responses.
    """
    check_between("student_weight", student_weight, 0.0, 1.0)
    from_teacher = check_per_response("from_teacher", from_teacher, student_logits).bool().view(-1, 1, 1)
    counted = counted_tokens(student_logits, token_mask, mask)
    student, teacher = paired_log_probabilities(student_logits, teacher_logits, temperature=temperature, mask=counted)
    if isinstance(skew, Tensor):
        share = check_per_response("skew", skew, student_logits).detach().to(student.dtype).view(-1, 1, 1)
    else:
        share = student.new_full((), check_share("skew", skew))
    teacher_share = torch.where(from_teacher, share, 1.0 - share)
    to_student, to_teacher = log_ratios_to_mixture(student, teacher, teacher_share)
    terms = torch.where(from_teacher, teacher.exp() * to_teacher, student.exp() * to_student)
    tokens = torch.where(counted, -terms.sum(dim=-1), torch.zeros_like(terms[..., 0])).sum(dim=-1)
    by_student = tokens.new_full((), 2.0 * student_weight)
    weights = torch.where(from_teacher.flatten(), 2.0 - by_student, by_student)
    return reduce(weights * tokens / counted.sum(dim=-1).clamp(min=1), mask=mask, reduction=reduction)


def check_per_response(name: str, values: Tensor | None, student_logits: Tensor) -> Tensor:
    """Return `values` if it has one entry for each response of [responses, tokens, classes]."""
    if values is None:
        raise ConfigError(f"{name} is needed by this loss: one entry for each response. None came.")
    if student_logits.dim() != 3 or values.shape != student_logits.shape[:1]:
        raise ShapeError(
            f"student_logits must be [responses, tokens, classes] and {name} [responses], got "
            f"{tuple(student_logits.shape)} and {tuple(values.shape)}."
        )
    return values


def counted_tokens(student_logits: Tensor, token_mask: Tensor | None, mask: Tensor | None) -> Tensor:
    """True at the tokens of responses that count, shape [responses, tokens]."""
    shape = student_logits.shape[:2]
    counted = torch.ones(shape, dtype=torch.bool, device=student_logits.device)
    if token_mask is not None:
        if token_mask.shape != shape:
            raise ShapeError(f"token_mask must have shape {tuple(shape)}, got {tuple(token_mask.shape)}.")
        counted = token_mask.bool()
    if mask is not None:
        if mask.shape != shape[:1]:
            raise ShapeError(
                f"mask must have one entry per response, shape {tuple(shape[:1])}, got {tuple(mask.shape)}: tokens "
                "are masked by token_mask."
            )
        counted = counted & mask.bool().unsqueeze(-1)
    return counted


class DistiLLM2(Loss):
    """`distillm2` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences",),
        signal="logits",
        paper=Paper(
            title="DistiLLM-2: A Contrastive Approach Boosts the Distillation of LLMs",
            authors="Ko, Chen, Kim, Ding, Liang, Zharkov, Yun",
            year=2025,
            arxiv="2503.07067",
            venue="ICML 2025",
        ),
        needs=("from_teacher",),
        takes=("token_mask",),
        same_classes=True,
    )

    def __init__(
        self,
        skew: float = 0.1,
        *,
        student_weight: float = 0.5,
        temperature: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.skew = check_share("skew", skew)
        self.student_weight = check_between("student_weight", student_weight, 0.0, 1.0)
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        *,
        from_teacher: Tensor,
        token_mask: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        return distillm2(
            student_logits,
            teacher_logits,
            from_teacher=from_teacher,
            token_mask=token_mask,
            skew=self.skew,
            student_weight=self.student_weight,
            temperature=self.temperature,
            mask=mask,
            reduction=self.reduction,
        )
