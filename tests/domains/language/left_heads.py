"""Models whose heads differ, a training of each, and a watch for whole logits; by itself, one of two processes."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PhiConfig,
    PhiForCausalLM,
)

from knowledge_distillation import DistillationModule
from knowledge_distillation.domains.language.rows import padded
from knowledge_distillation.teachers.live import full
from tests.domains.language import tiny
from tests.ranks import settings_of
from tests.training.rank_losses import strategy
from tests.training.toys import quiet_trainer

CLASSES, WIDTH, TOKENS = 97, 32, 40
SIZES: dict[str, Any] = {
    "vocab_size": CLASSES, "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "eos_token_id": 0,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128, "bos_token_id": None,
    "pad_token_id": 0, "initializer_range": 0.3,
}  # fmt: skip


def of(kind: Any, config: Any, **settings: Any) -> Callable[[int], nn.Module]:
    def make(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model: nn.Module = kind(config(**SIZES, **settings))
        for name, parameter in model.named_parameters():
            if name.endswith("lm_head.bias"):
                nn.init.normal_(parameter)
        return model

    return make


MODELS: Mapping[str, Callable[[int], nn.Module]] = {
    "untied": lambda seed: tiny.llama(seed=seed, tie_word_embeddings=False),
    "tied": lambda seed: tiny.llama(seed=seed, tie_word_embeddings=True),
    "bias": of(PhiForCausalLM, PhiConfig),
    "softcap": of(Gemma2ForCausalLM, Gemma2Config, head_dim=8, final_logit_softcapping=3.0),
    "multiplied": of(CohereForCausalLM, CohereConfig, logit_scale=0.25),
    "divided": of(GraniteForCausalLM, GraniteConfig, logits_scaling=4.0),
}
MIXED = {"forward_kl": 1.0, "cross_entropy": 0.5}
FUSED = {"mix": {"loss": "fused_divergence", "hard_weight": 0.5, "chunk_size": 8}}


def texts() -> list[dict[str, Tensor]]:
    """Four texts, of which different shares are learnt, the last one not padded."""
    drawn = torch.Generator().manual_seed(3)
    found = []
    for length, prompt in ((30, 9), (12, 2), (25, 20), (TOKENS, 1)):
        ids = torch.randint(1, CLASSES, (length,), generator=drawn)
        found.append({"input_ids": ids, "labels": ids.masked_fill(torch.arange(length) < prompt, -100)})
    return found


def module_of(objective: Any, make: Callable[[int], nn.Module] = MODELS["untied"], **settings: Any) -> Any:
    given = {"teacher": make(2), "adapter": "causal_lm", "optimizer": "sgd", "learning_rate": 0.5, **settings}
    return DistillationModule(make(1), objective=objective, **given)


def trained(module: Any, size: int = 2, **trainer: Any) -> dict[str, Tensor]:
    """The student's weights after one step on all texts, so many at a time."""
    settings = {"accumulate_grad_batches": 4 // size, **trainer}
    quiet_trainer(**settings).fit(module, DataLoader(texts(), batch_size=size, collate_fn=padded))
    return {name: full(weight).detach() for name, weight in module.student_model.named_parameters()}


class Watch(TorchDispatchMode):
    """Notes tensors with a column for each class and rows for more items than a chunk or a weight has."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor) and tensor.shape[-1:] == (CLASSES,) and tensor.numel() > WIDTH * CLASSES:
                self.seen.append((str(func), tuple(tensor.shape)))
        return result


def main(folder: Path, sharded: bool = False) -> None:
    warnings.simplefilter("ignore")
    with Watch() as watch:
        weights = trained(module_of(FUSED), 1, devices=2, accumulate_grad_batches=2, strategy=strategy(2, sharded))
    told = {name: weight.tolist() for name, weight in weights.items()}
    rank = torch.distributed.get_rank()
    (folder / f"rank_{rank}.json").write_text(json.dumps({"weights": told, "whole": len(watch.seen)}))


if __name__ == "__main__":
    folder, settings = settings_of(sys.argv)
    main(folder, **settings)
