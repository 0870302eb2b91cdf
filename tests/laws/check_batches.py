"""Checks of how items become one number: reductions, order, parts of a batch, one single item."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tests.laws.case import Case, Inputs
from tests.laws.collect import signal_of
from tests.laws.draws import Draw
from tests.laws.evaluate import assert_finite, differentiate, evaluate
from tests.laws.rows import batch_of, cast, cut_items, item_shape, pick, tensors
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
    """Samples in two parts; and tokens in two chunks, where they are items that do not look at each other."""
    inputs = draw.inputs(case, extra=max(1, case.minimum_batch))
    batch = batch_of(inputs)
    low = max(1, case.minimum_batch)
    cut = low + draw.seed % (batch - 2 * low + 1)
    rows = torch.arange(batch)
    add_up(case, inputs, [pick(case, inputs, part) for part in (rows[:cut], rows[cut:])], axis=0)
    if case.item_axes == 2 and not case.neighbours_meet and not tokens_meet(case, inputs):
        tokens = item_shape(case, inputs)[1]
        cut = 1 + draw.seed % (tokens - 1)
        chunks = [cut_items(case, inputs, 0, cut), cut_items(case, inputs, cut, tokens)]
        add_up(case, inputs, chunks, axis=1)


def tokens_meet(case: Case, inputs: Inputs) -> bool:
    """Whether tokens attend to each other, or are paired over sequences of different length."""
    lengths = {tensor.shape[1] for tensor in [*tensors(inputs.student), *tensors(inputs.teacher)]}
    return len(lengths) > 1 or any(word in signal_of(case) for word in ("attention", "queries"))


def add_up(case: Case, inputs: Inputs, parts: Sequence[Inputs], axis: int) -> None:
    whole = differentiate(case, inputs, reduction="sum")
    first, second = (differentiate(case, part, reduction="sum") for part in parts)
    what = f"in parts along axis {axis}"
    assert_near(first.value + second.value, whole.value, 1e-8, floor=EXACT.floor, what=f"the sum {what}")
    for one, other, gradient in zip(first.student, second.student, whole.student, strict=True):
        assert_near(torch.cat([one, other], axis), gradient, 1e-7, floor=EXACT.floor, what=f"the gradient {what}")
    for one, other, gradient in zip(first.learned, second.learned, whole.learned, strict=True):
        assert_near(one + other, gradient, 1e-7, floor=EXACT.floor, what=f"the learned parts' gradient {what}")


def batch_of_one(case: Case, draw: Draw) -> None:
    inputs = case.inputs(draw.generator, 1)
    for dtype in (torch.float32, torch.float64):
        for reduction in ("mean", "sum", "none") if dtype == torch.float64 else ("mean",):
            result = differentiate(case, cast(inputs, dtype), reduction=reduction)
            assert_finite(result, f"for a single item in {dtype}, reduction {reduction!r}")
