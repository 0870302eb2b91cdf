"""What goes wrong for a user when a named model is not the one of the paper."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from knowledge_distillation.domains.vision.models import (
    CifarResNet,
    ShortcutA,
    digits_cnn,
    image_mlp,
    resnet18,
    resnet20,
    resnet56,
    small_cnn,
)
from knowledge_distillation.errors import ConfigError


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def cifar_resnet_by_hand(n: int, classes: int = 10) -> int:
    """He et al. (2015), section 4.2: 1 + 6n 3 x 3 convolutions of widths 16, 32, 64, each with batch norm, and a
    linear layer; shortcuts without parameters."""

    def convolution(inputs: int, outputs: int) -> int:
        return 9 * inputs * outputs + 2 * outputs

    total, width = convolution(3, 16), 16
    for outputs in (16, 32, 64):
        for _ in range(2 * n):
            total += convolution(width, outputs)
            width = outputs
    return total + 64 * classes + classes


@pytest.mark.parametrize(("make", "n", "count"), [(resnet20, 3, 269_722), (resnet56, 9, 853_018)])
def test_cifar_resnets_have_the_papers_size(make: type[nn.Module], n: int, count: int) -> None:
    """Otherwise it is another network: 1 x 1 convolutions as shortcuts would make it 2,752 parameters larger."""
    assert parameters(make()) == count == cifar_resnet_by_hand(n)
    assert parameters(make(classes=100)) == cifar_resnet_by_hand(n, 100)


@pytest.mark.parametrize("make", [resnet20, resnet56])
def test_the_documentation_of_cifar_resnets_states_their_size(make: type[nn.Module]) -> None:
    """Otherwise the documentation disagrees with table 6 of the paper: 0.27 M and 0.85 M."""
    stated = re.search(r"([\d.]+) M parameters", make.__doc__ or "")
    assert stated is not None
    assert stated.group(1) == f"{parameters(make()) / 1e6:.2f}"


def test_cifar_resnets_halve_the_map_twice_and_double_the_width() -> None:
    """Otherwise feature terms between stages find other shapes than the paper's."""
    model = resnet20().eval()
    shapes = {}
    for name in ("conv1", "layer1", "layer2", "layer3"):
        part = getattr(model, name)
        part.register_forward_hook(lambda _, __, output, name=name: shapes.update({name: tuple(output.shape[1:])}))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert shapes == {"conv1": (16, 32, 32), "layer1": (16, 32, 32), "layer2": (32, 16, 16), "layer3": (64, 8, 8)}
    layers = sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in model.modules())
    assert layers == 20


def test_the_shortcut_keeps_every_second_pixel_and_adds_zeros() -> None:
    """Otherwise it is option B, with parameters that the paper's network does not have."""
    images = torch.arange(2 * 4 * 4.0).reshape(1, 2, 4, 4)
    output = ShortcutA(2)(images)
    assert output.shape == (1, 4, 2, 2)
    assert int(output.count_nonzero()) == int(images[:, :, ::2, ::2].count_nonzero())
    assert torch.equal(output[:, 1:3], images[:, :, ::2, ::2])
    assert parameters(ShortcutA(2)) == 0


@pytest.mark.parametrize("depth", [20, 32, 44, 110])
def test_a_depth_means_so_many_layers(depth: int) -> None:
    """Otherwise ResNet-32 has another depth than its name."""
    model = CifarResNet(depth)
    assert sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in model.modules()) == depth


@pytest.mark.parametrize("depth", [18, 21, 3, 0])
def test_a_depth_that_no_such_network_has_is_refused(depth: int) -> None:
    """Otherwise depth 21 builds depth 20 without a word."""
    with pytest.raises(ConfigError, match="depth"):
        CifarResNet(depth)


def test_small_models_have_the_sizes_that_their_documentation_states() -> None:
    """Otherwise the demo's table and the documentation disagree."""
    by_hand = 9 * 32 + 64 + 9 * 32 * 64 + 128 + 9 * 64 * 64 + 128 + 256 * 10 + 10
    assert parameters(digits_cnn()) == by_hand
    stated = re.search(r"([\d,]+) parameters", digits_cnn.__doc__ or "")
    assert stated is not None
    assert int(stated.group(1).replace(",", "")) == by_hand
    assert parameters(image_mlp()) == 64 * 32 + 32 + 32 * 10 + 10
    assert parameters(small_cnn()) == 9 * 32 + 64 + 9 * 32 * 64 + 128 + 9 * 64 * 64 + 128 + 1024 * 10 + 10


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (digits_cnn(classes=4, channels=2), (3, 2, 8, 8)),
        (small_cnn(classes=4), (3, 1, 28, 28)),
        (image_mlp(classes=4, channels=3, size=5), (3, 3, 5, 5)),
    ],
)
def test_small_models_fit_their_images_and_classes(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Otherwise a recipe with other images fails in the first batch."""
    assert model(torch.zeros(shape)).shape == (3, 4)


def test_torchvisions_resnet_takes_grey_images_and_any_number_of_classes() -> None:
    """Otherwise the MNIST recipe of the original toolkit does not run."""
    torchvision = pytest.importorskip("torchvision")
    model = resnet18(classes=10, channels=1)
    theirs = parameters(torchvision.models.resnet18(weights=None, num_classes=10))
    assert parameters(model) == theirs - 2 * 64 * 7 * 7
    assert model.eval()(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
