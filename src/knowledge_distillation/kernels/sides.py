"""Scores of some rows at a time: logits as they are, or hidden states times the weights of a head."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from knowledge_distillation.kernels.products import add_product, operand, product

Rows = slice | Tensor


class Side(NamedTuple):
    """What one model hands in: logits [items, classes] alone, or hidden states [items, width] and its head."""

    states: Tensor
    weight: Tensor | None = None
    """Shape [classes, width]."""
    bias: Tensor | None = None
    """Shape [classes]."""

    @property
    def classes(self) -> int:
        return self.states.shape[-1] if self.weight is None else self.weight.shape[0]

    def detached(self) -> Side:
        """The same without a graph."""
        weight, bias = (None if tensor is None else tensor.detach() for tensor in (self.weight, self.bias))
        return Side(self.states.detach(), weight, bias)


NOTHING = (False, False, False)


class Logits:
    """A side's logits by rows, and room for their gradient."""

    def __init__(self, states: Tensor, wanted: bool, every: bool) -> None:
        self.states = states
        room = torch.empty_like if every else torch.zeros_like
        self.gradient = room(states) if wanted else None

    def scores(self, rows: Rows) -> Tensor:
        """Shape [rows, classes]; for a slice a view, not to be written to."""
        return self.states[rows]

    def room(self, rows: Rows, scores: Tensor) -> Tensor | None:
        """Where the gradient of these scores is to be written; None if nobody wants it."""
        if self.gradient is None:
            return None
        return self.gradient[rows] if isinstance(rows, slice) else torch.empty_like(scores)

    def add(self, rows: Rows, gradient: Tensor) -> None:
        """Take what was written to the room; a slice of it stands in its place already."""
        if self.gradient is not None and not isinstance(rows, slice):
            self.gradient[rows] = gradient

    def gradients(self) -> list[Tensor | None]:
        """Of logits, weight and bias."""
        return [self.gradient, None, None]


class Projection:
    """A head's scores by rows, and the gradients of hidden states, weight and bias, added up in full precision."""

    def __init__(self, side: Side, weight: Tensor, dtype: torch.dtype, wanted: tuple[bool, bool, bool]) -> None:
        self.side = side
        self.dtype = dtype
        self.weight = operand(weight, dtype)
        precise = torch.promote_types(dtype, torch.float32)
        self.of_states, self.of_weight, self.of_bias = (
            torch.zeros_like(tensor, dtype=precise) if tensor is not None and asked else None
            for tensor, asked in zip(side, wanted, strict=True)
        )

    def scores(self, rows: Rows) -> Tensor:
        """Shape [rows, classes], float32 or float64."""
        scores = product(operand(self.side.states[rows], self.dtype), self.weight.t())
        return scores if self.side.bias is None else scores.add_(self.side.bias)

    def room(self, rows: Rows, scores: Tensor) -> Tensor | None:
        """Where the gradient of these scores is to be written, in the place of the scores if their type fits."""
        if self.of_states is None and self.of_weight is None and self.of_bias is None:
            return None
        return scores if scores.dtype == self.weight.dtype else torch.empty_like(scores, dtype=self.weight.dtype)

    def add(self, rows: Rows, gradient: Tensor) -> None:
        """Pass the gradient of the scores of these rows on."""
        if self.of_states is not None:
            self.of_states[rows] = product(gradient, self.weight)
        if self.of_weight is not None:
            add_product(self.of_weight, gradient.t(), operand(self.side.states[rows], self.dtype))
        if self.of_bias is not None:
            self.of_bias.add_(gradient.sum(dim=0, dtype=self.of_bias.dtype))

    def gradients(self) -> list[Tensor | None]:
        """Of hidden states, weight and bias."""
        return [self.of_states, self.of_weight, self.of_bias]


def scores_of(
    side: Side, dtype: torch.dtype, wanted: tuple[bool, bool, bool] = NOTHING, *, every: bool = False
) -> Logits | Projection:
    """What gives the side's scores by rows, and gathers the gradients of those of its tensors that are wanted.

    Args:
        side: logits, or hidden states and a head.
        dtype: of the operands of the head's products.
        wanted: for each of the side's tensors, whether its gradient is.
        every: whether all rows will be asked for; the gradient of the others is 0.
    """
    if side.weight is None:
        return Logits(side.states, wanted[0], every)
    return Projection(side, side.weight, dtype, wanted)
