"""Rows of quoted fields, read strictly: a stray quote is told where it is opened, and takes no rows along unseen."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knowledge_distillation.errors import ConfigError

UNENDING = ("unexpected end", "field larger than")
"""How the csv module says that it looked for the closing quote in vain."""


def rows_of(reader: Any, file: Path) -> Iterator[tuple[int, int, list[str] | str]]:
    """First and last line of each row from here on, and its fields or what is wrong with it.

    Args:
        reader: of the csv module, strict. Lines that it has read already are counted and not given.
        file: for the message.

    Raises:
        ConfigError: if a quote is never closed, or not within what the csv module takes for a field.
    """
    last = reader.line_num
    while True:
        row: list[str] | str
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            row = str(error)
            if row.startswith(UNENDING) and (row.startswith(UNENDING[0]) or reader.line_num > last + 1):
                raise ConfigError(
                    f'{file}: a quote (") that is opened in the row that begins in line {last + 1} is never closed, or '
                    f"not within {csv.field_size_limit():,} characters, so that all rows behind it would be taken for "
                    "one text. Close it."
                ) from error
        first, last = last + 1, reader.line_num
        yield first, last, row
