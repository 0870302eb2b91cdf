"""The loss of some rows of scores, and its gradient, in one pass: plain PyTorch without a graph."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.kernels.slopes import SLOPES, Pair
from knowledge_distillation.kernels.softening import LOWEST_LOGIT, softened
from knowledge_distillation.kernels.task import Task


def rows(
    task: Task,
    scores: Tensor,
    teacher: Tensor,
    known: Tensor | None,
    labels: Tensor | None,
    soft: Tensor,
    hard: Tensor,
    out: Tensor | None,
) -> Tensor:
    """soft * divergence + hard * cross-entropy of each row; the gradient goes to `out`.

    Args:
        task: which divergence, at which temperature.
        scores: the student's, as its head gives them, [rows, classes].
        teacher: the teacher's scores [rows, classes]; of a sparse one class ids, int64 [rows, k].
        known: a sparse teacher's log-probabilities of its k classes, [rows, k], or with the mass of all others
            [rows, k + 1]; LOWEST_LOGIT or near it for what cannot occur. None: the teacher is dense.
        labels: class ids, int64 [rows], or None for no cross-entropy, which is taken at temperature 1.
        soft: weight of the divergence, [rows].
        hard: weight of the cross-entropy, [rows].
        out: takes the gradient of the scores; may be `scores` itself. None: not wanted.

    Returns:
        Values [rows], float32, or float64 for float64 scores and high temperatures.
    """
    logits = task.student.apply(scores)
    scaled = softened(logits, task.temperature)
    if known is None:
        log_student = torch.log_softmax(scaled, dim=-1)
        log_teacher = torch.log_softmax(softened(task.teacher.apply(teacher), task.temperature), dim=-1)
        values, gradient, student = dense(task, log_student, log_teacher)
    else:
        values, gradient = sparse(task, scaled, teacher, known)
    values = values * soft
    gradient = gradient.mul_((soft / task.temperature).unsqueeze(-1))
    if labels is not None:
        if known is not None or task.temperature != 1.0:
            log_student = torch.log_softmax(logits.clamp(min=LOWEST_LOGIT), dim=-1)
            student = log_student.exp()
        place = labels.unsqueeze(-1)
        values = values - hard * log_student.gather(-1, place).squeeze(-1)
        gradient = gradient.add_(student.mul_(hard.unsqueeze(-1)))
        gradient = gradient.scatter_add_(-1, place, -hard.to(gradient.dtype).unsqueeze(-1))
    if out is not None:
        out.copy_(torch.where(scores > LOWEST_LOGIT, task.student.gradient(gradient, logits), 0.0))
    return values


def dense(task: Task, log_student: Tensor, log_teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values [rows], their gradient by the softened logits [rows, classes], and the student's probabilities."""
    pair = Pair.of(log_student, log_teacher)
    values, slope = SLOPES[task.divergence](pair, task.share)
    return values, slope - pair.student * slope.sum(dim=-1, keepdim=True), pair.student


def sparse(task: Task, scaled: Tensor, indices: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """As `dense`, over the classes that the teacher names and, if it says their mass, all others together.

    Args:
        task: which divergence.
        scaled: the student's softened logits, [rows, classes].
        indices: class ids, [rows, k].
        known: the teacher's log-probabilities, [rows, k] or [rows, k + 1].
    """
    count = indices.shape[-1]
    there = known[:, :count] > LOWEST_LOGIT / 10
    inside = scaled.gather(-1, indices).masked_fill(~there, LOWEST_LOGIT)
    if known.shape[-1] == count:
        pair = Pair.of(torch.log_softmax(inside, dim=-1), known)
        values, slope = SLOPES[task.divergence](pair, task.share)
        others = torch.zeros_like(scaled)
    else:
        # An id may stand in an entry that is not there as well as in one that is.
        hidden = torch.where(there, LOWEST_LOGIT, torch.inf).to(scaled.dtype)
        others = scaled.scatter_reduce(-1, indices, hidden, "amin")
        outcomes = torch.cat([inside, others.logsumexp(dim=-1, keepdim=True)], dim=-1)
        pair = Pair.of(torch.log_softmax(outcomes, dim=-1), known)
        values, slope = SLOPES[task.divergence](pair, task.share)
        others = torch.softmax(others, dim=-1)
    gradient = slope - pair.student * slope.sum(dim=-1, keepdim=True)
    if known.shape[-1] > count:
        others = others.mul_(gradient[:, count:])
    return values, others.scatter_add_(-1, indices, gradient[:, :count].masked_fill(~there, 0.0))
