"""A student for tables: a small network that takes numbers and categories as they stand in the table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.domains.tabular.columns import Columns
from knowledge_distillation.errors import ConfigError, ShapeError


def tabular_mlp(columns: Columns, hidden: Sequence[int] = (64, 64), dropout: float = 0.0) -> nn.Module:
    """Linear layers with ReLU between the table's numbers, standardised inside, and classes or numbers in its units.

    Args:
        columns: facts of the table, as its data set gives them.
        hidden: width of each hidden layer; none for a linear model.
        dropout: share of each hidden layer, at least 0 and below 1.
    """
    if not isinstance(columns, Columns):
        raise ConfigError("tabular_mlp takes the columns of a table, which a tabular data set gives. Use one.")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be at least 0 and below 1, got {dropout!r}: nothing would get through.")
    inputs = TableInputs(columns)
    layers: list[tuple[str, nn.Module]] = [("inputs", inputs)]
    width = inputs.outputs
    for number, size in enumerate(hidden, 1):
        check_whole("hidden", size)
        layers += [(f"hidden{number}", nn.Linear(width, size)), (f"relu{number}", nn.ReLU())]
        layers += [(f"dropout{number}", nn.Dropout(dropout))] if dropout else []
        width = size
    layers += [("output", nn.Linear(width, columns.outputs)), ("units", Units(columns))]
    return nn.Sequential(OrderedDict(layers))


class TableInputs(nn.Module):
    """Rows as a network takes them: numbers standardised, every category that was seen in training as one of 0 and 1.

    Args:
        columns: facts of the table.
    """

    numbers: Tensor
    mean: Tensor
    scale: Tensor
    categorical: Tensor
    codes: Tensor

    def __init__(self, columns: Columns) -> None:
        super().__init__()
        numbers = [place for place, known in enumerate(columns.categories) if known is None]
        pairs = [(place, code) for place, known in enumerate(columns.categories) for code in range(1, _count(known))]
        self.columns = len(columns.names)
        self.outputs = len(numbers) + len(pairs)
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.int64))
        self.register_buffer("mean", columns.mean[numbers].clone())
        self.register_buffer("scale", columns.scale[numbers].clone())
        self.register_buffer("categorical", torch.tensor([place for place, _ in pairs], dtype=torch.int64))
        self.register_buffer("codes", torch.tensor([code for _, code in pairs], dtype=torch.float32))

    def forward(self, rows: Tensor) -> Tensor:
        """[batch, columns], numbers as in the table and codes of categories -> [batch, outputs]."""
        if rows.shape[-1] != self.columns:
            raise ShapeError(f"rows must have {self.columns} columns, as in training, got {tuple(rows.shape)}.")
        standard = (rows[:, self.numbers] - self.mean) / self.scale
        if not len(self.codes):
            return standard
        return torch.cat([standard, (rows[:, self.categorical] == self.codes).to(standard.dtype)], dim=1)


class Units(nn.Module):
    """From deviations to the target's units; nothing for classes, whose mean is 0 and scale 1.

    Args:
        columns: facts of the table.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, columns: Columns) -> None:
        super().__init__()
        self.register_buffer("mean", columns.target_mean.clone())
        self.register_buffer("scale", columns.target_scale.clone())

    def forward(self, deviations: Tensor) -> Tensor:
        return deviations * self.scale + self.mean


def _count(categories: Sequence[str] | None) -> int:
    return 0 if categories is None else len(categories) + 1
