"""What a segmentation model says, and how it is scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torchmetrics.classification import MulticlassJaccardIndex

from knowledge_distillation.capture.adapters import auto
from knowledge_distillation.domains.labelling import UNLABELLED
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.signals import Signals
from knowledge_distillation.training.metric_pipeline import MetricPipeline


def segmentation_signals(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """The adapter of models that give a score map a class, as torchvision's do: a dict with "out" and perhaps "aux".

    Args:
        model: gives a tensor, or a dict with "out" (or "logits"), of shape [batch, classes, height, width]. What it
            gives under "aux" becomes the feature "aux", for a term with student: aux.
        batch: (images, labels), labels int64 [batch, height, width] with -100 where a pixel does not count.
        temperature: accepted for the adapter's signature; not used.

    Raises:
        ModelContractError: if the score maps are not of that shape, or of another size than the labels.
    """
    seen: list[Any] = []
    handle = model.register_forward_hook(lambda _, __, output: seen.append(output))
    try:
        said = auto(model, batch, temperature)
    finally:
        handle.remove()
    maps, labels = said.logits, said.labels
    if not isinstance(maps, Tensor) or maps.dim() != 4:
        found = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise ModelContractError(
            f"{type(model).__name__} must give score maps [batch, classes, height, width], and gives {found}: no pixel "
            "has a class. Use a segmentation model."
        )
    if isinstance(labels, Tensor) and labels.shape != maps.shape[:1] + maps.shape[2:]:
        raise ModelContractError(
            f"Masks must have the size of the score maps, {tuple(maps.shape[2:])}, and have {tuple(labels.shape[1:])}: "
            "pixels would be compared with others. Let the model scale its maps up to the image, as torchvision's do."
        )
    aux = seen[-1].get("aux") if seen and isinstance(seen[-1], Mapping) else None
    return said if aux is None else replace(said, features={**said.features, "aux": aux})


def mean_iou(classes: int) -> MetricPipeline:
    """Mean over the classes of intersection over union, 0 to 1, higher is better; pixels of label -100 do not count.

    Args:
        classes: background included. Classes that occur neither in masks nor in answers are left out of the mean, as
            in torchmetrics.
    """
    metric = MulticlassJaccardIndex(num_classes=classes, average="macro", ignore_index=UNLABELLED, validate_args=False)
    return MetricPipeline(metric, adapter=segmentation_signals)
