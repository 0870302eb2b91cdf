"""A small generator of images, and what a frozen teacher has to say about them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from knowledge_distillation.accepted import check_whole


class ImageGenerator(nn.Module):
    """Noise -> images: a linear layer and three convolutions, with two upsamplings to the full size.

    Every channel of a batch is brought to a given mean and spread at the end, which is where the teacher's training
    images lie.

    Args:
        channels: of the image.
        size: height and width in pixels, >= 4.
        noise_size: numbers in one noise vector.
        width: channels inside.
        mean: of the teacher's training images, after their normalisation.
        std: their standard deviation, > 0.

    Raises:
        ConfigError: if the size is below 4, or noise_size below 1.

    Reference: Chen et al. (2019), arXiv:1904.01186, whose generator this is a narrower form of; theirs always ends at
        mean 0 and spread 1.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        *,
        noise_size: int = 64,
        width: int = 64,
        mean: float = 0.0,
        std: float = 1.0,
    ) -> None:
        super().__init__()
        check_whole("size", size, 4)
        check_whole("noise_size", noise_size, 1)
        self.noise_size, self.mean, self.std = noise_size, mean, std
        start = size // 4
        self.layers = nn.Sequential(
            nn.Linear(noise_size, width * start**2), nn.Unflatten(1, (width, start, start)), nn.BatchNorm2d(width),
            nn.Upsample(size // 2), nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.LeakyReLU(0.2),
            nn.Upsample(size), nn.Conv2d(width, width // 2, 3, padding=1), nn.BatchNorm2d(width // 2),
            nn.LeakyReLU(0.2), nn.Conv2d(width // 2, channels, 3, padding=1), nn.Tanh(),
            nn.BatchNorm2d(channels, affine=False),
        )  # fmt: skip

    def forward(self, noise: Tensor) -> Tensor:
        """Noise of shape [batch, noise_size] -> images of shape [batch, channels, size, size]."""
        images: Tensor = self.layers(noise)
        return images * self.std + self.mean


class Noise(Dataset[Tensor]):
    """Batches of normal noise, drawn anew every epoch, in place of training data.

    Args:
        steps: batches an epoch.
        batch_size: noise vectors in each, >= 2.
        noise_size: numbers in one vector, >= 1.

    Raises:
        ConfigError: if a number is too small.
    """

    def __init__(self, steps: int, batch_size: int, noise_size: int) -> None:
        self.steps = check_whole("steps_per_epoch", steps, 1)
        self.batch_size = check_whole("batch_size", batch_size, 2)
        self.noise_size = check_whole("noise_size", noise_size, 1)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> Tensor:
        # the index keeps processes apart that draw the same numbers but have different shares of the batches
        seed = (int(torch.randint(2**62, ())) + index) % 2**62
        return torch.randn(self.batch_size, self.noise_size, generator=torch.Generator().manual_seed(seed))


def one_hot_loss(images: Any, logits: Tensor) -> Tensor:
    """Cross-entropy of the teacher with its own highest class: a real image would make it sure.

    Args:
        images: not looked at.
        logits: the teacher's on generated images, shape [batch, classes]. Receives gradient.

    Returns:
        Nats, a scalar >= 0.
    """
    return F.cross_entropy(logits, logits.detach().argmax(dim=-1))


def activation_loss(images: Any, features: Tensor) -> Tensor:
    """Minus the mean size of the teacher's features: a real image would excite its filters.

    Args:
        images: not looked at.
        features: what goes into the teacher's classifier, shape [batch, ...]. Receives gradient.

    Returns:
        A scalar <= 0.
    """
    return -features.abs().mean()


def information_entropy_loss(images: Any, logits: Tensor) -> Tensor:
    """Minus the entropy of the mean answer: a batch should hold every class alike.

    Args:
        images: not looked at.
        logits: the teacher's on generated images, shape [batch, classes]. Receives gradient.

    Returns:
        Nats, a scalar from -log(classes) to 0.
    """
    mean = logits.softmax(dim=-1).mean(dim=0)
    return (mean * mean.clamp(min=torch.finfo(mean.dtype).tiny).log()).sum()
