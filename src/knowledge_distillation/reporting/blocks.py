"""What a report is made of. HTML, Markdown and JSON write the same blocks, so they cannot disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Tone = Literal["good", "bad", "unsure", "none"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure: the value as it was measured, and as it is shown; `below` is a second, smaller line."""

    value: Any
    text: str
    below: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; the first column names the row.

    Attributes:
        caption: what stands in it.
        columns: headings.
        rows: a cell for each column.
        words: numbers of the columns that hold text.
        folded: whether the page shows it only when asked.
        strong: number of the column that matters most, or 0.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    words: Sequence[int] = ()
    folded: bool = False
    strong: int = 0
    kind = "table"

    def as_dict(self) -> dict[str, Any]:
        """Rows by column, with the values as they were measured."""
        rows = [{name: cell.value for name, cell in zip(self.columns, row, strict=True)} for row in self.rows]
        return {"table": self.caption, "rows": rows}


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture.

    Attributes:
        title: what is drawn.
        description: what is to be seen in it, for those who do not see it.
        width, height: of its own coordinates.
        body: SVG elements; every text in them is escaped already.
        table: the same figures as text.
        legend: (name, CSS class) of what is told apart by colour and mark.
        marked: whether the legend shows marks, not lines.
    """

    title: str
    description: str
    width: int
    height: int
    body: str
    table: Table
    legend: Sequence[tuple[str, str]] = ()
    marked: bool = False
    kind = "plot"

    def as_dict(self) -> dict[str, Any]:
        """The figures that are drawn."""
        return {"plot": self.title, "description": self.description, "rows": self.table.as_dict()["rows"]}


@dataclass(frozen=True, slots=True)
class Plots:
    """Pictures side by side."""

    items: Sequence[Plot]
    kind = "plots"

    def as_dict(self) -> dict[str, Any]:
        return {"plots": [plot.as_dict() for plot in self.items]}


@dataclass(frozen=True, slots=True)
class Said:
    """A paragraph; quieter where it is a note."""

    text: str
    note: bool = False
    kind = "said"

    def as_dict(self) -> dict[str, Any]:
        return {"note" if self.note else "text": self.text}


@dataclass(frozen=True, slots=True)
class Absent:
    """What was not measured, and the command that measures it."""

    text: str
    command: str = ""
    kind = "absent"

    def as_dict(self) -> dict[str, Any]:
        return {"absent": self.text, "command": self.command}


@dataclass(frozen=True, slots=True)
class Listed:
    """Sentences, one a line."""

    title: str
    items: Sequence[tuple[str, str]]
    folded: bool = False
    kind = "listed"

    def as_dict(self) -> dict[str, Any]:
        return {"list": self.title, "items": [{"name": name, "text": text} for name, text in self.items]}


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault that the doctor found."""

    severity: str
    check: str
    fault: str
    evidence: str
    harm: str
    fix: str
    kind = "finding"

    def as_dict(self) -> dict[str, Any]:
        names = ("severity", "check", "fault", "evidence", "harm", "fix")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Sample:
    """An item that got worse: as a picture, a sound or text.

    Attributes:
        title: which item it is.
        medium: "image", "audio" or "text".
        content: a data URI, or the text itself.
        place: the file in the run's directory; "" for text.
        facts: (name, text) pairs: label, what each model said.
    """

    title: str
    medium: Literal["image", "audio", "text"]
    content: str
    place: str
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Samples:
    """Items side by side."""

    items: Sequence[Sample]
    kind = "samples"

    def as_dict(self) -> dict[str, Any]:
        return {
            "samples": [
                {"title": item.title, "sample": item.place or item.content, **dict(item.facts)} for item in self.items
            ]
        }


@dataclass(frozen=True, slots=True)
class Code:
    """A file, word for word."""

    title: str
    text: str
    kind = "code"

    def as_dict(self) -> dict[str, Any]:
        return {"file": self.title, "text": self.text}


Block = Table | Plot | Plots | Said | Absent | Listed | Finding | Samples | Code


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page under one heading."""

    key: str
    title: str
    blocks: Sequence[Block]

    def as_dict(self) -> dict[str, Any]:
        return {"title": self.title, "blocks": [block.as_dict() for block in self.blocks]}


@dataclass(frozen=True, slots=True)
class Fact:
    """One of the few large figures below the verdict: a question, its answer, and what it rests on."""

    question: str
    answer: str
    detail: str
    tone: Tone = "none"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The first thing that is said.

    Attributes:
        tone: good, bad, unsure, or none where no comparison was made.
        headline: one line.
        detail: what it rests on, a sentence or two.
        command: what to run where it is not known.
        figures: the numbers in it, for the JSON form.
        plots: its pictures.
        notes: what a reader must know besides.
    """

    tone: Tone
    headline: str
    detail: str
    command: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    plots: Sequence[Plot] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The whole page."""

    title: str
    subtitle: str
    verdict: Verdict
    answer: str
    facts: Sequence[Fact]
    sections: Sequence[Section]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for report.json."""
        verdict = self.verdict
        return {
            "title": self.title,
            "subtitle": self.subtitle,
            "verdict": {
                "headline": verdict.headline,
                "detail": verdict.detail,
                "command": verdict.command,
                "comparison": dict(verdict.figures),
                "notes": list(verdict.notes),
                "plots": [plot.as_dict() for plot in verdict.plots],
            },
            "answer": self.answer,
            "facts": [{"question": fact.question, "answer": fact.answer, "detail": fact.detail} for fact in self.facts],
            "sections": {section.key: section.as_dict() for section in self.sections},
        }
