"""Whisper's encoder with a CTC head: it hears recordings of any length, and what it says needs no decoder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowledge_distillation.domains.speech.log_mel import HOP, RATE, LogMel, hide_stripes
from knowledge_distillation.domains.speech.models import earlier_student
from knowledge_distillation.domains.speech.whisper import load_whisper
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.students import keep_layers

logger = logging.getLogger(__name__)
STACK = "encoder.layers"
FRAME = 2 * HOP
"""Samples from one frame of the encoder to the next; the first takes `HOP`."""


class WhisperCTC(nn.Module):
    """Log-mel features, Whisper's encoder, and a linear head for the characters of CTC.

    Positions end where the recording does, and padding is seen by no frame; Whisper itself hears 30 seconds always.

    Args:
        encoder: of Transformers' WhisperModel.
        characters: how many the head tells apart.
        spec_augment: hide stripes of the features in training.
    """

    def __init__(self, encoder: Any, characters: int, *, spec_augment: bool = False) -> None:
        super().__init__()
        from transformers.audio_utils import mel_filter_bank

        self.encoder, self.config, self.spec_augment = encoder, encoder.config, spec_augment
        bins = encoder.config.num_mel_bins
        filters = mel_filter_bank(201, bins, 0.0, 8000.0, RATE, norm="slaney", mel_scale="slaney")
        self.log_mel = LogMel(torch.from_numpy(filters))
        self.lm_head = nn.Linear(encoder.config.d_model, characters)

    def requires_grad_(self, requires_grad: bool = True) -> WhisperCTC:
        """As of any module, but for the positions: they are sines, and stay."""
        super().requires_grad_(requires_grad)
        self.encoder.embed_positions.requires_grad_(False)
        return self

    def forward(self, input_values: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Say what is heard.

        Args:
            input_values: samples at 16 kHz from -1 to 1, [recordings, length], not normalised.
            attention_mask: 1 at recordings, same shape; None where all are of one length.

        Returns:
            "logits" [recordings, frames, characters], (length - 160) // 320 + 1 frames of 20 ms.

        Raises:
            ModelContractError: if a recording is longer than the positions, 30 seconds, or shorter than 10 ms.
        """
        length = input_values.shape[1]
        most = self.encoder.embed_positions.num_embeddings
        total = (length - HOP) // FRAME + 1
        if not 1 <= total <= most:
            raise ModelContractError(
                f"Recordings must have 1 to {most} frames of 20 ms, the positions of this Whisper, and one of "
                f"{length / RATE:.2f} s has {total}. Set data.longest to {most * FRAME / RATE:.0f}."
            )
        mask = torch.ones_like(input_values, dtype=torch.int64) if attention_mask is None else attention_mask
        lengths = mask.sum(dim=1)
        features = self.log_mel(input_values * mask, lengths // HOP)
        if self.training and self.spec_augment:
            features = hide_stripes(features, lengths // HOP)
        states = self._encoded(features, lengths, None if attention_mask is None else total)
        return {"logits": self.lm_head(states)}

    def _encoded(self, features: Tensor, lengths: Tensor, padded_to: int | None) -> Tensor:
        from transformers.masking_utils import create_bidirectional_mask

        encoder = self.encoder
        heard = F.gelu(encoder.conv1(features.to(encoder.conv1.weight.dtype)))
        if padded_to is not None:  # the next convolution must see what it sees at the end of a recording alone
            counted = torch.arange(heard.shape[2], device=heard.device) < (lengths // HOP).unsqueeze(1)
            heard = heard * counted.unsqueeze(1)
        heard = F.gelu(encoder.conv2(heard)).transpose(1, 2)
        states = heard + encoder.embed_positions.weight[: heard.shape[1]]
        states = F.dropout(states, p=encoder.dropout, training=self.training)
        mask = None
        if padded_to is not None:
            frames = (lengths - HOP) // FRAME + 1
            mask = torch.arange(padded_to, device=frames.device) < frames.unsqueeze(1)
            mask = create_bidirectional_mask(encoder.config, states, mask)
        for layer in encoder.layers:
            states = layer(states, mask)
        return encoder.layer_norm(states)  # type: ignore[no-any-return]


def whisper_ctc(
    path: str,
    *,
    layers: int | None = None,
    rule: str | Sequence[int] = "every_k",
    previous: str | None = None,
    spec_augment: bool = False,
    trained: Literal["all", "head"] = "all",
    characters: int = 32,
    rate: int = RATE,
    normalised: bool = False,
) -> WhisperCTC:
    """The encoder of a Whisper model with its weights, and a linear CTC head, which is new and must be trained.

    The data must have `window: 160`, `normalised: false` and `longest: 30`.

    Args:
        path: a local folder of Transformers' Whisper, or an id of the Hugging Face hub.
        layers: of the encoder, to keep; None keeps all.
        rule: which; see `students.kept_indices`.
        previous: directory of an earlier run of this model, or its student.safetensors: layers and head are taken from
            that student.
        spec_augment: hide two stripes of time and two of mel bins in training.
        trained: "head" leaves the encoder as it is, for the head's first steps.
        characters: of the data.
        rate: of the data, in Hz; must be 16,000.
        normalised: whether the data brings recordings to mean 0 and variance 1, which it must not.

    Raises:
        ConfigError: if there is no such model, the data gives other recordings, or the layers do not fit.
        CheckpointError: if `previous` holds no student made of this model.
        MissingExtraError: if Transformers is not installed.
    """
    if trained not in ("all", "head"):
        raise ConfigError(f"trained must be 'all' or 'head', got {trained!r}.")
    if rate != RATE or normalised:
        raise ConfigError(
            f"Whisper hears recordings at {RATE:,} Hz as they are, and the data gives them at {rate:,} Hz"
            f"{', brought to variance 1' if normalised else ''}: its encoder would hear what it was never trained on. "
            f"Set data.rate to {RATE} and data.normalised to false."
        )
    model = WhisperCTC(load_whisper("WhisperModel", path).encoder, characters, spec_augment=spec_augment)
    found: nn.Module = model if previous is None else earlier_student(model, STACK, Path(previous))
    if layers is not None:
        found = keep_layers(found, layers, rule, stack=STACK)
    if not isinstance(found, WhisperCTC):
        raise AssertionError("a student of another class than its model")
    found.requires_grad_(True)
    if trained == "head":
        found.encoder.requires_grad_(False)
    return found
