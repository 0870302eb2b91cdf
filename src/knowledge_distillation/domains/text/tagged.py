"""Tagged sentences from files in columns, as CoNLL's are, and from JSONL files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowledge_distillation.domains.records import is_text, json_lines, text_of
from knowledge_distillation.domains.skipped import Skipped

DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True, slots=True)
class Tagged:
    """The words of a sentence and the tag of each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


def read_tagged(file: Path, *, words: str, tags: str, columns: tuple[int, int]) -> list[Tagged]:
    """The sentences of a file; those with a word that has no tag are left out and listed.

    Args:
        file: .jsonl with a list of words and one of tags in each line; any other ending: a word a line with its tag,
            in columns between blanks, and an empty line between sentences. Lines that begin with -DOCSTART-, and
            before a sentence with "# ", say nothing.
        words, tags: keys of a JSON object.
        columns: of the word and of the tag, from 0; from -1 backwards.

    Raises:
        ConfigError: if the file cannot be read, or more sentences are bad than good.
    """
    text = text_of(file)
    sentences = _from_json(text, words, tags) if file.suffix.lower() == ".jsonl" else _from_columns(text, *columns)
    return Skipped(file, "sentences", "labelled text").kept(sentences)


def _from_json(text: str, words: str, tags: str) -> Iterator[tuple[int, Tagged | str]]:
    for number, record in json_lines(text):
        yield number, record if isinstance(record, str) else _checked(record.get(words), record.get(tags), words, tags)


def _checked(given: Any, told: Any, words: str, tags: str) -> Tagged | str:
    if not isinstance(given, list) or not given or not all(map(is_text, given)):
        return f"its {words!r} is no list of words"
    if not isinstance(told, list) or not all(isinstance(tag, int) or is_text(tag) for tag in told):
        return f"its {tags!r} is no list of tags"
    if len(given) != len(told):
        return f"it has {len(given)} words and {len(told)} tags"
    return Tagged(tuple(given), tuple(map(str, told)))


def _from_columns(text: str, word: int, tag: int) -> Iterator[tuple[int, Tagged | str]]:
    pairs: list[tuple[str, str]] = []
    begin, complaint = 1, ""
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.startswith(DOCUMENT) or (line.startswith("# ") and not pairs and not complaint):
            continue
        parts = line.split()
        if parts:
            begin = begin if pairs or complaint else number
            needed = max(at + 1 if at >= 0 else -at for at in (word, tag))
            if len(parts) < max(2, needed):
                complaint = complaint or f"its word at line {number} has no tag"
            elif not is_text(line):
                complaint = complaint or f"line {number} is no UTF-8"
            else:
                pairs.append((parts[word], parts[tag]))
        elif pairs or complaint:
            words, tags = zip(*pairs, strict=True) if pairs else ((), ())
            yield begin, complaint or Tagged(tuple(words), tuple(tags))
            pairs, complaint = [], ""
