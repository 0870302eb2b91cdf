"""Data sets of objects in boxes: a file of annotations in COCO's format, and a folder of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.labelling import UNLABELLED
from knowledge_distillation.domains.reading import held_out
from knowledge_distillation.domains.vision.detection.annotations import Annotations, Scene, read_annotations
from knowledge_distillation.domains.vision.detection.precision import AveragePrecisionPipeline
from knowledge_distillation.domains.vision.detection.signals import NO_BOX, detection_signals
from knowledge_distillation.domains.vision.images import (
    Standing,
    Unusable,
    mode_of,
    opened,
    read_rgb,
    torchvision_or_error,
    usable,
)
from knowledge_distillation.errors import ConfigError


def coco(
    *,
    path: str,
    train: str = "annotations/instances_train2017.json",
    validation: str | float = "annotations/instances_val2017.json",
    images: str = "train2017",
    validation_images: str | None = "val2017",
    keep_ids: bool = False,
    flip: bool = True,
    decode: bool = True,
    batch_size: int = 4,
    validation_batch_size: int = 4,
    limit: int | None = None,
    workers: int = 0,
) -> Data:
    """Images with boxes, from a file in COCO's format.

    Batches are dicts: "images" float32 [batch, 3, height, width] from 0 to 1, smaller ones padded with 0 at the right
    and below; "sizes" [batch, 2], height and width without the padding; "boxes" [batch, objects, 4], left, top, right,
    bottom in pixels, (0, 0, -1, -1) where there is no further object; "labels" [batch, objects], -100 there; "crowd"
    [batch, objects], true for a box of many objects: not trained on, and, as in COCO, neither right nor wrong to find.
    Scaling and normalising is the models' own part. Class 0 is the background.

    An image without objects is learnt from as background. One that cannot be read, has another size than the file
    says, or a box that is wrong (`read_annotations`), is left out; the log counts and lists them.

    Args:
        path: the folder that the other paths count from.
        train: the file of annotations.
        validation: another one; or the share of the images that is held out, always the same ones.
        images: folder of the training images.
        validation_images: folder of the validation images; None for the same.
        keep_ids: whether categories keep their ids, as models need that were trained so (torchvision's COCO weights,
            of 91 classes); else they are numbered from 1 in the order of their ids.
        flip: mirror half of the training images, drawn anew each time.
        decode: decode every training image once before training; False as of `image_folder`.
        batch_size: of the training loader.
        validation_batch_size: of the validation loader.
        limit: use only the first so many training images.
        workers: of the loaders.

    Raises:
        ConfigError: if a file is missing or no such JSON, no image has an object, validation has a category that
            training has not or names otherwise, or most images cannot be used.
        MissingExtraError: if torchvision or pycocotools is not installed.
    """
    torchvision_or_error("Images with boxes need")
    check_whole("batch_size", batch_size)
    home = Path(path)
    learnt = read_annotations(home / train, home / images)
    scenes = list(learnt.scenes if limit is None else learnt.scenes[: check_whole("limit", limit, 2, "images")])
    if isinstance(validation, str):
        held = read_annotations(home / validation, home / (validation_images or images))
        _check_categories(learnt, held, validation)
        validated = list(held.scenes)
    else:
        places, others = held_out(len(scenes), validation, 0)
        scenes, validated = [scenes[place] for place in places], [scenes[place] for place in others]
    numbers = {category: category if keep_ids else place for place, category in enumerate(sorted(learnt.names), 1)}
    if min(numbers.values()) < 1:
        raise ConfigError("With keep_ids categories must be numbered from 1: 0 is the background to every detector.")
    classes = 1 + max(numbers.values())
    names = ["background", *(f"unused {number}" for number in range(1, classes))]
    for category, number in numbers.items():
        names[number] = learnt.names[category]
    parts = {
        name: Scenes(_kept(found, name, decode=whole), numbers, flip=mirrored)
        for name, found, whole, mirrored in (("train", scenes, decode, flip), ("val", validated, True, False))
    }

    def loader(name: str, size: int, *, shuffle: bool) -> DataLoader[Any]:
        return DataLoader(parts[name], batch_size=size, shuffle=shuffle, collate_fn=collate, num_workers=workers)

    return Data(
        train=loader("train", batch_size, shuffle=True),
        validation={"val": loader("val", validation_batch_size, shuffle=False)},
        facts={"classes": classes, "channels": 3},
        class_names=names,
        adapter=detection_signals,
        pipeline=AveragePrecisionPipeline(),
    )


class Scenes(Dataset[dict[str, Tensor]]):
    """Images with their objects.

    Args:
        scenes: without faults.
        numbers: category id -> class.
        flip: mirror half of them.
    """

    def __init__(self, scenes: Sequence[Scene], numbers: Mapping[int, int], *, flip: bool) -> None:
        self.scenes, self.numbers, self.flip = list(scenes), dict(numbers), flip
        self.standing = Standing(self._read, self._file, len(self.scenes))

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        sample: dict[str, Tensor] = self.standing(place)
        return mirrored(sample) if self.flip and bool(torch.rand(()) < 0.5) else sample

    def _file(self, place: int) -> Path:
        return self.scenes[place].file

    def _read(self, place: int) -> dict[str, Tensor]:
        from torchvision.transforms.v2 import functional

        scene = self.scenes[place]
        image = functional.to_dtype(functional.to_image(read_rgb(scene.file)), torch.float32, scale=True)
        return {
            "image": image.as_subclass(Tensor),
            "boxes": torch.tensor(scene.boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor([self.numbers[category] for category in scene.categories], dtype=torch.long),
            "crowd": torch.tensor(scene.crowds, dtype=torch.bool),
        }


def mirrored(sample: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sample with left and right exchanged."""
    width = sample["image"].shape[-1]
    left, top, right, bottom = sample["boxes"].unbind(dim=1)
    boxes = torch.stack([width - right, top, width - left, bottom], dim=1)
    return {**sample, "image": sample["image"].flip(-1), "boxes": boxes}


