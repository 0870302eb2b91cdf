"""The page that leads from what one has to a loss: every loss must be on it, and only losses that exist."""

from __future__ import annotations

import re

from knowledge_distillation.losses import catalogue


def faults(markdown: str) -> list[str]:
    """What is wrong with the page "Choose a loss"; an empty list if nothing is.

    Args:
        markdown: the page as it is written, names of losses as code spans in the tables' columns but the first.
    """
    rows = [line.strip().strip("|").split("|")[1:] for line in markdown.splitlines() if line.startswith("|")]
    named = {name for cells in rows for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    missing = [f"{name} stands in no table: say for whom it is" for name in catalogue() if name not in named]
    unknown = [f"{name} is no loss of the catalogue" for name in sorted(named - catalogue().keys())]
    return missing + unknown
