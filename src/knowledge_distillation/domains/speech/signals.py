"""CTC models of Transformers as signals: logits in each frame, which frames are a recording, and their own losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowledge_distillation.capture import tap
from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.capture.paths import unwrap
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.signals import Signals


def ctc_student(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """What a CTC student says: logits [samples, frames, characters], a mask of frames, and two losses of its own.

    "features_pen" is the mean of the squared output of the convolutions over counted frames, the original toolkit's
    penalty. "student_loss" is CTC in nats a character: the sum over the batch divided by its characters, as fairseq
    counts; it is infinite where a text is longer than its frames allow. Without labels there is none.

    Args:
        model: Wav2Vec2ForCTC, HubertForCTC, WavLMForCTC or alike, in any wrapper.
        batch: a mapping with "input_values" [samples, length]; with padding also "attention_mask" of the same shape;
            and "labels" [samples, characters], -100 behind each text. Padding frames count nowhere.
        temperature: accepted for the adapter's signature; not used.

    Raises:
        ModelContractError: if the batch or the model has another form.
    """
    bare: Any = unwrap(model)
    with tap(model, [f"{_prefix(bare)}feature_extractor"]) as taps:
        said, frames = _said(model, batch)
    (features,) = taps.take().values()
    own = {"features_pen": features_penalty(features, frames)}
    labels = batch.get("labels")
    if labels is not None:
        own["student_loss"] = ctc_loss(said.logits, labels, frames, blank=bare.config.pad_token_id)
    return replace(said, loss_terms=own)


def ctc_teacher(model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
    """What a CTC teacher says: logits [samples, frames, characters] and the mask of frames; see `ctc_student`."""
    return _said(model, batch)[0]


def features_penalty(features: Tensor, frames: Tensor) -> Tensor:
    """Mean of squared convolutional features [samples, channels, frames] over the first `frames` [samples] of each."""
    counted = _mask(frames, features.shape[2]).unsqueeze(1)
    squares = torch.where(counted, features.float().square(), 0.0)
    return squares.sum() / (counted.sum() * features.shape[1]).clamp(min=1)


def ctc_loss(logits: Tensor, labels: Tensor, frames: Tensor, *, blank: int) -> Tensor:
    """CTC of a batch, in nats a character.

    Args:
        logits: [samples, frames, characters]. Receives gradient.
        labels: ids, [samples, characters], -100 behind each text.
        frames: how many count in each sample, [samples].
        blank: id of the blank.

    Reference: Graves, Fernandez, Gomez, Schmidhuber (2006), Connectionist Temporal Classification.
    """
    counted = labels != IGNORED
    lengths = counted.sum(dim=1)
    log_probs = logits.float().log_softmax(dim=-1).transpose(0, 1)  # [frames, samples, characters]
    total = F.ctc_loss(log_probs, labels[counted], frames, lengths, blank=blank, reduction="sum")
    return total / lengths.sum().clamp(min=1)


def frames_of(config: Any, lengths: Tensor) -> Tensor:
    """How many frames a model of this configuration makes of so many samples, int64 of the same shape.

    Raises:
        ModelContractError: if the configuration names no convolutions.
    """
    try:
        convolutions = [*zip(config.conv_kernel, config.conv_stride, strict=True)]
    except AttributeError as error:
        raise ModelContractError(
            f"A CTC model must say by config.conv_kernel and conv_stride how many frames it makes, and "
            f"{type(config).__name__} does not: padding could not be told from speech. Pass an adapter of your own."
        ) from error
    if getattr(config, "add_adapter", False):
        convolutions += [(1, config.adapter_stride)] * config.num_adapter_layers
    for kernel, stride in convolutions:
        lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
    return lengths


def _said(model: nn.Module, batch: Any) -> tuple[Signals, Tensor]:
    """The signals without losses, and how many frames count in each sample."""
    if not isinstance(batch, Mapping) or not isinstance(batch.get("input_values"), Tensor):
        found = sorted(map(str, batch)) if isinstance(batch, Mapping) else type(batch).__name__
        raise ModelContractError(
            f"A batch of speech must be a mapping with 'input_values' [samples, length], got {found}. Use the data "
            "sets 'librispeech' or 'speech_manifest', or their collate function."
        )
    inputs = {name: batch[name] for name in ("input_values", "attention_mask") if name in batch}
    logits = model(**inputs).logits
    values, mask = inputs["input_values"], inputs.get("attention_mask")
    lengths = (
        mask.sum(dim=1) if mask is not None else torch.full(values.shape[:1], values.shape[1], device=values.device)
    )
    frames = frames_of(unwrap(model).config, lengths)
    return Signals(logits=logits, mask=_mask(frames, logits.shape[1])), frames


def _mask(frames: Tensor, total: int) -> Tensor:
    return torch.arange(total, device=frames.device) < frames.unsqueeze(1)


def _prefix(model: Any) -> str:
    prefix = getattr(model, "base_model_prefix", "")
    return f"{prefix}." if prefix and hasattr(model, prefix) else ""
