"""Rows of single texts and of pairs, and an order in which texts of like length come together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from knowledge_distillation.domains.rows import IDS, Padded

BATCHES_SORTED = 50
"""Texts of so many batches are sorted by length together; the more, the less padding and the less chance."""
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


class LikeLengths(Sampler[int]):
    """A random order in which the texts of each batch are of like length, so that little of it is padding.

    Fifty batches of texts are drawn at a time and sorted by length; then all batches are shuffled. The last batch of an
    epoch holds what is left.

    Args:
        lengths: of each text in tokens.
        batch_size: of the loader.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int) -> None:
        self.lengths, self.batch_size = torch.tensor(lengths), batch_size

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self.lengths))
        parts = [part[self.lengths[part].argsort()] for part in torch.split(order, BATCHES_SORTED * self.batch_size)]
        batches = [batch for part in parts for batch in torch.split(part, self.batch_size)]
        # one part alone may end in a short batch, which must stay the last: a loader cuts by number
        whole, short = batches[:-1], batches[-1:]
        for at in torch.randperm(len(whole)).tolist():
            yield from whole[at].tolist()
        for batch in short:
            yield from batch.tolist()
