"""The report as Markdown: the same blocks, for a pull request or a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from knowledge_distillation.reporting.blocks import (
    Absent,
    Block,
    Code,
    Finding,
    Listed,
    Plot,
    Plots,
    Report,
    Said,
    Samples,
    Table,
)
from knowledge_distillation.reporting.sections.answer import QUESTION

_ACTIVE = re.compile(r"([\\`*\[\]|~])")


def as_markdown(report: Report) -> str:
    """The whole report as GitHub-flavoured Markdown; plots as their tables, samples as links into the run."""
    verdict = report.verdict
    lines = [f"# {_text(report.title)}", "", _text(report.subtitle), "", f"## {_text(verdict.headline)}", ""]
    lines += [_text(verdict.detail), ""]
    lines += [*_code(verdict.command), ""] if verdict.command else []
    for plot in verdict.plots:
        lines += _plot(plot)
    lines += [*(f"- {_text(note)}" for note in verdict.notes), ""]
    lines += [f"## {QUESTION}", "", _text(report.answer), ""]
    lines += [f"- {_text(fact.question)} **{_text(fact.answer)}** {_text(fact.detail)}" for fact in report.facts]
    lines.append("")
    for section in report.sections:
        lines += [f"## {_text(section.title)}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip() + "\n"


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Table):
        yield from [_text(block.caption), "", *_table(block.columns, block)]
    elif isinstance(block, Plot):
        yield from _plot(block)
    elif isinstance(block, Plots):
        for plot in block.items:
            yield from _plot(plot)
    elif isinstance(block, Said):
        yield _text(block.text)
    elif isinstance(block, Absent):
        yield from [_text(block.text), "", *(_code(block.command) if block.command else [])]
    elif isinstance(block, Listed):
        yield from [f"### {_text(block.title)}", ""]
        yield from (f"- **{_text(name)}** {_text(text)}" if name else f"- {_text(text)}" for name, text in block.items)
    elif isinstance(block, Finding):
        yield from [f"### {_text(block.severity)}: {_text(block.fault)}", ""]
        parts = (("Evidence", block.evidence), ("Harm", block.harm), ("Fix", block.fix), ("Check", block.check))
        yield from (f"- {name}: {_text(text)}" for name, text in parts if text)
    elif isinstance(block, Samples):
        for item in block.items:
            shown = f"`{item.place.replace('`', '')}`" if item.place else _text(item.content)
            said = ", ".join(f"{name} {text}" for name, text in item.facts)
            yield f"- {_text(item.title)}: {_text(said)}. {shown}"
    elif isinstance(block, Code):
        yield from [f"### {_text(block.title)}", "", *_code(block.text)]


def _plot(plot: Plot) -> list[str]:
    return [f"### {_text(plot.title)}", "", _text(plot.description), "", *_table(plot.table.columns, plot.table), ""]


def _table(columns: Sequence[str], table: Table) -> list[str]:
    sides = ["---" if place == 0 or place in table.words else "---:" for place in range(len(columns))]
    rows = [
        [f"{_text(cell.text)} ({_text(cell.below)})" if cell.below else _text(cell.text) for cell in row]
        for row in table.rows
    ]
    return [f"| {' | '.join(row)} |" for row in ([_text(name) for name in columns], sides, *rows)]


def _code(text: str) -> list[str]:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, text.rstrip("\n"), fence]


def _text(text: str) -> str:
    """One line in which nothing is markup: names and texts of a run may hold anything."""
    one = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _ACTIVE.sub(r"\\\1", one)
