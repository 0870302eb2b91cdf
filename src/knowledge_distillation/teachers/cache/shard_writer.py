"""Gathers a teacher's encoded signals, sample by sample, into shards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.errors import CacheError, ConfigError
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers.cache.encodings import Encoding
from knowledge_distillation.teachers.cache.manifest import SHARDS
from knowledge_distillation.teachers.cache.replay import view_seed
from knowledge_distillation.teachers.cache.shards import write_shard


class ShardWriter:
    """Gathers encoded signals and closes a shard when it is large enough."""

    def __init__(self, home: Path, rank: int, encodings: Mapping[str, Encoding], shard_bytes: int, seed: int) -> None:
        self.folder, self.rank, self.encodings, self.shard_bytes = home / SHARDS, rank, encodings, shard_bytes
        self.generator = torch.Generator()
        self.seed = seed
        self.facts: dict[str, dict[str, Any]] = {}
        self.parts: dict[str, list[Tensor]] = {}
        self.bytes = 0
        self.number = 0

    def add(self, kept: Mapping[str, Tensor], said: Signals, content: Any) -> None:
        """Take in a batch: `kept` are key, seed and checksum of each sample, `said` what the teacher says."""
        given = content.get("attention_mask") if isinstance(content, Mapping) else None
        mask = said.mask
        if mask is None and isinstance(given, Tensor):
            mask = given.bool()  # a forward that ended early said nothing of it
        self.generator.manual_seed(view_seed(self.seed, -1 - int(kept["key"][0])))
        for column, numbers in kept.items():
            self._append(column, numbers)
        for name, encoding in self.encodings.items():
            value = said.named(name, whose="teacher")
            if not isinstance(value, Tensor) or not value.is_floating_point():
                raise ConfigError(
                    f"The signal {name!r} must be one tensor of numbers to be kept, and is a {type(value).__name__}. "
                    "Name its parts by their module paths."
                )
            tokens = mask if mask is not None and value.dim() > 2 and value.shape[:2] == mask.shape else None
            rows = value if tokens is None else value[tokens.to(value.device)]
            if len(value) != len(kept["key"]):
                raise ConfigError(
                    f"The signal {name!r} has {len(value)} entries for a batch of {len(kept['key'])} samples: it "
                    "cannot be kept by sample. Keep signals whose first axis is the batch."
                )
            # frames of a recording, say, where the batch's mask counts its samples
            others = tokens is not None and not (isinstance(given, Tensor) and given.shape == tokens.shape)
            self._check_shape(name, list(rows.shape[1:]), tokens is not None, others and _in_front(tokens))
            if not bool(torch.isfinite(rows).logical_or(rows == -torch.inf).all()):
                raise CacheError(
                    f"The teacher's {name!r} holds NaN or infinity in one of the samples "
                    f"{kept['key'].tolist()[:8]}...; the student would learn it. Look at these samples first."
                )
            for array, encoded in encoding.encode(rows, self.generator).items():
                self._append(f"{name}/{array}", encoded.cpu())
            if tokens is not None:
                self._append(f"{name}/count", tokens.sum(dim=1).cpu())
        if self.bytes >= self.shard_bytes:
            self.close()

    def close(self) -> None:
        """Write what was gathered as one shard."""
        if not self.parts:
            return
        while (path := self.folder / f"{self.rank:04d}-{self.number:06d}.safetensors").with_suffix(".json").exists():
            self.number += 1
        arrays = {name: torch.cat(parts) for name, parts in self.parts.items()}
        write_shard(path, arrays, {"views": len(arrays["key"]), "signals": self.facts})
        self.parts, self.bytes = {}, 0

    def _append(self, name: str, array: Tensor) -> None:
        self.parts.setdefault(name, []).append(array)
        self.bytes += array.numel() * array.element_size()

    def _check_shape(self, name: str, shape: list[int], per_token: bool, in_front: bool) -> None:
        where = {"in_front": True} if per_token and in_front else {}
        known = self.facts.setdefault(name, {"shape": shape, "per_token": per_token, **where})
        if known["shape"] != shape or known["per_token"] != per_token:
            raise ConfigError(
                f"The signal {name!r} must have one shape for all samples, and has {known['shape']} and {shape}: "
                "padding differs from batch to batch. Let the batch carry 'attention_mask', so that only what is "
                "there is kept, or pad all samples to one length."
            )


def _in_front(mask: Any) -> bool:
    """True; ConfigError unless what counts of each sample stands before its padding."""
    counts = mask.sum(dim=1, keepdim=True)
    if not torch.equal(mask.bool(), torch.arange(mask.shape[1], device=mask.device) < counts):
        raise ConfigError(
            "The adapter's mask, of another shape than the batch's 'attention_mask', must count the first items of "
            "each sample: the cache could not put answers back to where they belong. Pad behind the samples."
        )
    return True
