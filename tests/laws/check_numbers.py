"""Checks of numerical safety: half precision, huge logits, impossible classes, any temperature."""

from __future__ import annotations

import inspect
from dataclasses import replace

import torch
from torch import Tensor

from knowledge_distillation.losses import catalogue
from tests.laws.case import Case, Inputs
from tests.laws.collect import signal_of
from tests.laws.draws import Draw
from tests.laws.evaluate import Inapplicable, assert_finite, differentiate, with_settings
from tests.laws.rows import cast, on_signal, on_signals, tensors
from tests.laws.tolerance import PRECISION, Tolerance, assert_near, at_temperature

TEMPERATURES = (1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4)
HUGE = {torch.float32: 1e4, torch.float16: 6e4}


def precision(case: Case, draw: Draw) -> None:
    """Against float64 on the very same rounded inputs, so that only the loss's own error counts."""
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        near_float64(case, cast(draw.inputs(case), dtype), PRECISION[dtype], f"in {dtype}")


def near_float64(case: Case, rounded: Inputs, tolerance: Tolerance, where: str) -> None:
    result, exact = differentiate(case, rounded), differentiate(case, cast(rounded, torch.float64))
    assert_near(result.value, exact.value, tolerance.value, floor=tolerance.floor, what=f"the value {where}")
    for gradient, expected in zip(result.student, exact.student, strict=True):
        beyond = expected.abs() > torch.finfo(gradient.dtype).max  # which that type can only call infinite
        assert torch.equal(gradient[beyond].double(), expected[beyond].sign() * torch.inf)
        gradient, expected = gradient[~beyond], expected[~beyond]
        assert_near(gradient, expected, tolerance.gradient, floor=tolerance.floor, what=f"the gradient {where}")


def extreme_logits(case: Case, draw: Draw) -> None:
    inputs = draw.inputs(case)
    for dtype, size in HUGE.items():
        for pattern, huge in extremes(inputs, size, draw.generator).items():
            assert_finite(differentiate(case, cast(huge, dtype)), f"at logits of +-{size:g} in {dtype}, {pattern}")


def extremes(inputs: Inputs, size: float, generator: torch.Generator) -> dict[str, Inputs]:
    def random_signs(tensor: Tensor) -> Tensor:
        return size * (2 * torch.randint(0, 2, tensor.shape, generator=generator).to(tensor.dtype) - 1)

    def one_hot(tensor: Tensor) -> Tensor:
        return torch.full_like(tensor, -size).scatter(-1, tensor.argmax(-1, keepdim=True), size)

    peaked = on_signals(inputs, one_hot)
    return {
        "random signs": on_signals(inputs, random_signs),
        "one-hot": peaked,
        "opposite": replace(peaked, student=on_signal(peaked.student, torch.neg)),
        "all equal": on_signals(inputs, lambda tensor: torch.full_like(tensor, size)),
    }


def silent_signals(case: Case, draw: Draw) -> None:
    """Dead units say 0 everywhere: norms and roots of nothing must not turn into NaN, in value or gradient."""
    if "prob" in signal_of(case):
        raise Inapplicable("probabilities are never all 0")
    inputs = draw.inputs(case)
    silence = on_signals(inputs, torch.zeros_like)
    silent = {
        "student": replace(inputs, student=silence.student),
        "teacher": replace(inputs, teacher=silence.teacher),
        "both": silence,
    }
    for dtype in (torch.float32, torch.float64):
        for who, quiet in silent.items():
            assert_finite(differentiate(case, cast(quiet, dtype)), f"in {dtype} where {who} gave 0 only")


def masked_logits(case: Case, draw: Draw) -> None:
    """The last two classes cannot occur on either side; labels, where there are any, never name them."""
    inputs = draw.inputs(case)
    width = tensors(inputs.student)[0].shape[-1]

    def forbid(tensor: Tensor) -> Tensor:
        impossible = torch.arange(tensor.shape[-1]) >= tensor.shape[-1] - 2
        return tensor.masked_fill(impossible, float("-inf"))

    labels = inputs.needs.get("labels")
    if isinstance(labels, Tensor) and not labels.is_floating_point():
        possible = torch.where(labels >= 0, labels % (width - 2), labels)
        inputs = replace(inputs, needs={**inputs.needs, "labels": possible})
    for dtype in (torch.float64, torch.float32, torch.float16):
        assert_finite(differentiate(case, cast(on_signals(inputs, forbid), dtype)), f"in {dtype}, two classes at -inf")


def temperature_range(case: Case, draw: Draw) -> None:
    entry = catalogue()[case.name]
    settings = inspect.signature(entry.function).parameters.keys() & inspect.signature(entry.module).parameters.keys()
    named = [name for name in settings if "temperature" in name]
    if not named:
        raise Inapplicable("it has no temperature")
    rounded = cast(draw.inputs(case), torch.float32)
    for temperature in (*TEMPERATURES, draw.temperature):
        tried = with_settings(case, **dict.fromkeys(named, temperature))
        near_float64(tried, rounded, at_temperature(temperature), f"at temperature {temperature:g}")
