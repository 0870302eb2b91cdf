"""Checks of how items become one number: reductions, order, parts of a batch, one single item."""

from __future__ import annotations

import torch

from tests.laws.case import Case
from tests.laws.draws import Draw
from tests.laws.evaluate import assert_finite, differentiate, evaluate
from tests.laws.rows import batch_of, cast, item_shape, pick
from tests.laws.tolerance import EXACT, assert_near


def reductions(case: Case, draw: Draw) -> None:
    """ "none" has one value per item; "mean" and "sum" are its mean and sum, with and without a mask."""
    inputs = draw.inputs(case, extra=1)
    shape = item_shape(case, inputs)
    each = evaluate(case, inputs, reduction="none")
    assert tuple(each.shape) == shape, f"'none' has shape {tuple(each.shape)}, the items are {shape}"
    for reduction, expected in {"mean": each.mean(), "sum": each.sum()}.items():
        value = evaluate(case, inputs, reduction=reduction)
        assert_near(value, expected, EXACT.value, floor=EXACT.floor, what=f"{reduction!r} against 'none'")


def batch_permutation(case: Case, draw: Draw) -> None:
    inputs = draw.inputs(case, extra=1)
    order = torch.randperm(batch_of(inputs), generator=draw.generator)
    before = differentiate(case, inputs)
    after = differentiate(case, pick(case, inputs, order))
    assert_near(after.value, before.value, 1e-8, floor=EXACT.floor, what="the value in another order")
    for moved, gradient in zip(after.student, before.student, strict=True):
        assert_near(moved, gradient[order], 1e-7, floor=EXACT.floor, what="the gradient in another order")


def micro_batches(case: Case, draw: Draw) -> None:
    inputs = draw.inputs(case, extra=max(1, case.minimum_batch))
    batch = batch_of(inputs)
    low = max(1, case.minimum_batch)
    cut = low + draw.seed % (batch - 2 * low + 1)
    whole = differentiate(case, inputs, reduction="sum")
    rows = torch.arange(batch)
    parts = [differentiate(case, pick(case, inputs, part), reduction="sum") for part in (rows[:cut], rows[cut:])]
    total = torch.stack([part.value for part in parts]).sum()
    assert_near(total, whole.value, 1e-8, floor=EXACT.floor, what=f"the sum of parts cut at {cut}")
    for first, second, gradient in zip(parts[0].student, parts[1].student, whole.student, strict=True):
        assert_near(torch.cat([first, second]), gradient, 1e-7, floor=EXACT.floor, what="the gradient in parts")
    for first, second, gradient in zip(parts[0].learned, parts[1].learned, whole.learned, strict=True):
        assert_near(first + second, gradient, 1e-7, floor=EXACT.floor, what="the learned parts' gradient in parts")


def batch_of_one(case: Case, draw: Draw) -> None:
    inputs = case.inputs(draw.generator, 1)
    for dtype in (torch.float32, torch.float64):
        for reduction in ("mean", "sum", "none") if dtype == torch.float64 else ("mean",):
            result = differentiate(case, cast(inputs, dtype), reduction=reduction)
            assert_finite(result, f"for a single item in {dtype}, reduction {reduction!r}")
