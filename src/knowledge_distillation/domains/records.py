"""Records from TSV, CSV and JSONL files, one a line; what is wrong with a line is said in its place."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from knowledge_distillation.domains.csv_rows import rows_of
from knowledge_distillation.errors import ConfigError, nearest

DELIMITERS = {".tsv": "\t", ".csv": ","}
Field = str | int
"""A column's name, or its number from 0 in a file without a header."""
Record = Mapping[Any, Any]


def records_of(file: Path, wanted: Sequence[Field]) -> Iterator[tuple[int, Record | str]]:
    """Number of each line that is not empty, and its record by field, or what is wrong with it.

    A record of several lines, which quotes make one, has the number of the first; if it is wrong, each of them is told.

    Args:
        file: .tsv as GLUE's files are, tab-separated and never quoted; .csv, quoted where needed; or .jsonl, one JSON
            object a line. In UTF-8.
        wanted: what the header must have. Numbers stand for columns of a file without a header.

    Raises:
        ConfigError: if there is no such file, it is of another kind or has no such columns, or a quote in it is never
            closed.
    """
    kind = file.suffix.lower()
    if kind not in (*DELIMITERS, ".jsonl"):
        raise ConfigError(f"{file} must be a .tsv, .csv or .jsonl file: by its ending it is told how lines are read.")
    text = text_of(file)
    return json_lines(text) if kind == ".jsonl" else _rows(text, DELIMITERS[kind], wanted, file)


def text_of(file: Path) -> str:
    """The text of a file; bytes that are no UTF-8 become lone surrogates, so that their line alone is bad.

    Raises:
        ConfigError: if the file cannot be read.
    """
    try:
        return file.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error}. Name another file.") from error


def is_text(value: Any) -> bool:
    """Whether a value is text in UTF-8 with more than blanks in it."""
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= sign <= "\udfff" for sign in value)


def json_lines(text: str) -> Iterator[tuple[int, Record | str]]:
    """Number of each line that is not empty, from 1, and its JSON object or what is wrong with it."""
    # not splitlines, which also splits at signs that JSON allows within a text
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        yield number, record if isinstance(record, dict) else "it is no JSON object"


def _rows(text: str, delimiter: str, wanted: Sequence[Field], file: Path) -> Iterator[tuple[int, Record | str]]:
    lines = io.StringIO(text, newline="")
    if delimiter == "\t":
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
    rows = rows_of(reader, file)
    names: list[str] | None = None
    if any(isinstance(field, str) for field in wanted):
        header: list[str] | str = next((row for _, _, row in rows), [])
        if isinstance(header, str):
            raise ConfigError(
                f"The first line of {file} must name its columns, and cannot be read: {header}. Correct it."
            )
        names = header
        for field in wanted:
            if field not in names:
                raise ConfigError(
                    f"{file} has no column {field!r}: its first line names {names}. {nearest(str(field), names)} Where "
                    "there is no header, give the columns' numbers from 0."
                )
    for first, last, row in rows:
        if isinstance(row, list) and names is not None and len(row) not in (0, len(names)):
            row = f"it has {len(row)} columns of {len(names)}"
        if isinstance(row, str):
            yield from ((line, row) for line in range(first, last + 1))
        elif row:
            yield first, dict(zip(range(len(row)) if names is None else names, row, strict=True))
