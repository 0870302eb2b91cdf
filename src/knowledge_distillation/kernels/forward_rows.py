"""Dense forward KL on a processor, the commonest case: as `rows.rows`, in buffers that are used again and again."""

from __future__ import annotations

import torch
from torch import Tensor

from knowledge_distillation.kernels.task import Shaping, Task


def fits_forward_rows(task: Task, known: Tensor | None, labels: Tensor | None) -> bool:
    """Whether that is what `rows.rows` would be asked for, with unshaped logits on both sides."""
    unshaped = task.student == task.teacher == Shaping()
    shares_softmax = labels is None or task.temperature == 1.0
    return task.divergence == "forward_kl" and known is None and unshaped and shares_softmax


def forward_rows(
    task: Task,
    scores: Tensor,
    teacher: Tensor,
    labels: Tensor | None,
    soft: Tensor,
    hard: Tensor,
    out: Tensor,
    room: Tensor,
) -> Tensor | None:
    """As `rows.rows`, with one exponential for each score; None, and nothing written, where a logit is not finite.

    KL = sum p_t * (t - s) - (lse_t - lse_s), and lse = max - log(largest probability).

    Args:
        task, scores, teacher, labels, soft, hard, out: see there.
        room: three buffers [3, rows, classes], float32 or float64. Fresh ones for every block would cost as much
            time as the exponentials.
    """
    student_mass, teacher_mass, difference = room
    ours = ready(scores, room[0], task.temperature)
    theirs = ready(teacher, room[1], task.temperature)
    torch.sub(theirs, ours, out=difference)
    if labels is not None:
        chosen = ours.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    normaliser, other_normaliser = softmax(ours, student_mass), softmax(theirs, teacher_mass)
    values: Tensor = difference.mul_(teacher_mass).sum(dim=-1).sub_(other_normaliser - normaliser)
    if not values.isfinite().all():
        return None
    values = values.mul_(soft)
    weight = (soft / task.temperature).unsqueeze(-1)
    if labels is None:
        torch.mul(student_mass.sub_(teacher_mass), weight, out=out)
    else:
        values = values.add_(hard * (normaliser - chosen))
        student_mass.mul_(weight + hard.unsqueeze(-1)).scatter_add_(-1, labels.unsqueeze(-1), -hard.unsqueeze(-1))
        torch.sub(student_mass, teacher_mass.mul_(weight), out=out)
    return values


def ready(given: Tensor, buffer: Tensor, temperature: float) -> Tensor:
    """Softened logits in full precision: those given, where there is nothing to change, else in the buffer."""
    if temperature == 1.0 and given.dtype == buffer.dtype:
        return given
    return buffer.copy_(given).div_(temperature)


def softmax(logits: Tensor, out: Tensor) -> Tensor:
    """Writes the probabilities to `out`, which may be `logits` itself, and gives log-sum-exp of each row."""
    largest = logits.amax(dim=-1)
    torch.softmax(logits, dim=-1, out=out)
    return largest - out.amax(dim=-1).log()
