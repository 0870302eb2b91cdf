"""CTC models as signals: logits in each frame, which frames are a recording, and two losses of the student's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowledge_distillation.capture import tap
from knowledge_distillation.capture.adapters import IGNORED, Adapter
from knowledge_distillation.capture.adapters.auto import call, read_output
from knowledge_distillation.capture.paths import unwrap
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.signals import EMPTY, Signals

CONVOLUTIONS = "feature_extractor"
"""Name of the module whose output is penalised, in wav2vec 2.0, HuBERT and WavLM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CTCSignals:
    """How CTC models of one kind are called on batches of speech; frames of padding count nowhere.

    Whether padding changes what is said of the recording is the model's: it does where `feat_extract_norm` is "group",
    as in wav2vec2-base and hubert-base, whose first norm is over the whole length.

    A batch is a mapping with "input_values" [samples, length]; with padding also "attention_mask" of the same shape;
    and "labels" [samples, characters], -100 behind each text.

    Attributes:
        blank: id of CTC's blank.
        window: samples that the models' first frame takes.
        hop: samples from one frame to the next.
    """

    blank: int = 0
    window: int = 400
    hop: int = 320

    @property
    def adapters(self) -> tuple[Adapter, Adapter]:
        """The student's and the teacher's, for `distill(adapter=...)`."""
        return self.student, self.teacher

    def student(self, model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
        """What a student says: logits [samples, frames, characters], a mask of frames, and losses of its own.

        "features_pen" is the mean of the squared output of the convolutions over counted frames, the original toolkit's
        penalty; a model without a module "feature_extractor" has none. "student_loss" is `ctc_loss`; without labels
        there is none.

        Args:
            model: Wav2Vec2ForCTC, HubertForCTC, WavLMForCTC or alike, in any wrapper.
            batch: see the class.
            temperature: accepted for the adapter's signature; not used.

        Raises:
            ModelContractError: if the batch has another form, or the model makes another number of frames.
        """
        place = next((path for path, _ in unwrap(model).named_modules() if path.split(".")[-1] == CONVOLUTIONS), None)
        own: dict[str, Tensor] = {}
        if place is None:
            said, frames = self._said(model, batch)
        else:
            with tap(model, [place]) as taps:
                said, frames = self._said(model, batch)
            own["features_pen"] = features_penalty(taps.take()[place], frames)
        if batch.get("labels") is not None:
            own["student_loss"] = ctc_loss(said.logits, batch["labels"], frames, blank=self.blank)
        return replace(said, loss_terms=own)

    def teacher(self, model: nn.Module, batch: Any, temperature: float = 1.0) -> Signals:
        """What a teacher says: logits [samples, frames, characters] and the mask of frames; as of `student`."""
        return self._said(model, batch)[0]

    def frames_of(self, lengths: Any) -> Any:
        """How many frames the models make of so many samples, a number or a tensor of them."""
        return (lengths - self.window) // self.hop + 1

    def _said(self, model: nn.Module, batch: Any) -> tuple[Signals, Tensor]:
        """The signals without losses, and how many frames count in each sample."""
        values = batch.get("input_values") if isinstance(batch, Mapping) else None
        if not isinstance(values, Tensor):
            found = sorted(map(str, batch)) if isinstance(batch, Mapping) else type(batch).__name__
            raise ModelContractError(
                f"A batch of speech must be a mapping with 'input_values' [samples, length], got {found}. Use the data "
                "sets 'librispeech' or 'speech_manifest', or their collate function."
            )
        mask = batch.get("attention_mask")
        inputs = {"input_values": values} if mask is None else {"input_values": values, "attention_mask": mask}
        logits = read_output(call(model, (), inputs), model, EMPTY, None, EMPTY).logits
        expected = self.frames_of(values.shape[1])
        if logits is None or logits.dim() != 3 or logits.shape[1] != expected:
            raise ModelContractError(
                f"{type(model).__name__} must make logits for {expected} frames of {values.shape[1]} samples, by a "
                f"window of {self.window} and a hop of {self.hop}, and makes "
                f"{None if logits is None else tuple(logits.shape)}: padding could not be told from speech. Set window "
                "and hop of the data to those of the models' convolutions."
            )
        full = torch.full(values.shape[:1], values.shape[1], device=values.device)
        frames = self.frames_of(full if mask is None else mask.sum(dim=1))
        return Signals(logits=logits, mask=_mask(frames, expected)), frames


def features_penalty(features: Tensor, frames: Tensor) -> Tensor:
    """Mean of squared convolutional features [samples, channels, frames] over the first `frames` [samples] of each."""
    counted = _mask(frames, features.shape[2]).unsqueeze(1)
    squares = torch.where(counted, features.float().square(), 0.0)
    return squares.sum() / (counted.sum() * features.shape[1]).clamp(min=1)


def ctc_loss(logits: Tensor, labels: Tensor, frames: Tensor, *, blank: int) -> Tensor:
    """CTC of a batch in nats a character: its sum divided by the characters, as fairseq counts.

    Args:
        logits: [samples, frames, characters]. Receives gradient.
        labels: ids, [samples, characters], -100 behind each text.
        frames: how many count in each sample, [samples].
        blank: id of the blank.

    Returns:
        A scalar; infinite where a text is longer than its frames allow.

    Reference: Graves, Fernandez, Gomez, Schmidhuber (2006), Connectionist Temporal Classification.
    """
    counted = labels != IGNORED
    lengths = counted.sum(dim=1)
    log_probs = logits.float().log_softmax(dim=-1).transpose(0, 1)  # [frames, samples, characters]
    total = F.ctc_loss(log_probs, labels[counted], frames, lengths, blank=blank, reduction="sum")
    return total / lengths.sum().clamp(min=1)


def _mask(frames: Tensor, total: int) -> Tensor:
    return torch.arange(total, device=frames.device) < frames.unsqueeze(1)
