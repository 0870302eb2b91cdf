"""The samples of all processes as one batch, for losses that compare samples with each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, distributed

from knowledge_distillation.errors import ConfigError, ShapeError

AXES = 8
"""The most that a gathered tensor may have."""
_alone: list[bool] = []


@contextmanager
def alone() -> Iterator[None]:
    """Inside the block `together` gives back what it was given; for what one process does without the others."""
    _alone.append(True)
    try:
        yield
    finally:
        _alone.pop()


def together(signals: Any) -> Any:
    """The same signals with the samples of all processes, those of the first process first.

    Every process must call it, and gets the same. If each then computes the same loss, and gradients are averaged over
    the processes as DDP and FSDP do, they come to what one process gets from the whole batch.

    Args:
        signals: tensors [samples, ...] in tuples, lists and mappings; None stays. The processes may have different
            numbers of samples. Gradient flows back to this process's own samples.

    Raises:
        ConfigError: if something else is among them, or a tensor without samples.
        ShapeError: if the tensors of the processes differ in more than the number of samples.
    """
    if _alone or not (distributed.is_available() and distributed.is_initialized()):
        return signals
    tensors = list(_tensors(signals))
    rows = iter(_agreed_rows(tensors))
    return _each(signals, lambda tensor: _Together.apply(tensor, next(rows)))  # type: ignore[no-untyped-call]


class _Together(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mine: Tensor, rows: list[int]) -> Tensor:
        rank = distributed.get_rank()
        ctx.first, ctx.count, ctx.processes = sum(rows[:rank]), rows[rank], len(rows)
        padded = mine.new_zeros(max(rows), *mine.shape[1:])
        padded[: len(mine)] = mine
        parts = [torch.empty_like(padded) for _ in rows]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, rows, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # every process has the same loss, and so all of the gradient: what others would send is known here; the mean
        # over the processes, which comes later, divides it by their number
        return gradients[0][ctx.first : ctx.first + ctx.count] * ctx.processes, None


def _agreed_rows(tensors: Sequence[Tensor]) -> list[list[int]]:
    """For each tensor the number of samples of every process, by rank."""
    shapes = torch.full((len(tensors), 1 + AXES), -1)
    for row, tensor in zip(shapes, tensors, strict=True):
        row[: 1 + tensor.dim()] = torch.tensor([tensor.dim(), *tensor.shape])
    all_shapes = [torch.empty_like(shapes) for _ in range(distributed.get_world_size())]
    distributed.all_gather(all_shapes, shapes, group=_on_cpu(distributed.group.WORLD))
    for number in range(len(tensors)):
        found = [tuple(each[number, 1 : 1 + int(each[number, 0])].tolist()) for each in all_shapes]
        if len({(len(shape), shape[1:]) for shape in found}) > 1:
            raise ShapeError(
                f"A term with gather=True compares the samples of all processes, so their signals must have one shape "
                f"but for the number of samples; by process they have {', '.join(map(str, found))}. Pad every batch to "
                "one length, or compare one vector a sample."
            )
    return [[int(each[number, 1]) for each in all_shapes] for number in range(len(tensors))]


@lru_cache(maxsize=1)
def _on_cpu(world: Any) -> Any:
    """A group that exchanges numbers without waiting for a device."""
    return world if "gloo" in distributed.get_backend(world) else distributed.new_group(backend="gloo")


def _tensors(signals: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _each(signals, found.append)
    return found


def _each(signals: Any, change: Any) -> Any:
    if signals is None:
        return None
    if isinstance(signals, Tensor) and 1 <= signals.dim() <= AXES:
        return change(signals)
    if isinstance(signals, Mapping):
        return {name: _each(value, change) for name, value in signals.items()}
    if type(signals) in (list, tuple):
        return type(signals)(_each(value, change) for value in signals)
    shown = f"a tensor of shape {tuple(signals.shape)}" if isinstance(signals, Tensor) else type(signals).__name__
    raise ConfigError(
        f"A term with gather=True puts the samples of all processes together, and {shown} among its inputs is no "
        "tensor [samples, ...]. Leave gather out for this loss."
    )
