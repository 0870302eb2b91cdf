"""Names in a sentence as spans: what tags such as B-PER, I-PER, O say together."""

from __future__ import annotations

from collections.abc import Sequence

OUTSIDE = "O"
BEGINS, ENDS, GOES_ON = "BSU", "ESLU", "I"
"""Prefixes of BIO, IOBES and BILOU: S and U are a span of one word."""

Span = tuple[str, int, int]
"""(type, first word, word behind the last)."""


def are_span_tags(tags: Sequence[str]) -> bool:
    """Whether tags name spans: each is O, or one of the prefixes and a hyphen, and one at least has a type."""
    named = [tag for tag in tags if tag != OUTSIDE]
    return bool(named) and all(tag[:1] in BEGINS + ENDS + GOES_ON and tag[1:2] == "-" and tag[2:] for tag in named)


def spans_of(tags: Sequence[str]) -> set[Span]:
    """The spans that the tags of a sentence name, read as the CoNLL evaluation script and seqeval read them.

    A span begins at B, S or U, after O or the end of another, and where the type changes; so an I that follows nothing
    begins one too. It ends at E, S, L or U, before O, and where another begins.

    Args:
        tags: of each word, as `are_span_tags` has them.

    Example:
        >>> sorted(spans_of(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"]))
        [('LOC', 3, 4), ('LOC', 4, 5), ('PER', 0, 2)]

    Reference: Tjong Kim Sang and De Meulder (2003), Introduction to the CoNLL-2003 Shared Task.
    """
    found: set[Span] = set()
    begun: tuple[str, int] | None = None
    for place, tag in enumerate([*tags, OUTSIDE]):
        prefix, kind = tag[:1], tag[2:]
        if begun is not None and (tag == OUTSIDE or prefix in BEGINS or kind != begun[0]):
            found.add((*begun, place))
            begun = None
        if tag != OUTSIDE and begun is None:
            begun = (kind, place)
        if begun is not None and prefix in ENDS:
            found.add((*begun, place + 1))
            begun = None
    return found
