"""Texts and records from local files, and which of them are for validation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from knowledge_distillation.domains.language.rows import Pieces, chat_pieces
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.inputs import check_between

Named = Mapping[str, str | Sequence[str]]
"""Name of a part -> patterns of file names."""
FORMS = "'text', or 'prompt' and 'completion', or 'messages'"


def texts_by_part(path: Path, train: str | Sequence[str], validation: Named) -> dict[str, list[str]]:
    """The texts of a file, or of a folder's files, by part; "train" is one of them.

    Args:
        path: of the file or folder; of a folder every file in it counts, in the order of their names.
        train: patterns of the names of training files, such as "19*"; what is validated is never trained on.
        validation: name -> patterns.

    Raises:
        ConfigError: if there is no file for a part, or one is no text in UTF-8.
    """
    if not path.exists():
        raise ConfigError(f"There is no file or folder {path} to read texts from. Name another path.")
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    parts = {name: [file for file in files if _matches(file, patterns)] for name, patterns in validation.items()}
    held = {file for part in parts.values() for file in part}
    parts["train"] = [file for file in files if _matches(file, train) and file not in held]
    for name, found in parts.items():
        if not found:
            raise ConfigError(
                f"{path} must hold files for {name!r}, and none of its {len(files)} fits "
                f"{validation.get(name, train)!r}. Name another folder or pattern; the first files are "
                f"{[file.name for file in files[:3]]}."
            )
    return {name: [read_text(file) for file in found] for name, found in parts.items()}


def _matches(file: Path, patterns: str | Sequence[str]) -> bool:
    return any(fnmatch(file.name, pattern) for pattern in ([patterns] if isinstance(patterns, str) else patterns))


def read_text(file: Path) -> str:
    """The text of a file.

    Raises:
        ConfigError: if it is missing or no text in UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} must be a text file in UTF-8, and cannot be read: {error}.") from error


def read_records(file: Path, *, answered: bool = True) -> list[dict[str, Any]]:
    """The records of a JSONL file, one a line; empty lines are left out.

    Args:
        file: in UTF-8.
        answered: whether there must be something to learn beside a prompt.

    Raises:
        ConfigError: with the number of the line that is no JSON object of a known form.
    """
    records = []
    # not splitlines, which also splits at signs that JSON allows within a text
    for number, line in enumerate(read_text(file).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"{file}, line {number}: each line must be one JSON object, and this is none: {error}."
            ) from None
        complaint = _complaint(record, answered)
        if complaint:
            forms = FORMS if answered else "'prompt' or 'messages'"
            raise ConfigError(f"{file}, line {number}: a record must have {forms}; {complaint}.")
        records.append(record)
    if not records:
        raise ConfigError(f"{file} holds no record: there is nothing to learn from.")
    return records


def _complaint(record: Any, answered: bool) -> str:
    if not isinstance(record, dict):
        return f"this is a {type(record).__name__}"
    if isinstance(record.get("messages"), list):
        turns = record["messages"]
        fits = all(isinstance(turn, dict) and isinstance(turn.get("role"), str) for turn in turns)
        return "" if fits else "its messages are no list of {'role', 'content'}"
    wanted = ("prompt", "completion") if answered else ("prompt",)
    texts = {key: record.get(key) for key in (("text",) if answered and "text" in record else wanted)}
    odd = [key for key, text in texts.items() if not isinstance(text, str)]
    return f"{odd[0]!r} is {type(texts[odd[0]]).__name__}, no text" if odd else ""


def pieces_of(tokenizer: Any, record: Mapping[str, Any]) -> Pieces:
    """The pieces of a record and which of them are learnt: completions, and what an assistant says."""
    if "messages" in record:
        return chat_pieces(tokenizer, record["messages"])
    if "text" in record:
        return [(record["text"], True)]
    return [(record["prompt"], False), (record["completion"], True)]


def held_out(count: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Numbers for training and for validation, in order; at least one of each.

    Args:
        count: how many there are, >= 2.
        share: of them for validation, above 0 and below 1.
        seed: chooses which.

    Raises:
        ConfigError: if there are too few, or the share is none.
    """
    check_between("validation", share, 0.0, 1.0)
    if count < 2:
        raise ConfigError(
            f"To hold a share of the data out, there must be at least 2 samples, and there is {count}: the score would "
            "be that of the training data. Give more text or shorter rows, or name validation files."
        )
    held = min(count - 1, max(1, round(share * count)))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(order[held:]), sorted(order[:held])
