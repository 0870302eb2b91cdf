"""Runs a case's pure function, freshly built each time, and takes its gradients."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.losses import Loss, catalogue
from tests.laws.case import Case, Inputs
from tests.laws.rows import leading, tensors


class Inapplicable(Exception):
    """The law has nothing to say about this case."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A value and its gradients."""

    value: Tensor
    student: list[Tensor]
    """One gradient for each student tensor; zeros where none flows."""
    learned: list[Tensor]
    """One gradient for each parameter that the loss trains."""


def build(case: Case, dtype: torch.dtype = torch.float64) -> Loss:
    """A fresh module in the precision of its inputs; half-precision models train float32 losses."""
    return case.build().to(torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype)


def with_settings(case: Case, **changed: Any) -> Case:
    return replace(case, settings={**case.settings, **changed})


def dtype_of(inputs: Inputs) -> torch.dtype:
    return next((tensor.dtype for tensor in tensors(inputs.student) if tensor.is_floating_point()), torch.float64)


def masked_by(case: Case, mask: Tensor | None) -> Mapping[str, Tensor]:
    if mask is None:
        return {}
    if "mask" not in inspect.signature(catalogue()[case.name].function).parameters:
        raise Inapplicable("it takes no mask")
    return {"mask": mask}


def evaluate(
    case: Case, inputs: Inputs, *, mask: Tensor | None = None, reduction: str = "mean", module: Loss | None = None
) -> Tensor:
    """The pure function's value; random choices inside a loss are the same each time."""
    module = module or build(case, dtype_of(inputs))
    torch.default_generator.manual_seed(1)
    return case.call(inputs, module, case.settings, reduction=reduction, **masked_by(case, mask))


def call_module(module: Loss, inputs: Inputs, **keywords: Any) -> Tensor:
    """The module's value, with the same random choices each time."""
    torch.default_generator.manual_seed(1)
    return module(inputs.student, inputs.teacher, **inputs.needs, **keywords)


def differentiate(
    case: Case, inputs: Inputs, *, mask: Tensor | None = None, reduction: str = "mean", module: Loss | None = None
) -> Outcome:
    """The value and its gradients; a value per item is summed first."""
    module = module or build(case, dtype_of(inputs))
    inputs, leaves = leading(inputs)
    value = evaluate(case, inputs, mask=mask, reduction=reduction, module=module)
    return outcome(value, leaves, module)


def outcome(value: Tensor, leaves: list[Tensor], module: Loss) -> Outcome:
    assert value.requires_grad, "the value carries no gradient: backward() would fail in a training loop"
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(value.sum(), [*leaves, *parameters], allow_unused=True)
    whole = [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip([*leaves, *parameters], gradients, strict=True)
    ]
    return Outcome(value=value.detach(), student=whole[: len(leaves)], learned=whole[len(leaves) :])


def assert_finite(result: Outcome, where: str) -> None:
    assert result.value.isfinite().all(), f"the value is {result.value} {where}"
    for gradient in [*result.student, *result.learned]:
        assert gradient.isfinite().all(), f"the gradient has NaN or infinity {where}"
