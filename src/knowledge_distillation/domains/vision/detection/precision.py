"""Mean average precision, as COCO defines it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.domains.vision.detection.signals import detections, truths
from knowledge_distillation.errors import MissingExtraError, ModelContractError
from knowledge_distillation.training.pipelines import to_device

Found = list[tuple[dict[str, Tensor], dict[str, Tensor]]]
"""What was found in each image, and what is there."""


class AveragePrecisionPipeline:
    """Mean over classes and overlaps of 0.5 to 0.95 of the average precision, by torchmetrics and pycocotools; 0 to 1.

    Processes share the work.

    Raises:
        MissingExtraError: if pycocotools is not installed.
    """

    higher_is_better = True

    def __init__(self) -> None:
        _metric()

    def run_inference_pipeline(self, model: nn.Module, data_loader: Iterable[Any]) -> dict[str, Any]:
        """Return {"inference_result": the precision, "map_50", "map_75": at one overlap, "count": images}.

        Raises:
            ModelContractError: if there is no object in the whole loader.
        """
        return self.combine([self.measure_part(model, data_loader)])

    def measure_part(self, model: nn.Module, data_loader: Iterable[Any]) -> Found:
        """What the model finds in this part beside what is there, on the CPU."""
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        found: Found = []
        with undisturbed(model):
            for batch in data_loader:
                content = to_device(batch, device)
                pairs = zip(detections(model, content), truths(content, crowds=True), strict=True)
                found += map_leaves(list(pairs), lambda leaf: leaf.cpu())
        return found

    def combine(self, parts: Sequence[Found]) -> dict[str, Any]:
        """The precision over all parts; errors as above."""
        pairs = [pair for part in parts for pair in part]
        if not any(len(there["boxes"]) for _, there in pairs):
            raise ModelContractError(
                "The validation loader gave no object, so there is no average precision. Look at its annotations."
            )
        metric = _metric()
        metric.update([seen for seen, _ in pairs], [there for _, there in pairs])
        value = metric.compute()
        overlaps = {name: float(value[name]) for name in ("map_50", "map_75")}
        return {"inference_result": float(value["map"]), **overlaps, "count": len(pairs)}


def _metric() -> Any:
    from torchmetrics.detection import MeanAveragePrecision

    try:
        metric = MeanAveragePrecision(backend="pycocotools")
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Average precision is counted by pycocotools: pip install 'knowledge-distillation-toolkit[vision]'"
        ) from error
    metric.warn_on_many_detections = False  # 100 an image count, as COCO defines it
    return metric
