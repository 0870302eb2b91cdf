"""Cross-entropy with classes that were sampled from the teacher (random sampling KD)."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts
from knowledge_distillation.losses.inputs import check_positive, full_precision, hide_masked, log_probabilities
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.sequences.top_k import SPARSE_LOGITS


def sampled_cross_entropy(
    student_logits: Tensor,
    teacher_samples: Tensor,
    *,
    counts: Tensor | None = None,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy between the student and classes sampled from the teacher: unbiased at any number of samples.

    -sum over samples i of (counts[i] / sum of counts) * log softmax(student_logits / temperature)[samples[i]].
    Over the draws its mean, and that of its gradient, are those of the cross-entropy with the full teacher.

    When: the teacher is cached and 10 to 60 ids a token are all that fits; unlike a top k, nothing of the
    tail is lost on average.

    Args:
        student_logits: unnormalised scores, shape [*batch, classes]. Receives gradient.
        teacher_samples: class ids drawn with replacement from the teacher's distribution (softened by
            `temperature`, if any), shape [*batch, samples]; ids may repeat. 12 draws do, say the authors.
        counts: how often each id was drawn, >= 0, same shape; 0 marks padding; None for once each. Draws from
            another distribution q bring count * p_t / q here. Detached inside.
        temperature: softening of the student, > 0, dimensionless.
        mask: shape [*batch], True where the item counts; None counts all.
        reduction: "mean" over counted items, "sum", or "none" for one value per item, shape [*batch].

    Returns:
        Nats: a scalar, or [*batch] for "none". 0 for an item without samples, and when no item counts.

    Raises:
        ShapeError: if samples, counts or mask do not fit the items.
        ConfigError: if the samples are no ids, temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> student = torch.tensor([[0.5, 0.25, 0.25]]).log()
        >>> samples, counts = torch.tensor([[0, 2]]), torch.tensor([[3, 1]])
        >>> round(sampled_cross_entropy(student, samples, counts=counts).item(), 4)
        0.8664

    Reference: Anshumann et al. (2025), Sparse Logit Sampling, arXiv:2503.16870.

    Differs: the value is a cross-entropy, not a divergence: the teacher's entropy cannot be estimated
        without bias from few samples, and it does not change the gradient.
    """
    if teacher_samples.is_floating_point():
        raise ConfigError(
            f"teacher_samples must be class ids, got {teacher_samples.dtype} of shape {tuple(teacher_samples.shape)}: "
            "scores would be rounded to ids. Draw from the teacher's distribution, or keep 'sampled' in its cache."
        )
    if counts is None:
        counts = torch.ones_like(teacher_samples)
    if teacher_samples.shape[:-1] != student_logits.shape[:-1] or teacher_samples.shape != counts.shape:
        raise ShapeError(
            f"teacher_samples and counts must have shape [*batch, samples] with the student's items "
            f"{tuple(student_logits.shape[:-1])}, got {tuple(teacher_samples.shape)} and {tuple(counts.shape)}: "
            "the ids would meet the wrong tokens."
        )
    check_positive("temperature", temperature)
    student = log_probabilities(hide_masked(student_logits, mask), temperature)
    weights = full_precision(hide_masked(counts.detach(), mask)).to(student.dtype)
    drawn = weights > 0
    ids = hide_masked(teacher_samples, mask).long().masked_fill(~drawn, 0)
    total = weights.sum(dim=-1, keepdim=True)
    shares = weights / torch.where(total > 0, total, torch.ones_like(total))
    return reduce(-(shares * student.gather(-1, ids)).sum(dim=-1), mask=mask, reduction=reduction)


class SampledCrossEntropy(Loss):
    """`sampled_cross_entropy` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences", "logits"),
        signal="logits and sampled class ids",
        paper=SPARSE_LOGITS,
        takes=("counts",),
        same_classes=True,
        exceptions={"zero_at_equality": "a cross-entropy keeps the teacher's entropy"},
    )

    def __init__(self, temperature: float = 1.0, *, reduction: Reduction = "mean") -> None:
        super().__init__()
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(
        self,
        student_logits: Tensor,
        teacher_samples: Tensor,
        *,
        counts: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        return sampled_cross_entropy(
            student_logits,
            teacher_samples,
            counts=counts,
            temperature=self.temperature,
            mask=mask,
            reduction=self.reduction,
        )
