"""Floating-point operations of one call, by torch's own counter, with every fused operator taken apart."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def count_flops(call: Callable[[], Any]) -> int:
    """Operations of one call: each multiplication and each addition of matrix products, convolutions and attention.

    A product of [m, k] and [k, n] has 2 m k n. What is neither (activations, norms, pooling) is not counted, as in
    every common counter; an exported runtime shows nothing and gives 0.

    Args:
        call: runs the model once, in eval mode without gradient.
    """
    with _taken_apart(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


@contextmanager
def _taken_apart() -> Iterator[None]:
    """The counter knows no fused encoder layers, CPU attention or recurrent layers, and would count them as 0."""
    fast = torch.backends.mha.get_fastpath_enabled()
    with ExitStack() as stack:
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", UserWarning)  # older settings of oneDNN and cuDNN that torch itself restores
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
        stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
