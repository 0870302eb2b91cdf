"""Several texts in one row, each as if it had the row to itself."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from knowledge_distillation.domains.language.rows import Encoded, Rows


class Packed(Dataset[Encoded]):
    """Rows of up to `length` tokens, filled with whole texts of `Rows`; `padded` makes batches of them.

    The attention mask numbers the texts of a row from 1, by which the adapter "causal_lm" gives each positions from 0
    and hides the others from it; labels stay those of each text, and nothing is learnt across a border. So the losses
    of all tokens are those of one text a row, in fewer rows and with little padding.

    Args:
        texts: with input_ids and labels, none longer than `length`.
        length: tokens a row at most.

    Example:
        >>> texts = Rows([{"input_ids": torch.tensor(ids), "labels": torch.tensor(ids)} for ids in ([5, 6], [7, 8, 9])])
        >>> row = Packed(texts, length=6)[0]
        >>> row["input_ids"].tolist(), row["attention_mask"].tolist()
        ([7, 8, 9, 5, 6], [1, 1, 1, 2, 2])
    """

    def __init__(self, texts: Rows, length: int) -> None:
        self.texts = texts
        self.bins = best_fit([len(text["input_ids"]) for text in texts.rows], length)

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, index: int) -> Encoded:
        texts = [self.texts[number] for number in self.bins[index]]
        row = {name: torch.cat([text[name] for text in texts]) for name in texts[0]}
        lengths = torch.tensor([len(text["input_ids"]) for text in texts])
        row["attention_mask"] = torch.repeat_interleave(torch.arange(1, len(texts) + 1), lengths)
        return row


def best_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Which texts share a row: the longest first, each into the fullest row that still takes it.

    Args:
        lengths: of the texts, none above `room`.
        room: of a row.

    Returns:
        For each row the numbers of its texts.

    Example:
        >>> best_fit([2, 5, 3, 6], room=8)
        [[3, 0], [1, 2]]
    """
    bins: list[list[int]] = []
    with_room: dict[int, list[int]] = defaultdict(list)
    rooms: list[int] = []  # those that some row has, in order
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        at = bisect_left(rooms, lengths[number])
        if at == len(rooms):
            row, left = len(bins), room
            bins.append([])
        else:
            left = rooms[at]
            row = with_room[left].pop()
            if not with_room[left]:
                rooms.pop(at)
        bins[row].append(number)
        left -= lengths[number]
        if not with_room[left]:
            insort(rooms, left)
        with_room[left].append(row)
    return bins
