"""Another sampling rate, by SciPy's polyphase filter: one thread, so that every number of threads hears the same."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.errors import MissingExtraError

ZEROS = 16
"""Zero crossings of the filter on either side: the longer, the steeper."""
PASSED = 0.95
"""Share of the lower rate's band at whose end half of the amplitude goes through."""
LARGEST_FILTER = 2**21
"""Values of a filter; that of 44,100 and 16,000 Hz has 14,113."""


def filter_size(given: int, wanted: int) -> int:
    """How many values the filter from one sampling rate to another has."""
    return 2 * ZEROS * max(_reduced(given, wanted)) + 1


def resample(signal: Tensor, given: int, wanted: int) -> Tensor:
    """A signal at another sampling rate; what lies well above half of the lower rate is filtered out.

    A Kaiser window: half of the amplitude is left at .95 of that half, .19 at it, and less than .001 from 1.1 of it on.

    Args:
        signal: float, shape [samples], on the CPU, that needs no gradient.
        given: its rate, in Hz, >= 1.
        wanted: the rate to come to, in Hz, >= 1. `filter_size` of both must be at most `LARGEST_FILTER`.

    Returns:
        ceil(samples x wanted / given) samples, the same bits whatever PyTorch's number of threads; the signal itself
        where the rates are equal.

    Raises:
        MissingExtraError: if SciPy is not installed.
    """
    if given == wanted:
        return signal
    before, after = _reduced(given, wanted)
    found = scipy_signal().resample_poly(signal.numpy(), after, before, window=_filter(max(before, after)))
    return torch.from_numpy(found)


@functools.lru_cache(maxsize=16)
def _filter(larger: int) -> Any:
    """The low pass for two rates of which the larger, without their common factor, is this one."""
    return scipy_signal().firwin(2 * ZEROS * larger + 1, PASSED / larger, window=("kaiser", 8.0)).astype("float32")


def _reduced(given: int, wanted: int) -> tuple[int, int]:
    common = math.gcd(given, wanted)
    return given // common, wanted // common


def scipy_signal() -> Any:
    """The module that filters.

    Raises:
        MissingExtraError: if it is not installed.
    """
    try:
        from scipy import signal
    except ImportError as error:
        raise MissingExtraError(
            "Recordings are brought to another rate by SciPy: pip install 'knowledge-distillation-toolkit[speech]'"
        ) from error
    return signal
