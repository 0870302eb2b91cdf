"""Image models by name: small ones, one with several exits, the CIFAR ResNets, and torchvision's ResNets."""

from __future__ import annotations

from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, MissingExtraError


def digits_cnn(classes: int = 10, channels: int = 1) -> nn.Module:
    """A CNN of 58,474 parameters for 8 x 8 images."""
    return nn.Sequential(
        *_block(channels, 32), *_block(32, 64), nn.MaxPool2d(2), *_block(64, 64),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, classes),
    )  # fmt: skip


def digits_exits(classes: int = 10, channels: int = 1, width: int = 16) -> nn.Module:
    """A CNN for 8 x 8 images with a classifier behind each of its three stages: "exit1", "exit2" and the last."""
    _check_size("width", width)
    return ExitCNN(classes, channels, width)


def small_cnn(classes: int = 10, channels: int = 1, width: int = 32) -> nn.Module:
    """A CNN for 28 x 28 images, about 0.1 M parameters at the default width."""
    _check_size("width", width)
    return nn.Sequential(
        *_block(channels, width), nn.MaxPool2d(2), *_block(width, 2 * width), nn.MaxPool2d(2),
        *_block(2 * width, 2 * width),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * width, classes),
    )  # fmt: skip


def image_mlp(classes: int = 10, channels: int = 1, size: int = 8, hidden: int = 32) -> nn.Module:
    """One hidden layer over the flattened image."""
    _check_size("hidden", hidden)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, hidden), nn.ReLU(), nn.Linear(hidden, classes))


def _check_size(name: str, size: int) -> None:
    """Raise ConfigError for a layer of nothing, which torch builds with a warning."""
    if size < 1:
        raise ConfigError(f"{name} must be at least 1, got {size!r}: nothing would get through that layer.")


class ExitCNN(nn.Module):
    """Three convolutional stages, each with a classifier of its own.

    It returns {"logits", "exit1", "exit2"}, each of shape [batch, classes]: a user in a hurry reads the first exit. The
    exits are modules named "exit1" and "exit2", so that terms can name them.

    Args:
        classes: outputs of every classifier.
        channels: of the image.
        width: channels of the first stage; the second has twice as many, the third four times.
    """

    def __init__(self, classes: int, channels: int, width: int) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(*_block(channels, width))
        self.stage2 = nn.Sequential(*_block(width, 2 * width), nn.MaxPool2d(2))
        self.stage3 = nn.Sequential(*_block(2 * width, 4 * width))
        self.exit1 = _classifier(width, classes)
        self.exit2 = _classifier(2 * width, classes)
        self.head = _classifier(4 * width, classes)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        first = self.stage1(images)
        second = self.stage2(first)
        return {"logits": self.head(self.stage3(second)), "exit1": self.exit1(first), "exit2": self.exit2(second)}


def _classifier(inputs: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * inputs, classes))


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


class ShortcutA(nn.Module):
    """He et al.'s parameter-free shortcut: every second pixel, and zeros for the new channels."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.before = new_channels // 2
        self.after = new_channels - self.before

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.pad(images[:, :, ::2, ::2], (0, 0, 0, 0, self.before, self.after))


class CifarBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()
        self.shortcut: nn.Module = nn.Identity() if stride == 1 else ShortcutA(outputs - inputs)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.act1(self.bn1(self.conv1(images)))
        output: Tensor = self.act2(self.bn2(self.conv2(hidden)) + self.shortcut(images))
        return output


class CifarResNet(nn.Module):
    """The ResNet of He et al. (2015, section 4.2) for 32 x 32 images: 6n + 2 layers, shortcuts of option A.

    Args:
        depth: 6n + 2 with n >= 1, such as 20, 32, 44, 56 or 110.
        classes: outputs.
        channels: of the image.

    Raises:
        ConfigError: if no such network has this depth.
    """

    def __init__(self, depth: int, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if blocks < 1 or rest:
            raise ConfigError(f"depth must be 6n + 2 with n >= 1, such as 20, 32, 44, 56 or 110; got {depth}.")
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.act1 = nn.ReLU()
        self.layer1 = self._stage(16, 16, blocks, stride=1)
        self.layer2 = self._stage(16, 32, blocks, stride=2)
        self.layer3 = self._stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
        first = CifarBlock(inputs, outputs, stride)
        return nn.Sequential(first, *(CifarBlock(outputs, outputs, 1) for _ in range(blocks - 1)))

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.act1(self.bn1(self.conv1(images)))
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        scores: Tensor = self.linear(hidden.mean(dim=(2, 3)))
        return scores


def resnet20(classes: int = 10, channels: int = 3) -> nn.Module:
    """CIFAR ResNet-20, 0.27 M parameters."""
    return CifarResNet(20, classes, channels)


def resnet56(classes: int = 10, channels: int = 3) -> nn.Module:
    """CIFAR ResNet-56, 0.85 M parameters."""
    return CifarResNet(56, classes, channels)


def resnet18(classes: int = 10, channels: int = 3) -> nn.Module:
    """torchvision's ResNet-18, untrained, 11 M parameters, for any number of channels."""
    return _torchvision_resnet("resnet18", classes, channels)


def resnet34(classes: int = 10, channels: int = 3) -> nn.Module:
    """torchvision's ResNet-34, untrained, 21 M parameters, for any number of channels."""
    return _torchvision_resnet("resnet34", classes, channels)


def _torchvision_resnet(name: str, classes: int, channels: int) -> nn.Module:
    try:
        from torchvision import models
    except ImportError as error:
        raise MissingExtraError(
            f"{name} needs torchvision: pip install 'knowledge-distillation-toolkit[vision]'"
        ) from error
    model: nn.Module = getattr(models, name)(weights=None, num_classes=classes)
    if channels != 3:
        model.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return model
