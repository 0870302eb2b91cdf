"""Data sets whose labels are masks: two folders of the user's, and Pascal VOC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.labelling import keep_labels
from knowledge_distillation.domains.reading import held_out
from knowledge_distillation.domains.vision.folders import IMAGENET_MEAN, IMAGENET_STD
from knowledge_distillation.domains.vision.images import (
    Standing,
    check_normalisation,
    torchvision_or_error,
)
from knowledge_distillation.domains.vision.segmentation.pairs import (
    VOID,
    Pair,
    as_labels,
    listed,
    pairs_in,
    read_pair,
)
from knowledge_distillation.domains.vision.segmentation.seen import check_seen, looked_through
from knowledge_distillation.domains.vision.segmentation.signals import mean_iou, segmentation_signals
from knowledge_distillation.errors import ConfigError

VOC = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv monitor",
)  # fmt: skip
SMALLEST, LARGEST = 0.5, 2.0
"""Of the scales that training images are drawn from, as in torchvision's reference training."""


def segmentation_folder(
    *,
    path: str,
    classes: int | Sequence[str],
    images: str = "images",
    masks: str = "masks",
    train: str | None = None,
    validation: str | float = 0.2,
    ignore: int = VOID,
    resize: int | None = 520,
    crop: int | None = 480,
    batch_size: int = 8,
    validation_batch_size: int = 1,
    labelled: int | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """Images in one folder, and masks of the same names in another, whose pixels are class numbers.

    Training images are scaled to 0.5 to 2 times `resize`, flipped and cropped, as in torchvision's reference training;
    validation images are scaled to `resize`. Batches are (images float32 [batch, 3, height, width], labels int64
    [batch, height, width]), -100 where a pixel does not count. Every pair is read once before training: the log counts
    and lists those that are left out, because a file is damaged or missing, the two differ in size, or a mask holds a
    number that is no class; and it names classes that are in no training mask.

    Args:
        path: the folder that the other paths count from.
        classes: how many, background included; or their names in order.
        images: folder of the images.
        masks: folder of the masks: grey or palette images with one number a pixel.
        train: text file with the names of the training images, one a line (see `listed`); None for all that are not
            validated.
        validation: such a file; or the share of the images that is held out, always the same ones.
        ignore: number in a mask that is no class, such as the border of objects in Pascal VOC.
        resize: the shorter side in pixels; None leaves images as they are.
        crop: height and width of training crops; None takes whole images, which must then be of one size.
        batch_size: of the training loader.
        validation_batch_size: above 1 for images of one size.
        labelled: how many training masks are kept; of the others no pixel counts, so that only the teacher teaches.
        mean: of each channel, taken off values from 0 to 1.
        std: of each channel.
        seed: chooses which masks are kept.
        workers: of the loaders.

    Raises:
        ConfigError: if folders are missing or do not belong together, most pairs cannot be used, nothing is left to
            train or validate on, fewer than two classes are in the training masks, or an argument is out of its range.
        MissingExtraError: if torchvision is not installed.
    """
    torchvision_or_error("Images with masks need")
    names = tuple(classes) if not isinstance(classes, int) else ()
    count = check_whole("classes", len(names) or classes, 2, "classes")
    if not 0 <= ignore <= VOID or count > VOID:
        raise ConfigError(f"A mask holds numbers from 0 to 255, and ignore is {ignore} beside {count} classes.")
    check_whole("batch_size", batch_size)
    check_normalisation(mean, std)
    home = Path(path)
    learnt, validated = _split(home, home / images, home / masks, train, validation)
    learnt, numbers = looked_through(learnt, count, ignore, "train")
    check_seen(numbers, count, ignore, names)
    validated, _ = looked_through(validated, count, ignore, "val")
    scaled = _scaled(mean, std)
    parts = {
        "train": Masks(learnt, count, ignore, _moved(resize, crop, scaled)),
        "val": Masks(validated, count, ignore, _still(resize, scaled)),
    }
    taught = keep_labels(torch.zeros(len(parts["train"]), dtype=torch.long), labelled, seed)
    parts["train"].masked = taught != 0
    return Data(
        train=DataLoader(parts["train"], batch_size=batch_size, shuffle=True, num_workers=workers, drop_last=True),
        validation={"val": DataLoader(parts["val"], batch_size=validation_batch_size, num_workers=workers)},
        facts={"classes": count, "channels": 3},
        class_names=names,
        adapter=segmentation_signals,
        pipeline=mean_iou(count),
    )


def pascal_voc(
    *,
    path: str,
    train: str = "train",
    validation: str = "val",
    resize: int | None = 520,
    crop: int | None = 480,
    batch_size: int = 8,
    labelled: int | None = None,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """Pascal VOC's segmentation, from the folder VOCdevkit/VOC2012 or one of its layout.

    Args:
        path: the folder with JPEGImages, SegmentationClass and ImageSets.
        train: name of the list in ImageSets/Segmentation; "trainaug" where that was added.
        validation: name of the other list.
        resize, crop, batch_size, labelled, seed, workers: as of `segmentation_folder`.

    Raises:
        ConfigError, MissingExtraError: as of `segmentation_folder`.
    """
    lists = "ImageSets/Segmentation"
    return segmentation_folder(
        path=path, classes=VOC, images="JPEGImages", masks="SegmentationClass", train=f"{lists}/{train}.txt",
        validation=f"{lists}/{validation}.txt", resize=resize, crop=crop, batch_size=batch_size, labelled=labelled,
        seed=seed, workers=workers,
    )  # fmt: skip


class Masks(Dataset[tuple[Tensor, Tensor]]):
    """Images with a label for every pixel.

    Args:
        pairs: files.
        classes, ignore: as of `read_pair`.
        change: (Pillow image, mask uint8 [height, width]) -> (image tensor, mask tensor).
    """

    def __init__(
        self, pairs: Sequence[Pair], classes: int, ignore: int, change: Callable[[Any, Tensor], tuple[Tensor, Tensor]]
    ) -> None:
        self.pairs, self.classes, self.ignore, self.change = list(pairs), classes, ignore, change
        self.masked = torch.zeros(len(self.pairs), dtype=torch.bool)
        """True where no pixel of the sample counts."""
        self.standing = Standing(self._read, self._file, len(self.pairs))

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        image, mask, hidden = self.standing(place)
        changed, labels = self.change(image, torch.full_like(mask, VOID) if hidden else mask)
        return changed, as_labels(labels)

    def _file(self, place: int) -> Path:
        return self.pairs[place].image

    def _read(self, place: int) -> tuple[Any, Tensor, bool]:
        return *read_pair(self.pairs[place], self.classes, self.ignore), bool(self.masked[place])


def _split(
    home: Path, images: Path, masks: Path, train: str | None, validation: str | float
) -> tuple[list[Pair], list[Pair]]:
    pairs = pairs_in(images, masks)
    if isinstance(validation, str):
        validated = listed(pairs, images, home / validation)
    else:
        validated = [pairs[place] for place in held_out(len(pairs), validation, 0)[1]]
    if train is None:
        known = set(validated)
        return [pair for pair in pairs if pair not in known], validated
    named = listed(pairs, images, home / train)
    both = set(named) & set(validated)
    if both and isinstance(validation, str):
        raise ConfigError(
            f"{len(both)} images are trained on and validated, such as {next(iter(both)).image.name}: the score would "
            "be of known images. Name lists that share none."
        )
    return [pair for pair in named if pair not in both], validated


def _scaled(mean: Sequence[float], std: Sequence[float]) -> list[Any]:
    from torchvision.transforms import v2

    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))]