def collate(samples: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """One batch as `coco` describes it."""
    sizes = [tuple(sample["image"].shape[-2:]) for sample in samples]
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    images = torch.zeros(len(samples), 3, height, width)
    for place, sample in enumerate(samples):
        images[place, :, : sizes[place][0], : sizes[place][1]] = sample["image"]

    def together(name: str, padding: float) -> Tensor:
        return pad_sequence([sample[name] for sample in samples], batch_first=True, padding_value=padding)

    labels, boxes = together("labels", UNLABELLED), together("boxes", 0.0)
    return {
        "images": images,
        "sizes": torch.tensor(sizes),
        "boxes": torch.where((labels == UNLABELLED)[:, :, None], boxes.new_tensor(NO_BOX), boxes),
        "labels": labels,
        "crowd": together("crowd", False),
    }


def _kept(scenes: Sequence[Scene], name: str, *, decode: bool) -> list[Scene]:
    kept = usable(len(scenes), _looker(scenes, decode), lambda place: scenes[place].file, name)
    found = [scenes[place] for place in kept]
    if not any(scene.boxes for scene in found):
        raise ConfigError(
            f"The images of {name!r} that are left hold no object, so there is nothing to find in them. Look at the "
            "list in the log, or hold out another share."
        )
    return found


def _looker(scenes: Sequence[Scene], decode: bool) -> Callable[[int], str]:
    def look(place: int) -> str:
        scene = scenes[place]
        if scene.fault:
            raise Unusable(scene.fault)
        mode = mode_of(scene.file, decode=decode)
        with opened(scene.file) as image:
            if image.size != scene.size:
                raise Unusable(
                    f"it is {image.size[0]} x {image.size[1]} pixels, and its annotations are of "
                    f"{scene.size[0]:g} x {scene.size[1]:g}"
                )
        return mode

    return look


def _check_categories(learnt: Annotations, held: Annotations, file: str) -> None:
    strange = [category for category in held.names if category not in learnt.names]
    if strange:
        raise ConfigError(
            f"{file} has the category {strange[0]} ({held.names[strange[0]]}), which the training file has not: no "
            "student could know it. Name files of one data set."
        )
    for category, name in held.names.items():
        if name != learnt.names[category]:
            raise ConfigError(
                f"Category {category} must have one name in both files, and is {learnt.names[category]!r} in the "
                f"training file and {name!r} in {file}: what is learnt as the one would be scored as the other. "
                "Name files of one data set, or number the categories alike."
            )
