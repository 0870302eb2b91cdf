"""KL divergence between the similarities of a sample to a queue of earlier teacher embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    check_positive,
    check_same_shape,
    full_precision,
    hide_masked,
    log_probabilities,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.vectors import dot_products, unit


def queue_kl(
    student_embeddings: Tensor,
    teacher_embeddings: Tensor,
    *,
    queue: Tensor,
    student_temperature: float = 0.2,
    teacher_temperature: float = 0.01,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Queue similarity KL (SEED): rank the sample itself and a queue of teacher embeddings as the teacher does.

    KL(p_t || p_s) with p = softmax over d in (t, queue) of cos(x, d) / temperature: x is the student's or
    the teacher's embedding, t the teacher's embedding of the same sample.

    When: self-supervised embeddings, small batches, and a student head as wide as the teacher's.

    Args:
        student_embeddings: shape [N, width]. Receives gradient.
        teacher_embeddings: same shape. Detached inside.
        queue: earlier teacher embeddings of length 1, shape [size, width]; 65,536 in the authors' code. No gradient.
        student_temperature: > 0, divides the student's cosines; 0.2 in the authors' code.
        teacher_temperature: > 0, divides the teacher's cosines; lower is sharper, 1e-4 in the authors' code.
        mask: shape [N], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [N].

    Returns:
        Nats: a scalar, or [N] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if the embeddings are not 2-D of one shape, the queue has another width, or the mask does
            not match the samples.
        ConfigError: if a temperature is not a positive finite number, or reduction is unknown.

    Example:
        >>> import torch
        >>> queue = torch.tensor([[0.0, 1.0]])
        >>> student, teacher = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
        >>> round(queue_kl(student, teacher, queue=queue, student_temperature=1.0).item(), 4)
        1.3133

    Reference: Fang et al. (2021), SEED, arXiv:2101.04731.

    Differs: the authors' code takes the cross-entropy; the teacher's entropy is subtracted here, which leaves
        the gradient as it is.
    """
    check_positive("student_temperature", student_temperature)
    check_positive("teacher_temperature", teacher_temperature)
    check_same_shape(student_embeddings, teacher_embeddings, "embeddings")
    if student_embeddings.dim() != 2 or queue.dim() != 2 or queue.shape[1] != student_embeddings.shape[1]:
        raise ShapeError(
            f"embeddings must have shape [N, width] and the queue [size, width], got {tuple(student_embeddings.shape)} "
            f"and {tuple(queue.shape)}. Put a projector on the student if it is narrower than the teacher."
        )
    student = unit(full_precision(hide_masked(student_embeddings, mask)))
    teacher = unit(full_precision(hide_masked(teacher_embeddings.detach(), mask)))
    student_log_probs = log_probabilities(_similarities(student, teacher, queue.detach()), student_temperature)
    teacher_log_probs = log_probabilities(_similarities(teacher, teacher, queue.detach()), teacher_temperature)
    values = (teacher_log_probs.exp() * (teacher_log_probs - student_log_probs)).sum(dim=-1)
    return reduce(values, mask=mask, reduction=reduction)


def _similarities(vectors: Tensor, same_sample: Tensor, queue: Tensor) -> Tensor:
    own = (vectors * same_sample.to(vectors.dtype)).sum(dim=-1, keepdim=True)
    return torch.cat([own, dot_products(vectors, queue.to(vectors.dtype))], dim=-1)


class QueueKL(Loss):
    """`queue_kl` as a module; see there for shapes, units and sources. Learns nothing, but holds the queue.

    The queue starts as random directions. In training mode each call puts the batch's teacher embeddings
    in place of the oldest ones, after the loss; in eval mode it stays as it is. Of several processes each has
    its own, unless the term gathers the samples of all.

    Args:
        width: of the embeddings on both sides, a whole number above 0; else ConfigError.
        size: embeddings in the queue, at least the largest batch, else ConfigError below 1 and ShapeError in
            training; 65,536 in the authors' code.
    """

    facts = Facts(
        families=("embeddings",),
        signal="embeddings",
        paper=Paper(
            title="SEED: Self-supervised Distillation For Visual Representation",
            authors="Fang, Wang, Wang, Zhang, Yang, Liu",
            year=2021,
            arxiv="2101.04731",
        ),
        exceptions={"zero_at_equality": "the teacher's temperature is lower than the student's"},
    )
    memories = ("queue", "position")

    queue: Tensor
    position: Tensor

    def __init__(
        self,
        width: int,
        *,
        size: int = 65_536,
        student_temperature: float = 0.2,
        teacher_temperature: float = 0.01,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        if width < 1 or size < 1:
            raise ConfigError(f"width and size must be whole numbers above 0, got {width!r} and {size!r}.")
        self.student_temperature = check_positive("student_temperature", student_temperature)
        self.teacher_temperature = check_positive("teacher_temperature", teacher_temperature)
        self.reduction: Reduction = reduction
        self.register_buffer("queue", unit(torch.randn(size, width)))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))

    def forward(self, student_embeddings: Tensor, teacher_embeddings: Tensor, *, mask: Tensor | None = None) -> Tensor:
        value = queue_kl(
            student_embeddings,
            teacher_embeddings,
            queue=self.queue,
            student_temperature=self.student_temperature,
            teacher_temperature=self.teacher_temperature,
            mask=mask,
            reduction=self.reduction,
        )
        if self.training:
            self.enqueue(teacher_embeddings, mask=mask)
        return value

    @torch.no_grad()
    def enqueue(self, teacher_embeddings: Tensor, *, mask: Tensor | None = None) -> None:
        """Replace the oldest entries of the queue by the counted teacher embeddings.

        Args:
            teacher_embeddings: shape [N, width], N at most the size of the queue.
            mask: shape [N], True where the sample counts; None counts all.

        Raises:
            ShapeError: if the batch is larger than the queue.
        """
        batch, size = len(teacher_embeddings), len(self.queue)
        if batch > size:
            raise ShapeError(
                f"the queue must hold at least one batch: it holds {size}, the batch has {batch}. Set size."
            )
        counted = torch.ones(batch, dtype=torch.bool, device=self.queue.device) if mask is None else mask.bool()
        vectors = unit(full_precision(hide_masked(teacher_embeddings, mask))).to(self.queue.dtype)
        counted_first = vectors[torch.argsort(~counted, stable=True)]
        order = torch.arange(batch, device=self.queue.device)
        places = (self.position + order) % size
        count = counted.sum()
        entries = torch.where((order < count).unsqueeze(-1), counted_first, self.queue[places])
        # New tensors, not written in place: the backward pass still needs the queue as it was, and the inductor
        # compiler was seen to hand it the overwritten one even where eager code had taken a clone.
        self.queue = self.queue.index_copy(0, places, entries)
        self.position = (self.position + count) % size
