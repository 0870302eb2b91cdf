"""Texts as rows of token ids, each of its own length, and batches that are padded to their longest row."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.errors import ConfigError

logger = logging.getLogger(__name__)
IDS, SEGMENTS = "input_ids", "token_type_ids"
TOO_LONG = ("cut", "refuse")
TooLong = Literal["cut", "refuse"]
"""What happens to a text with more tokens than `length`."""
AT_A_TIME = 1000
Row = Mapping[str, Any]


class Rows(Dataset[dict[str, Tensor]]):
    """Rows of token ids with their labels.

    Args:
        rows: mappings of lists, as of `encoded`.
        labels: a number for each row, or a list of them, one for each token.
    """

    def __init__(self, rows: Sequence[Row], labels: Sequence[Any]) -> None:
        self.rows, self.labels = rows, labels

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [len(row[IDS]) for row in self.rows]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = {name: torch.tensor(column) for name, column in self.rows[index].items()}
        return {**row, "labels": torch.as_tensor(self.labels[index])}


class Padded:
    """Makes a batch of rows: padded on the right to the longest of them, with an attention mask from their lengths.

    Args:
        padding: the id that stands behind a row's end.

    Example:
        >>> batch = Padded(9)([{"input_ids": torch.tensor([5, 6]), "labels": torch.tensor(1)},
        ...                    {"input_ids": torch.tensor([7]), "labels": torch.tensor(0)}])
        >>> batch["input_ids"].tolist(), batch["attention_mask"].tolist(), batch["labels"].tolist()
        ([[5, 6], [7, 9]], [[1, 1], [1, 0]], [1, 0])
    """

    def __init__(self, padding: int) -> None:
        self.behind = {IDS: padding, "labels": IGNORED}

    def __call__(self, rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        batch = {}
        for name in rows[0]:
            columns = [row[name] for row in rows]
            if columns[0].dim():
                batch[name] = pad_sequence(columns, batch_first=True, padding_value=self.behind.get(name, 0))
            else:
                batch[name] = torch.stack(columns)
        masks = [torch.ones_like(row[IDS]) for row in rows]
        return {**batch, "attention_mask": pad_sequence(masks, batch_first=True)}


def padding_of(tokenizer: Any) -> int:
    """The id to pad with; 0 where the tokenizer has none, since the mask hides it."""
    return 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)


def encoded(
    tokenizer: Any,
    texts: Sequence[Any],
    seconds: Sequence[str] | None,
    length: int,
    too_long: TooLong,
    where: str,
    **settings: Any,
) -> list[Any]:
    """The token ids of texts, with the special tokens of the tokenizer and the segments of pairs.

    Args:
        tokenizer: of Transformers.
        texts: to encode; lists of words where `settings` say so.
        seconds: the other half of each pair; None for none.
        length: tokens a row, special ones included.
        too_long: "cut" drops the end of longer texts, of pairs that of the longer half, and the log says of how many;
            "refuse" raises.
        where: which texts, for messages.
        settings: further arguments of the tokenizer.

    Returns:
        One encoding a text, with `ids` and `type_ids`.

    Raises:
        ConfigError: if a text is too long and is not to be cut, or no token of it would be left.
    """
    check_whole("length", length, 1, "tokens")
    special = tokenizer.num_special_tokens_to_add(pair=seconds is not None)
    if length <= special:
        raise ConfigError(
            f"length must be above {special}, the special tokens that the tokenizer adds to each text, got {length}: "
            "no word would be left."
        )
    found: list[Any] = []
    longer = 0
    for begin in range(0, len(texts), AT_A_TIME):
        end = begin + AT_A_TIME
        pairs = () if seconds is None else (list(seconds[begin:end]),)
        whole = _encodings(tokenizer, (list(texts[begin:end]), *pairs), **settings)
        over = [at for at, row in enumerate(whole) if len(row.ids) > length]
        if over and too_long == "refuse":
            raise ConfigError(
                f"The texts of {where} must have at most {length} tokens, and text {begin + over[0] + 1} has "
                f"{len(whole[over[0]].ids)}: its end would not be read. Raise data.length, as far as the model has "
                "positions, or set data.too_long to 'cut'."
            )
        if over:
            again = tuple([part[at] for at in over] for part in (list(texts[begin:end]), *pairs))
            cut = _encodings(tokenizer, again, truncation=True, max_length=length, **settings)
            for at, row in zip(over, cut, strict=True):
                whole[at] = row
        longer += len(over)
        found += whole
    if longer:
        logger.warning(
            "%d of %d texts of %s have more than %d tokens and are cut: what stands behind is not read.",
            longer,
            len(texts),
            where,
            length,
        )
    return found


def _encodings(tokenizer: Any, parts: Iterable[Any], **settings: Any) -> list[Any]:
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            f"The tokenizer must be a fast one, which says which word a token is of, and {type(tokenizer).__name__} is "
            "none. Use the fast tokenizer of the model (tokenizer.json)."
        )
    return list(tokenizer(*parts, verbose=False, **settings).encodings)


def row_of(encoding: Any) -> Row:
    """A row of the ids and segments of an encoding."""
    return {IDS: encoding.ids, SEGMENTS: encoding.type_ids}
