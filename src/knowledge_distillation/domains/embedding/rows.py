"""Rows of single texts and of pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from knowledge_distillation.domains.rows import IDS, Padded

Ids = Sequence[int]


class TextRows(Dataset[dict[str, Tensor]]):
    """Token ids of texts, without labels: what a student learns from is what its teacher says."""

    def __init__(self, rows: Sequence[Ids]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {IDS: torch.tensor(self.rows[index])}


class PairRows(Dataset[list[dict[str, Tensor]]]):
    """Token ids of two texts each, with the pair's score where there are scores.

    Args:
        rows: token ids of texts.
        pairs: numbers of two texts each, int64 [pairs, 2].
        scores: how alike they are, float [pairs]; None for none.
    """

    def __init__(self, rows: Sequence[Ids], pairs: Tensor, scores: Tensor | None) -> None:
        self.rows, self.pairs, self.scores = rows, pairs, scores

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> list[dict[str, Tensor]]:
        told = {} if self.scores is None else {"labels": self.scores[index]}
        return [{IDS: torch.tensor(self.rows[at]), **told} for at in self.pairs[index].tolist()]


class PaddedPairs(Padded):
    """Makes a batch of pairs: the first text of the first pair, its second, the first of the second pair, and so on."""

    def __call__(self, rows: Sequence[list[dict[str, Tensor]]]) -> dict[str, Tensor]:  # type: ignore[override]
        return super().__call__([text for pair in rows for text in pair])
