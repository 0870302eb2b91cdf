"""What a teacher heard in recordings, kept line by line, so that work that was broken off goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from knowledge_distillation.errors import ConfigError


class Heard:
    """A file with a line for each recording that was listened to, behind one that says who listened to what.

    A last line that was broken off is taken away.

    Args:
        place: the file; made if it is not there.
        asked: what all lines belong to, as JSON can hold it.

    Attributes:
        texts: number of the recording -> what was heard in it.
        left_out: number of the recording -> why nothing could be.

    Raises:
        ConfigError: if the file cannot be written, belongs to something else, or holds other lines.
    """

    def __init__(self, place: Path, asked: Mapping[str, Any]) -> None:
        self.place = place
        self.texts: dict[int, str] = {}
        self.left_out: dict[int, str] = {}
        try:
            self._begin(json.dumps(asked))
        except OSError as error:
            raise ConfigError(f"{place} must be a file that can be written, and cannot be: {error}.") from error

    def __contains__(self, number: int) -> bool:
        return number in self.texts or number in self.left_out

    def add(self, number: int, *, text: str | None = None, reason: str = "") -> None:
        """Keep what was heard in a recording, or why nothing could be where `text` is None."""
        self._take(number, text, reason)
        with self.place.open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps([number, text, reason]) + "\n")

    def _take(self, number: int, text: str | None, reason: str) -> None:
        if text is None:
            self.left_out[number] = reason
        else:
            self.texts[number] = text

    def _begin(self, asked: str) -> None:
        content = self.place.read_bytes() if self.place.exists() else b""
        kept = content[: content.rfind(b"\n") + 1]
        first, *lines = kept.decode("utf-8", errors="replace").split("\n")
        if not kept:
            self.place.write_text(asked + "\n", encoding="utf-8", newline="\n")
            return
        if first != asked:
            raise ConfigError(
                f"{self.place} must hold what was heard of {asked}, and holds that of {first[:300]}: the texts of two "
                "teachers or tables would stand in one. Finish that work with its own settings, or remove the file."
            )
        if kept != content:
            with self.place.open("r+b") as file:
                file.truncate(len(kept))
        try:
            for line in lines[:-1]:
                self._take(*json.loads(line))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{self.place} holds lines that nobody heard ({error}). Remove it.") from error
