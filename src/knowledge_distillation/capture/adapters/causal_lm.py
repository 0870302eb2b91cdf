"""Causal language models: what a model says at a token is about the token after it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters.auto import IGNORED, LABEL_KEYS, SIDE_KEYS, call, read_output
from knowledge_distillation.capture.left_head import LeftHead
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.signals import Signals

IDS, MASK, POSITIONS, TEACHER = "input_ids", "attention_mask", "position_ids", "teacher_"


def causal_student(model: nn.Module, batch: Any, temperature: float = 1.0, *, head: LeftHead | None = None) -> Signals:
    """A causal language model on batches as Hugging Face's collators make them; labels are shifted here, nowhere else.

    Row t of the logits [samples, tokens, vocabulary] stays where it is; its label is the token at t + 1, and the mask
    is True where that label counts: it is not -100, no padding, and of the same document. Softcaps and logit scales are
    those of the model's forward. What a mixture of experts returns as `aux_loss` becomes the loss term "aux_loss".

    Args:
        model: as of Transformers' AutoModelForCausalLM.
        batch: a mapping with "input_ids" and, where there is padding, "attention_mask", both [samples, tokens].
            "labels" hold the tokens at their own places, -100 where they are not learnt; without them every token is.
            A mask that numbers the documents of a row from 1 keeps them apart: none sees another, and each has
            positions from 0.
        temperature: accepted for the adapter's signature; not used.
        head: leaves the model's head to the loss: `logits` are then a `Projected` of the same shape, where the model
            allows it. None: logits as the model makes them.

    Raises:
        ModelContractError: if the batch has no such entries, is longer than the model's positions, or the logits are
            not one row a token.
    """
    entries = _entries(batch, is_teacher=False)
    signals = _said(model, entries, head)
    labels = next_tokens(entries)
    return replace(signals, labels=labels, mask=labels != IGNORED)


def causal_teacher(model: nn.Module, batch: Any, temperature: float = 1.0, *, head: LeftHead | None = None) -> Signals:
    """The same for a teacher: its logits, since which of them count is the student's to say.

    Args:
        model: as of `causal_student`.
        batch: as of `causal_student`. Entries with "teacher_" in front are the teacher's where its tokenizer is another
            one; which of its tokens count is told then by the mask.
        temperature: accepted for the adapter's signature; not used.
        head: as of `causal_student`.

    Raises:
        ModelContractError: as of `causal_student`.
    """
    apart = isinstance(batch, Mapping) and TEACHER + IDS in batch
    entries = _entries(batch, is_teacher=apart)
    return replace(_said(model, entries, head), labels=None, mask=next_tokens(entries) != IGNORED if apart else None)


def next_tokens(batch: Mapping[str, Any]) -> Tensor:
    """The label of every place: the token after it, -100 where that is not learnt, int64, shape [samples, tokens].

    Args:
        batch: as of `causal_student`.

    Example:
        >>> next_tokens({"input_ids": torch.tensor([[5, 6, 7]]), "labels": torch.tensor([[-100, 6, 7]])}).tolist()
        [[6, 7, -100]]
    """
    ids, mask = batch[IDS], batch.get(MASK)
    labels = batch.get("labels", ids)
    if not isinstance(labels, Tensor) or labels.shape != ids.shape:
        found = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise ModelContractError(
            f"'labels' must be the tokens at their own places, shape {tuple(ids.shape)} as input_ids, got {found}: "
            "every label would meet another token."
        )
    following = labels[:, 1:]
    if mask is not None:  # neither padding nor another document follows from what stands here
        following = following.masked_fill((mask[:, 1:] != mask[:, :-1]) | (mask[:, 1:] == 0), IGNORED)
    return torch.cat([following, labels.new_full((len(labels), 1), IGNORED)], dim=1)


def document_positions(numbers: Tensor) -> Tensor:
    """Each token's place in its own document, from 0; `numbers` [samples, tokens] say which document it is of.

    Example:
        >>> document_positions(torch.tensor([[1, 1, 1, 2, 2, 0]])).tolist()
        [[0, 1, 2, 0, 1, 0]]
    """
    place = torch.arange(numbers.shape[1], device=numbers.device).expand_as(numbers)
    begins = torch.ones_like(numbers, dtype=torch.bool)
    begins[:, 1:] = numbers[:, 1:] != numbers[:, :-1]
    return place - place.where(begins, 0).cummax(dim=1).values


def _entries(batch: Any, *, is_teacher: bool) -> dict[str, Any]:
    """The entries of one side by their own names."""
    names = [str(key) for key in batch] if isinstance(batch, Mapping) else type(batch).__name__
    wanted = TEACHER + IDS if is_teacher else IDS
    ids = batch.get(wanted) if isinstance(batch, Mapping) else None
    if not isinstance(ids, Tensor) or ids.dim() != 2:
        raise ModelContractError(
            f"The adapter 'causal_lm' needs batches that are dicts with {wanted!r} [samples, tokens], got {names}. Use "
            "Hugging Face's collators or a data set of the language domain, or another adapter."
        )
    own = {str(key): value for key, value in batch.items() if str(key).startswith(TEACHER) == is_teacher}
    return {key.removeprefix(TEACHER): value for key, value in own.items()}


def _said(model: nn.Module, entries: Mapping[str, Any], head: LeftHead | None) -> Signals:
    inputs = {key: value for key, value in entries.items() if key not in (*LABEL_KEYS, *SIDE_KEYS)}
    extras = {key: entries[key] for key in SIDE_KEYS if key in entries}
    ids, mask = inputs[IDS], inputs.get(MASK)
    config: Any = getattr(model, "config", None)
    longest = getattr(config, "max_position_embeddings", None)
    if isinstance(longest, int) and ids.shape[1] > longest:
        raise ModelContractError(
            f"A batch must have at most {longest} tokens a row, the positions of {type(model).__name__}, and has "
            f"{ids.shape[1]}: what the model says beyond them means nothing. Use shorter rows (`length` of the data)."
        )
    if mask is not None and int(mask.max()) > 1:
        _keep_apart(model, inputs)
    if hasattr(config, "use_cache"):
        inputs.setdefault("use_cache", False)  # Transformers looks for documents only where it keeps no cache
    forward = partial(call, model, (), inputs)
    output, left = (forward(), None) if head is None else head.call(model, forward)
    signals = read_output(output, model, entries, None, extras)
    if left is not None:
        signals = replace(signals, logits=left)
    if signals.logits is None or signals.logits.shape[:2] != ids.shape:
        shape = None if signals.logits is None else tuple(signals.logits.shape)
        raise ModelContractError(
            f"A causal language model must give one row of logits for each of the {tuple(ids.shape)} tokens, and "
            f"{type(model).__name__} gave {shape}. Use a model with a language head, or another adapter."
        )
    experts = output.get("aux_loss") if isinstance(output, Mapping) else None
    return signals if experts is None else replace(signals, loss_terms={**signals.loss_terms, "aux_loss": experts})


def _keep_apart(model: nn.Module, inputs: dict[str, Any]) -> None:
    """Say by positions instead of by the mask where documents begin, as Transformers reads it."""
    config = getattr(model, "config", None)
    if config is None and POSITIONS not in inspect.signature(model.forward).parameters:
        raise ModelContractError(
            f"The attention mask numbers documents, to be kept apart by their positions, and {type(model).__name__} "
            "takes no position_ids: each would read what stands before it. Let the data join them."
        )
    inputs[POSITIONS] = document_positions(inputs.pop(MASK))
