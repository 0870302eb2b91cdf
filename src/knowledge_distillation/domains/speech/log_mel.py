"""Log-mel features of recordings of any length, as Whisper hears them, and the hiding of parts of them in training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

WINDOW, HOP = 400, 160
"""Samples at 16 kHz: 25 and 10 ms."""
RATE = 16_000
RANGE = 8.0
"""Powers of ten below the loudest that are told apart."""
STRIPES = 2
BINS, SHARE = 10, 0.1
"""Widest stripe, in mel bins and in shares of a recording."""


class LogMel(nn.Module):
    """Whisper's features without its padding to 30 seconds: what it makes of the recording's own frames there.

    A recording is heard alike alone and in a padded batch.

    Args:
        filters: float [frequencies, bins], such as Transformers' `mel_filter_bank` gives.

    Reference: Radford, Kim, Xu, Brockman, McLeavey, Sutskever (2022), arXiv:2212.04356, section 2.2.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, filters: Tensor) -> None:
        super().__init__()
        self.register_buffer("filters", filters.float().T.contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, values: Tensor, frames: Tensor) -> Tensor:
        """The features, 0 behind each recording.

        Args:
            values: samples at 16 kHz from -1 to 1, shape [recordings, length], 0 behind each recording.
            frames: how many each has, length // 160, [recordings].

        Returns:
            float32 [recordings, bins, length // 160]; what counts is from -1 to about 2.
        """
        with torch.autocast(values.device.type, enabled=False):
            padded = nn.functional.pad(values.float(), (0, WINDOW // 2))  # as silence follows in Whisper's 30 seconds
            padded = torch.cat([padded[:, 1 : WINDOW // 2 + 1].flip(1), padded], dim=1)
            spectrum = torch.stft(padded, WINDOW, HOP, window=self.window.float(), center=False, return_complex=True)
            power = spectrum[..., : values.shape[1] // HOP].abs().square()
            logs = (self.filters.float() @ power).clamp(min=1e-10).log10()
            counted = (torch.arange(logs.shape[2], device=logs.device) < frames.unsqueeze(1)).unsqueeze(1)
            loudest = torch.where(counted, logs, -torch.inf).amax(dim=(1, 2), keepdim=True)
            return torch.where(counted, (torch.maximum(logs, loudest - RANGE) + 4.0) / 4.0, 0.0)


def hide_stripes(features: Tensor, frames: Tensor) -> Tensor:
    """Features with two stripes of mel bins and two of time set to 0, each of a random width, drawn for each recording.

    Args:
        features: [recordings, bins, frames].
        frames: how many count in each, [recordings]; a stripe of time is at most a tenth of these.

    Reference: Park, Chan, Zhang, Chiu, Zoph, Cubuk, Le (2019), SpecAugment, arXiv:1904.08779, without time warping.
    """
    recordings, bins, length = features.shape
    whole = torch.full_like(frames, bins)
    for axis, size, most in ((1, whole, torch.full_like(frames, min(BINS, bins))), (2, frames, frames * SHARE)):
        width = torch.rand(STRIPES, recordings, device=features.device) * most
        start = torch.rand(STRIPES, recordings, device=features.device) * (size - width)
        places = torch.arange(bins if axis == 1 else length, device=features.device)
        hidden = (places >= start.unsqueeze(2)) & (
            places < (start + width).unsqueeze(2)
        )  # [stripes, recordings, places]
        features = features.masked_fill(hidden.any(dim=0).unsqueeze(3 - axis), 0.0)
    return features
