"""Corruptions of pictures, with severities from 1 to 5: what a model's quality does when the world gets worse."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from knowledge_distillation.capture.adapters import split_batch
from knowledge_distillation.capture.batches import map_leaves
from knowledge_distillation.errors import ConfigError, nearest

Corruption = Callable[[Tensor, int, torch.Generator], Tensor]
"""(pictures [samples, channels, height, width], severity 1 to 5, generator on the CPU) -> pictures of that shape."""
SEVERITIES = (1, 3, 5)


def gaussian_noise(pictures: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Noise of 0.1, 0.2, 0.35, 0.5 or 0.75 of the pictures' standard deviation, drawn for every pixel."""
    strength = (0.1, 0.2, 0.35, 0.5, 0.75)[severity - 1] * _spread(pictures)
    noise = torch.randn(pictures.shape, generator=generator, dtype=torch.float32)
    return pictures + strength * noise.to(pictures)


def blur(pictures: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Gaussian blur, its sigma 1, 1.5, 2, 3 or 4 percent of the shorter side and at least 0.3 to 1.2 pixels."""
    share, least = ((0.01, 0.3), (0.015, 0.45), (0.02, 0.6), (0.03, 0.9), (0.04, 1.2))[severity - 1]
    sigma = max(share * min(pictures.shape[2:]), least)
    reach = min(math.ceil(3 * sigma), min(pictures.shape[2:]) - 1)
    places = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = torch.exp(-places.square() / (2 * sigma**2))
    weights = (weights / weights.sum()).to(pictures)
    channels = pictures.shape[1]
    padded = functional.pad(pictures, (reach,) * 4, mode="reflect")
    rows = functional.conv2d(padded, weights.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)
    return functional.conv2d(rows, weights.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)


def contrast(pictures: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Each picture drawn towards its own mean, to 0.8, 0.6, 0.45, 0.3 or 0.15 of its contrast."""
    kept = (0.8, 0.6, 0.45, 0.3, 0.15)[severity - 1]
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    return mean + kept * (pictures - mean)


def brightness(pictures: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Every pixel brighter by 0.2, 0.4, 0.6, 0.9 or 1.2 of the pictures' standard deviation."""
    return pictures + (0.2, 0.4, 0.6, 0.9, 1.2)[severity - 1] * _spread(pictures)


def pixelate(pictures: Tensor, severity: int, generator: torch.Generator) -> Tensor:
    """Each side shrunk to 0.75, 0.5, 0.4, 0.3 or 0.2 of its pixels, and blown up again in squares."""
    kept = (0.75, 0.5, 0.4, 0.3, 0.2)[severity - 1]
    small = [max(1, round(kept * side)) for side in pictures.shape[2:]]
    shrunk = functional.interpolate(pictures, size=small, mode="bilinear", antialias=True)
    return functional.interpolate(shrunk, size=pictures.shape[2:], mode="nearest-exact")


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "blur": blur,
    "contrast": contrast,
    "brightness": brightness,
    "pixelate": pixelate,
}


def corruption_table(chosen: Sequence[str | Corruption]) -> dict[str, Corruption]:
    """Name -> corruption, of names and callables.

    Raises:
        ConfigError: if a name is unknown.
    """
    found: dict[str, Corruption] = {}
    for entry in [chosen] if isinstance(chosen, str) else chosen:
        if callable(entry):
            found[getattr(entry, "__name__", type(entry).__name__)] = entry
        elif entry in CORRUPTIONS:
            found[entry] = CORRUPTIONS[entry]
        else:
            raise ConfigError(f"There is no corruption named {entry!r}. {nearest(str(entry), CORRUPTIONS)}")
    return found


class Corrupted:
    """A loader whose pictures are corrupted, in the same way every time it is walked through.

    Args:
        loader: gives batches with pictures, floating [samples, channels, height, width]; all else stays as it is.
        name: seeds the generator together with the severity and the batch's number.
        corruption: applied to every such tensor.
        severity: 1 to 5.

    Raises:
        ConfigError: while walking, if a batch holds no pictures.
    """

    def __init__(self, loader: Iterable[Any], name: str, corruption: Corruption, severity: int) -> None:
        self.loader, self.name, self.corruption, self.severity = loader, name, corruption, severity

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(self.loader):
            seed = zlib.crc32(f"{self.name}:{self.severity}:{number}".encode())
            generator = torch.Generator().manual_seed(seed)
            yield self._corrupted(batch, generator)

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]

    def _corrupted(self, batch: Any, generator: torch.Generator) -> Any:
        found = False
        labels = split_batch(batch)[2]

        def change(leaf: Any) -> Any:
            nonlocal found
            if leaf is labels or not (isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.dim() == 4):
                return leaf
            found = True
            return self.corruption(leaf, self.severity, generator)

        changed = map_leaves(batch, change)
        if not found:
            raise ConfigError(
                f"The corruption {self.name!r} needs pictures, floating [samples, channels, height, width], and a "
                "batch holds none: every model would look robust. Leave out corruptions for this data."
            )
        return changed


def _spread(pictures: Tensor) -> Tensor:
    """Standard deviation of each picture, shape [samples, 1, 1, 1]: corruptions fit any normalisation."""
    return pictures.std(dim=(1, 2, 3), keepdim=True, unbiased=False)
