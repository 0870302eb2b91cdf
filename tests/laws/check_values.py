"""Checks of what a loss says: the oracle's value, 0 at equality, never negative, blind to shifts and names."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch

from knowledge_distillation.errors import ConfigError
from tests.laws.case import Case, Inputs
from tests.laws.collect import reasons, signal_of
from tests.laws.draws import Draw, scalable
from tests.laws.evaluate import Inapplicable, assert_finite, build, differentiate, evaluate, with_settings
from tests.laws.rows import batch_of, copy_of, on_signal, on_signals, pick, same_shapes, tensors
from tests.laws.tolerance import EXACT, ZERO, assert_near


def oracle(case: Case, draw: Draw) -> None:
    """The float64 value is the oracle's, at the case's settings and at others near them, for the batch and an item."""
    for scale in {draw.scale, 0.1 if scalable(case) else draw.scale}:
        at_oracle(case, replace(draw, scale=scale).inputs(case))
    if "zero_at_equality" in reasons(case):  # then what it is there is known
        with suppress(Inapplicable):
            at_oracle(case, equal(case, draw.inputs(case)))
    if "micro_batches" not in reasons(case) and case.minimum_batch == 1:
        inputs = draw.inputs(case)
        one = torch.tensor([draw.seed % batch_of(inputs)])
        alone = pick(case, inputs, one)
        expected = torch.tensor(case.oracle(alone, {**case.settings, "module": build(case)}), dtype=torch.float64)
        value = evaluate(case, inputs, reduction="none")[one].mean()
        assert_near(value, expected, EXACT.value, floor=EXACT.floor, what="one item of 'none'")


def at_oracle(case: Case, inputs: Inputs) -> None:
    for settings in [{}, *nearby(case)]:
        tried = with_settings(case, **settings)
        module = build(tried)
        value = evaluate(tried, inputs, module=module)
        assert value.dim() == 0, f"the mean has shape {tuple(value.shape)}"
        assert value.dtype == torch.float64, f"float64 inputs gave {value.dtype}"
        expected = torch.tensor(case.oracle(inputs, {**tried.settings, "module": module}), dtype=torch.float64)
        assert_near(value, expected, EXACT.value, floor=EXACT.floor, what=f"the value at {settings or 'the settings'}")


def nearby(case: Case) -> list[dict[str, Any]]:
    """Each real-valued setting moved, one at a time: a setting that is never varied is never tested."""
    real = {name: value for name, value in case.settings.items() if isinstance(value, float) and name not in case.fixed}
    return [{name: other} for name, value in real.items() for other in moved(case, name, value)]


def moved(case: Case, name: str, value: float) -> list[float]:
    """Another value that the loss accepts, in a list; an empty list where it takes none of those tried."""
    for factor in (0.75, 1.25) if value else (1.0,):
        # a number that float32 can hold, since modules may keep it in a buffer
        other = torch.tensor(value * factor or 0.25, dtype=torch.float32).item()
        with suppress(ConfigError):
            build(with_settings(case, **{name: other}))
            return [other]
    return []


def zero_at_equality(case: Case, draw: Draw) -> None:
    inputs = equal(case, draw.inputs(case))
    result = differentiate(case, inputs)
    assert abs(result.value.item()) <= ZERO, f"the loss is {result.value.item():g} where both sides agree"
    assert_finite(result, "at equality")


def equal(case: Case, inputs: Inputs) -> Inputs:
    """Inputs at which the student says what the teacher says."""
    if case.equality is not None:
        return case.equality(inputs)
    if not same_shapes(inputs):
        raise Inapplicable("student and teacher have different shapes, so they cannot say the same")
    return replace(inputs, teacher=copy_of(inputs.student))


def non_negative(case: Case, draw: Draw) -> None:
    inputs = draw.inputs(case)
    trials = [inputs, replace(inputs, student=on_signal(inputs.student, torch.neg))]
    try:
        same = equal(case, inputs)
    except Inapplicable:
        pass
    else:
        trials += [same, replace(same, student=on_signal(same.student, lambda tensor: tensor * (1 + 1e-4)))]
    if "prob" in signal_of(case):
        trials = trials[:1]
    for trial in trials:
        value = evaluate(case, trial).item()
        assert value >= -ZERO, f"the loss is {value:g}"


def shift_invariant(case: Case, draw: Draw) -> None:
    inputs = draw.inputs(case)
    generator = draw.generator

    def shifted(tensor: torch.Tensor) -> torch.Tensor:
        return tensor + 5 * torch.randn(*tensor.shape[:-1], 1, generator=generator, dtype=tensor.dtype)

    before, after = differentiate(case, inputs), differentiate(case, on_signals(inputs, shifted))
    assert_near(after.value, before.value, 1e-8, floor=EXACT.floor, what="the value of shifted logits")
    for shifted_gradient, gradient in zip(after.student, before.student, strict=True):
        assert_near(shifted_gradient, gradient, 1e-7, floor=EXACT.floor, what="the gradient of shifted logits")


def class_permutation(case: Case, draw: Draw) -> None:
    inputs = draw.inputs(case)
    orders = {
        width: torch.randperm(width, generator=draw.generator)
        for width in {tensor.shape[-1] for tensor in [*tensors(inputs.student), *tensors(inputs.teacher)]}
    }
    renamed = on_signals(inputs, lambda tensor: tensor[..., orders[tensor.shape[-1]]])
    for name, signal in {"labels": inputs.student, "teacher_labels": inputs.teacher}.items():
        labels = inputs.needs.get(name)
        if isinstance(labels, torch.Tensor) and not labels.is_floating_point():
            new_name = orders[tensors(signal)[0].shape[-1]].argsort()
            labels = torch.where(labels >= 0, new_name[labels.clamp(min=0)], labels)
            renamed = replace(renamed, needs={**renamed.needs, name: labels})
    value = evaluate(case, renamed)
    assert_near(value, evaluate(case, inputs), 1e-8, floor=EXACT.floor, what="the value with renamed classes")