def _moved(resize: int | None, crop: int | None, scaled: list[Any]) -> Callable[[Any, Tensor], tuple[Tensor, Tensor]]:
    """Training's changes: of the two together."""
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    steps: list[Any] = [v2.RandomHorizontalFlip()]
    if resize is not None:
        check_whole("resize", resize, 2, "pixels")
        sizes = (resize, resize + 1) if crop is None else (round(SMALLEST * resize), round(LARGEST * resize))
        steps.insert(0, v2.RandomResize(*sizes, antialias=True))
    if crop is not None:
        check_whole("crop", crop, 1, "pixels")
        fill = {tv_tensors.Image: 0, tv_tensors.Mask: VOID, "others": 0}
        steps.append(v2.RandomCrop(crop, pad_if_needed=True, fill=fill))
    return Change(v2.Compose([*steps, *scaled]))


def _still(resize: int | None, scaled: list[Any]) -> Callable[[Any, Tensor], tuple[Tensor, Tensor]]:
    from torchvision.transforms import v2

    steps = [] if resize is None else [v2.Resize(resize, antialias=True)]
    return Change(v2.Compose([*steps, *scaled]))


class Change:
    """torchvision's transforms on an image and its mask together.

    Args:
        steps: of torchvision's v2.
    """

    def __init__(self, steps: Callable[[Any, Any], tuple[Any, Any]]) -> None:
        self.steps = steps

    def __call__(self, image: Any, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The image float32 [3, height, width] and the mask [height, width], changed alike."""
        from torchvision import tv_tensors
        from torchvision.transforms import v2

        changed, numbers = self.steps(v2.functional.to_image(image), tv_tensors.Mask(mask))
        return changed.as_subclass(Tensor), numbers.as_subclass(Tensor)
