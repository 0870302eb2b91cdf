"""What is left out of a file, told with a count and a list."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)
SHOWN = 20
"""Lines told of in the warning; the rest is told of at level INFO."""
T = TypeVar("T")


class Skipped:
    """Parts of a file that are left out, by the number of their line.

    Args:
        file: which.
        what: the parts in words: "lines".
        wanted: what each must hold, in words: "labelled text".
    """

    def __init__(self, file: Path, what: str, wanted: str) -> None:
        self.file, self.what, self.wanted = file, what, wanted
        self.complaints: dict[int, str] = {}

    def add(self, line: int, complaint: str) -> None:
        """Note one; the complaint says what is wrong with it."""
        self.complaints[line] = complaint

    def kept(self, told: Iterable[tuple[int, T | str]]) -> list[T]:
        """What is usable of (line, part or complaint), in order; the rest is reported.

        Raises:
            ConfigError: as of `report`.
        """
        found = []
        for line, part in told:
            if isinstance(part, str):
                self.add(line, part)
            else:
                found.append(part)
        self.report(len(found))
        return found

    def report(self, kept: int) -> None:
        """Say in the log what is left out, beside the parts that were kept.

        Raises:
            ConfigError: if nothing was kept, or less than what is left out: then the file is read in a wrong way.
        """
        if not self.complaints and kept:
            return
        told = [f"line {line}: {complaint}" for line, complaint in self.complaints.items()]
        more = f"; and {len(told) - SHOWN} more, listed at level INFO" if len(told) > SHOWN else ""
        listed = "; ".join(told[:SHOWN]) + more
        count, total = len(self.complaints), kept + len(self.complaints)
        if kept <= count:
            raise ConfigError(
                f"{self.file} must hold {self.wanted}, and {count} of its {total} {self.what} have none"
                f"{f' ({listed})' if listed else ''}. Name the right columns or another file."
            )
        logger.warning("%d of %d %s of %s are left out. %s.", count, total, self.what, self.file, listed)
        for complaint in told[SHOWN:]:
            logger.info("%s: left out %s", self.file, complaint)
