"""What goes wrong when a function is not seen, or not put back."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.capture import FunctionTap
from knowledge_distillation.errors import CaptureError, ConfigError


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(4, 12)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.project(tokens).unsqueeze(1).chunk(3, dim=-1)
        return self.mix(nn.functional.scaled_dot_product_attention(query, key, value))

    def mix(self, heads: Tensor, *, scale: float = 2.0) -> Tensor:
        return heads.squeeze(1) * scale

    @staticmethod
    def static(value: Tensor) -> Tensor:
        return value + 1


def test_attention_without_a_module_of_its_own_is_read() -> None:
    model, tokens = Attention(), torch.randn(2, 3, 4)
    original = nn.functional.scaled_dot_product_attention
    with FunctionTap(nn.functional, "scaled_dot_product_attention") as attention:
        model(tokens)
        model(tokens * 2)
    assert nn.functional.scaled_dot_product_attention is original
    query, key, value = model.project(tokens * 2).chunk(3, dim=-1)
    expected = (query @ key.transpose(1, 2) / math.sqrt(4)).softmax(dim=-1) @ value
    torch.testing.assert_close(attention.last.squeeze(1), expected)
    assert len(attention.take()) == 2
    assert attention.all() == []


def test_inputs_are_read_by_position_or_name() -> None:
    model, tokens = Attention(), torch.randn(2, 3, 4)
    with FunctionTap(nn.functional, "scaled_dot_product_attention", "input", element="[1]") as keys:
        model(tokens)
    torch.testing.assert_close(keys.last.squeeze(1), model.project(tokens).chunk(3, dim=-1)[1])


def test_a_method_is_put_back_and_nothing_stays_on_the_model() -> None:
    model, tokens = Attention(), torch.randn(2, 3, 4)
    before = dict(vars(model))
    with FunctionTap(model, "mix") as mixed:
        output = model(tokens)
    assert mixed.last is output
    assert vars(model) == before
    with pytest.raises(RuntimeError, match="shapes"), FunctionTap(model, "mix") as mixed:
        model(model(tokens)[..., :3])
    assert vars(model) == before
    assert mixed.all() == []


def test_methods_of_a_class_are_put_back_as_they_were() -> None:
    held = Attention.__dict__["static"]
    with FunctionTap(Attention, "static") as static, FunctionTap(Attention, "mix") as mixed:
        Attention().static(torch.ones(2))
        Attention()(torch.randn(2, 3, 4))
    torch.testing.assert_close(static.last, torch.full((2,), 2.0))
    assert mixed.last.shape == (2, 3, 4)
    assert Attention.__dict__["static"] is held


def test_two_taps_on_one_function_come_off_in_order() -> None:
    original = nn.functional.relu
    with FunctionTap(nn.functional, "relu") as outer, FunctionTap(nn.functional, "relu") as inner:
        nn.functional.relu(torch.ones(2))
    assert outer.last is inner.last
    assert nn.functional.relu is original


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"no function 'scaled_dot_attention'.*scaled_dot_product_attention"):
        FunctionTap(nn.functional, "scaled_dot_attention")
    with pytest.raises(CaptureError, match=r"kd\.capture\.tap"):
        FunctionTap(Attention(), "project")
    with pytest.raises(ConfigError, match="which must be"):
        FunctionTap(nn.functional, "relu", "in")  # type: ignore[arg-type]
    with FunctionTap(nn.functional, "relu") as relu, pytest.raises(CaptureError, match="not called"):
        relu.last  # noqa: B018
    with FunctionTap(nn.functional, "relu") as relu, pytest.raises(CaptureError, match="read already"), relu:
        pass
