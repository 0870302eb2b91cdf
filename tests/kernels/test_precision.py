"""What goes wrong for a user who trains in bfloat16."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.losses import Projected, forward_kl, fused_divergence, generalized_jsd, reverse_kl

PLAIN = {"forward_kl": forward_kl, "reverse_kl": reverse_kl, "generalized_jsd": generalized_jsd}


def models(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden states and heads of a student and of a teacher close to it, in bfloat16's values."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(32, 128, generator=generator), torch.randn(512, 128, generator=generator) / 6
    near_hidden = hidden + 0.02 * torch.randn(32, 128, generator=generator)
    found = [tensor.bfloat16().to(dtype) for tensor in (hidden, weight, near_hidden, weight)]
    return found[0].requires_grad_(), found[1].requires_grad_(), found[2], found[3]


def gradients(loss: Tensor, leaves: list[Tensor]) -> list[Tensor]:
    return [gradient.double() for gradient in torch.autograd.grad(loss, leaves)]


def error(found: list[Tensor], exact: list[Tensor]) -> list[float]:
    return [float((one - other).norm() / other.norm()) for one, other in zip(found, exact, strict=True)]


@pytest.mark.parametrize("autocast", [False, True], ids=["bfloat16", "autocast"])
@pytest.mark.parametrize("divergence", PLAIN)
def test_bfloat16_models_keep_their_gradient(divergence: str, autocast: bool) -> None:
    """Otherwise, near the teacher, a fifth of the gradient is the rounding of the logits."""
    hidden, weight, other_hidden, other_weight = models(torch.float64)
    exact_loss = PLAIN[divergence](hidden @ weight.t(), other_hidden @ other_weight.t())
    exact = gradients(exact_loss, [hidden, weight])
    hidden, weight, other_hidden, other_weight = models(torch.float32 if autocast else torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        rounded = PLAIN[divergence](F.linear(hidden, weight), F.linear(other_hidden, other_weight))
        ours = fused_divergence(
            Projected(hidden, weight), Projected(other_hidden, other_weight), divergence=divergence, chunk_size=16
        )  # type: ignore[arg-type]
    usual = error(gradients(rounded, [hidden, weight]), exact)
    assert all(
        found <= peer / 5 for found, peer in zip(error(gradients(ours, [hidden, weight]), exact), usual, strict=True)
    )
    assert ours.dtype == torch.float32


def test_gradients_have_the_types_of_their_tensors() -> None:
    """Otherwise the optimiser of a model in bfloat16 stops with an error of torch."""
    hidden, weight, other_hidden, other_weight = models(torch.bfloat16)
    fused_divergence(Projected(hidden, weight), Projected(other_hidden, other_weight)).backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    assert hidden.grad.dtype == weight.grad.dtype == torch.bfloat16


def test_autocast_leaves_full_precision_weights_a_full_precision_gradient() -> None:
    """Otherwise mixed precision rounds what it keeps in float32 for the optimiser."""
    hidden, weight, other_hidden, other_weight = models(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        value = fused_divergence(Projected(hidden, weight), Projected(other_hidden, other_weight))
    value.backward()
    assert weight.grad is not None
    assert (weight.grad != weight.grad.bfloat16()).any()
