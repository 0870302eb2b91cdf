"""What goes wrong in training when batches of similar length are put together wrongly."""

from __future__ import annotations

import torch

from knowledge_distillation.domains.lengths import GROUP, SimilarLengths


def test_batches_of_similar_length_hold_every_sample_once_and_little_padding() -> None:
    """Otherwise samples are learnt twice or never, the same ones always meet, or half of the work is padding."""
    lengths = torch.randint(2, 129, (2005,), generator=torch.Generator().manual_seed(0)).tolist()
    torch.manual_seed(0)
    order = SimilarLengths(lengths, 8)
    epochs = [list(order), list(order)]

    def padded(rows: list[int]) -> int:
        batches = [rows[at : at + 8] for at in range(0, len(rows), 8)]
        return sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)

    for rows in epochs:
        assert sorted(rows) == list(range(2005))
        assert padded(rows) < 1.05 * sum(lengths)
        firsts = torch.tensor([lengths[row] for row in rows[: 8 * GROUP : 8]]).float()
        falling = torch.corrcoef(torch.stack([firsts, torch.arange(len(firsts)).float()]))[0, 1]
        assert abs(falling) < 0.5  # batches come in no order of length
    assert padded(list(range(2005))) > 1.6 * sum(lengths)
    companions = [{frozenset(rows[at : at + 8]) for at in range(0, 2000, 8)} for rows in epochs]
    assert len(companions[0] & companions[1]) < 5
