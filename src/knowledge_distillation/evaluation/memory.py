"""Memory that one call needs at its worst moment."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(call: Callable[[], Any], device: torch.device) -> int:
    """Bytes of all tensors that a call holds at once at its peak, beyond what stood before it.

    On a GPU: of the allocator, torch.cuda.max_memory_allocated. Elsewhere: of the storages that operators return, noted
    as they come and go; what an operator uses inside itself is not seen.

    Args:
        call: runs the model once, in eval mode without gradient.
        device: where it runs.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    storages = _Storages()
    with storages:
        call()
    return storages.peak


class _Storages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps count of the bytes of new storages that are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: int = 0
        self.peak: int = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if _is_plain(leaf)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if _is_plain(leaf):
                storage = leaf.untyped_storage()
                if id(storage) not in given and storage not in self._known:
                    self._note(storage)
        return result

    def _note(self, storage: Any) -> None:
        size = storage.nbytes()
        self._known.add(storage)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, size)

    def _forget(self, size: int) -> None:
        self.alive -= size


def _is_plain(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and type(leaf) in (Tensor, torch.nn.Parameter)
