"""Prompts and responses as tensors: cut out of a batch, padded to the left for generation, put together again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.errors import ModelContractError


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts with their last token in the last column, as generation needs them.

    Attributes:
        ids: shape [N, P], whole numbers.
        mask: True where a token stands, shape [N, P]; False at the left of shorter prompts.
    """

    ids: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Responses:
    """What a sampler wrote after each prompt.

    Attributes:
        ids: shape [N, R]; the end-of-text token belongs to a response.
        mask: True where a token of the response stands, shape [N, R]; False after its end.
        log_probs: of each token under what it was drawn from, shape [N, R], float32; None where nobody needs it.
    """

    ids: Tensor
    mask: Tensor
    log_probs: Tensor | None = None


def prompts_of(batch: Mapping[str, Any]) -> Prompts:
    """The prompt of each sample: its tokens before the first one that has a label.

    Args:
        batch: "input_ids" [N, L]; "attention_mask" [N, L], all ones where it is missing; "labels" [N, L], -100 where
            a token is not to be learnt. A sample without any label is a prompt as a whole.

    Raises:
        ModelContractError: if there are no ids, a row holds several texts, or a prompt is empty: a response must
            follow something.
    """
    ids = batch.get("input_ids") if isinstance(batch, Mapping) else None
    if not isinstance(ids, Tensor) or ids.dim() != 2:
        raise ModelContractError(
            "On-policy training needs batches that are dicts with 'input_ids' [N, L]: a student writes its responses "
            f"to prompts of tokens. Got {sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__}."
        )
    there = torch.ones_like(ids, dtype=torch.bool) if "attention_mask" not in batch else batch["attention_mask"].bool()
    if "attention_mask" in batch and int(batch["attention_mask"].max()) > 1:
        raise ModelContractError(
            "On-policy training needs one text a row, and the attention mask numbers several: a response would follow "
            "the first prompt only. Leave `packed` of the data out."
        )
    learnt = (batch["labels"] != IGNORED) & there if "labels" in batch else torch.zeros_like(there)
    before = there & (learnt.cumsum(dim=1) == 0)
    lengths = before.sum(dim=1)
    if bool((lengths == 0).any()):
        raise ModelContractError(
            f"Sample {int((lengths == 0).nonzero()[0])} of a batch has no prompt: its first token is already to be "
            "learnt, so that nothing is left to answer to. Give prompts, with labels of -100."
        )
    return Prompts(*to_the_right(ids, before))


def to_the_right(ids: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """The kept tokens of each row in their order, ending in the last column; what is left of them is 0 and False."""
    order = keep.int().argsort(dim=1, stable=True)
    width = int(keep.sum(dim=1).max())
    mask = keep.gather(1, order)[:, -width:]
    return ids.gather(1, order)[:, -width:] * mask, mask


def to_the_left(ids: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """The kept tokens of each row in their order, beginning in the first column."""
    order = (~keep).int().argsort(dim=1, stable=True)
    width = int(keep.sum(dim=1).max())
    mask = keep.gather(1, order)[:, :width]
    return ids.gather(1, order)[:, :width] * mask, mask


def as_batch(prompts: Prompts, responses: Responses) -> dict[str, Tensor]:
    """A training batch: each prompt with its response, padded on the right; labels on the response alone.

    Returns:
        "input_ids", "attention_mask", "labels" [N, L]; and, where the responses hold theirs, "sampled_log_probs"
        [N, L]: of the token after each place, 0 where that is none of a response.
    """
    ids = torch.cat([prompts.ids, responses.ids], dim=1)
    there = torch.cat([prompts.mask, responses.mask], dim=1)
    own = torch.cat([torch.zeros_like(prompts.mask), responses.mask], dim=1)
    input_ids, mask = to_the_left(ids, there)
    labels, _ = to_the_left(torch.where(own, ids, IGNORED), there)
    batch = {
        "input_ids": input_ids,
        "attention_mask": mask.to(torch.int64),
        "labels": torch.where(mask, labels, IGNORED),
    }
    if responses.log_probs is not None:
        drawn = torch.cat([torch.zeros_like(prompts.ids, dtype=torch.float32), responses.log_probs], dim=1)
        placed, _ = to_the_left(torch.where(own, drawn, 0.0), there)
        batch["sampled_log_probs"] = torch.cat([placed[:, 1:], torch.zeros_like(placed[:, :1])], dim=1)
    return batch
