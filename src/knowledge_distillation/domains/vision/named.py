"""Every classifier of torchvision and timm by its own name."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from knowledge_distillation.domains.vision.images import torchvision_or_error
from knowledge_distillation.errors import CheckpointError, ConfigError, nearest
from knowledge_distillation.students.configured import from_config

logger = logging.getLogger(__name__)


def timm_model(
    model: str,
    *,
    pretrained: bool | str = False,
    classes: int = 1000,
    channels: int = 3,
    size: int | None = None,
) -> nn.Module:
    """A model of timm by its name there, such as "vit_tiny_patch16_224" or "resnet18.a1_in1k".

    Args:
        model: its name.
        pretrained: True downloads timm's weights; a path names a local file (safetensors, or a state dict that is read
            without running code). A classifier for another number of classes, and a first layer for other channels,
            are then fitted as timm does.
        classes: outputs.
        channels: of the image.
        size: height and width of the image in pixels, for models whose positions are made for one size; others ignore
            it.

    Raises:
        ConfigError: if timm has no such model, with the nearest names; or it cannot be built so.
        CheckpointError: if the file is not this model's.
        MissingExtraError: if timm is not installed.
    """
    for sized in ({"img_size": size}, {}) if size is not None else ({},):
        try:
            built = from_config("timm", model.partition(".")[0], classes=classes, channels=channels, settings=sized)
            break
        except ConfigError as error:
            if "'img_size'" not in str(error) or not sized:
                raise
    if not pretrained:
        return built
    import timm

    if isinstance(pretrained, str):
        _check_names(Path(pretrained), built, model)
    settings: dict[str, Any] = {**sized, "num_classes": classes, "in_chans": channels}
    if isinstance(pretrained, str):
        settings["pretrained_cfg_overlay"] = {"file": pretrained}
    try:
        trained: nn.Module = timm.create_model(model, pretrained=True, **settings)
    except RuntimeError as error:
        raise CheckpointError(f"{pretrained} holds no weights of timm's {model}: {str(error)[:500]}") from error
    return trained


def _check_names(file: Path, built: nn.Module, model: str) -> None:
    """Raise CheckpointError for a file that holds too little of a model: timm would load nothing, without a word."""
    import timm

    if not file.is_file():
        raise CheckpointError(f"There is no file {file} with weights for {model}. Name another `pretrained`.")
    try:
        given = timm.models.load_state_dict(str(file))
    except Exception as error:  # it fails in as many ways as there are files
        raise CheckpointError(f"{file} cannot be read as weights for {model}: {error}.") from error
    own = built.state_dict()
    _check_share(len(set(own) & set(given)), len(own), str(file), model)


def _check_share(found: int, wanted: int, source: str, model: str) -> None:
    if found < wanted / 2:
        raise CheckpointError(
            f"{source} must hold the weights of {model}, and of its {wanted} tensors it holds {found}: the others "
            "would be random. Name the model that they are of."
        )


def torchvision_model(
    model: str, *, pretrained: bool | str = False, classes: int = 1000, channels: int = 3
) -> nn.Module:
    """A classifier of torchvision by its name there, such as "mobilenet_v3_small" or "convnext_tiny".

    Args:
        model: its name.
        pretrained: True downloads torchvision's default weights; a path names a local safetensors file. What has
            another shape, as a classifier for other classes, stays untrained and is named in the log.
        classes: outputs.
        channels: of the image; other than 3 replaces the first convolution by an untrained one.

    Raises:
        ConfigError: if torchvision has no such classifier, with the nearest names.
        CheckpointError: if the file holds too little of this model.
        MissingExtraError: if torchvision is not installed.
    """
    models = torchvision_or_error("Models of torchvision need").models
    known = models.list_models(module=models)
    if model not in known:
        raise ConfigError(f"torchvision has no classifier named {model!r}. {nearest(model, known)}")
    built = from_config("torchvision", model, classes=classes)
    if channels != 3:
        _replace_first_convolution(built, channels)
    if pretrained is True:
        load_what_fits(built, models.get_model_weights(model).DEFAULT.get_state_dict(progress=False), model)
    elif pretrained:
        load_what_fits(built, weights_in(Path(pretrained)), pretrained)
    return built


def weights_in(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name; a CheckpointError if there is none."""
    try:
        return load_file(str(file))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} must be a safetensors file of weights, and cannot be read: {error}.") from error


def load_what_fits(model: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Fill a model in place with the weights whose name and shape are its own; the log names what stays untrained.

    Raises:
        CheckpointError: if that is less than half of the model's tensors: the file is of another model.
    """
    own = model.state_dict()
    fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    left = [name for name in own if name not in fitting and not name.endswith("num_batches_tracked")]
    _check_share(len(fitting), len(own), source, type(model).__name__)
    model.load_state_dict(fitting, strict=False)
    if left:
        logger.warning("%s: untrained stay %s.", source, ", ".join(left))


def _replace_first_convolution(model: nn.Module, channels: int) -> None:
    path, first = next((path, module) for path, module in model.named_modules() if isinstance(module, nn.Conv2d))
    kept = ("out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
    replaced = nn.Conv2d(channels, **{name: getattr(first, name) for name in kept}, bias=first.bias is not None)
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, replaced)
