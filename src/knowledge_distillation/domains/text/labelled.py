"""Labelled texts from TSV, CSV and JSONL files, one record a line; lines that are none are left out and listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge_distillation.domains.records import Field, is_text, records_of
from knowledge_distillation.domains.skipped import Skipped


@dataclass(frozen=True, slots=True)
class Fields:
    """Where in a record what stands: a text, a second one that it is compared with (None for none), and the label."""

    text: Field = "text"
    second: Field | None = None
    label: Field = "label"


@dataclass(frozen=True, slots=True)
class Labelled:
    """One or two texts and the name of their class."""

    text: str
    second: str | None
    label: str


def read_labelled(file: Path, fields: Fields) -> list[Labelled]:
    """The records of a file.

    Args:
        file, fields: as of `records_of`.

    Raises:
        ConfigError: if there is no such file, it is of another kind or has no such columns, or more lines are bad than
            good.
    """
    wanted = [field for field in (fields.text, fields.second, fields.label) if field is not None]
    return Skipped(file, "lines", "labelled text").kept(
        (number, record if isinstance(record, str) else _labelled(record, fields))
        for number, record in records_of(file, wanted)
    )


def _labelled(record: Mapping[Any, Any], fields: Fields) -> Labelled | str:
    complaint = _complaint(record, fields)
    if complaint:
        return complaint
    second = None if fields.second is None else str(record[fields.second])
    return Labelled(str(record[fields.text]), second, str(record[fields.label]).strip())


def _complaint(record: Mapping[Any, Any], fields: Fields) -> str:
    for field in (fields.text, fields.second):
        if field is not None and not is_text(record.get(field)):
            return f"its {field!r} is no text" if field in record else f"it has no {field!r}"
    label = record.get(fields.label)
    if isinstance(label, int) or is_text(label):
        return ""
    return f"its {fields.label!r} is no label" if fields.label in record else f"it has no {fields.label!r}"
