"""What goes wrong for a user when a language model's head is computed for some tokens only."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.capture import tap
from knowledge_distillation.capture.adapters import auto
from knowledge_distillation.capture.valid_tokens import HeadOnValidTokens, find_head

MASK = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 1, 1]])
IDS = torch.arange(12).view(3, 4) % 7


class Model(nn.Module):
    """Embeddings, a hidden layer and a head over 7 tokens; `after` is done with the head's output."""

    def __init__(self, after: Any = lambda logits: logits) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Embedding(7, 4)
        self.inner = nn.Linear(4, 4)
        self.lm_head = nn.Linear(4, 7)
        self.after = after

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        return {"logits": self.after(self.lm_head(self.inner(self.tokens(input_ids)).tanh()))}


def batch(mask: Tensor = MASK) -> dict[str, Tensor]:
    return {"input_ids": IDS, "attention_mask": mask}


def rows_of(head: nn.Module) -> list[int]:
    """How many rows every call of the head computes, as a hook behind the packing sees it."""
    rows: list[int] = []
    head.register_forward_pre_hook(lambda _, inputs: rows.append(inputs[0].shape[:-1].numel()))
    return rows


@pytest.mark.parametrize("mask", [MASK, torch.ones_like(MASK), torch.zeros_like(MASK), MASK.bool(), MASK.float()])
def test_valid_tokens_get_what_the_whole_head_gives(mask: Tensor) -> None:
    """Otherwise the student learns from wrong logits, or from another token's."""
    model = Model().eval()
    whole = model(**batch(mask))["logits"]
    packed = HeadOnValidTokens(model.lm_head)
    packed.attach()
    rows = rows_of(model.lm_head)
    packed.look_at(batch(mask))
    logits = model(**batch(mask))["logits"]
    valid = mask.bool()
    torch.testing.assert_close(logits[valid], whole[valid])
    assert logits.shape == whole.shape
    assert not logits[~valid].any()
    assert rows == [int(valid.sum())]
    packed.detach()
    assert torch.equal(model(**batch(mask))["logits"], whole)


def test_without_a_fitting_mask_everything_is_computed() -> None:
    """Otherwise the mask of one batch is laid over the next, or over an input of another length."""
    model = Model().eval()
    whole = model(**batch())["logits"]
    packed = HeadOnValidTokens(model.lm_head)
    packed.attach()
    for other in ({"input_ids": IDS}, (IDS,), batch(MASK[:, :2]), batch(MASK[:, None, None])):
        packed.look_at(batch())
        packed.look_at(other)
        assert torch.equal(model(**batch())["logits"], whole)


def test_taps_see_whole_tensors() -> None:
    """Otherwise a term that compares the head, or what it receives, has features of another shape."""
    model = Model().eval()
    with tap(model, "lm_head") as given, tap(model, "lm_head", "input") as received:
        packed = HeadOnValidTokens(model.lm_head)
        packed.attach()
        packed.look_at(batch())
        model(**batch())
        assert given["lm_head"].shape == (3, 4, 7)
        assert received["lm_head"].shape == (3, 4, 4)


def test_the_head_is_found_and_the_model_left_alone() -> None:
    """Otherwise another layer is packed, or looking for the head leaves hooks and another mode."""
    model = Model().train()
    assert find_head(model, auto, batch()) == "lm_head"
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("model", "given"),
    [
        pytest.param(Model(lambda logits: logits - logits.mean(dim=1, keepdim=True)), batch(), id="tokens-mixed-after"),
        pytest.param(Model(lambda logits: logits[:, 0]), batch(), id="one-token-only"),
        pytest.param(Model(), {"input_ids": IDS, "attention_mask": MASK[:, None]}, id="mask-of-another-form"),
        pytest.param(Model(), {"input_ids": IDS, "attention_mask": MASK[:, :2]}, id="mask-of-another-length"),
        pytest.param(nn.Linear(4, 7), torch.randn(3, 4), id="no-language-model"),
    ],
)
def test_no_head_is_named_where_packing_would_not_be_safe(model: nn.Module, given: Any) -> None:
    """Otherwise a model whose tokens meet each other after the head says something else."""
    assert find_head(model, auto, given) is None


def test_a_head_that_is_called_twice_is_left_alone() -> None:
    """Otherwise one of the calls is unpacked with the rows of the other."""
    model = Model()
    model.inner = model.lm_head = nn.Linear(4, 4)
    assert find_head(model, auto, batch()) is None
