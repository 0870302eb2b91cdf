"""SVG elements. Every text and every attribute is escaped here, once."""

from __future__ import annotations

from html import escape

WIDTH = 360
"""Of a picture's coordinates: a phone shows them one to one, so that labels keep their size."""
LETTER = 6.1
"""Mean width of a letter in a label."""
FORMS = {
    "c-teacher": "m-4.5 -4.5h9v9h-9z",
    "c-student": "m-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z",
    "c-control": "m0 -5.5l5.5 10h-11z",
}
"""Square, circle and triangle around the origin; everything else is a diamond."""


def element(name: str, content: str = "", **attributes: object) -> str:
    """One element; `class_` is class, and _ in other names is -."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for key, value in attributes.items()
    )
    return f"<{name}{given}>{content}</{name}>" if content else f"<{name}{given}/>"


def words(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "tick") -> str:
    """A label; its anchor is "start", "middle" or "end"."""
    return element("text", escape(text), x=x, y=y, text_anchor=anchor, class_=kind)


def rule(x1: float, y1: float, x2: float, y2: float, kind: str = "grid") -> str:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def mark(x: float, y: float, kind: str, title: str = "") -> str:
    """A mark whose form goes with its colour class, so that colour alone tells nothing apart."""
    path = FORMS.get(kind, "m0 -6l6 6l-6 6l-6 -6z")
    tip = element("title", escape(title)) if title else ""
    return element("path", tip, d=path, transform=f"translate({x:.1f} {y:.1f})", class_=f"mark {kind}")


def cut(text: str, width: float) -> str:
    """The text, shortened to about so many units."""
    letters = max(3, int(width / LETTER))
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _short(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
