"""What a person reads of token ids: the text of a row, the passage around a token, the text of one token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from knowledge_distillation.domains.rows import IDS
from knowledge_distillation.domains.tokenizers import tokens_of

BEFORE, BEHIND = 60, 16
"""Tokens of a passage."""
HERE = " ▸ "


class RowTexts:
    """(batch, place) -> the text of a row as the model reads it, without padding; for `Data.show`.

    Args:
        tokenizer: of Transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, batch: Mapping[str, Any], place: int) -> str:
        return str(self.tokenizer.decode(_ids(batch, place)))


class Passages:
    """(batch, place) -> position -> the text before the token that is predicted there, a mark, and how it goes on.

    Args:
        tokenizer: of Transformers.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, batch: Mapping[str, Any], place: int) -> Callable[[int], str]:
        ids = _ids(batch, place)

        def passage(position: int) -> str:
            next_token = position + 1
            begin, end = max(0, next_token - BEFORE), next_token + BEHIND
            read = self.tokenizer.decode(ids[begin:next_token])
            to_come = self.tokenizer.decode(ids[next_token:end])
            return f"{'…' if begin else ''}{read}{HERE}{to_come}{'…' if end < len(ids) else ''}"

        return passage


class TokenTexts(Sequence[str]):
    """The text of each token in quotes, so that a space is seen; decoded when asked, since there are very many.

    Args:
        tokenizer: of Transformers.

    Raises:
        IndexError: on asking for an id that is no token's.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.size = tokenizer, tokens_of(tokenizer)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self.size))]
        if not 0 <= index < self.size:
            raise IndexError(f"There is no token {index} among {self.size:,}.")
        return repr(self.tokenizer.decode([index]))


def _ids(batch: Mapping[str, Any], place: int) -> list[int]:
    ids, mask = batch[IDS][place], batch.get("attention_mask")
    kept = ids if mask is None else ids[mask[place].bool()]
    return [int(token) for token in kept]
