"""Image files of every kind that a user may have: rendered scenes, and broken ones."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image

MODES = {"grey": "L", "palette": "P", "transparent": "RGBA", "cmyk": "CMYK"}


def coloured(seed: int = 0, size: tuple[int, int] = (12, 10)) -> Image.Image:
    """A picture of width and height `size` whose pixels are random."""
    pixels = torch.randint(0, 256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(pixels.byte().numpy())


def saved(image: Image.Image, file: Path) -> Path:
    """The file of an image, in folders that are made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)
    return file


def damaged(file: Path) -> Path:
    """A JPEG whose second half is missing."""
    saved(coloured(size=(64, 64)), file)
    file.write_bytes(file.read_bytes()[:-600])
    return file
