"""What goes wrong for a user who embeds many texts at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.domains.embedding import StaticEmbedding, embedded
from knowledge_distillation.domains.rows import IDS, Padded

ROWS = [[7, 3, 0, 5], [2], [4, 4, 9, 1, 6, 8], [], [0, 0], [5, 0]]
"""Id 0, which also stands behind a text's end, is a word of some."""


class Recorder(nn.Module):
    """Keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Tensor, Tensor]] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.asked.append((input_ids, attention_mask))
        return input_ids[:, :1].float()


def test_a_model_is_asked_what_a_loader_asks_it() -> None:
    """Otherwise a model is measured on other ids, or with another mask, than it is trained on."""
    rows = sorted((row for row in ROWS if row), key=len)
    recorder = Recorder()
    embedded(recorder, rows, batch_size=3)
    for (ids, mask), begin in zip(recorder.asked, (0, 3), strict=True):
        batch = Padded(0)([{IDS: torch.tensor(row)} for row in rows[begin : begin + 3]])
        torch.testing.assert_close(ids, batch[IDS], rtol=0, atol=0)
        torch.testing.assert_close(mask, batch["attention_mask"], rtol=0, atol=0)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_texts_at_once_have_the_mean_of_their_own_tokens(batch_size: int) -> None:
    """Otherwise what stands behind a text's end enters its mean, or the word of that number is left out of it."""
    table = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    table[0] *= 100
    ours = embedded(StaticEmbedding(table, [9], source=""), ROWS, batch_size=batch_size)
    summed = torch.stack([table[[token for token in row if token != 9]].double().sum(dim=0) for row in ROWS])
    theirs = summed / summed.norm(dim=1, keepdim=True).clamp(min=1e-12)  # a text without tokens has zeros
    torch.testing.assert_close(ours.double(), theirs, atol=1e-6, rtol=0)
