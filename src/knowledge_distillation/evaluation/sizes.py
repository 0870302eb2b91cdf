"""How large a model is: parameters, bytes in memory, and bytes of its safetensors file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from knowledge_distillation.errors import ConfigError


def parameter_count(model: nn.Module) -> int:
    """Number of parameter values; a shared parameter counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def memory_bytes(model: nn.Module) -> int:
    """Bytes of parameters and buffers as they are stored, each tensor once."""
    return sum(stored_bytes(tensor) for tensor in [*model.parameters(), *model.buffers()])


def stored_bytes(tensor: Tensor) -> int:
    """Bytes of a tensor's values; of a quantised or otherwise wrapped tensor, of what it is made of."""
    if is_traceable_wrapper_subclass(tensor):
        inner, _ = tensor.__tensor_flatten__()
        return sum(stored_bytes(getattr(tensor, name)) for name in inner)
    return tensor.numel() * tensor.element_size()


def safetensors_bytes(model: nn.Module) -> int | None:
    """Bytes of the file that `safetensors.torch.save_model` would write, reckoned without writing it.

    The file is a length of 8 bytes, a JSON header padded to a multiple of 8, and each tensor once.

    Returns:
        None for a model whose state holds more than plain tensors, as quantised ones do.
    """
    seen: set[tuple[int, int, tuple[int, ...]]] = set()
    header: dict[str, object] = {}
    total = 0
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor) or is_traceable_wrapper_subclass(tensor):
            return None
        place = (tensor.data_ptr(), tensor.numel(), tuple(tensor.stride()))
        if tensor.numel() and place in seen:
            header.setdefault("__metadata__", {})
            metadata = header["__metadata__"]
            if isinstance(metadata, dict):
                metadata[name] = name
            continue
        seen.add(place)
        size = stored_bytes(tensor)
        # the widest name of a type has 8 letters, most have 3
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [total, total + size]}
        total += size
    text = len(json.dumps(header, separators=(",", ":")).encode())
    return 8 + (text + 7) // 8 * 8 + total


def path_bytes(path: str | Path) -> int:
    """Bytes of a file, or of all files under a directory.

    Raises:
        ConfigError: if there is nothing.
    """
    place = Path(path)
    if not place.exists():
        raise ConfigError(f"{place} must be the file or directory that is shipped, and does not exist.")
    files: Iterable[Path] = [place] if place.is_file() else (file for file in place.rglob("*") if file.is_file())
    return sum(file.stat().st_size for file in files)
