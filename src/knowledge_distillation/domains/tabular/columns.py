"""What models must know of the columns, and rows made ready for them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from knowledge_distillation.domains.tabular.table import Floats, Table
from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)
MOST_OFFSET = 1e5
"""Mean over standard deviation up to which float32 keeps 1 % of a standard deviation."""
Missing = Literal["refuse", "impute"]
Places = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Columns:
    """Facts of a table, from its training rows alone.

    Attributes:
        names: of the columns.
        categories: as of `Table`, those that occur in training; code 0 stands for all others and for missing ones.
        mean, scale: float32 [columns]; 0 and 1 for categories, and scale 1 for a column that does not vary.
        outputs: how many numbers a model answers a row with.
        target_mean, target_scale: float32 [outputs], in the target's units; 0 and 1 for classes.
    """

    names: tuple[str, ...] = field(repr=False)
    categories: tuple[tuple[str, ...] | None, ...] = field(repr=False)
    mean: Tensor = field(repr=False)
    scale: Tensor = field(repr=False)
    outputs: int
    target_mean: Tensor = field(repr=False)
    target_scale: Tensor = field(repr=False)


@dataclass(frozen=True, slots=True)
class Training:
    """The training rows as a whole, for models that are not trained batch by batch.

    Attributes:
        rows: float32 [rows, columns]: numbers as in the table, and codes of categories.
        given: labels, as batches hold them: int64 [rows], -100 where unknown; or float32 [rows, outputs], NaN there.
        every: the same with the labels that the student is not shown.
        classes: how many there are; 0 for a regression.
    """

    rows: Tensor = field(repr=False)
    given: Tensor = field(repr=False)
    every: Tensor = field(repr=False)
    classes: int


def prepared(table: Table, training: Places, missing: Missing) -> tuple[Columns, Tensor]:
    """The facts of the columns, and all rows as models take them, float32 [rows, columns].

    Args:
        table: with missing values, if `missing` allows them.
        training: numbers of the training rows, int64.
        missing: "refuse", or "impute": a number by the mean of its column in training, a category by code 0.

    Raises:
        ConfigError: if values are missing and are not to be, or float32 cannot hold how a column varies.
    """
    _handle_missing(table, missing)
    values = table.values.copy()
    categories: list[tuple[str, ...] | None] = []
    mean, scale = np.zeros(len(table.columns)), np.ones(len(table.columns))
    for place, (name, known) in enumerate(zip(table.columns, table.categories, strict=True)):
        column = values[:, place]
        told = column[training][~np.isnan(column[training])]
        if known is not None:
            seen = np.unique(told).astype(np.int64)
            codes = np.zeros(len(known) + 1)
            codes[seen] = np.arange(1, len(seen) + 1)
            values[:, place] = codes[np.nan_to_num(column).astype(np.int64)]
            categories.append(tuple(known[code - 1] for code in seen))
            continue
        categories.append(None)
        if not len(told):
            raise ConfigError(f"{table.name}: column {name!r} holds no value in any training row. Drop it.")
        mean[place], scale[place] = told.mean(), told.std() or 1.0
        _check_offset(table.name, name, told.mean(), told.std())
        column[np.isnan(column)] = mean[place]
    target_mean, target_scale, outputs = _target_facts(table, training)
    columns = Columns(
        table.columns, tuple(categories), _tensor(mean), _tensor(scale), outputs, _tensor(target_mean),
        _tensor(target_scale),
    )  # fmt: skip
    return columns, _tensor(values)


def _handle_missing(table: Table, missing: Missing) -> None:
    counts = {name: int(n) for name, n in zip(table.columns, np.isnan(table.values).sum(axis=0), strict=True) if n}
    if not counts:
        return
    said = ", ".join(f"{name!r} lacks {count:,}" for name, count in counts.items())
    if missing == "refuse":
        raise ConfigError(
            f"{table.name}: every row must have a value in each column, and of {len(table.values):,} rows {said}. A "
            "model would answer NaN to them. Fill or drop them, or set missing to impute: numbers get the mean of the "
            "training rows, categories a code of their own."
        )
    logger.warning("%s: of %s rows %s; imputed.", table.name, f"{len(table.values):,}", said)


def _check_offset(table: str, name: str, mean: float, deviation: float) -> None:
    if deviation and abs(mean) > MOST_OFFSET * deviation:
        raise ConfigError(
            f"{table}: column {name!r} varies by {deviation:.3g} around {mean:.6g}, of which numbers of 32 bits keep "
            "too little: the model would see rounding. Subtract a constant from it, such as its first value."
        )


def _target_facts(table: Table, training: Places) -> tuple[Floats, Floats, int]:
    if table.class_names:
        classes = len(table.class_names)
        return np.zeros(classes), np.ones(classes), classes
    told = table.targets[training][table.known[training]]
    deviation = told.std(axis=0)
    return told.mean(axis=0), np.where(deviation > 0, deviation, 1.0), told.shape[1]


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))
