"""One loss for autograd whose gradient is computed by chunks of items, so that whole logits are never made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from knowledge_distillation.kernels.backends import Backend, backend_named
from knowledge_distillation.kernels.products import operand_dtype
from knowledge_distillation.kernels.sides import NOTHING, Rows, Side, scores_of
from knowledge_distillation.kernels.task import Task

Gradients = list[Tensor | None]


class Given(NamedTuple):
    """The tensors of one loss; the first three receive gradient."""

    student: Tensor
    student_weight: Tensor | None
    student_bias: Tensor | None
    teacher: Tensor
    """States or logits of a dense teacher, class ids [items, k] of a sparse one."""
    teacher_weight: Tensor | None
    teacher_bias: Tensor | None
    known: Tensor | None
    """A sparse teacher's log-probabilities, as `rows.rows` takes them."""
    labels: Tensor | None
    soft: Tensor
    """Weight of each item's divergence, [items], float32 or float64."""
    hard: Tensor
    """Weight of each item's cross-entropy, [items]."""
    counted: Tensor | None
    """Ids of the items that count, int64; what the others hold is never looked at. None: all."""


class Plan(NamedTuple):
    """How it is computed."""

    task: Task
    total: bool
    """The sum over the items, or one value for each."""
    chunk: int
    """Items whose scores are there at one time."""
    backend: Backend
    student_dtype: torch.dtype
    teacher_dtype: torch.dtype


def fused(
    task: Task,
    student: Side,
    teacher: Side,
    *,
    known: Tensor | None,
    labels: Tensor | None,
    soft: Tensor,
    hard: Tensor,
    counted: Tensor | None,
    total: bool,
    chunk: int | None,
    backend: Backend,
) -> Tensor:
    """soft * divergence + hard * cross-entropy, added up (`total`) or one value per item.

    Args:
        task: which divergence, at which temperature.
        student: logits [items, classes], or hidden states and a head. Receives gradient.
        teacher: the same of a dense teacher; the class ids [items, k] of a sparse one.
        known, labels, soft, hard, counted: see `Given`.
        total: whether the gradient is made beside the value, in one pass; else it is made in backward, from each
            item's incoming gradient, by a second pass.
        chunk: items whose scores are there at one time; None: `usual_chunk`.
        backend: see `backends`.

    Returns:
        A scalar, or [items] with 0 for those that do not count.
    """
    device = student.states.device
    dtypes = (operand_dtype(device, *side) for side in (student, teacher))
    plan = Plan(task, total, chunk or usual_chunk(student.classes, device), backend, *dtypes)
    if not torch.is_grad_enabled():
        student = student.detached()
    given = Given(*student, *teacher.detached(), known, labels, soft, hard, counted)
    result: Tensor = Fused.apply(plan, *given)  # type: ignore[no-untyped-call]
    return result


def usual_chunk(classes: int, device: torch.device) -> int:
    """Items enough for products at full speed, as long as their scores need no more than 32 MiB, on a GPU 256 MiB."""
    most, scores = (256, 2**23) if device.type == "cpu" else (1024, 2**26)
    return min(most, max(1, scores // classes))


class Fused(torch.autograd.Function):
    """Takes a `Plan` and the tensors of `Given`."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Any) -> Tensor:
        given = Given(*tensors)
        ctx.plan, ctx.wanted, ctx.ready = plan, ctx.needs_input_grad[1:4], None
        ctx.save_for_backward(*tensors)
        values, gradients = walk(plan, given, ctx.wanted if plan.total else NOTHING)
        if plan.total and any(ctx.wanted):
            ctx.ready = gradients
        return values.sum() if plan.total else values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        # Taken away, so that they may be changed in place: a graph that is walked again has them made anew.
        gradients, ctx.ready = ctx.ready, None
        if gradients is None:
            given = Given(*ctx.saved_tensors)
            weighed = given._replace(soft=given.soft * incoming, hard=given.hard * incoming)
            _, gradients = walk(ctx.plan, weighed, ctx.wanted)
        elif incoming.device.type != "cpu" or incoming != 1:
            gradients = [None if gradient is None else gradient.mul_(incoming) for gradient in gradients]
        return (None, *gradients, *[None] * (len(Given._fields) - 3))


def walk(plan: Plan, given: Given, wanted: tuple[bool, bool, bool]) -> tuple[Tensor, Gradients]:
    """Values of all items [items], and the gradients that are wanted of the student's three tensors."""
    device = given.student.device
    rows_of = backend_named(plan.backend, given.soft.dtype, device)
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        student = scores_of(Side(*given[:3]), plan.student_dtype, wanted, every=given.counted is None)
        teacher = scores_of(Side(*given[3:6]), plan.teacher_dtype)
        values = torch.zeros_like(given.soft)
        for rows in parts(len(given.student), given.counted, plan.chunk):
            scores = student.scores(rows)
            room = student.room(rows, scores)
            beside = [None if tensor is None else tensor[rows] for tensor in given[6:10]]
            values[rows] = rows_of(plan.task, scores, teacher.scores(rows), *beside, room)
            if room is not None:
                student.add(rows, room)
    return values, student.gradients()


def parts(items: int, counted: Tensor | None, chunk: int) -> Iterator[Rows]:
    """Rows to compute together: all, or those that count."""
    for start in range(0, items if counted is None else len(counted), chunk):
        yield slice(start, start + chunk) if counted is None else counted[start : start + chunk]
