"""Causal language models with their weights, by local folder or hub id."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from knowledge_distillation.domains.pretrained import check_fits, has_tokenizer_of, load_pretrained
from knowledge_distillation.errors import ConfigError, MissingExtraError

logger = logging.getLogger(__name__)


def causal_lm(
    path: str,
    *,
    gguf_file: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    lora: Mapping[str, Any] | None = None,
    vocabulary: int = 0,
    length: int = 0,
    tokenizer_mark: int = 0,
    teacher_tokenizer_mark: int = 0,
) -> nn.Module:
    """A causal language model with its weights, as Transformers' AutoModelForCausalLM loads it.

    No code of a repository is run, and weights are read from safetensors or GGUF only. A warning says where the
    tokenizer that lies beside the model is none of the data's: ids would mean other words to it.

    Args:
        path: a local folder, or an id of the Hugging Face hub.
        gguf_file: a GGUF file in it; its weights are de-quantised.
        dtype: of the weights.
        lora: settings of peft's LoraConfig, such as {"r": 8}: only the added matrices are trained. None trains all.
        vocabulary: tokens of the data's tokenizer; the model must have a row for each. 0 looks at nothing.
        length: tokens of the data's rows; the model must have as many positions. 0 looks at nothing.
        tokenizer_mark, teacher_tokenizer_mark: `mark_of` the data's tokenizers. 0 looks at nothing.

    Raises:
        ConfigError: if there is no such model, or the data does not fit it.
        MissingExtraError: if Transformers, or peft for `lora`, is not installed.
    """
    where = {} if gguf_file is None else {"gguf_file": gguf_file}
    what = "causal language model"
    model = load_pretrained("AutoModelForCausalLM", path, what, dtype=getattr(torch, dtype), **where)
    check_fits(model, path, vocabulary, length)
    marks = (tokenizer_mark, teacher_tokenizer_mark)
    if tokenizer_mark and gguf_file is None and not has_tokenizer_of(path, marks):
        logger.warning(
            "The tokenizer that lies beside the model %r is none of the data's: the same ids mean other words to it, "
            "and nothing would show it. Name it as data.tokenizer; if it is the teacher's, as data.teacher_tokenizer.",
            path,
        )
    return model if lora is None else _with_lora(model, lora)


def _with_lora(model: nn.Module, lora: Mapping[str, Any]) -> nn.Module:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError("LoRA needs peft: pip install 'knowledge-distillation-toolkit[lora]'") from error
    try:
        adapted: nn.Module = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **lora))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"lora must hold settings of peft's LoraConfig, such as {{r: 8, target_modules: all-linear}}, got "
            f"{dict(lora)}: {error}"
        ) from error
    return adapted
