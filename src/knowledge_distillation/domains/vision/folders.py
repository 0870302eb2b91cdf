"""Images in folders, one folder a class, as torchvision's ImageFolder and ImageNet lie on the disk."""

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
from knowledge_distillation.domains.vision.images import (
    Standing,
    check_normalisation,
    files_in,
    mode_of,
    read_rgb,
    torchvision_or_error,
    usable,
)
from knowledge_distillation.errors import ConfigError, nearest

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHORTER_SIDE = 256 / 224
"""Of an image whose centre is validated on, over the size of the crop."""


def image_folder(
    *,
    path: str,
    train: str = "train",
    validation: str = "val",
    size: int = 224,
    batch_size: int = 64,
    validation_batch_size: int = 128,
    labelled: int | None = None,
    decode: bool = True,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """Classes in folders: path/train/CLASS/*.jpg and path/val/CLASS/*.jpg; so lies ImageNet.

    Training images are cropped at random (0.08 to 1 of the area) and flipped; of validation images the centre is taken,
    as in ImageNet's protocol. Batches are (images float32 [batch, 3, size, size], class ids). Grey, palette, CMYK and
    transparent images become RGB; what cannot be read is left out. The log counts both and lists the latter. Folders
    whose name begins with a dot, as editors make them, are skipped.

    Args:
        path: the folder of the two parts.
        train: folder of the training images.
        validation: folder of the validation images, with the same classes.
        size: of the crops, in pixels.
        batch_size: of the training loader.
        validation_batch_size: of the validation loader.
        labelled: how many training images keep their label; the others get -100. None keeps all.
        decode: decode every training image once before training. False reads their headers only, for a million images:
            one that turns out damaged later is replaced by the next and named in the log. Validation images are always
            decoded.
        mean: of each channel, taken off values from 0 to 1.
        std: of each channel.
        seed: chooses which labels are kept.
        workers: of the loaders.

    Raises:
        ConfigError: if folders or images are missing, validation has a class that training has not, most images or all
            of a class cannot be read, or an argument is out of its range.
        MissingExtraError: if torchvision is not installed.
    """
    torchvision_or_error("Folders of images need")
    from torchvision.transforms import v2

    check_whole("size", size, 1, "pixels")
    check_whole("batch_size", batch_size)
    check_normalisation(mean, std)
    classes = _classes(Path(path) / train)
    strange = [name for name in _classes(Path(path) / validation) if name not in classes]
    if strange:
        raise ConfigError(
            f"{Path(path) / validation} must have the classes of {train!r}, and has {strange[0]!r}: no student could "
            f"know it. {nearest(strange[0], classes)}"
        )
    scaled = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))]
    shifted = v2.Compose([v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip(), *scaled])
    centred = v2.Compose([v2.Resize(round(size * SHORTER_SIDE), antialias=True), v2.CenterCrop(size), *scaled])
    parts = {
        name: _part(Path(path) / name, classes, change, decode=whole)
        for name, change, whole in ((train, shifted, decode), (validation, centred, True))
    }
    learnt = parts[train]
    learnt.labels = keep_labels(learnt.labels, labelled, seed)
    return Data(
        train=DataLoader(learnt, batch_size=batch_size, shuffle=True, num_workers=workers, drop_last=False),
        validation={"val": DataLoader(parts[validation], batch_size=validation_batch_size, num_workers=workers)},
        facts={"classes": len(classes), "channels": 3, "size": size},
        class_names=classes,
    )


class ImageFiles(Dataset[tuple[Tensor, Tensor]]):
    """Images with a class each.

    Args:
        files: of the images.
        labels: int64, one for each.
        change: Pillow image -> tensor.
    """

    def __init__(self, files: Sequence[Path], labels: Tensor, change: Callable[[Any], Tensor]) -> None:
        self.files, self.labels, self.change = list(files), labels, change
        self.standing = Standing(self._read, self._file, len(self.files))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        image, label = self.standing(place)
        return self.change(image), label

    def _file(self, place: int) -> Path:
        return self.files[place]

    def _read(self, place: int) -> tuple[Any, Tensor]:
        return read_rgb(self.files[place]), self.labels[place]


def _classes(folder: Path) -> list[str]:
    entries = folder.iterdir() if folder.is_dir() else ()
    found = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if not found:
        raise ConfigError(f"{folder} must be a folder with one folder of images for each class, and is none.")
    return found


def _part(folder: Path, classes: Sequence[str], change: Callable[[Any], Tensor], *, decode: bool) -> ImageFiles:
    files = files_in(folder, "images in folders of classes")
    kept = usable(len(files), lambda place: mode_of(files[place], decode=decode), files.__getitem__, str(folder))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = []
    for place in kept:
        name = files[place].relative_to(folder).parts[0]
        if name not in numbers:
            raise ConfigError(f"{files[place]} lies beside the folders of classes, and has none. Move it into one.")
        labels.append(numbers[name])
    seen = set(labels)
    empty = [name for name in _classes(folder) if numbers[name] not in seen]
    if empty:
        raise ConfigError(
            f"Each folder of a class in {folder} must hold an image that can be read, and {', '.join(empty)} hold "
            "none: they would count as classes of which nothing is learnt or asked. Fill or remove them."
        )
    return ImageFiles([files[place] for place in kept], torch.tensor(labels), change)
