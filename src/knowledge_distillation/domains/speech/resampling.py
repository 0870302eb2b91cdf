"""Another sampling rate, by a windowed sinc."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ZEROS = 16
"""Zero crossings of the sinc on either side: the longer, the steeper."""
PASSED = 0.95
"""Share of the lower rate's band that goes through."""
LARGEST_FILTER = 2**22
"""Values of the filters for two rates; those of 44,100 and 16,000 Hz have 161,000."""


def filter_size(given: int, wanted: int) -> int:
    """How many values the filters from one sampling rate to another have; 0 for equal ones."""
    if given == wanted:
        return 0
    before, after = _reduced(given, wanted)
    return after * (2 * _reach(before, after) + before)


def resample(signal: Tensor, given: int, wanted: int) -> Tensor:
    """A signal at another sampling rate; what lies above half of the lower rate is filtered out.

    Args:
        signal: float, shape [samples]. Receives gradient.
        given: its rate, in Hz, >= 1.
        wanted: the rate to come to, in Hz, >= 1. `filter_size` of both must be at most `LARGEST_FILTER`.

    Returns:
        ceil(samples x wanted / given) samples; the signal itself where the rates are equal.

    Reference: Smith, Digital Audio Resampling, https://ccrma.stanford.edu/~jos/resample/, with a Hann window.
    """
    if given == wanted:
        return signal
    before, after = _reduced(given, wanted)
    reach = _reach(before, after)
    band = min(before, after) * PASSED
    steps = torch.arange(-reach, reach + before, dtype=torch.float64) / before
    phases = torch.arange(after, dtype=torch.float64).unsqueeze(1) / after
    times = ((steps - phases) * band).clamp(-ZEROS, ZEROS)
    filters = torch.sinc(times) * torch.cos(times * math.pi / (2 * ZEROS)).square() * band / before
    padded = torch.nn.functional.pad(signal, (reach, reach + before)).reshape(1, 1, -1)
    found = torch.nn.functional.conv1d(padded, filters.to(signal).unsqueeze(1), stride=before)
    return found[0].T.reshape(-1)[: -(-after * len(signal) // before)]  # [phases, blocks] -> [samples]


def _reduced(given: int, wanted: int) -> tuple[int, int]:
    common = math.gcd(given, wanted)
    return given // common, wanted // common


def _reach(before: int, after: int) -> int:
    return math.ceil(ZEROS * before / (min(before, after) * PASSED))
