"""Texts and pairs of texts from files, one a line; lines that are none are left out and listed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from knowledge_distillation.domains.records import DELIMITERS, Field, Record, is_text, records_of, text_of
from knowledge_distillation.domains.skipped import Skipped

TABLES = (*DELIMITERS, ".jsonl")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts, and how alike they are: any number, larger is more; None for a question and its answer."""

    first: str
    second: str
    score: float | None = None


def read_texts(path: Path, field: Field) -> list[str]:
    """The texts of a file, or of the files of a folder in the order of their names.

    Args:
        path: .tsv, .csv and .jsonl files hold a text under `field` of each record; of any other ending every line is
            a text, and empty ones are none.
        field: a column's name, its number from 0 in a file without a header, or a key.

    Raises:
        ConfigError: if a file cannot be read, or at least half of its lines hold no text.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return [text for file in files for text in _texts_of(file, field)]


def read_pairs(file: Path, first: Field, second: Field, score: Field | None) -> list[Pair]:
    """The pairs of a .tsv, .csv or .jsonl file.

    Args:
        file: one pair a line.
        first, second: where the texts stand.
        score: where the number stands; None where the file has none.

    Raises:
        ConfigError: if the file cannot be read, has no such columns, or at least half of its lines hold no pair.
    """
    wanted = [field for field in (first, second, score) if field is not None]
    what = "pairs of texts" if score is None else "pairs of texts and a number that says how alike they are"
    return Skipped(file, "lines", what).kept(
        (number, record if isinstance(record, str) else _pair(record, first, second, score))
        for number, record in records_of(file, wanted)
    )


def _texts_of(file: Path, field: Field) -> list[str]:
    found, skipped = [], Skipped(file, "lines", "texts")
    if file.suffix.lower() in TABLES:
        for number, record in records_of(file, [field]):
            complaint = record if isinstance(record, str) else _no_text(record, (field,))
            if complaint:
                skipped.add(number, complaint)
            else:
                found.append(record[field].strip())  # type: ignore[index]
    else:
        for number, line in enumerate(text_of(file).split("\n"), 1):
            if is_text(line):
                found.append(line.strip())
            elif line.strip():
                skipped.add(number, "it is no UTF-8")
    skipped.report(len(found))
    return found


def _pair(record: Record, first: Field, second: Field, score: Field | None) -> Pair | str:
    complaint = _no_text(record, (first, second))
    if complaint:
        return complaint
    if score is None:
        return Pair(record[first].strip(), record[second].strip())
    try:
        number = float(record.get(score, ""))
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        return f"it has no {score!r}" if record.get(score) in (None, "") else f"its {score!r} is no number"
    return Pair(record[first].strip(), record[second].strip(), number)


def _no_text(record: Record, fields: Sequence[Field]) -> str:
    for field in fields:
        if not is_text(record.get(field)):
            return f"its {field!r} is no text" if field in record else f"it has no {field!r}"
    return ""
