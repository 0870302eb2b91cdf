"""A table as it was read: columns of numbers and of categories, and what is to be predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows and columns in memory.

    Attributes:
        name: of the file or data set, for messages.
        columns: name of each column.
        categories: of each column the texts that its codes 1, 2, ... stand for; None for a column of numbers.
        values: float64 [rows, columns]; NaN where a value is missing.
        targets: int64 [rows] class ids, -100 where unknown; or float64 [rows, outputs] in the target's units, NaN where
            unknown.
        class_names: of each class; empty for a regression.
    """

    name: str
    columns: tuple[str, ...]
    categories: tuple[tuple[str, ...] | None, ...]
    values: Floats
    targets: NDArray[Any]
    class_names: tuple[str, ...] = ()

    @property
    def known(self) -> NDArray[np.bool_]:
        """bool [rows]: whose target is known."""
        if self.class_names:
            return np.asarray(self.targets >= 0)
        return np.asarray(~np.isnan(self.targets).any(axis=1))


def coded(texts: Sequence[str | None]) -> tuple[tuple[str, ...], Floats]:
    """Different texts in order, and for each entry the place of its text from 1 on; NaN for None."""
    found = sorted({text for text in texts if text is not None}, key=_in_order)
    place = {text: number for number, text in enumerate(found, 1)}
    return tuple(found), np.array([np.nan if text is None else place[text] for text in texts], dtype=np.float64)


def _in_order(text: str) -> tuple[float, str]:
    """Numbers by their size, before other texts by their letters."""
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text
