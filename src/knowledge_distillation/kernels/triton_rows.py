"""`rows.rows` by Triton kernels, in float32: of a dense teacher in one launch, of a sparse one in two."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.kernels.slopes import SLOPES, Pair
from knowledge_distillation.kernels.softening import LOWEST_LOGIT, softened
from knowledge_distillation.kernels.task import Shaping, Task
from knowledge_distillation.kernels.triton_kernels import dense_kernel, others_gradient_kernel, others_sums_kernel

# Classes that a program takes at once: registers of eight warps hold a few such blocks.
BLOCK = 4096


def triton_rows(
    task: Task,
    scores: Tensor,
    teacher: Tensor,
    known: Tensor | None,
    labels: Tensor | None,
    soft: Tensor,
    hard: Tensor,
    out: Tensor | None,
) -> Tensor:
    """As `rows.rows`."""
    scores, teacher = scores.contiguous(), teacher.contiguous()
    if out is not None and not out.is_contiguous():
        room = torch.empty_like(scores, dtype=out.dtype)
        values = triton_rows(task, scores, teacher, known, labels, soft, hard, room)
        out.copy_(room)
        return values
    if known is None:
        return dense(task, scores, teacher, labels, soft, hard, out)
    return sparse(task, scores, teacher, known, labels, soft, hard, out)


def dense(
    task: Task, scores: Tensor, teacher: Tensor, labels: Tensor | None, soft: Tensor, hard: Tensor, out: Tensor | None
) -> Tensor:
    """Of a teacher whose scores are there."""
    values = torch.empty_like(soft)
    room = scores if out is None else out
    kind = {0.0: "forward_kl", 1.0: "reverse_kl"}.get(task.share) if task.divergence == "generalized_jsd" else None
    dense_kernel[(len(scores),)](
        scores, teacher, soft if labels is None else labels, soft, hard, values, room,
        scores.stride(0), teacher.stride(0), room.stride(0), scores.shape[-1],
        *shape_of(task.student), *shape_of(task.teacher), task.temperature, task.share,
        KIND=kind or task.divergence, STUDENT_CAPPED=task.student.softcap is not None,
        TEACHER_CAPPED=task.teacher.softcap is not None, GRADIENT=out is not None, **common(scores, labels),
    )  # fmt: skip
    return values


def sparse(
    task: Task,
    scores: Tensor,
    indices: Tensor,
    known: Tensor,
    labels: Tensor | None,
    soft: Tensor,
    hard: Tensor,
    out: Tensor | None,
) -> Tensor:
    """Of a teacher that names k classes: these in PyTorch, all the others in Triton."""
    count = indices.shape[-1]
    there = known[:, :count] > LOWEST_LOGIT / 10
    named = scores.gather(-1, indices)
    logits = task.student.apply(named)
    # An id may stand in an entry that is not there as well as in one that is.
    others = scores.scatter_reduce(-1, indices, torch.where(there, -torch.inf, torch.inf).to(scores.dtype), "amin")
    sums, hard_sums = torch.empty_like(soft), torch.empty_like(soft)
    shaping = (*shape_of(task.student), task.temperature)
    settings = {"CAPPED": task.student.softcap is not None, **common(scores, labels)}
    launch = (len(scores),)
    others_sums_kernel[launch](others, sums, hard_sums, others.stride(0), others.shape[-1], *shaping, **settings)

    outcomes = softened(logits, task.temperature).masked_fill(~there, LOWEST_LOGIT)
    if known.shape[-1] > count:
        outcomes = torch.cat([outcomes, sums.unsqueeze(-1)], dim=-1)
    pair = Pair.of(torch.log_softmax(outcomes, dim=-1), known)
    values, slope = SLOPES[task.divergence](pair, task.share)
    values = values * soft
    gradient = (slope - pair.student * slope.sum(dim=-1, keepdim=True)) * (soft / task.temperature).unsqueeze(-1)
    shares = gradient[:, count].contiguous() if known.shape[-1] > count else torch.zeros_like(soft)
    gradient = gradient[:, :count]
    if labels is not None:
        inside = logits.clamp(min=LOWEST_LOGIT).masked_fill(~there, LOWEST_LOGIT)
        hard_sums = torch.logaddexp(hard_sums, inside.logsumexp(dim=-1))
        place = labels.unsqueeze(-1)
        label_score = scores.gather(-1, place)
        chosen = task.student.apply(label_score)
        values = values + hard * (hard_sums - chosen.squeeze(-1).clamp(min=LOWEST_LOGIT))
        gradient = gradient + hard.unsqueeze(-1) * torch.exp(inside - hard_sums.unsqueeze(-1))
    if out is None:
        return values
    others_gradient_kernel[launch](
        others, sums, shares, hard_sums, hard, out, others.stride(0), out.stride(0), others.shape[-1],
        *shaping, **settings,
    )  # fmt: skip
    possible = there & (named > LOWEST_LOGIT)
    gradient = task.student.gradient(gradient, logits).masked_fill(~possible, 0.0)
    out.scatter_add_(-1, indices, gradient.to(out.dtype))
    if labels is not None:
        of_label = task.student.gradient(-hard.unsqueeze(-1), chosen).masked_fill(label_score <= LOWEST_LOGIT, 0.0)
        out.scatter_add_(-1, place, of_label.to(out.dtype))
    return values


def shape_of(shaping: Shaping) -> tuple[float, float]:
    """Scale and softcap as numbers; the softcap counts only where the kernel is told so."""
    return float(shaping.scale), 1.0 if shaping.softcap is None else float(shaping.softcap)


def common(scores: Tensor, labels: Tensor | None) -> dict[str, Any]:
    """What every kernel is told at compile time."""
    block = min(BLOCK, max(16, 1 << (scores.shape[-1] - 1).bit_length()))
    return {"LABELLED": labels is not None, "LOWEST": LOWEST_LOGIT, "BLOCK": block, "num_warps": 8}
