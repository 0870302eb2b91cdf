"""Images and their masks in two folders, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from knowledge_distillation.domains.labelling import UNLABELLED
from knowledge_distillation.domains.reading import read_text
from knowledge_distillation.domains.vision.images import ENDINGS, Unusable, files_in, opened, read_rgb
from knowledge_distillation.errors import ConfigError

VOID = 255
"""In a mask of this toolkit: a pixel without a class."""
NUMBERS = ("1", "L", "P")
"""Modes of Pillow in which a mask holds one small number a pixel."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its mask."""

    image: Path
    mask: Path


def pairs_in(images: Path, masks: Path) -> list[Pair]:
    """Images with the mask of the same name, in order; a mask that is not there makes a pair that cannot be read.

    Raises:
        ConfigError: if a folder is missing or holds no images, or no name is in both.
    """
    found = files_in(images, "images")
    known = {file.relative_to(masks).with_suffix(""): file for file in files_in(masks, "masks")}
    names = [file.relative_to(images).with_suffix("") for file in found]
    if not any(name in known for name in names):
        raise ConfigError(
            f"No image in {images} has a mask of the same name in {masks}: {found[0].name} for one. Name the folders "
            "that belong together."
        )
    return [Pair(file, known.get(name, masks / f"{name}.png")) for file, name in zip(found, names, strict=True)]


def listed(pairs: Sequence[Pair], images: Path, file: Path) -> list[Pair]:
    """The pairs whose names stand in a text file, one a line, as in Pascal VOC's ImageSets.

    A name is an image's path below `images`, or its last part where no other image has the same; either with or without
    its ending. It is the whole line, or the first word of a line that is no name as a whole.

    Raises:
        ConfigError: if the file cannot be read, or names no image, one that is not there, or one of several.
    """
    by_path: dict[str, list[Pair]] = {}
    by_stem: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_path.setdefault(_bare(pair.image.relative_to(images).as_posix()), []).append(pair)
        by_stem.setdefault(pair.image.stem, []).append(pair)
    lines = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    found = []
    for line in lines:
        names = (_bare(line), _bare(line.split()[0]))
        found.append(next((known[name] for name in names for known in (by_path, by_stem) if name in known), []))
    strange = [line for line, fitting in zip(lines, found, strict=True) if not fitting]
    if strange or not lines:
        first = f", among them {strange[0]!r}" if strange else ""
        raise ConfigError(
            f"{file} must name images of the data set, one a line, and of {len(lines)} names {len(strange)} are not "
            f"there{first}. Name the list of this data set."
        )
    for line, fitting in zip(lines, found, strict=True):
        if len(fitting) > 1:
            several = " and ".join(str(pair.image.relative_to(images)) for pair in fitting[:2])
            raise ConfigError(
                f"{file} must say which image each line means, and {line!r} is the name of {len(fitting)}, such as "
                f"{several}: another one would be learnt from. Write its path below {images}."
            )
    return [pair for (pair,) in found]


def _bare(name: str) -> str:
    """A name without the ending of an image file."""
    ending = Path(name).suffix
    return name.removesuffix(ending) if ending.lower() in ENDINGS else name


def read_pair(pair: Pair, classes: int, ignore: int) -> tuple[Any, Tensor]:
    """An image as Pillow image of mode RGB, and its mask as uint8 [height, width] with 255 where a pixel has no class.

    Args:
        pair: files.
        classes: a mask holds numbers below it, or `ignore`.
        ignore: stands in the file where a pixel has no class.

    Raises:
        Unusable: if one of the two cannot be read, they differ in size, or the mask holds another number.
    """
    if not pair.mask.is_file():
        raise Unusable(f"its mask {pair.mask.name} is missing")
    image = read_rgb(pair.image)
    with opened(pair.mask) as stored:
        if stored.mode not in NUMBERS:
            raise Unusable(
                f"its mask is {stored.mode}, where one number a pixel must be the class; masks in colours must be "
                "converted first"
            )
        if stored.size != image.size:
            raise Unusable(f"it is {_said(image.size)} pixels, and its mask {_said(stored.size)}")
        try:
            numbers = np.array(stored, dtype=np.uint8)
        except Exception as error:
            raise Unusable(f"its mask is damaged ({type(error).__name__})") from error
    wrong = np.unique(numbers[(numbers >= classes) & (numbers != ignore)])
    if len(wrong):
        raise Unusable(f"its mask holds {wrong[:5].tolist()}, where classes are 0 to {classes - 1}, or {ignore}")
    if ignore != VOID:
        numbers[numbers == ignore] = VOID
    return image, torch.from_numpy(numbers)


def as_labels(mask: Tensor) -> Tensor:
    """A mask of numbers with 255 for no class as int64 labels with -100 there, the same shape."""
    labels = mask.long()
    return labels.masked_fill(labels == VOID, UNLABELLED)


def _said(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
