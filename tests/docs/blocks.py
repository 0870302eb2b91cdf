"""Find the code blocks of the hand-written pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->\s*$")
ALLOWED_REASONS = ("GPU", "download", "network")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    code: str
    not_run: str = ""


def blocks(page: Path, language: str) -> Iterator[Block]:
    """Blocks of one language in their order, each with the reason in a comment right before it, if there is one."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        if match[2] == language:
            before = text[: match.start()]
            reason = _NOT_RUN.search(before)
            code = "\n".join(line.removeprefix(match[1]) for line in match[3].splitlines())
            yield Block(page, before.count("\n") + 2, language, code, reason[1] if reason else "")
