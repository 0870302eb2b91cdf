"""A student whose weight matrices have low rank: each becomes two narrow layers, begun at its best approximation."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from knowledge_distillation.capture.paths import modules_by_path, unwrap
from knowledge_distillation.errors import ConfigError, nearest


class LowRankLinear(nn.Module):
    """x -> up(down(x)): a linear layer through `rank` channels.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        rank: channels between.
        bias: whether the second half has one.

    `weight` is the product of the two, shape [outputs, inputs], for modules that read their layer's weight instead of
    calling it, as `nn.MultiheadAttention` does; gradient flows through it.
    """

    def __init__(self, inputs: int, outputs: int, rank: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features, self.out_features, self.rank = inputs, outputs, rank
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, outputs, bias=bias)

    @property
    def weight(self) -> Tensor:
        return self.up.weight @ self.down.weight

    @property
    def bias(self) -> Tensor | None:
        return self.up.bias

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.up(self.down(inputs))
        return outputs


class LowRankConv(nn.Sequential):
    """A convolution to `rank` channels and a 1 x 1 convolution from them.

    Args:
        first: convolution with the kernel, stride, padding and dilation.
        second: the 1 x 1 convolution.

    `stride`, `padding`, `dilation` and `kernel_size` are those of the first, for models that reckon with their layer's
    settings, as Whisper's encoder does.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__(first, second)
        for name in ("kernel_size", "stride", "padding", "dilation"):
            setattr(self, name, getattr(first, name))
        self.in_channels, self.out_channels = first.in_channels, second.out_channels


def factorise(
    teacher: nn.Module, rank: int | float = 0.25, *, skip: Sequence[str] = (), energy: float | None = None
) -> nn.Module:
    """A copy of the teacher whose linear layers and convolutions are products of two narrow ones.

    Each weight, as a matrix of outputs by inputs, is replaced by its best approximation of that rank, from
    the singular value decomposition; the singular values are shared out evenly between the halves. A k x k convolution
    becomes a k x k convolution to `rank` channels and a 1 x 1 convolution. Layers that would not get smaller stay, and
    so do tied weights and grouped convolutions.

    Args:
        teacher: any model with `nn.Linear`, `nn.Conv1d/2d/3d` or Hugging Face `Conv1D` layers.
        rank: channels between the halves, a whole number; or a share of the full rank, between 0 and 1.
        skip: module paths or globs of layers to leave.
        energy: choose each layer's rank instead, as the smallest that keeps this share of the squared singular values,
            between 0 and 1.

    Returns:
        The student, in the teacher's mode, with the teacher's `requires_grad` flags.

    Raises:
        ConfigError: if the rank or the energy is out of range, a path matches nothing, or no layer gets smaller.

    Reference: Denton et al. (2014), arXiv:1404.0736; Eckart and Young (1936).
    """
    if energy is not None and not 0 < energy < 1:
        raise ConfigError(f"energy is a share of the squared singular values, between 0 and 1; got {energy!r}.")
    share = isinstance(rank, float)
    if isinstance(rank, bool) or not (0 < rank < 1 if share else isinstance(rank, int) and rank >= 1):
        raise ConfigError(
            f"rank must be a whole number >= 1, or a share of the full rank between 0 and 1; got {rank!r}."
        )
    student = copy.deepcopy(unwrap(teacher))
    known = modules_by_path(student)
    left = set()
    for pattern in skip:
        matches = {path for path in known if path and fnmatchcase(path, pattern)}
        if not matches:
            raise ConfigError(f"{pattern!r} matches no module. {nearest(pattern, (path for path in known if path))}")
        left |= matches
    owners = Counter(
        id(value) for _, module in student.named_modules() for value in module._parameters.values() if value is not None
    )
    replaced: dict[int, nn.Module] = {}
    for path, layer in known.items():
        parent, _, name = path.rpartition(".")
        if id(layer) in replaced:
            setattr(known[parent], name, replaced[id(layer)])
            continue
        kind = _kind(layer)
        if path in left or not path or kind is None or owners[id(layer.weight)] > 1:
            continue
        halves = _split(layer, kind, rank, energy)
        if halves is not None:
            setattr(known[parent], name, halves)
            replaced[id(layer)] = halves
    if not replaced:
        raise ConfigError(
            f"No layer of {type(student).__name__} gets smaller at rank {energy or rank}: two halves of rank r hold "
            "r * (inputs + outputs) values. Choose a smaller rank."
        )
    return student


def _kind(layer: nn.Module) -> type[nn.Module] | None:
    """nn.Linear or the convolution that a layer is, where it can be split."""
    if type(layer).__name__ == "Conv1D" and hasattr(layer, "nf"):  # GPT-2's linear layer, stored as inputs by outputs
        return nn.Linear
    for kind in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d):
        if isinstance(layer, kind) and not is_parametrized(layer) and getattr(layer, "groups", 1) == 1:
            return kind
    return None


def _split(layer: Any, kind: type[nn.Module], rank: int | float, energy: float | None) -> nn.Module | None:
    weight: Tensor = layer.weight
    turned = hasattr(layer, "nf")
    matrix = (weight.detach().T if turned else weight.detach().flatten(1)).float()
    outputs, inputs = matrix.shape
    most = (outputs * inputs - 1) // (outputs + inputs)  # the largest rank that saves parameters
    wanted = max(1, round(rank * min(outputs, inputs))) if isinstance(rank, float) else rank
    if most < 1 or (energy is None and wanted > most):
        return None
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    if energy is not None:
        kept = values.square().cumsum(0) / values.square().sum()
        wanted = int((kept < energy).sum()) + 1
        if wanted > most:
            return None
    roots = values[:wanted].sqrt()
    halves, first, second = _halves(layer, kind, inputs, outputs, wanted)
    halves.to(device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        first.weight.copy_((roots[:, None] * right[:wanted]).reshape(first.weight.shape))
        second.weight.copy_((left[:, :wanted] * roots).reshape(second.weight.shape))
        if layer.bias is not None:
            second.bias.copy_(layer.bias)
            second.bias.requires_grad_(layer.bias.requires_grad)
    for half in (first, second):
        half.weight.requires_grad_(weight.requires_grad)
    return halves.train(layer.training)


def _halves(layer: Any, kind: type[nn.Module], inputs: int, outputs: int, rank: int) -> tuple[nn.Module, Any, Any]:
    has_bias = layer.bias is not None
    if kind is nn.Linear:
        linear = LowRankLinear(inputs, outputs, rank, bias=has_bias)
        return linear, linear.down, linear.up
    first = kind(
        layer.in_channels, rank, layer.kernel_size, stride=layer.stride, padding=layer.padding,
        dilation=layer.dilation, bias=False, padding_mode=layer.padding_mode,
    )  # fmt: skip
    second = kind(rank, layer.out_channels, 1, bias=has_bias)
    return LowRankConv(first, second), first, second
