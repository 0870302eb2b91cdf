"""The score of taggers: F1 of each tag, averaged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import IGNORED, Adapter, adapter_pair
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.domains.text.calling import tagger
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.training.pipelines import to_device


class MacroF1Pipeline:
    """Mean over the classes of F1 = 2 TP / (2 TP + FP + FN), 0 to 1; every class weighs the same, however rare.

    It is of single words: a name of three words counts three times, and may be right in part. Classes that neither
    occur nor are answered do not count. Processes share the work.

    Args:
        adapter: reads logits and labels; items with the label -100 do not count.
    """

    higher_is_better = True
    metric = "macro F1"

    def __init__(self, adapter: str | Adapter = tagger) -> None:
        self.adapter = adapter_pair(adapter)[0]

    def run_inference_pipeline(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, Any]:
        """Return {"inference_result": macro F1, "count": items, "f1": that of each class, nan where it does not count}.

        Raises:
            ModelContractError: if batches carry no labels, or no item counts.
        """
        return self.combine([self.measure_part(model, data_loader)])

    def measure_part(self, model: nn.Module, data_loader: Iterable[Any]) -> Tensor:
        """How often each class was told and answered, int64 [classes told, classes answered]; errors as above."""
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        table = torch.zeros(0, 0, dtype=torch.int64)
        with undisturbed(model):
            for batch in data_loader:
                said = self.adapter(model, to_device(batch, device), 1.0)
                if said.logits is None or said.labels is None:
                    raise ModelContractError(
                        "Macro F1 needs logits and labels, and a validation batch gave none. Use a data set of the "
                        "text domain, or batches with 'labels'."
                    )
                classes = said.logits.shape[-1]
                counted = said.labels != IGNORED
                pairs = said.labels[counted] * classes + said.logits.argmax(dim=-1)[counted]
                seen = torch.bincount(pairs.flatten(), minlength=classes**2).reshape(classes, classes).cpu()
                table = seen if not table.numel() else table + seen
        return table

    def combine(self, parts: Sequence[Tensor]) -> dict[str, Any]:
        """The score of all parts together.

        Raises:
            ModelContractError: if no item counts.
        """
        tables = [part for part in parts if part.numel()]
        table = torch.stack(tables).sum(dim=0) if tables else torch.zeros(0, 0)
        if not table.sum():
            raise ModelContractError("The validation loader gave no labelled word, so there is no F1 to report.")
        right, met = table.diagonal().double(), (table.sum(dim=0) + table.sum(dim=1)).double()
        f1 = 2 * right / met  # nan for a class that neither occurs nor is answered
        return {"inference_result": float(f1.nanmean()), "count": int(table.sum()), "f1": f1.tolist()}
