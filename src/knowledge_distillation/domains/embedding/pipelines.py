"""Scores of embedding models: do pairs that are alike get like vectors, and is the answer found among all answers?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from struct import unpack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.regression import spearman_corrcoef

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.capture.adapters import Adapter, adapter_pair
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.domains.rows import IDS
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.training.pipelines import to_device

AT_A_TIME = 1024
ROUNDING = 1e-6
"""Of cosines in 32 bits: equal vectors differ by less, by where they stand in a product of matrices."""


class PairPipeline:
    """Spearman's rank correlation of cosines with the scores of pairs; or, of pairs without scores, recall at k.

    Batches hold the first and the second text of each pair in turn, as `PairRows` gives them. Recall at k is the share
    of first texts whose second text is among the k with the highest cosine of all second texts of the loader (see
    `recall`); those of the same token ids count as one. Processes share the work.

    Args:
        k: of the recall.
        adapter: reads the embeddings, as logits.
    """

    higher_is_better = True
    answers_classes = False
    metric = "Spearman's correlation, or recall"

    def __init__(self, k: int = 10, adapter: str | Adapter = "auto") -> None:
        check_whole("k", k)
        self.k, self.adapter = k, adapter_pair(adapter)[0]

    def run_inference_pipeline(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, Any]:
        """Return {"inference_result": correlation from -1 to 1, or recall from 0 to 1, "count": pairs}.

        The result is NaN if any vector is not finite: NaN has no rank, and would pass for the nearest.

        Raises:
            ModelContractError: if there are fewer than two pairs, or batches hold no pairs, or no token ids for recall.
        """
        return self.combine([self.measure_part(model, data_loader)])

    def measure_part(self, model: nn.Module, data_loader: Iterable[Any]) -> list[dict[str, Tensor]]:
        """Of each batch what the score is made of, on the CPU: embeddings of pairs without scores, else cosines."""
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        parts = []
        with undisturbed(model):
            for batch in data_loader:
                said = self.adapter(model, to_device(batch, device), 1.0)
                vectors, labels = said.logits, said.labels
                if vectors is None or vectors.dim() != 2 or len(vectors) % 2:
                    raise ModelContractError(
                        "A pair's score needs an embedding of each of its two texts, and a validation batch gave "
                        f"{'none' if vectors is None else tuple(vectors.shape)}. Use the data set 'sentences', and a "
                        "model that gives one vector a text."
                    )
                first, second = (F.normalize(vectors[place::2].float(), dim=-1).cpu() for place in (0, 1))
                if labels is not None:
                    parts.append({"cosines": (first * second).sum(dim=-1), "scores": labels[::2].float().cpu()})
                else:
                    parts.append({"first": first, "second": second, "texts": _texts(batch, len(second))})
        return parts

    def combine(self, parts: Sequence[list[dict[str, Tensor]]]) -> dict[str, Any]:
        """The score of all parts together; errors as above."""
        batches = [batch for part in parts for batch in part]
        whole = {name: torch.cat([batch[name] for batch in batches]) for name in (batches[0] if batches else ())}
        count = len(next(iter(whole.values()), ()))
        if count < 2:
            raise ModelContractError(f"To rank pairs there must be at least two, and the loader gave {count}.")
        if not all(bool(part.isfinite().all()) for part in whole.values()):
            value = math.nan
        elif "scores" in whole:
            value = float(spearman_corrcoef(whole["cosines"].double(), whole["scores"].double()))
        else:
            value = recall(whole["first"], whole["second"], whole["texts"], self.k)
        return {"inference_result": value, "count": count}


def recall(first: Tensor, second: Tensor, texts: Tensor, k: int) -> float:
    """Share of rows of `first` whose own row of `second` has one of the k highest dot products of all texts.

    Ties count against it: a model that gives all texts one vector finds nothing.

    Args:
        first, second: [pairs, dimensions], finite and of unit length, or 0.
        texts: [pairs, columns]; rows are equal where rows of `second` are of one text, which then counts once.
        k: 1 or more.

    Example:
        >>> own = torch.arange(3)[:, None]
        >>> recall(torch.eye(3), torch.eye(3)[[1, 0, 2]], own, k=1)
        0.3333333333333333
        >>> recall(torch.ones(3, 1), torch.ones(3, 1), own, k=2)
        0.0
    """
    different, own = torch.unique(texts, dim=0, return_inverse=True)
    candidates = second.new_empty(len(different), second.shape[1])
    candidates[own] = second
    found = 0
    for begin in range(0, len(first), AT_A_TIME):
        products = first[begin : begin + AT_A_TIME] @ candidates.T
        reached = products.gather(1, own[begin : begin + AT_A_TIME, None])
        found += int(((products >= reached - ROUNDING).sum(dim=1) <= k).sum())  # it reaches itself
    return found / len(first)


def _texts(batch: Any, count: int) -> Tensor:
    """What is equal for equal second texts of any batch: a digest of their token ids, int64 [count, 2]."""
    if not isinstance(batch, Mapping) or not {IDS, "attention_mask"} <= batch.keys():
        raise ModelContractError(
            f"Recall tells equal texts by batches of {IDS} and attention_mask, and a batch is a {type(batch).__name__} "
            "without: an answer that stands twice would count against itself. Use the data set 'sentences'."
        )
    ids, mask = batch[IDS][1::2].cpu(), batch["attention_mask"][1::2].cpu().bool()
    digests = [
        blake2b(row[kept].numpy().tobytes(), digest_size=16).digest() for row, kept in zip(ids, mask, strict=True)
    ]
    return torch.tensor([unpack("qq", digest) for digest in digests], dtype=torch.int64).reshape(count, 2)
