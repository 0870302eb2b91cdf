"""What torchvision's detectors say of a batch: their own losses, and their feature pyramids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.paths import unwrap
from knowledge_distillation.domains.labelling import UNLABELLED
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.signals import Signals

NO_BOX = (0.0, 0.0, -1.0, -1.0)
"""Fills the place of a box that is not there: its right is left of its left."""


def detection_signals(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """The adapter of detectors: the levels of the pyramid, and in train mode the model's own losses.

    Features are "fpn.0" (the finest), "fpn.1", ..., each [batch, channels, height, width], of the images as the
    model's transform scales and pads them. For losses that ask, extras hold "boxes" [batch, objects, 4] in pixels of
    the padded picture, with right < left where there is no object, and "image_size", the picture's height and width.
    Teacher and student must scale images alike (`min_size`, `max_size`), or their maps cover different pictures.

    Args:
        model: of torchvision's kinds, with `transform` and `backbone`. In eval mode, as a teacher is, it detects.
        batch: as of the data set "coco".
        temperature: accepted for the adapter's signature; not used.

    Raises:
        ModelContractError: if the model or the batch is of another kind, or the model lacks a class of the batch.
    """
    inner = _detector(model)
    read: dict[str, Any] = {}
    handles = [
        inner.transform.register_forward_hook(lambda _, __, output: read.update(listed=output[0])),
        inner.backbone.register_forward_hook(lambda _, __, output: read.update(levels=output)),
    ]
    images = pictures(batch)
    try:
        output = model(images, _learnable(truths(batch), inner)) if model.training else model(images)
    finally:
        for handle in handles:
            handle.remove()
    levels, listed = read["levels"], read["listed"]
    maps = list(levels.values()) if isinstance(levels, Mapping) else [levels]
    return Signals(
        features={f"fpn.{place}": level for place, level in enumerate(maps)},
        loss_terms=dict(output) if isinstance(output, Mapping) else {},
        extras={"boxes": _scaled(batch, listed), "image_size": tuple(listed.tensors.shape[-2:])},
    )


def detections(model: nn.Module, batch: Any) -> list[dict[str, Tensor]]:
    """What a detector in eval mode finds: for each image "boxes" [found, 4] in its own pixels, "labels", "scores"."""
    found: list[dict[str, Tensor]] = model(pictures(batch))
    return found


def pictures(batch: Any) -> list[Tensor]:
    """The images of a batch without their padding, each [3, height, width]."""
    if not isinstance(batch, Mapping) or not {"images", "sizes"} <= set(batch):
        found = sorted(map(str, batch)) if isinstance(batch, Mapping) else type(batch).__name__
        raise ModelContractError(
            f"A batch of a detector must be a dict with 'images' and 'sizes', got {found}. Use the data set 'coco', or "
            "its collate function."
        )
    return [image[:, :height, :width] for image, (height, width) in zip(batch["images"], batch["sizes"], strict=True)]


def truths(batch: Mapping[str, Any], *, crowds: bool = False) -> list[dict[str, Tensor]]:
    """The objects of each image: "boxes" [objects, 4], "labels" [objects]; of crowds too, with "iscrowd", if asked."""
    if "boxes" not in batch or "labels" not in batch:
        raise ModelContractError(
            f"To learn or to be scored, a detector needs 'boxes' and 'labels', and the batch holds {sorted(batch)}."
        )
    found = []
    for boxes, labels, crowd in zip(batch["boxes"], batch["labels"], batch["crowd"], strict=True):
        counted = labels != UNLABELLED if crowds else (labels != UNLABELLED) & ~crowd
        objects = {"boxes": boxes[counted], "labels": labels[counted]}
        found.append({**objects, "iscrowd": crowd[counted].long()} if crowds else objects)
    return found


def _detector(model: nn.Module) -> Any:
    inner: Any = unwrap(model)
    if not isinstance(getattr(inner, "transform", None), nn.Module) or not hasattr(inner, "backbone"):
        raise ModelContractError(
            f"{type(inner).__name__} is no detector as torchvision makes them, with a transform and a backbone. Name "
            "'faster_rcnn', 'retinanet' or 'fcos', or pass an adapter of your own."
        )
    return inner


def _learnable(targets: list[dict[str, Tensor]], model: Any) -> list[dict[str, Tensor]]:
    classes = getattr(model, "classes", None)
    largest = max((int(target["labels"].max()) for target in targets if len(target["labels"])), default=0)
    if classes is not None and largest >= classes:
        raise ModelContractError(
            f"An object is of class {largest}, and {type(model).__name__} has the classes 0 to {classes - 1}, 0 being "
            "the background: it could not be learnt. Give the model as many classes as the data."
        )
    return targets


def _scaled(batch: Mapping[str, Any], listed: Any) -> Tensor:
    """The boxes in pixels of the padded picture, as the model's transform scales them; crowds are no objects."""
    resized = torch.tensor(listed.image_sizes, dtype=torch.float32, device=batch["boxes"].device)
    height, width = (resized / batch["sizes"]).unbind(dim=1)
    boxes: Tensor = batch["boxes"] * torch.stack([width, height, width, height], dim=1)[:, None]
    return torch.where(batch["crowd"][:, :, None], boxes.new_tensor(NO_BOX), boxes)
