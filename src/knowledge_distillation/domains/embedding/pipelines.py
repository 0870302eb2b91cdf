"""Scores of embedding models: do pairs that are alike get like vectors, and is the answer found among all answers?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.functional.regression import spearman_corrcoef

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.capture.adapters import Adapter, adapter_pair
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.training.pipelines import to_device

AT_A_TIME = 1024


class PairPipeline:
    """Spearman's rank correlation of cosines with the scores of pairs; or, of pairs without scores, recall at k.

    Batches hold the first and the second text of each pair in turn, as `PairRows` gives them. Recall at k is the share
    of first texts whose second text is among the k with the highest cosine of all second texts of the loader; equal
    texts count as one. Processes share the work.

    Args:
        k: of the recall.
        adapter: reads the embeddings, as logits.
    """

    higher_is_better = True
    metric = "Spearman's correlation, or recall"

    def __init__(self, k: int = 10, adapter: str | Adapter = "auto") -> None:
        check_whole("k", k)
        self.k, self.adapter = k, adapter_pair(adapter)[0]

    def run_inference_pipeline(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, Any]:
        """Return {"inference_result": correlation from -1 to 1, or recall from 0 to 1, "count": pairs}.

        Raises:
            ModelContractError: if there are fewer than two pairs, or batches hold no pairs.
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
                    parts.append({"first": first, "second": second})
        return parts

    def combine(self, parts: Sequence[list[dict[str, Tensor]]]) -> dict[str, Any]:
        """The score of all parts together; errors as above."""
        batches = [batch for part in parts for batch in part]
        whole = {name: torch.cat([batch[name] for batch in batches]) for name in (batches[0] if batches else ())}
        count = len(next(iter(whole.values()), ()))
        if count < 2:
            raise ModelContractError(f"To rank pairs there must be at least two, and the loader gave {count}.")
        if "scores" in whole:
            value = float(spearman_corrcoef(whole["cosines"].double(), whole["scores"].double()))
        else:
            value = recall(whole["first"], whole["second"], min(self.k, count))
        return {"inference_result": value, "count": count}


def recall(first: Tensor, second: Tensor, k: int) -> float:
    """Share of rows of `first` whose own row of `second` has one of the k highest dot products of all.

    Args:
        first, second: [pairs, dimensions], of unit length.
        k: 1 to pairs.

    Example:
        >>> recall(torch.eye(3), torch.eye(3)[[1, 0, 2]], k=1)
        0.3333333333333333
    """
    found = 0
    for begin in range(0, len(first), AT_A_TIME):
        products = first[begin : begin + AT_A_TIME] @ second.T
        own = products.diagonal(offset=begin)
        found += int(((products > own[:, None]).sum(dim=1) < k).sum())
    return found / len(first)
