"""Checks of the nn.Module around a loss: same value as the function, same loss after a journey, compilable."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses import catalogue
from tests.laws.case import Case, Inputs
from tests.laws.check_values import moved, nearby
from tests.laws.draws import Draw
from tests.laws.evaluate import (
    Inapplicable,
    build,
    call_module,
    differentiate,
    evaluate,
    masked_by,
    outcome,
    with_settings,
)
from tests.laws.rows import cast, item_shape, leading
from tests.laws.tolerance import EXACT, PRECISION, assert_near


def module_equals_function(case: Case, draw: Draw) -> None:
    """For every reduction, masked and not; and at other settings, each of which must reach the function."""
    inputs = draw.inputs(case, extra=1)
    some = draw.mask(item_shape(case, inputs), at_least=case.minimum_batch)
    for mask in (None, some):
        for reduction in ("mean", "sum", "none"):
            with suppress(Inapplicable):
                same_as_function(case, inputs, mask, reduction)
    for settings in [*nearby(case), *other_defaults(case)]:
        with suppress(ConfigError):
            same_as_function(with_settings(case, **settings), inputs, None, "mean")


def same_as_function(case: Case, inputs: Inputs, mask: Tensor | None, reduction: str) -> None:
    keywords = masked_by(case, mask)
    own, borrowed = build(case), build(case)
    assert hasattr(own, "reduction"), "the module does not hold its reduction"
    own.reduction = reduction  # type: ignore[assignment]
    given, leaves = leading(inputs)
    found = outcome(call_module(own, given, **keywords), leaves, own)
    expected = differentiate(case, inputs, mask=mask, reduction=reduction, module=borrowed)
    where = f"the module's {reduction!r} at {dict(case.settings)}{' masked' * (mask is not None)}"
    assert_near(found.value, expected.value, 1e-12, floor=EXACT.floor, what=where)
    for gradient, pure in zip(found.student + found.learned, expected.student + expected.learned, strict=True):
        assert_near(gradient, pure, 1e-12, floor=EXACT.floor, what=f"the gradient of {where}")


def other_defaults(case: Case) -> list[dict[str, Any]]:
    """Settings that the case leaves at their defaults, moved where they are numbers or switches."""
    entry = catalogue()[case.name]
    accepted = inspect.signature(entry.module).parameters
    others: list[dict[str, Any]] = []
    for name, parameter in inspect.signature(entry.function).parameters.items():
        if name not in accepted or name in case.settings or name in case.fixed:
            continue
        if isinstance(parameter.default, bool):
            others.append({name: not parameter.default})
        elif isinstance(parameter.default, float):
            others += [{name: other} for other in moved(case, name, parameter.default)]
    return others


def round_trip(case: Case, draw: Draw) -> None:
    """Pickled, copied, or loaded into a differently initialised twin, the loss says the same."""
    inputs = draw.inputs(case)
    module = build(case)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw.generator, dtype=parameter.dtype))
    twin = build(case)
    twin.load_state_dict(module.state_dict())
    expected = evaluate(case, inputs, module=copy.deepcopy(module))
    for way, arrived in {"pickle": pickle.loads(pickle.dumps(module)), "state_dict": twin}.items():
        assert_near(
            evaluate(case, inputs, module=arrived), expected, 1e-12, floor=EXACT.floor, what=f"the value after {way}"
        )


def compiled(case: Case, draw: Draw, backend: str = "aot_eager") -> None:
    inputs = cast(draw.inputs(case), torch.float32)
    plain, fast = build(case, torch.float32), build(case, torch.float32)
    inputs, leaves = leading(inputs)
    expected = outcome(call_module(plain, inputs), leaves, plain)
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call = torch.compile(fast, backend=backend, fullgraph=True)
        torch.default_generator.manual_seed(1)
        found = outcome(call(inputs.student, inputs.teacher, **inputs.needs), leaves, fast)
    tolerance = PRECISION[torch.float32]
    assert_near(found.value, expected.value, tolerance.value, floor=tolerance.floor, what="the compiled value")
    for gradient, plain_gradient in zip(found.student, expected.student, strict=True):
        assert_near(gradient, plain_gradient, tolerance.gradient, floor=tolerance.floor, what="the compiled gradient")
