"""Documents packed into rows of equal length: no padding but at the very end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.errors import ConfigError


class Blocks(Dataset[dict[str, Tensor]]):
    """Documents one behind the other, cut every `length` tokens. A document may go on in the next row.

    A row holds input_ids, attention_mask and labels, int64 [length]; labels are the ids themselves, -100 at the padding
    of the last row, and the adapter "causal_lm" shifts them. What would be a row of one token is left out.

    Args:
        documents: token ids of each, closed by the id that ends a text.
        length: tokens a row, >= 2.
        apart: number the documents of a row in its mask from 1, so that "causal_lm" keeps them apart; else all are
            joined, and each token sees everything before it in its row.

    Raises:
        ConfigError: if there is no row, or `length` is no whole number from 2 on.

    Example:
        >>> row = Blocks([[5, 6, 2], [7, 2]], length=6, apart=True)[0]
        >>> row["input_ids"].tolist(), row["attention_mask"].tolist(), row["labels"].tolist()
        ([5, 6, 2, 7, 2, 0], [1, 1, 1, 2, 2, 0], [5, 6, 2, 7, 2, -100])
    """

    def __init__(self, documents: Sequence[Sequence[int]], length: int, *, apart: bool = False) -> None:
        self.length = check_whole("length", length, 2, "tokens")
        self.ids = torch.tensor([token for document in documents for token in document], dtype=torch.int32)
        self.apart = apart
        lengths = torch.tensor([len(document) for document in documents], dtype=torch.int64)
        self.document = torch.repeat_interleave(torch.arange(len(lengths), dtype=torch.int32), lengths)
        rows, rest = divmod(len(self.ids), self.length)
        self.rows = rows + (rest > 1)
        if not self.rows:
            raise ConfigError(
                f"The texts must hold at least 2 tokens, and hold {len(self.ids)}: there is nothing to predict. Name "
                "other files."
            )

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.rows:
            raise IndexError(index)
        part = slice(index * self.length, (index + 1) * self.length)
        ids, document = self.ids[part].long(), self.document[part].long()
        mask = document - document[0] + 1 if self.apart else torch.ones_like(ids)
        missing = self.length - len(ids)
        return {
            "input_ids": torch.nn.functional.pad(ids, (0, missing)),
            "attention_mask": torch.nn.functional.pad(mask, (0, missing)),
            "labels": torch.nn.functional.pad(ids, (0, missing), value=IGNORED),
        }
