"""Matrix products whose sums and results stay in full precision, whatever the operands are stored in."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)


def operand_dtype(device: torch.device, *tensors: Tensor | None) -> torch.dtype:
    """What F.linear would compute in: the widest type, and under autocast its type, but for float64."""
    found = reduce(torch.promote_types, [tensor.dtype for tensor in tensors if tensor is not None])
    if found != torch.float64 and torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return found


def operand(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor` rounded to `dtype`, in float32 where products of that type cannot give float32."""
    tensor = tensor.to(dtype)
    return tensor.float() if dtype in HALF and not widens(tensor.device) else tensor


def widens(device: torch.device) -> bool:
    """Whether products of half-precision operands can be given in float32 there: CUDA, since torch 2.8."""
    return device.type == "cuda" and hasattr(torch.ops.aten.mm, "dtype")


def product(first: Tensor, second: Tensor) -> Tensor:
    """first @ second in float32 or float64."""
    if first.dtype in HALF:
        return torch.mm(first, second, out_dtype=torch.float32)
    return torch.mm(first, second)


def add_product(total: Tensor, first: Tensor, second: Tensor) -> None:
    """total += first @ second, with the sum in the precision of `total`, float32 or float64."""
    if first.dtype in HALF:
        torch.addmm(total, first, second, out_dtype=torch.float32, out=total)
    else:
        total.addmm_(first, second)
