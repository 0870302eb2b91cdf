"""Quantisation-aware distillation: a student that computes with rounded weights while it learns."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from knowledge_distillation.accepted import is_whole
from knowledge_distillation.errors import ConfigError

QUANTISED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose weight [outputs, ...] and input are rounded."""
FEWEST_BITS, MOST_BITS = 2, 8


class RoundedWeight(nn.Module):
    """A weight on the grid of a signed integer, one scale for each output.

    scale = max |w| / (2**(bits - 1) - 1), w' = scale * round(w / scale). The gradient passes as if nothing was rounded
    (Bengio et al., 2013, arXiv:1308.3432; for quantisation Jacob et al., 2018, arXiv:1712.05877, section 3).

    Args:
        bits: 2 to 8.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        """The rounded weight; same shape and type."""
        top = 2 ** (self.bits - 1) - 1
        exact = weight.float()
        largest = exact.detach().abs().flatten(1).amax(dim=1)
        scale = (largest / top).clamp(min=torch.finfo(torch.float32).tiny)
        zeros = torch.zeros_like(scale, dtype=torch.int32)
        rounded = torch.fake_quantize_per_channel_affine(exact, scale, zeros, 0, -top, top)
        return rounded.to(weight.dtype)


class RoundedInput:
    """A forward pre-hook that rounds a layer's input to the grid of its own range, as int8 inference does.

    Args:
        bits: 2 to 8.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The inputs with the first one rounded."""
        exact = inputs[0].float()
        low, high = exact.detach().amin().clamp(max=0), exact.detach().amax().clamp(min=0)
        steps = 2**self.bits - 1
        scale = ((high - low) / steps).clamp(min=torch.finfo(torch.float32).tiny)
        zero = (-low / scale).round().to(torch.int32)
        rounded = torch.fake_quantize_per_tensor_affine(exact, scale, zero, 0, steps)
        return (rounded.to(inputs[0].dtype), *inputs[1:])


def quantisation_aware(student: nn.Module, bits: int = 8, *, input_bits: int | None = 8) -> nn.Module:
    """A copy of the student that computes as its quantised self, and can be taught so.

    Linear and convolution layers round their weights, and their inputs, in every forward; gradients pass as if they
    did not. Module paths stay, so that objectives name the same layers. Teach it with `distill`, then export it as
    int8: its weights already stand on the grid. Without training it shows what rounding after training costs.

    Args:
        student: left as it is; best already trained.
        bits: of the weights, 2 to 8. "int8" files hold 8; fewer show what a smaller format would cost.
        input_bits: of the layers' inputs, 2 to 8; None leaves them exact.

    Returns:
        The copy, in the student's mode. Its state dict has "parametrizations.weight.original" for each "weight".

    Raises:
        ConfigError: if the bits are out of range, or the student has no layer that can be quantised.
    """
    for name, value in (("bits", bits), ("input_bits", input_bits)):
        if value is None and name == "input_bits":
            continue
        if not is_whole(value) or not FEWEST_BITS <= value <= MOST_BITS:
            raise ConfigError(f"{name} must be a whole number from {FEWEST_BITS} to {MOST_BITS}, got {value!r}.")
    twin = copy.deepcopy(student)
    layers = [module for module in twin.modules() if isinstance(module, QUANTISED)]
    if not layers:
        raise ConfigError(
            f"{type(student).__name__} has neither linear nor convolution layers, so there is nothing to quantise."
        )
    for layer in layers:
        if not parametrize.is_parametrized(layer):
            parametrize.register_parametrization(layer, "weight", RoundedWeight(bits))
            if input_bits is not None:
                layer.register_forward_pre_hook(RoundedInput(input_bits))
    return twin


def baked(model: nn.Module) -> nn.Module:
    """Put the rounded weights in the place of what they were rounded from; in place, the same outputs.

    `parametrize.remove_parametrizations` is not used: it changes the class, which a copy shares with its original.
    """
    for module in list(model.modules()):
        if not _rounds_weight(module):
            continue
        weight = nn.Parameter(module.weight.detach().clone(), requires_grad=False)  # type: ignore[operator]
        module.__class__ = parametrize.type_before_parametrizations(module)
        del module.parametrizations
        module.register_parameter("weight", weight)
    return model


def _rounds_weight(module: nn.Module) -> bool:
    if not parametrize.is_parametrized(module, "weight"):
        return False
    return any(isinstance(step, RoundedWeight) for step in module.parametrizations["weight"])  # type: ignore[index]


def rounds_inputs(model: nn.Module) -> bool:
    """Whether a model is `quantisation_aware` and rounds what its layers read."""
    hooks = (hook for module in model.modules() for hook in module._forward_pre_hooks.values())
    return any(isinstance(hook, RoundedInput) for hook in hooks)
