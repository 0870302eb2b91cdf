"""Running text with masked words to guess, as BERT is pretrained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.domains.rows import IDS
from knowledge_distillation.domains.tokenizers import ids_of
from knowledge_distillation.errors import ConfigError

MASKED, RANDOM = 0.8, 0.1
"""Of the chosen tokens so many become the mask token, so many any token; the others stay as they are."""


def blocks(tokenizer: Any, texts: Iterable[str], length: int) -> list[list[int]]:
    """Texts cut into rows of at most `length` tokens, between the tokens that begin and end a text; none holds two.

    Raises:
        ConfigError: if the tokenizer lacks those tokens or the mask, or `length` leaves no room beside them.
    """
    lacking = [name for name in ("cls_token", "sep_token", "mask_token") if getattr(tokenizer, name) is None]
    if lacking:
        raise ConfigError(
            f"To mask words the tokenizer must have cls_token, sep_token and mask_token, and has no {lacking[0]}: it "
            "is none of a masked language model. Name the model's own."
        )
    if length < 3:
        raise ConfigError(f"length must be at least 3, a word between two special tokens, got {length}.")
    begin, end, room = tokenizer.cls_token_id, tokenizer.sep_token_id, length - 2
    found = (ids_of(tokenizer, text) for text in texts)
    return [[begin, *ids[at : at + room], end] for ids in found for at in range(0, len(ids), room)]


class Masked(Dataset[dict[str, Tensor]]):
    """Rows in which some tokens are hidden; the labels are those, and -100 elsewhere.

    What is hidden follows from the seed and the row's number alone: epochs, resumed runs and cached teachers see the
    same.

    Args:
        rows: token ids, the first and the last of them special.
        tokenizer: with a mask token.
        share: of the other tokens that are hidden, above 0 to 1; at least one a row.
        copies: each row stands there so many times, each time with others hidden; 10 in BERT.
        seed: of the choice.

    Reference: Devlin et al. (2018), BERT, arXiv:1810.04805, section 3.1 and appendix A.2.
    """

    def __init__(
        self, rows: Sequence[Sequence[int]], tokenizer: Any, *, share: float = 0.15, copies: int = 1, seed: int = 0
    ) -> None:
        self.rows, self.share, self.copies, self.seed = rows, share, copies, seed
        self.mask, self.tokens = int(tokenizer.mask_token_id), len(tokenizer)

    def __len__(self) -> int:
        return len(self.rows) * self.copies

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < len(self):  # what ends a loop over the rows
            raise IndexError(f"There are rows 0 to {len(self) - 1}, and {index} was asked for.")
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + index) % 2**63)
        ids = torch.tensor(self.rows[index % len(self.rows)])
        inner = len(ids) - 2
        chosen = 1 + torch.randperm(inner, generator=generator)[: max(1, round(self.share * inner))]
        labels = torch.full_like(ids, IGNORED)
        labels[chosen] = ids[chosen]
        fate = torch.rand(len(chosen), generator=generator)
        drawn = torch.randint(self.tokens, (len(chosen),), generator=generator)
        ids[chosen] = torch.where(fate < MASKED, self.mask, torch.where(fate < MASKED + RANDOM, drawn, ids[chosen]))
        return {IDS: ids, "labels": labels}
