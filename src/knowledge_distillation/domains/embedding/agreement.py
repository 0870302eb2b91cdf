"""How alike two models find texts: pairs to compare them on, and the neighbours that they share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NEAREST = 50
"""Of a mixed pair's half that are near each other, the second is one of so many nearest of the first."""
AT_A_TIME = 1024


def random_pairs(texts: int, count: int, seed: int = 0) -> Tensor:
    """Pairs of different texts, each as likely, int64 [count, 2]; most are not alike.

    Args:
        texts: how many there are, >= 2.
        count: of pairs.
        seed: of the choice.
    """
    generator = torch.Generator().manual_seed(seed)
    first = torch.randint(texts, (count,), generator=generator)
    return torch.stack([first, (first + torch.randint(1, texts, (count,), generator=generator)) % texts], dim=1)


def mixed_pairs(embeddings: Tensor, count: int, seed: int = 0) -> Tensor:
    """Random pairs, and as many of a text and one of its 50 nearest by cosine, int64 [count, 2].

    Args:
        embeddings: of the texts by the model that says what is near, [texts, dimensions], at least 2 texts.
        count, seed: as of `random_pairs`.
    """
    generator = torch.Generator().manual_seed(seed + 1)
    near = count // 2
    first = torch.randint(len(embeddings), (near,), generator=generator)
    ranks = min(NEAREST, len(embeddings) - 1)
    second = nearest(embeddings, first, ranks).gather(1, torch.randint(ranks, (near, 1), generator=generator))
    return torch.cat([random_pairs(len(embeddings), count - near, seed), torch.cat([first[:, None], second], dim=1)])


def nearest(embeddings: Tensor, queries: Tensor, count: int) -> Tensor:
    """The nearest other texts by cosine, nearest first, int64 [queries, count].

    Args:
        embeddings: [texts, dimensions].
        queries: numbers of texts, int64 [queries].
        count: 1 to texts - 1.
    """
    units = F.normalize(embeddings, dim=-1)
    found = []
    for some in torch.split(queries, AT_A_TIME):
        cosines = units[some] @ units.T
        cosines[torch.arange(len(some)), some] = -torch.inf
        found.append(cosines.topk(count, dim=1).indices)
    return torch.cat(found)


def neighbour_overlap(student: Tensor, teacher: Tensor, count: int = 10, queries: Tensor | None = None) -> float:
    """Share of each text's nearest by the teacher that are among its nearest by the student, 0 to 1.

    Args:
        student, teacher: embeddings of the same texts, [texts, dimensions of each].
        count: of neighbours, 1 to texts - 1.
        queries: of which texts; None for all.

    Example:
        >>> line = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
        >>> neighbour_overlap(line, line, count=1)
        1.0
    """
    asked = torch.arange(len(teacher)) if queries is None else queries
    ours, theirs = nearest(student, asked, count), nearest(teacher, asked, count)
    return float((ours[:, :, None] == theirs[:, None]).any(dim=1).double().mean())
