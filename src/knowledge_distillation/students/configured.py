"""A model by its name in timm, torchvision or Transformers, untrained: nothing is downloaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import nn

from knowledge_distillation.errors import ConfigError, MissingExtraError, nearest

DOWNLOADING = (
    "pretrained", "weights", "weights_backbone", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay",
    "use_pretrained_backbone", "auto_map", "trust_remote_code", "kernel_config",
)  # fmt: skip
CODE = ("attn_implementation", "_attn_implementation", "experts_implementation", "backbone")
"""Where Transformers takes "owner/name" for a repository, whose code or weights it would fetch."""


def from_config(
    library: str,
    model: str,
    *,
    classes: int | None = None,
    channels: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> nn.Module:
    """An untrained model by its name in another library.

    Args:
        library: "timm", "torchvision" or "transformers".
        model: a name that `timm.create_model` or `torchvision.models.get_model` knows, such as "mobilenetv3_small_050";
            or a model class of Transformers, such as "BertForSequenceClassification".
        classes: outputs; None leaves the library's default.
        channels: of the image, for timm only; None leaves its default of 3. The others take it in `settings` where
            they have such a setting.
        settings: further arguments of the model; for Transformers, of its configuration.

    Raises:
        ConfigError: if the library or the model is unknown, a setting would download weights, or one does not fit.
        MissingExtraError: if the library is not installed.
    """
    if library not in LIBRARIES:
        raise ConfigError(f"There is no library {library!r} to take models from. {nearest(library, LIBRARIES)}")
    chosen = dict(settings or {})
    for name, value in _flat(chosen):
        if name in DOWNLOADING or (name in CODE and "/" in str(value)):
            raise ConfigError(
                f"The setting {name!r} would load weights or code from elsewhere, and a model is made untrained here. "
                "Name a safetensors file as the section's weights, or pass a model that you loaded yourself."
            )
    try:
        return LIBRARIES[library](model, classes, channels, chosen)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{library}'s model {model!r} cannot be made with {chosen}: {error}") from error


def _flat(settings: Any) -> Iterator[tuple[str, Any]]:
    """Every name and value of nested settings: a configuration may have others in it."""
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            yield str(name), value
            yield from _flat(value)
    elif isinstance(settings, (list, tuple)):
        for value in settings:
            yield from _flat(value)


def _timm(model: str, classes: int | None, channels: int | None, settings: dict[str, Any]) -> nn.Module:
    timm = _library("timm", "vision")
    if model not in timm.list_models():
        raise ConfigError(f"timm has no model named {model!r}. {nearest(model, timm.list_models())}")
    facts = {"num_classes": classes, "in_chans": channels}
    given = {name: value for name, value in facts.items() if value is not None}
    made: nn.Module = timm.create_model(model, pretrained=False, **{**given, **settings})
    return made


def _torchvision(model: str, classes: int | None, channels: int | None, settings: dict[str, Any]) -> nn.Module:
    models = _library("torchvision", "vision").models
    if model not in models.list_models():
        raise ConfigError(f"torchvision has no model named {model!r}. {nearest(model, models.list_models())}")
    if channels not in (None, 3):
        raise ConfigError(
            f"torchvision's models take images of 3 channels, and the data has {channels}. Take timm's model of the "
            "same kind."
        )
    extra = {"weights_backbone": None} if model in models.list_models(module=models.segmentation) else {}
    given = {} if classes is None else {"num_classes": classes}
    made: nn.Module = models.get_model(model, weights=None, **{**extra, **given, **settings})
    return made


def _transformers(model: str, classes: int | None, channels: int | None, settings: dict[str, Any]) -> nn.Module:
    transformers = _library("transformers", "text")
    # a module of Transformers would be imported by its mere name; classes alone begin with a capital letter
    kind: Any = getattr(transformers, model, None) if model[:1].isupper() else None
    base = transformers.PreTrainedModel
    if not (isinstance(kind, type) and issubclass(kind, base) and getattr(kind, "config_class", None)):
        known = [name for name in dir(transformers) if name.endswith(("Model", "LM", "Classification", "CTC"))]
        raise ConfigError(f"Transformers has no model class {model!r}. {nearest(model, known)}")
    given = {"num_labels": classes} if classes is not None and "Classification" in model else {}
    configuration = kind.config_class(**{**given, **settings})  # type: ignore[attr-defined]
    made: nn.Module = kind(configuration)
    return made


LIBRARIES: Mapping[str, Callable[[str, int | None, int | None, dict[str, Any]], nn.Module]] = {
    "timm": _timm,
    "torchvision": _torchvision,
    "transformers": _transformers,
}


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(
            f"Models of {name} need it: pip install 'knowledge-distillation-toolkit[{extra}]'"
        ) from error
