"""Random numbers of an objective from a stream of its own, so that they do not move those of data and student."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def own_stream(objective: nn.Module, seed: int) -> Iterator[None]:
    """Let an objective draw its random numbers (masks, negatives, noise) beside torch's generators.

    Two trainings then see the same order of the data and the same dropout, whatever their objectives draw.

    Args:
        objective: whose calls are surrounded inside the block. From the first call that draws nothing on it is left
            alone, which costs nothing.
        seed: of its stream.
    """
    outside: list[Any] = []
    inside: list[Any] = []

    def enter(module: nn.Module, inputs: Any) -> None:
        outside[:] = _states()
        if not inside:
            with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
                torch.manual_seed(seed)
                inside[:] = _states()
        _put(inside)

    def leave(module: nn.Module, inputs: Any, outputs: Any) -> None:
        after = _states()
        _put(outside)
        if all(torch.equal(one, other) for one, other in zip(inside, after, strict=True)):
            release()
        inside[:] = after

    handles = [objective.register_forward_pre_hook(enter), objective.register_forward_hook(leave)]

    def release() -> None:
        for handle in handles:
            handle.remove()

    try:
        yield
    finally:
        release()


def _states() -> list[Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ())]


def _put(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if states[1:]:
        torch.cuda.set_rng_state_all(states[1:])
