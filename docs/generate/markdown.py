"""Plain text from docstrings as Markdown: formulas keep their stars, names of losses become links."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_PIECES = re.compile(r"(`[^`]+`|arXiv:\d{4}\.\d{4,5}|https://[^\s,)]+[^\s,).])")
_POWER = re.compile(r"(?<=[\w)|])\*\*(-?\w+)")
_SIGNS = re.compile(r"([\\*_\[\]|#])")


def escaped(text: str, links: Mapping[str, str] | None = None) -> str:
    """Text whose stars, bars and brackets mean themselves.

    Args:
        text: as a docstring has it; `code` stays code.
        links: code span -> the page to link it to.
    """
    return "".join(_piece(piece, links or {}) for piece in _PIECES.split(text))


def _piece(piece: str, links: Mapping[str, str]) -> str:
    if piece.startswith("`"):
        target = links.get(piece.strip("`"))
        return f"[{piece}]({target})" if target else piece
    if piece.startswith("arXiv:"):
        return f"[{piece}](https://arxiv.org/abs/{piece.removeprefix('arXiv:')})"
    if piece.startswith("https://"):
        return f"<{piece}>"
    plain = piece.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    raised = _POWER.sub("^\\1^", plain).replace(" * ", " · ")  # a mark that no docstring uses, until all is escaped
    return re.sub(r"\^([\w-]+)\^", r"<sup>\1</sup>", _SIGNS.sub(r"\\\1", raised))


def linked(markdown: str, links: Mapping[str, str]) -> str:
    """Markdown in which code spans that name a page link to it; code blocks and existing links stay."""
    lines = []
    in_block = False
    for line in markdown.splitlines():
        in_block ^= line.lstrip().startswith("```")
        if not in_block and not line.startswith("#"):
            line = re.sub(
                r"(?<!\[)`(\w+)`(?!\])",
                lambda span: f"[`{span[1]}`]({links[span[1]]})" if span[1] in links else span[0],
                line,
            )
        lines.append(line)
    return "\n".join(lines)


def code(value: object) -> str:
    """A value as a code span that is safe inside a table."""
    return f"`{value}`".replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells must be Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("\n", " ") for cell in line) + " |" for line in lines)
