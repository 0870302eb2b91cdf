"""The characters that a CTC model tells apart: texts as ids, and ids of frames as text."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from knowledge_distillation.errors import ConfigError, MissingExtraError

WAV2VEC2 = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ")
"""wav2vec 2.0's on LibriSpeech, in the order of their ids."""
BLANKS = ("<pad>", "[PAD]", "<blank>")
BETWEEN_WORDS = "|"


@dataclass(frozen=True)
class Characters:
    """A vocabulary of single characters.

    Attributes:
        ids: character -> id. What is longer than one character, such as "<unk>", is no text.
        blank: the id of CTC's blank.
    """

    ids: Mapping[str, int]
    blank: int

    @property
    def mark(self) -> int:
        """A number that another vocabulary has hardly ever."""
        return zlib.crc32(json.dumps(sorted(self.ids.items())).encode())

    def written(self, text: str) -> str:
        """The text with one space between words, and in capitals or small letters where there are no others.

        Example:
            >>> load_characters().written("  Ann's  dog ")
            "ANN'S DOG"
        """
        letters = "".join(character for character in self.ids if len(character) == 1)
        if letters.upper() == letters:
            text = text.upper()
        elif letters.lower() == letters:
            text = text.lower()
        return " ".join(text.split())

    def unknown(self, text: str) -> str:
        """The characters of a text that have no id, each once, in their order.

        Example:
            >>> load_characters().unknown("CAFÉ 7 7")
            'É7'
        """
        return "".join(dict.fromkeys(sign for sign in text.replace(" ", BETWEEN_WORDS) if sign not in self.ids))

    def encode(self, text: str) -> list[int]:
        """An id for each character of a text in which all have one; spaces are "|"."""
        return [self.ids[sign] for sign in text.replace(" ", BETWEEN_WORDS)]

    def decode(self, frames: Sequence[int]) -> str:
        """Greedy CTC decoding: of equal neighbours one is kept, then blanks go, then what is no text.

        Args:
            frames: the likeliest id in each frame.

        Example:
            >>> load_characters().decode([0, 12, 12, 8, 0, 8, 4, 4, 6, 0])
            'SOO T'
        """
        signs = {number: sign for sign, number in self.ids.items() if len(sign) == 1}
        kept = (signs.get(number, "") for number, _ in groupby(frames) if number != self.blank)
        return " ".join("".join(kept).replace(BETWEEN_WORDS, " ").split())


def load_characters(path: str | None = None) -> Characters:
    """The characters of a model.

    Args:
        path: its folder with vocab.json, or its id of the Hugging Face hub; None takes wav2vec 2.0's 32 on LibriSpeech.

    Raises:
        ConfigError: if there is no such file, or it is no vocabulary of characters with a blank.
        MissingExtraError: if a hub is asked and Transformers is not installed.
    """
    if path is None:
        return Characters({sign: number for number, sign in enumerate(WAV2VEC2)}, blank=0)
    file = Path(path, "vocab.json") if Path(path).is_dir() else _from_hub(path)
    try:
        ids: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{file} must hold the characters of a CTC model as JSON, and cannot be read: {error}. Name the model's "
            "folder or hub id, or leave it out for wav2vec 2.0's own characters."
        ) from error
    if not isinstance(ids, dict) or not ids or any(type(number) is not int for number in ids.values()):
        raise ConfigError(f"{file} must map characters to whole numbers, as wav2vec 2.0's vocab.json does.")
    blank = next((ids[name] for name in BLANKS if name in ids), None)
    if blank is None or BETWEEN_WORDS not in ids:
        raise ConfigError(
            f"{file} must hold a blank ({', '.join(BLANKS)}) and {BETWEEN_WORDS!r} between words, and holds "
            f"{list(ids)[:8]}: it is no vocabulary of CTC characters. Name another folder."
        )
    return Characters(ids, blank)


def _from_hub(path: str) -> Path:
    try:
        from transformers.utils.hub import cached_file
    except ImportError as error:
        raise MissingExtraError(
            "Characters of a hub's model need Transformers: pip install 'knowledge-distillation-toolkit[speech]'"
        ) from error
    try:
        return Path(str(cached_file(path, "vocab.json")))
    except Exception as error:  # it fails in as many ways as there are networks
        raise ConfigError(f"No vocab.json is to be had of {path!r}: {str(error)[:300]} Name a local folder.") from error
