"""torchvision's detectors by name, on a feature pyramid over any of its ResNets and MobileNets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.domains.vision.images import torchvision_or_error
from knowledge_distillation.domains.vision.named import load_what_fits, weights_in
from knowledge_distillation.errors import ConfigError, nearest

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
MOBILENETS = ("mobilenet_v3_small", "mobilenet_v3_large")
ASPECTS = (0.5, 1.0, 2.0)
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
"""RetinaNet's sizes of anchors on one level."""
GROUPS = 32
"""Of the normalisation in FCOS's heads."""


def faster_rcnn(
    backbone: str = "resnet50",
    *,
    classes: int = 91,
    backbone_weights: bool | str = False,
    width: int = 256,
    head: int = 1024,
    min_size: int = 800,
    max_size: int = 1333,
    anchor: int = 32,
) -> nn.Module:
    """Faster R-CNN (Ren et al. 2015, arXiv:1506.01497) with a feature pyramid, as torchvision builds it.

    With the defaults its weights have the names and shapes of `fasterrcnn_resnet50_fpn`. Levels "fpn.0" to "fpn.3" lie
    at 1/4 to 1/32 of the picture, "fpn.4" is pooled from the last.

    Args:
        backbone: a ResNet or MobileNetV3 of torchvision.
        classes: background included.
        backbone_weights: True downloads torchvision's ImageNet weights; a path names a local safetensors file of the
            classifier. Its batch normalisation is then frozen, as in torchvision.
        width: channels of the pyramid.
        head: width of the box head.
        min_size: to which the shorter side of an image is scaled, in pixels; the same for teacher and student.
        max_size: which the longer side does not exceed.
        anchor: side of the smallest anchors in pixels, doubled from level to level.

    Raises:
        ConfigError: if there is no such backbone, with the nearest names, or a size is below 1.
        CheckpointError: if the file is not the backbone's.
        MissingExtraError: if torchvision is not installed.
    """
    detection = torchvision_or_error("Detectors need").models.detection
    _check_sizes(width=width, head=head, min_size=min_size, max_size=max_size, anchor=anchor)
    body = _pyramid(backbone, backbone_weights, width, finest=1, extra=None)
    sizes = tuple((anchor * 2**level,) for level in range(5))
    return _known(
        detection.FasterRCNN(
            body,
            classes if (classes, head) == (classes, 1024) else None,
            min_size=min_size,
            max_size=max_size,
            rpn_anchor_generator=detection.anchor_utils.AnchorGenerator(sizes, (ASPECTS,) * len(sizes)),
            **({} if head == 1024 else _box_head(detection, width, head, classes)),
        ),
        classes,
    )


def retinanet(
    backbone: str = "resnet50",
    *,
    classes: int = 91,
    backbone_weights: bool | str = False,
    width: int = 256,
    min_size: int = 800,
    max_size: int = 1333,
    anchor: int = 32,
) -> nn.Module:
    """RetinaNet (Lin et al. 2017, arXiv:1708.02002), as torchvision builds it; arguments and errors as `faster_rcnn`.

    With the defaults its weights have the names and shapes of `retinanet_resnet50_fpn`. Levels "fpn.0" to "fpn.4" lie
    at 1/8 to 1/128 of the picture.
    """
    detection = torchvision_or_error("Detectors need").models.detection
    _check_sizes(width=width, min_size=min_size, max_size=max_size, anchor=anchor)
    sizes = tuple(tuple(int(anchor * 2**level * octave) for octave in OCTAVES) for level in range(5))
    anchors = detection.anchor_utils.AnchorGenerator(sizes, (ASPECTS,) * len(sizes))
    body = _one_stage(backbone, backbone_weights, width)
    model = detection.RetinaNet(body, classes, min_size=min_size, max_size=max_size, anchor_generator=anchors)
    return _known(model, classes)


def fcos(
    backbone: str = "resnet50",
    *,
    classes: int = 91,
    backbone_weights: bool | str = False,
    width: int = 256,
    min_size: int = 800,
    max_size: int = 1333,
) -> nn.Module:
    """FCOS (Tian et al. 2019, arXiv:1904.01355), as torchvision builds it; arguments and errors as of `faster_rcnn`.

    It has no anchors. With the defaults its weights have the names and shapes of `fcos_resnet50_fpn`; levels as of
    `retinanet`.
    """
    detection = torchvision_or_error("Detectors need").models.detection
    _check_sizes(width=width, min_size=min_size, max_size=max_size)
    if width % GROUPS:
        raise ConfigError(f"FCOS normalises in {GROUPS} groups of channels: width must be a multiple, got {width}.")
    model = detection.FCOS(_one_stage(backbone, backbone_weights, width), classes, min_size=min_size, max_size=max_size)
    return _known(model, classes)


def _known(model: nn.Module, classes: int) -> nn.Module:
    model.classes = classes  # type: ignore[assignment]  # so that a label beyond them is refused by name
    return model


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        check_whole(name, size)


def _box_head(detection: Any, width: int, head: int, classes: int) -> dict[str, nn.Module]:
    parts = detection.faster_rcnn
    return {
        "box_head": parts.TwoMLPHead(width * 7**2, head),
        "box_predictor": parts.FastRCNNPredictor(head, classes),
    }


def _one_stage(backbone: str, backbone_weights: bool | str, width: int) -> nn.Module:
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    return _pyramid(backbone, backbone_weights, width, finest=2, extra=LastLevelP6P7(width, width))


def _pyramid(
    backbone: str, backbone_weights: bool | str, width: int, *, finest: int, extra: nn.Module | None
) -> nn.Module:
    """A feature pyramid over the stages from `finest` to 4, which lie at 1/4 to 1/32 of the picture."""
    torchvision = torchvision_or_error("Detectors need")
    known = (*RESNETS, *MOBILENETS)
    if backbone not in known:
        raise ConfigError(f"There is no backbone named {backbone!r} for a detector. {nearest(backbone, known)}")
    norm = torchvision.ops.FrozenBatchNorm2d if backbone_weights else nn.BatchNorm2d
    network = torchvision.models.get_model(
        backbone, weights="DEFAULT" if backbone_weights is True else None, norm_layer=norm
    )
    if isinstance(backbone_weights, str):
        load_what_fits(network, weights_in(Path(backbone_weights)), backbone_weights)
    if backbone in RESNETS:
        layers = network
        names = [f"layer{stage}" for stage in range(finest, 5)]
        widths = [network.inplanes // 8 * 2 ** (stage - 1) for stage in range(finest, 5)]
    else:
        layers = network.features
        names = _strided(layers)[finest - 1 :]
        widths = [layers[int(name)].out_channels for name in names]
    build = torchvision.models.detection.backbone_utils.BackboneWithFPN
    pyramid: nn.Module = build(layers, {name: str(place) for place, name in enumerate(names)}, widths, width, extra)
    return pyramid


def _strided(layers: Sequence[Any]) -> list[str]:
    """The layers of a MobileNetV3 behind which the picture is at 1/4, 1/8, 1/16 and 1/32, each the last of its size."""
    strided = [0, *(place for place, layer in enumerate(layers) if getattr(layer, "_is_cn", False)), len(layers) - 1]
    return [str(place) for place in (*strided[1:4], strided[-1])]
