"""The student as it is shipped: a copy on the CPU, in eval mode, without hooks."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.paths import unwrap
from knowledge_distillation.errors import ExportError
from knowledge_distillation.export.qat import RoundedInput, baked

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def prepared(student: nn.Module, dtype: torch.dtype | None) -> tuple[nn.Module, int]:
    """A copy of the student to ship.

    It is taken out of torch.compile, DataParallel and FSDP wrappers. Fake quantisation becomes weights that stand on
    the grid. Hooks are left out, but for those of torch itself that compute weights (weight_norm).

    Args:
        student: left as it is.
        dtype: of the copy's floating parameters and buffers; None keeps them.

    Returns:
        The copy, and how many hooks were left out.

    Raises:
        ExportError: if the student cannot be copied.
    """
    bare = unwrap(student)
    try:
        twin = copy.deepcopy(bare)
    except Exception as error:
        raise ExportError(
            f"{type(bare).__name__} must be copied to be exported, and copy.deepcopy failed: {error}. Detach tensors "
            "that it keeps as attributes, or give it a __deepcopy__."
        ) from error
    dropped = sum(_without_hooks(module) for module in twin.modules())
    twin = baked(twin.cpu().eval().requires_grad_(False))
    config = getattr(twin, "config", None)
    if getattr(config, "use_cache", False) is True:
        config.use_cache = False  # type: ignore[union-attr]  # key-value caches are no tensors
    return (twin if dtype is None else twin.to(dtype)), dropped


def fingerprint(model: nn.Module) -> str:
    """A digest of the weights' names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor):
            tensor = value.detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def floating_dtype(model: nn.Module) -> torch.dtype:
    """The type of the first floating parameter; float32 where there is none."""
    return next((entry.dtype for entry in model.parameters() if entry.is_floating_point()), torch.float32)


def _without_hooks(module: nn.Module) -> int:
    dropped = 0
    for name in HOOKS:
        hooks: dict[int, Any] = getattr(module, name, {})
        for key in [key for key, hook in hooks.items() if not _of_torch(hook)]:
            dropped += not isinstance(hooks.pop(key), RoundedInput)  # the file rounds inputs itself
    return dropped


def _of_torch(hook: Any) -> bool:
    return type(hook).__module__.startswith("torch.nn.utils")
