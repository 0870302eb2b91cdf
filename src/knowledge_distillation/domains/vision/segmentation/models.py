"""torchvision's segmentation models by name, on any of its ResNets and MobileNets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from knowledge_distillation.domains.vision.images import torchvision_or_error
from knowledge_distillation.domains.vision.named import load_what_fits, weights_in
from knowledge_distillation.errors import ConfigError, nearest

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
DILATED = ("resnet50", "resnet101", "resnet152")
"""Of torchvision's ResNets, those whose last stages can keep their resolution."""
MOBILENETS = ("mobilenet_v3_small", "mobilenet_v3_large")


def fcn(
    backbone: str = "resnet50", *, classes: int = 21, backbone_weights: bool | str = False, aux_loss: bool = False
) -> nn.Module:
    """Fully convolutional network (Long, Shelhamer, Darrell 2015) as torchvision builds it.

    Args:
        backbone: a ResNet or MobileNetV3 of torchvision. Of the larger ResNets and MobileNets the last stages are
            dilated, as in torchvision; resnet18 and resnet34 answer at 1/32 of the resolution before scaling up.
        classes: background included.
        backbone_weights: True downloads torchvision's ImageNet weights; a path names a local safetensors file of the
            classifier.
        aux_loss: whether a second head answers from the stage before, as the feature "aux".

    Raises:
        ConfigError: if there is no such backbone, with the nearest names.
        CheckpointError: if the file is not the backbone's.
        MissingExtraError: if torchvision is not installed.
    """
    return _two_headed("FCN", backbone, classes, backbone_weights, aux_loss)


def deeplabv3(
    backbone: str = "resnet50", *, classes: int = 21, backbone_weights: bool | str = False, aux_loss: bool = False
) -> nn.Module:
    """DeepLabV3 (Chen et al. 2017, arXiv:1706.05587) as torchvision builds it; arguments and errors as of `fcn`.

    Its batch normalisation over the pooled image needs at least two samples a training batch.
    """
    return _two_headed("DeepLabV3", backbone, classes, backbone_weights, aux_loss)


def lraspp(
    backbone: str = "mobilenet_v3_large",
    *,
    classes: int = 21,
    backbone_weights: bool | str = False,
    width: int = 128,
) -> nn.Module:
    """Lite R-ASPP (Howard et al. 2019, arXiv:1905.02244) as torchvision builds it; errors as of `fcn`.

    Args:
        backbone: "mobilenet_v3_large" or "mobilenet_v3_small".
        classes: background included.
        backbone_weights: as of `fcn`.
        width: channels between backbone and classifier.
    """
    segmentation = torchvision_or_error("Segmentation models need").models.segmentation
    _check_backbone(backbone, MOBILENETS)
    layers, channels_of, (low, high) = _mobilenet(backbone, backbone_weights)
    body = _getter(layers, {low: "low", high: "high"})
    model: nn.Module = segmentation.LRASPP(body, channels_of[low], channels_of[high], classes, width)
    return model


def _two_headed(kind: str, backbone: str, classes: int, backbone_weights: bool | str, aux_loss: bool) -> nn.Module:
    segmentation = torchvision_or_error("Segmentation models need").models.segmentation
    _check_backbone(backbone, (*RESNETS, *MOBILENETS))
    if backbone in RESNETS:
        layers = _trained(backbone, backbone_weights, **_dilation(backbone))
        before, last = "layer3", "layer4"
        widths = {before: layers.fc.in_features // 2, last: layers.fc.in_features}
    else:
        layers, widths, (before, last) = _mobilenet(backbone, backbone_weights)
    body = _getter(layers, {last: "out", **({before: "aux"} if aux_loss else {})})
    head = segmentation.fcn.FCNHead if kind == "FCN" else segmentation.deeplabv3.DeepLabHead
    aux = segmentation.fcn.FCNHead(widths[before], classes) if aux_loss else None
    model: nn.Module = getattr(segmentation, kind)(body, head(widths[last], classes), aux)
    return model


def _check_backbone(backbone: str, known: tuple[str, ...]) -> None:
    if backbone not in known:
        raise ConfigError(f"There is no backbone named {backbone!r} for this model. {nearest(backbone, known)}")


def _dilation(backbone: str) -> dict[str, Any]:
    return {"replace_stride_with_dilation": [False, True, True]} if backbone in DILATED else {}


def _trained(backbone: str, backbone_weights: bool | str, **settings: Any) -> Any:
    """A classifier of torchvision to take the layers of, with weights if asked for."""
    models = torchvision_or_error("Segmentation models need").models
    network = models.get_model(backbone, weights="DEFAULT" if backbone_weights is True else None, **settings)
    if isinstance(backbone_weights, str):
        load_what_fits(network, weights_in(Path(backbone_weights)), backbone_weights)
    return network


def _mobilenet(backbone: str, backbone_weights: bool | str) -> tuple[Any, dict[str, int], tuple[str, str]]:
    """Layers, channels of the two that are read, and their names: at 1/8 of the resolution, and the last."""
    layers = _trained(backbone, backbone_weights, dilated=True).features
    strided = [0, *(place for place, layer in enumerate(layers) if getattr(layer, "_is_cn", False)), len(layers) - 1]
    low, high = strided[-4], strided[-1]
    return layers, {str(place): layers[place].out_channels for place in (low, high)}, (str(low), str(high))


def _getter(layers: nn.Module, names: dict[str, str]) -> nn.Module:
    from torchvision.models._utils import IntermediateLayerGetter

    getter: nn.Module = IntermediateLayerGetter(layers, return_layers=names)
    return getter
