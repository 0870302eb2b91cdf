"""Teacher-free distillation: a hand-made teacher that is right with a set probability."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.accepted import is_finite_number
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import check_positive, hide_masked, log_probabilities
from knowledge_distillation.losses.logits.targets import check_targets
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce

TEACHER_FREE = Paper(
    title="Revisiting Knowledge Distillation via Label Smoothing Regularization",
    authors="Yuan, Tay, Li, Wang, Feng",
    year=2020,
    arxiv="1909.11723",
    venue="CVPR",
)


def tf_kd(
    student_logits: Tensor,
    teacher_logits: Tensor | None = None,
    *,
    labels: Tensor,
    correct_probability: float = 0.99,
    temperature: float = 20.0,
    student_temperature: float | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Teacher-free KD (Tf-KD_reg): KL between a virtual teacher, made from the label, and the student.

    KL(d || p), where d is (correct_probability at the label, the rest shared evenly by the other classes)
    softened by the temperature, and p = softmax(student_logits / student_temperature).

    When: no teacher is at hand, or as the control that shows how much of a gain needs no teacher at all. The
    authors mix it with the cross-entropy as (1 - a) * CE + a * this, a from 0.1 to 0.95.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes], at least 2 classes. Receives gradient.
        teacher_logits: ignored; accepted so that every loss is called the same way.
        labels: class ids from 0 to classes - 1, shape [*batch].
        correct_probability: what the virtual teacher gives the label before softening, above 0 and below 1; the
            authors' code uses 0.99.
        temperature: softening of the virtual teacher, > 0, dimensionless; 10 to 40 in the authors' settings.
        student_temperature: softening of the student, > 0; None takes `temperature`. The authors' code takes
            1.
        mask: shape [*batch], True where the item counts; None counts all. Items labelled -100 never count.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats, without a factor of the squared temperature: a scalar, or [*batch] for "none". Classes at -inf are
        not counted among the classes. 0 when no item counts.

    Raises:
        ShapeError: if labels or mask do not fit, or there is only one class.
        ConfigError: if labels are missing, a setting is out of its range, or reduction is unknown.

    Example:
        >>> import torch
        >>> round(tf_kd(torch.tensor([[4.0, 0.0, 0.0]]), labels=torch.tensor([0]), temperature=2.0).item(), 4)
        0.0265

    Reference: Yuan, Tay, Li, Wang, Feng (2020), arXiv:1909.11723.

    Differs: the authors' code softens by softmax(probabilities / temperature), which is nearly uniform whatever
        the label, and averages over the classes too; here the distribution is softened as logits are, by the
        power 1 / temperature.
    """
    check_positive("temperature", temperature)
    check_correct_probability(correct_probability)
    if student_temperature is None:
        student_temperature = temperature
    check_positive("student_temperature", student_temperature)
    labels, mask = check_targets(labels, student_logits, mask)
    logits = hide_masked(student_logits, mask)
    student = log_probabilities(logits, student_temperature)
    teacher = log_probabilities(_virtual_logits(logits.detach(), labels, correct_probability), temperature)
    return reduce((teacher.exp() * (teacher - student)).sum(dim=-1), mask=mask, reduction=reduction)


def _virtual_logits(logits: Tensor, labels: Tensor, correct_probability: float) -> Tensor:
    """0 for every possible class but the label, whose logit gives it the correct probability."""
    impossible = torch.isneginf(logits)
    scores = torch.zeros_like(logits, dtype=torch.promote_types(logits.dtype, torch.float32))
    others = (logits.shape[-1] - 1 - impossible.sum(dim=-1, keepdim=True)).clamp(min=1).to(scores.dtype)
    label_score = (others * (correct_probability / (1.0 - correct_probability))).log()
    scores = scores.scatter(-1, labels.unsqueeze(-1), label_score)
    return scores.masked_fill(impossible, -torch.inf)


def check_correct_probability(value: float) -> float:
    """Return `value` if it is above 0 and below 1, else raise ConfigError."""
    if not is_finite_number(value) or not 0.0 < value < 1.0:
        raise ConfigError(
            f"correct_probability must be a number above 0 and below 1, got {value!r}. For 1, the bare label, use "
            "cross_entropy."
        )
    return float(value)


class TfKD(Loss):
    """`tf_kd` as a module; see there for shapes, units and sources."""

    facts = Facts(
        families=("logits",),
        signal="logits",
        paper=TEACHER_FREE,
        needs=("labels",),
        uses_teacher=False,
        exceptions={"zero_at_equality": "the virtual teacher is made from the label, not from the teacher"},
    )

    def __init__(
        self,
        temperature: float = 20.0,
        *,
        correct_probability: float = 0.99,
        student_temperature: float | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.correct_probability = check_correct_probability(correct_probability)
        self.student_temperature = (
            None if student_temperature is None else check_positive("student_temperature", student_temperature)
        )
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None = None,
        *,
        labels: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        return tf_kd(
            student_logits,
            labels=labels,
            correct_probability=self.correct_probability,
            temperature=self.temperature,
            student_temperature=self.student_temperature,
            mask=mask,
            reduction=self.reduction,
        )
