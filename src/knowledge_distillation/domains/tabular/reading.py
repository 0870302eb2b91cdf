"""A table from a CSV file. A row that cannot be read is left out and named; many of them are an error."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from knowledge_distillation.domains.csv_rows import rows_of
from knowledge_distillation.domains.labelling import UNLABELLED
from knowledge_distillation.domains.tabular.table import Table, coded
from knowledge_distillation.errors import ConfigError, nearest

logger = logging.getLogger(__name__)
MISSING = ("", "?", "na", "n/a", "nan", "null", "none")
"""Texts, in any case, that say that a value is missing; of a class the empty one alone, since "none" may be one."""
MOST_CLASSES = 1000
Task = Literal["classification", "regression"]
Kind = Literal["number", "text", "class"]
"""What stands in a cell: a text is a category, a class a target."""


@dataclass(slots=True)
class _Rows:
    """What was read: cells of good rows, and complaints about others."""

    cells: list[list[float | str | None]] = field(default_factory=list)
    lines_left_out: int = 0
    complaints: list[str] = field(default_factory=list)


def read_csv(
    path: Path,
    targets: Sequence[str],
    *,
    task: Task,
    categorical: Sequence[str] = (),
    drop: Sequence[str] = (),
    delimiter: str = ",",
    bad_rows: float = 0.01,
) -> Table:
    """Read a table.

    Args:
        path: a file in UTF-8 whose first line names the columns.
        targets: columns to predict; one for classification. A row that lacks one is kept, without label, and the log
            counts these. A class is lacking where its cell is empty: "none" and "NA" are names as any other.
        task: what they hold: classes, or numbers.
        categorical: columns of texts. All others must hold finite numbers.
        drop: columns to leave out, such as an identity.
        delimiter: between fields, one character.
        bad_rows: share of rows that may be left out, each named in the log, since they have another number of fields or
            a text where a number must be.

    Raises:
        ConfigError: if the file, a column or a row to learn from is not there, or more rows are bad.
    """
    if len(delimiter) != 1:
        raise ConfigError(f"delimiter must be one character, got {delimiter!r}.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header, targets, categorical, drop)
            kinds: dict[str, Kind] = dict.fromkeys(categorical, "text")
            kinds |= dict.fromkeys(targets if task == "classification" else (), "class")
            rows = _read(path, reader, header, kinds, {*drop})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} must be a CSV file in UTF-8, and cannot be read: {error}.") from error
    _judge(path, rows, bad_rows)
    return _table(path, rows, [name for name in header if name not in drop], targets, categorical, task)


def _check_header(
    path: Path, header: Sequence[str], targets: Sequence[str], categorical: Sequence[str], drop: Sequence[str]
) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ConfigError(f"{path}: the first line must name each column once, and {twice} stand twice. Rename them.")
    for name in (*targets, *categorical, *drop):
        if name not in header:
            raise ConfigError(f"{path} has no column {name!r}. {nearest(name, header)}")
    if not targets or {*targets} & {*categorical, *drop} or {*header} <= {*targets, *drop}:
        raise ConfigError(
            f"{path}: there must be a target, and a column besides to predict it from; got target {list(targets)}, "
            f"categorical {list(categorical)}, drop {list(drop)} of {len(header)} columns. Name each in one place."
        )


def _read(path: Path, reader: Any, header: Sequence[str], kinds: Mapping[str, Kind], drop: set[str]) -> _Rows:
    rows = _Rows()
    for first, last, row in rows_of(reader, path):
        complaint = row if isinstance(row, str) else _complaint(row, header, kinds, drop) if row else ""
        if complaint:
            rows.lines_left_out += last - first + 1
            rows.complaints.append(f"line {first if first == last else f'{first} to {last}'}: {complaint}")
        elif row:
            named = zip(header, row, strict=True)
            rows.cells.append([_cell(text, kinds.get(name, "number")) for name, text in named if name not in drop])
    return rows


def _complaint(row: Sequence[str], header: Sequence[str], kinds: Mapping[str, Kind], drop: set[str]) -> str:
    if len(row) != len(header):
        return f"{len(row)} fields for {len(header)} columns"
    for name, text in zip(header, row, strict=True):
        if name not in kinds and name not in drop:
            try:
                _cell(text, "number")
            except ValueError:
                return f"{text[:40]!r} in column {name!r} is no finite number"
    return ""


def _cell(text: str, kind: Kind) -> float | str | None:
    text = text.strip()
    if not text or (kind != "class" and text.lower() in MISSING):
        return None
    if kind != "number":
        return text
    number = float(text)
    if not math.isfinite(number) or "_" in text:
        raise ValueError(text)
    return number


def _judge(path: Path, rows: _Rows, bad_rows: float) -> None:
    count = len(rows.cells) + rows.lines_left_out
    if rows.lines_left_out > bad_rows * count:
        raise ConfigError(
            f"{path}: {rows.lines_left_out:,} of {count:,} rows cannot be read, and at most a share of {bad_rows} may "
            f"be left out. {'; '.join(rows.complaints[:5])}. A column of texts must be listed under categorical or "
            "drop, and a file with another sign between its fields needs delimiter; else correct the rows, or raise "
            "bad_rows."
        )
    if not rows.cells:
        raise ConfigError(f"{path} holds no row: there is nothing to learn from.")
    if rows.complaints:
        logger.warning(
            "%s: %s of %s rows cannot be read and are left out: %s.",
            path,
            f"{rows.lines_left_out:,}",
            f"{count:,}",
            "; ".join(rows.complaints),
        )


def _table(
    path: Path,
    rows: _Rows,
    names: Sequence[str],
    targets: Sequence[str],
    categorical: Sequence[str],
    task: Task,
) -> Table:
    by_name = dict(zip(names, zip(*rows.cells, strict=True), strict=True))
    inputs = [name for name in names if name not in targets]
    categories: list[tuple[str, ...] | None] = []
    values = []
    for name in inputs:
        found = coded(by_name[name]) if name in categorical else (None, np.array(by_name[name], dtype=np.float64))
        categories.append(found[0])
        values.append(found[1])
    class_names: tuple[str, ...] = ()
    if task == "regression":
        wanted = np.stack([np.array(by_name[name], dtype=np.float64) for name in targets], axis=1)
    else:
        class_names, codes = coded(by_name[_only(path, targets)])
        _check_classes(path, class_names, targets[0])
        wanted = np.nan_to_num(codes - 1, nan=UNLABELLED).astype(np.int64)
    table = Table(str(path), tuple(inputs), tuple(categories), np.stack(values, axis=1), wanted, class_names)
    _tell_targets(table, targets)
    return table


def _tell_targets(table: Table, targets: Sequence[str]) -> None:
    lacking = int((~table.known).sum())
    if lacking:
        logger.warning(
            "%s: %s of %s rows have no target in %s: only the teacher teaches them.",
            table.name, f"{lacking:,}", f"{len(table.values):,}", ", ".join(map(repr, targets)),
        )  # fmt: skip
    doubtful = [name for name in table.class_names if name.lower() in MISSING]
    if doubtful:
        logger.warning(
            "%s: %s in %r is taken for a class as any other. If it says that the class is not known, leave the cells "
            "empty.",
            table.name, " and ".join(map(repr, doubtful)), targets[0],
        )  # fmt: skip


def _only(path: Path, targets: Sequence[str]) -> str:
    if len(targets) > 1:
        raise ConfigError(
            f"{path}: classes stand in one column, and {list(targets)} are {len(targets)}. Name one target, or set "
            "task to regression."
        )
    return targets[0]


def _check_classes(path: Path, names: Sequence[str], target: str) -> None:
    if not 2 <= len(names) <= MOST_CLASSES:
        raise ConfigError(
            f"{path}: column {target!r} must hold from 2 to {MOST_CLASSES} classes, and holds {len(names):,} different "
            f"values, such as {list(names[:3])}. If they are numbers to predict, set task to regression."
        )
