"""Which tokens of two tokenizers cover the same text: the spans by which losses between tokenizers compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses import align_spans

NONE = -1
Offsets = list[tuple[int, int]]


def span_rows(
    student: Any,
    teacher: Any,
    rows: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    learnt: tuple[Sequence[str], Sequence[str]],
    *,
    ended: bool,
) -> dict[str, Tensor]:
    """The span of the token after each place, for both sides of a record.

    A span is the smallest piece of learnt text at whose end both end a token. It counts where all its tokens stand in
    both rows and have one before them, from which they are told.

    Args:
        student, teacher: their tokenizers.
        rows: the record as of `encoded`, by each.
        learnt: the learnt pieces of text, as many on both sides. Where chat templates end a turn in other ways, what
            is common counts, and then the first token of each one's end.
        ended: whether the end of the text follows the last piece, as one token.

    Returns:
        "spans" and "teacher_spans", int64 [tokens] of each row; -1 for none.

    Raises:
        ConfigError: if a tokenizer cannot say which characters a token covers.
    """
    sides: tuple[list[int], list[int]] = ([], [])
    numbers = count()
    for at, texts in enumerate(zip(*learnt, strict=True)):
        common = _common(*texts)
        last = ended and at + 1 == len(learnt[0])
        found = [
            _whole_characters(offsets_of(tokenizer, text) + [(len(text), len(text) + 1)] * last)
            for tokenizer, text in zip((student, teacher), texts, strict=True)
        ]
        ends = [_up_to(common, ends) for ends, _ in found]
        aligned = align_spans(*ends)
        fresh = {span: next(numbers) for span in sorted({*aligned[0]} - {NONE})}
        for side, (_, groups), spans in zip(sides, found, aligned, strict=True):
            known = [fresh.get(span, NONE) for span in spans]
            side += [known[group] if group < len(known) else NONE for group in groups]
    places = [(row["labels"] != IGNORED).nonzero().flatten().tolist() for row in rows]
    lost = {
        span
        for side, there in zip(sides, places, strict=True)
        for token, span in enumerate(side)
        if token >= len(there) or there[token] == 0
    }
    return {
        name: _placed(side, there, lost, len(row["labels"]))
        for name, side, there, row in zip(("spans", "teacher_spans"), sides, places, rows, strict=True)
    }


def offsets_of(tokenizer: Any, text: str) -> Offsets:
    """Begin and end of each token in a text, in characters.

    Raises:
        ConfigError: if the tokenizer does not tell.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"To align two tokenizers, both must say which characters a token covers, and {type(tokenizer).__name__} "
            "does not. Use the fast tokenizer of the model (tokenizer.json)."
        )
    found: Offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)[
        "offset_mapping"
    ]
    return found


def _whole_characters(offsets: Offsets) -> tuple[list[int], list[int]]:
    """Groups of tokens that end at whole characters: where each ends, ever later, and the group of each token."""
    ends: list[int] = []
    groups = []
    for begin, end in offsets:
        if ends and (begin < ends[-1] or end <= ends[-1]):  # bytes of a character begun before, or no character at all
            ends[-1] = max(ends[-1], end)
        else:
            ends.append(end)
        groups.append(len(ends) - 1)
    return ends, groups


def _common(ours: str, theirs: str) -> int:
    """How many characters both begin with."""
    pairs = enumerate(zip(ours, theirs, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(ours), len(theirs)))


def _up_to(common: int, ends: list[int]) -> list[int]:
    """The ends within the common text, and one more: of the first token behind it, whatever it is."""
    inside = [end for end in ends if end <= common]
    return inside + [common + 1] * (len(ends) > len(inside))


def _placed(side: list[int], places: list[int], lost: set[int], tokens: int) -> Tensor:
    spans = torch.full((tokens,), NONE)
    for place, span in zip(places, side, strict=False):
        if span not in lost:
            spans[place - 1] = span
    return spans
