"""Image files: read as RGB whatever their mode, and looked through before training, so that damaged ones are known."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from knowledge_distillation.errors import ConfigError, MissingExtraError

logger = logging.getLogger(__name__)
T = TypeVar("T")
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
CONVERTED = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "P": "palette",
    "PA": "palette with transparency",
    "RGBA": "transparency, which is dropped",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
}
"""Modes of Pillow that become RGB, in words. Others, such as 16 bits a channel, would lose what they hold."""
THREADS = 8
SHOWN = 10
"""Files named in the warning; all are named at level INFO."""
IN_A_ROW = 10
"""Files that may fail one after the other in training before it stops."""


class Unusable(Exception):
    """A file that nothing can be learnt from; the text says why."""


def torchvision_or_error(what: str) -> Any:
    """torchvision; a MissingExtraError says that `what` needs it."""
    try:
        import torchvision
    except ImportError as error:
        raise MissingExtraError(f"{what} torchvision: pip install 'knowledge-distillation-toolkit[vision]'") from error
    return torchvision


def opened(file: Path) -> Any:
    """The header of an image file as a Pillow image that is not decoded yet.

    Raises:
        Unusable: if it is missing, no image, too large, or of a mode that cannot become RGB.
    """
    from PIL import Image

    try:
        image = Image.open(file)
    except Exception as error:  # a file from anywhere fails in as many ways as there are decoders
        raise Unusable("missing" if not file.is_file() else f"no readable image ({type(error).__name__})") from error
    if image.mode != "RGB" and image.mode not in CONVERTED:
        mode = image.mode
        image.close()
        raise Unusable(f"mode {mode}, which does not fit into 8 bits a channel")
    return image


def read_rgb(file: Path) -> Any:
    """An image file, decoded, as a Pillow image of mode RGB; raises `Unusable` as `opened`, or if it is damaged."""
    with opened(file) as image:
        try:
            if image.mode in ("P", "PA") and "transparency" in image.info:
                image = image.convert("RGBA")
            return image.convert("RGB")
        except Exception as error:
            raise Unusable(f"damaged ({type(error).__name__}: {error})") from error


def mode_of(file: Path, *, decode: bool) -> str:
    """The mode in which an image is stored; raises `Unusable` as `opened`, or as `read_rgb` if it is to be decoded."""
    with opened(file) as image:
        mode: str = image.mode
    if decode:
        read_rgb(file)
    return mode


def usable(count: int, look: Callable[[int], str], named: Callable[[int], Path], name: str) -> list[int]:
    """Which samples can be learnt from, in order. What is left out is counted and listed in the log.

    Args:
        count: samples.
        look: number -> the mode of its image; raises `Unusable`. Called from several threads.
        named: number -> its file, for the log.
        name: of the split, for the log.

    Raises:
        ConfigError: if none is usable, or fewer than are left out: then the data is read in a wrong way.
    """

    def tried(number: int) -> str | Unusable:
        try:
            return look(number)
        except Unusable as reason:
            return reason

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(tried, range(count)))
    kept = [number for number, said in enumerate(found) if isinstance(said, str)]
    out = [(named(number), said) for number, said in enumerate(found) if isinstance(said, Unusable)]
    if len(kept) < len(out) or not kept:
        first = f": the first is {out[0][0]}: {out[0][1]}" if out else ""
        raise ConfigError(
            f"{name} must hold usable images, and {len(out)} of its {count} are none{first}. Look at the list in the "
            "log, and at the settings of the data."
        )
    modes = Counter(said for said in found if isinstance(said, str) and said != "RGB")
    if modes:
        told = ", ".join(f"{number} {CONVERTED[mode]}" for mode, number in modes.most_common())
        logger.warning("%s: of %d images %s; all are read as RGB.", name, count, told)
    if out:
        shown = "".join(f"\n  {file}: {reason}" for file, reason in out[:SHOWN])
        more = f"\n  and {len(out) - SHOWN} more, listed at level INFO" if len(out) > SHOWN else ""
        logger.warning("%s: %d of %d images are left out.%s%s", name, len(out), count, shown, more)
        for file, reason in out[SHOWN:]:
            logger.info("%s: left out %s: %s", name, file, reason)
    return kept


class Standing:
    """Reads samples; one that turns out damaged while training is replaced by the next, and named once in the log.

    Args:
        read: number -> the sample; raises `Unusable`.
        named: number -> its file.
        count: samples.
    """

    def __init__(self, read: Callable[[int], T], named: Callable[[int], Path], count: int) -> None:
        self.read: Callable[[int], Any] = read
        self.named, self.count = named, count
        self.told: set[int] = set()

    def __call__(self, number: int) -> Any:
        """The sample of this number, or of the next that can be read.

        Raises:
            IndexError: if there is no such number.
            ConfigError: if ten in a row cannot.
        """
        if not -self.count <= number < self.count:
            raise IndexError(number)
        for step in range(min(IN_A_ROW, self.count)):
            place = (number + step) % self.count
            try:
                return self.read(place)
            except Unusable as reason:
                if place not in self.told:
                    self.told.add(place)
                    logger.warning("%s is left out, and the next image stands in: %s", self.named(place), reason)
        raise ConfigError(
            f"{IN_A_ROW} images in a row cannot be read, the first of them {self.named(number % self.count)}. Has the "
            "folder moved? Look at the list in the log."
        )


def files_in(folder: Path, what: str) -> list[Path]:
    """The image files below a folder, in the order of their names; folders whose name begins with a dot are skipped.

    Raises:
        ConfigError: if there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {folder} with {what}. Name another one.")
    found = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in ENDINGS
        and not any(part.startswith(".") for part in file.relative_to(folder).parts[:-1])
        and file.is_file()
    )
    if not found:
        raise ConfigError(f"{folder} must hold {what}, files that end in one of {', '.join(ENDINGS)}; it holds none.")
    return found


def check_normalisation(mean: Sequence[float], std: Sequence[float]) -> None:
    """Raise ConfigError unless there are three means, and three deviations above 0."""
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ConfigError(f"mean and std must be 3 numbers each, std above 0, got {list(mean)} and {list(std)}.")
