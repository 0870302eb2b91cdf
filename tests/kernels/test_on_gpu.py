"""What goes wrong for a user on the first GPU that the kernels meet."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from knowledge_distillation.losses import Projected, forward_kl, fused_divergence
from tests.kernels.interpreted import settings
from tests.kernels.setting import Setting, hold_in_float32

if not torch.cuda.is_available():
    pytest.skip("there is no GPU", allow_module_level=True)


@pytest.mark.parametrize("backend", ["triton", "compiled", "chunked"])
@pytest.mark.parametrize(
    "setting", list(settings()), ids=lambda setting: f"{setting.divergence}-{setting.k}-{setting.tail}"
)
def test_every_backend_computes_the_plain_losses(setting: Setting, backend: str) -> None:
    """Otherwise a student that is trained on a GPU is another than the one that was tested on a processor."""
    hold_in_float32(replace(setting, backend=backend, device="cuda", classes=5000))


def test_bfloat16_products_are_added_up_in_float32() -> None:
    """Otherwise the gradient near the teacher is the rounding of the logits, which only a GPU's products show."""
    hidden, weight = torch.randn(64, 128, device="cuda"), torch.randn(3000, 128, device="cuda") / 6
    near = hidden + 0.02 * torch.randn_like(hidden)
    hidden, weight, near = (tensor.bfloat16() for tensor in (hidden, weight, near))
    hidden.requires_grad_()
    exact = hidden.detach().double().requires_grad_()
    forward_kl(exact @ weight.double().t(), near.double() @ weight.double().t()).backward()
    fused_divergence(Projected(hidden, weight), Projected(near, weight)).backward()
    assert hidden.grad is not None
    assert exact.grad is not None
    assert (hidden.grad.double() - exact.grad).norm() <= 1e-2 * exact.grad.norm()
