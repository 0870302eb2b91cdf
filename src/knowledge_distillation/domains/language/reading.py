"""Records of prompts, completions and conversations from local files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from knowledge_distillation.domains.language.rows import Pieces, chat_pieces
from knowledge_distillation.domains.reading import read_text
from knowledge_distillation.errors import ConfigError

FORMS = "'text', or 'prompt' and 'completion', or 'messages'"


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
