"""Which recordings there are and what is said in them: LibriSpeech's folders, and tables of paths and texts."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from knowledge_distillation.errors import ConfigError, nearest

KINDS = (".flac", ".wav")
COLUMNS = {"path": ("path", "audio", "file", "audio_filepath"), "text": ("text", "transcript", "sentence")}


@dataclass(frozen=True, slots=True)
class Utterance:
    """A recording and its transcript; None where there is none."""

    file: Path
    text: str | None


def librispeech_split(folder: Path) -> list[Utterance]:
    """The utterances of a split in LibriSpeech's layout, in the order of their paths.

    Beside the recordings of a chapter stands CHAPTER.trans.txt, with a line "NAME TEXT" for each NAME.flac (or .wav).

    Raises:
        ConfigError: if there is no such folder, or no recording in it.
    """
    if not folder.is_dir():
        there = (
            sorted(entry.name for entry in folder.parent.iterdir() if entry.is_dir()) if folder.parent.is_dir() else []
        )
        raise ConfigError(f"There is no folder {folder} of a LibriSpeech split. {nearest(folder.name, there)}")
    texts = {}
    for file in folder.rglob("*.trans.txt"):
        for line in _lines(file):
            name, _, text = line.partition(" ")
            texts[file.parent / name] = text.strip() or None
    found = {file.with_suffix(""): file for kind in reversed(KINDS) for file in folder.rglob(f"*{kind}")}
    named = {place: found.get(place, place.with_suffix(KINDS[0])) for place in {*texts, *found}}
    if not named:
        raise ConfigError(
            f"{folder} must hold recordings ({', '.join(KINDS)}) with their *.trans.txt, and holds none. Name the "
            "folder that holds the splits, such as LibriSpeech."
        )
    return [Utterance(named[place], texts.get(place)) for place in sorted(named)]


def manifest(file: Path) -> list[Utterance]:
    """The utterances of a table with a header: tabs between columns in a .tsv, in which nothing is quoted, else commas.

    Columns "path" (or "audio", "file", "audio_filepath") and "text" (or "transcript", "sentence") are read; paths count
    from the table's own folder.

    Raises:
        ConfigError: if there is no such file, a quotation mark of a .csv does not close, a column is missing, or it has
            no row.
    """
    rows = _rows(file)
    header = [name.strip().lower() for name in rows[0]] if rows else []
    places = {
        what: next((header.index(name) for name in names if name in header), -1) for what, names in COLUMNS.items()
    }
    lacking = [what for what, place in places.items() if place < 0]
    if lacking or len(rows) < 2:
        raise ConfigError(
            f"{file} must be a table whose first line names the columns 'path' and 'text', with a line for each "
            f"recording; it has {len(rows)} lines, the first {header}. End its name in .tsv if tabs stand between."
        )
    return [_utterance(file.parent, row, places["path"], places["text"]) for row in rows[1:]]


def _utterance(folder: Path, row: Sequence[str], path: int, text: int) -> Utterance:
    said = row[text].strip() if len(row) > text else ""
    return Utterance(folder / (row[path] if len(row) > path else ""), said or None)


def _rows(file: Path) -> list[list[str]]:
    """The cells of each row that is not empty."""
    text = io.StringIO(_content(file), newline="")
    if file.suffix == ".tsv":
        reader = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(text, strict=True)
    try:
        return [row for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ConfigError(
            f"{file} must quote a cell whole and double the marks within it, and does not at line "
            f"{reader.line_num}: {error}. Recordings would be swallowed by the text before them. Write "
            '"He said ""no""", or a .tsv, in which a quotation mark is a sign as any other.'
        ) from error


def _lines(file: Path) -> list[str]:
    return [line for line in _content(file).splitlines() if line.strip()]


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} must be a text file in UTF-8, and cannot be read: {error}.") from error
