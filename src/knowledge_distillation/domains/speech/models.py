"""CTC models with their weights, by local folder or hub id, whole or with fewer transformer layers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from knowledge_distillation.domains.pretrained import load_pretrained
from knowledge_distillation.domains.speech.characters import load_characters
from knowledge_distillation.errors import CheckpointError, ConfigError
from knowledge_distillation.students import keep_layers, kept_indices
from knowledge_distillation.training.weights import load_weights

logger = logging.getLogger(__name__)


def ctc(
    path: str,
    *,
    layers: int | None = None,
    rule: str | Sequence[int] = "every_k",
    previous: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    spec_augment: bool = False,
    layerdrop: float = 0.0,
    characters: int = 0,
    blank: int = 0,
    characters_mark: int = 0,
) -> nn.Module:
    """A CTC model with its weights, as Transformers' AutoModelForCTC loads it: wav2vec 2.0, HuBERT, WavLM or alike.

    With fewer layers everything outside them is copied as well: convolutions, positions, norms and the CTC head. No
    code of a repository is run, and weights are read from safetensors only.

    Args:
        path: a local folder, or an id of the Hugging Face hub.
        layers: transformer layers to keep; None keeps all.
        rule: which; see `students.kept_indices`: "first_k", "last_k", "every_k", "spread", or their numbers.
        previous: directory of an earlier run, or its student.safetensors: the layers are taken from that student, made
            of the same model, and not from the model itself. So a student becomes smaller in steps.
        dtype: of the weights.
        spec_augment: hide parts of what is heard in training, as the configuration says. The original does not.
        layerdrop: share of layers left out at random in training, 0 to 1.
        characters: of the data; the head must be at least as wide. Hugging Face's own script makes it two wider than
            vocab.json. 0 looks at nothing.
        blank: the data's id of the blank.
        characters_mark: of the data's characters. 0 looks at nothing.

    Raises:
        ConfigError: if there is no such model, the data does not fit it, or the layers do not.
        CheckpointError: if `previous` holds no student made of this model.
        MissingExtraError: if Transformers is not installed.
    """
    settings = {"dtype": getattr(torch, dtype), "apply_spec_augment": spec_augment, "layerdrop": layerdrop}
    model, loading = load_pretrained(
        "AutoModelForCTC", path, "CTC model", extra="speech", output_loading_info=True, **settings
    )
    absent = sorted(name for name in loading["missing_keys"] if name.startswith("lm_head"))
    if absent and previous is None:
        logger.warning("%r has no CTC head: %s are random, and it hears nothing before it is trained.", path, absent)
    if getattr(model.config, "feat_extract_norm", "") == "group":
        logger.warning(
            "The model %r has feat_extract_norm 'group', a norm over a recording and its padding: in a batch its "
            "answers depend on the longest recording. Set data.batch_size to 1 where they must not; data.alike leaves "
            "less padding, but some.",
            path,
        )
    if characters:
        _check_fits(model, path, characters, blank, characters_mark)
    stack = f"{model.base_model_prefix}.encoder.layers"
    found: nn.Module = model if previous is None else earlier_student(model, stack, Path(previous))
    if layers is None:
        return found
    check_first_kept(found, stack, kept_indices(len(found.get_submodule(stack)), layers, rule))  # type: ignore[arg-type]
    return keep_layers(found, layers, rule, stack=stack)


def earlier_student(model: nn.Module, stack: str, previous: Path) -> nn.Module:
    """The student of an earlier run, of as many layers as its file has.

    Args:
        model: what it was made of; changed.
        stack: path of its layers.
        previous: the run's directory, or its student.safetensors.

    Raises:
        CheckpointError: if there is no such file, or it holds more layers than the model has, or none.
    """
    file = previous / "student.safetensors" if previous.is_dir() else previous
    try:
        with safe_open(str(file), framework="pt") as weights:
            names = [name for name in weights.keys() if name.startswith(f"{stack}.")]  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{file} must hold the weights of an earlier student, and cannot be read: {error}. Name the directory of a "
            "finished run."
        ) from error
    count = len({name.removeprefix(f"{stack}.").partition(".")[0] for name in names})
    total = len(model.get_submodule(stack))  # type: ignore[arg-type]
    if not 1 <= count <= total:
        raise CheckpointError(
            f"{file} must hold a student made of this model, with 1 to {total} layers under {stack!r}; it has {count}. "
            "Name the model that it was made of."
        )
    student = model if count == total else keep_layers(model, count, "first_k", stack=stack)
    load_weights(student, file)
    return student


def check_first_kept(model: nn.Module, stack: str, kept: Sequence[int]) -> None:
    """Raise ConfigError if a first layer is left out that holds what the others need, as WavLM's holds all positions.

    Args:
        model: whole.
        stack: path of its layers.
        kept: numbers of the layers that are kept.
    """
    first, *others = ({name for name, _ in layer.named_parameters()} for layer in model.get_submodule(stack).children())
    alone = sorted(first - set().union(*others)) if others else []
    if alone and kept[0] != 0:
        raise ConfigError(
            f"The first layer must be kept: it alone holds {alone}, by which all layers compute; layers {list(kept)} "
            "leave it out. Take 'first_k', 'every_k' or 'spread'."
        )


def _check_fits(model: Any, path: str, characters: int, blank: int, mark: int) -> None:
    config = model.config
    if config.vocab_size < characters:
        raise ConfigError(
            f"The head of the model {path!r} must tell the data's {characters} characters apart, and tells "
            f"{config.vocab_size}: some letters have no place in it. Set data.characters to this model's folder or hub "
            "id."
        )
    if config.pad_token_id != blank:
        raise ConfigError(
            f"The model {path!r} must have the data's blank, {blank}, as its pad_token_id, and has "
            f"{config.pad_token_id}: where it says nothing, a letter would be read. Set data.characters to this "
            "model's folder or hub id, or pad_token_id in its config.json to the blank of its vocab.json."
        )
    if mark and Path(path, "vocab.json").is_file() and load_characters(path).mark != mark:
        raise ConfigError(
            f"The data's characters must be those in {path}/vocab.json, and are others: the same ids mean other "
            "letters to this model. Set data.characters to its folder."
        )
