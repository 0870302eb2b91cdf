"""Names for new files and folders that write over nothing."""

from __future__ import annotations

from pathlib import Path


def next_free(folder: Path, pattern: str) -> Path:
    """The first place in a folder that does not exist yet, counting from 1.

    Args:
        folder: where; it need not exist.
        pattern: the name with one place for the number, such as "run-{:03d}".
    """
    number = 1
    while (place := folder / pattern.format(number)).exists():
        number += 1
    return place
