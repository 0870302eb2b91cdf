"""Surgery on inputs: cast, scale, pick, cut, fill and lead gradient through whatever a loss receives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tests.laws.case import Case, Inputs, Signal
from tests.laws.collect import signal_of

Change = Callable[[Tensor], Tensor]


def tensors(signal: Signal) -> list[Tensor]:
    return [signal] if isinstance(signal, Tensor) else list(signal)


def on_signal(signal: Signal, change: Change) -> Signal:
    return change(signal) if isinstance(signal, Tensor) else [change(tensor) for tensor in signal]


def on_all(inputs: Inputs, change: Change) -> Inputs:
    """Change both signals and every tensor among the needs."""

    def deep(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value)
        if isinstance(value, (list, tuple)):
            return type(value)(deep(member) for member in value)
        if isinstance(value, dict):
            return {key: deep(member) for key, member in value.items()}
        return value

    return Inputs(
        student=on_signal(inputs.student, change),
        teacher=on_signal(inputs.teacher, change),
        needs={name: deep(value) for name, value in inputs.needs.items()},
    )


def on_signals(inputs: Inputs, change: Change) -> Inputs:
    return replace(inputs, student=on_signal(inputs.student, change), teacher=on_signal(inputs.teacher, change))


def cast(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    return on_all(inputs, lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)


def batch_of(inputs: Inputs) -> int:
    return tensors(inputs.student)[0].shape[0]


def item_shape(case: Case, inputs: Inputs) -> tuple[int, ...]:
    return tuple(tensors(inputs.student)[0].shape[: case.item_axes])


def pick(case: Case, inputs: Inputs, index: Tensor) -> Inputs:
    """The samples at `index`, in that order."""
    batch = batch_of(inputs)

    def rows(tensor: Tensor) -> Tensor:
        return tensor[index] if tensor.dim() and tensor.shape[0] == batch else tensor

    def rows_of_need(value: Any) -> Any:
        if isinstance(value, Tensor):
            return rows(value)
        if isinstance(value, (list, tuple)):
            whole = all(isinstance(member, Tensor) and member.shape[:1] == (batch,) for member in value)
            if not whole and len(value) == batch:
                return [value[place] for place in index.tolist()]
            return [rows_of_need(member) for member in value]
        return value

    needs = {name: value if name in case.shared else rows_of_need(value) for name, value in inputs.needs.items()}
    return Inputs(student=on_signal(inputs.student, rows), teacher=on_signal(inputs.teacher, rows), needs=needs)


def fill(case: Case, inputs: Inputs, mask: Tensor, value: float) -> Inputs:
    """Put `value` (in whole numbers: -100) into everything that belongs to items outside the mask."""

    def filled(tensor: Tensor) -> Tensor:
        if tensor.shape[: mask.dim()] != mask.shape or tensor.dtype == torch.bool:
            return tensor
        hidden = ~mask.reshape(*mask.shape, *[1] * (tensor.dim() - mask.dim()))
        if attends(case, tensor):
            hidden = hidden | ~mask[:, None, None, :]
        return tensor.masked_fill(hidden, value if tensor.is_floating_point() else -100)

    shared = {name: value for name, value in inputs.needs.items() if name in case.shared}
    everything = on_all(inputs, filled)
    return replace(everything, needs={**everything.needs, **shared})


def attends(case: Case, tensor: Tensor) -> bool:
    """Whether a tensor is attention, [N, queries, heads, keys] in the cases: its keys are items too."""
    about_attention = "attention" in signal_of(case)
    return about_attention and case.item_axes == 2 and tensor.dim() == 4 and tensor.shape[1] == tensor.shape[-1]


def cut_items(case: Case, inputs: Inputs, start: int, stop: int) -> Inputs:
    """The items from `start` up to `stop` of each sample, where items are tokens on the second axis."""
    whole = item_shape(case, inputs)[1]
    kept = slice(start, stop)

    def cut(tensor: Tensor) -> Tensor:
        if tensor.dim() < 2 or tensor.shape[1] != whole:
            return tensor
        return tensor[:, kept, ..., kept] if attends(case, tensor) else tensor[:, kept]

    shared = {name: value for name, value in inputs.needs.items() if name in case.shared}
    everything = on_all(inputs, cut)
    return replace(everything, needs={**everything.needs, **shared})


def narrowed(case: Case, inputs: Inputs, count: int) -> Inputs:
    """Without the last `count` classes of logits, of which 4 stay, or columns of maps, of which one stays."""
    signals = [*tensors(inputs.student), *tensors(inputs.teacher)]
    if case.fixed_width:
        return inputs
    if signal_of(case) == "logits" and len({tensor.shape[-1] for tensor in signals}) == 1:
        classes = signals[0].shape[-1]
        cut = partial(_without_classes, classes=classes, left=max(min(4, classes), classes - count))
    elif "map" in signal_of(case) and all(tensor.dim() == 4 for tensor in signals):
        cut = partial(_without_columns, count=count)
    else:
        return inputs
    return on_all(inputs, cut)


def _without_classes(tensor: Tensor, classes: int, left: int) -> Tensor:
    if not tensor.is_floating_point() and tensor.dtype != torch.bool:
        return torch.where(tensor >= 0, tensor % left, tensor)
    return tensor[..., :left] if tensor.dim() > 1 and tensor.shape[-1] == classes else tensor


def _without_columns(tensor: Tensor, count: int) -> Tensor:
    return tensor[..., : max(1, tensor.shape[-1] - count)] if tensor.dim() == 4 else tensor


def leading(inputs: Inputs) -> tuple[Inputs, list[Tensor]]:
    """The same inputs with fresh student tensors that require grad, and those tensors."""
    student = on_signal(inputs.student, lambda tensor: tensor.detach().clone().requires_grad_())
    return replace(inputs, student=student), tensors(student)


def same_shapes(inputs: Inputs) -> bool:
    student, teacher = tensors(inputs.student), tensors(inputs.teacher)
    return [tensor.shape for tensor in student] == [tensor.shape for tensor in teacher]


def copy_of(signal: Signal) -> Signal:
    return on_signal(signal, lambda tensor: tensor.detach().clone())
