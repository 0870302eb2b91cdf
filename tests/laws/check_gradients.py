"""Checks of gradients: none into the teacher, the right one into the student and the learned parts."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from knowledge_distillation.losses import Loss
from tests.laws.case import Case, Inputs
from tests.laws.draws import Draw
from tests.laws.evaluate import build, differentiate, evaluate
from tests.laws.rows import leading, on_signal, tensors

STEP = 1e-6


def teacher_detached(case: Case, draw: Draw) -> None:
    inputs, _ = leading(draw.inputs(case))
    teacher = on_signal(inputs.teacher, lambda tensor: tensor.clone().requires_grad_(tensor.is_floating_point()))
    needs = {
        name: need.clone().requires_grad_()
        if isinstance(need, Tensor) and need.is_floating_point() and ("teacher" in name or "label" in name)
        else need
        for name, need in inputs.needs.items()
    }
    watched = [tensor for tensor in [*tensors(teacher), *needs.values()] if isinstance(tensor, Tensor)]
    watched = [tensor for tensor in watched if tensor.requires_grad]
    torch.autograd.backward(evaluate(case, replace(inputs, teacher=teacher, needs=needs)))
    for tensor in watched:
        assert tensor.grad is None or (tensor.grad == 0).all(), "gradient reaches the teacher or the labels"


def gradcheck(case: Case, draw: Draw) -> None:
    """Along random directions and the gradient itself: of the student's signals, and of the learned parts."""
    inputs, leaves = leading(draw.inputs(case))
    module = build(case)
    parameters: list[Tensor] = [parameter for parameter in module.parameters() if parameter.requires_grad]
    analytic = differentiate(case, inputs, module=copy.deepcopy(module))
    slack = 1e-9 * abs(analytic.value.item())
    for group, gradients in [(leaves, analytic.student), (parameters, analytic.learned)]:
        if not group:
            continue
        sizes = [gradient.norm().item() + 1e-4 for gradient in gradients]
        for steps in directions(gradients, sizes, draw.generator):
            expected = slope(case, inputs, module, group, steps)
            found = sum((gradient * step).sum().item() for gradient, step in zip(gradients, steps, strict=True))
            reach = sum(size * step.norm().item() for size, step in zip(sizes, steps, strict=True))
            assert abs(found - expected) <= slack + 1e-5 * reach, f"slope {found:.9g}, differences give {expected:.9g}"


def directions(gradients: list[Tensor], sizes: list[float], generator: torch.Generator) -> list[list[Tensor]]:
    """Two random ones and the gradient's own; a tensor with a small gradient moves further, so that each counts."""
    random = [[torch.randn(one.shape, generator=generator, dtype=one.dtype) for one in gradients] for _ in range(2)]
    lengths = [min(1.0, min(sizes) / size) for size in sizes]
    return [
        [length * step / step.norm().clamp(min=1e-30) for step, length in zip(steps, lengths, strict=True)]
        for steps in [*random, gradients]
    ]


def slope(case: Case, inputs: Inputs, module: Loss, leaves: list[Tensor], steps: list[Tensor]) -> float:
    originals = [leaf.detach().clone() for leaf in leaves]
    values = []
    for size in (STEP, -STEP):
        with torch.no_grad():
            for leaf, original, step in zip(leaves, originals, steps, strict=True):
                leaf.copy_(original + size * step)
        values.append(evaluate(case, inputs, module=copy.deepcopy(module)).item())
    with torch.no_grad():
        for leaf, original in zip(leaves, originals, strict=True):
            leaf.copy_(original)
    return (values[0] - values[1]) / (2 * STEP)
