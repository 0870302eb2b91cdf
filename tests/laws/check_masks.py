"""Checks of masks: what is masked might as well not be there, whatever it holds."""

from __future__ import annotations

import math

import torch

from tests.laws.case import Case, Inputs
from tests.laws.draws import Draw
from tests.laws.evaluate import build, call_module, differentiate, masked_by
from tests.laws.rows import batch_of, cut_items, fill, item_shape, pick
from tests.laws.tolerance import EXACT, assert_near

GARBAGE = (math.nan, math.inf)


def masked_items(case: Case, draw: Draw) -> None:
    """Padding must not train the student: value and gradients equal those of a batch without it."""
    inputs = draw.inputs(case, extra=1)
    samples = draw.mask((batch_of(inputs),), at_least=case.minimum_batch)
    for reduction in ("mean", "sum", "none"):
        without_samples(case, inputs, samples, reduction)
    if case.minimum_batch == 1:
        only_one = torch.arange(batch_of(inputs)) == draw.seed % batch_of(inputs)
        without_samples(case, inputs, only_one, "mean")
    same_memory(case, inputs, samples)
    if case.item_axes > 1:
        scattered_items(case, inputs, draw.mask(item_shape(case, inputs)))
    if case.item_axes == 2:
        trailing_items(case, inputs)


def by_item(case: Case, inputs: Inputs, samples: torch.Tensor) -> torch.Tensor:
    """A mask of samples as a mask of items."""
    return samples.view(-1, *[1] * (case.item_axes - 1)).expand(item_shape(case, inputs))


def without_samples(case: Case, inputs: Inputs, samples: torch.Tensor, how: str) -> None:
    mask, rows = by_item(case, inputs, samples), samples.nonzero().flatten()
    short = differentiate(case, pick(case, inputs, rows), reduction=how)
    for garbage in GARBAGE if how == "mean" else GARBAGE[:1]:
        full = differentiate(case, fill(case, inputs, mask, garbage), mask=mask, reduction=how)
        value = full.value[rows] if how == "none" else full.value
        assert_near(value, short.value, 1e-8, floor=EXACT.floor, what=f"{how!r} beside items of {garbage}")
        if how == "none":
            assert (full.value[~mask] == 0).all(), "a masked item has a value"
        for gradient, expected in zip(full.student, short.student, strict=True):
            placed = torch.zeros_like(gradient).index_copy(0, rows, expected)
            assert_near(gradient, placed, 1e-7, floor=EXACT.floor, what=f"the gradient beside items of {garbage}")
        for gradient, expected in zip(full.learned, short.learned, strict=True):
            assert_near(gradient, expected, 1e-7, floor=EXACT.floor, what="the learned parts' gradient")


def same_memory(case: Case, inputs: Inputs, samples: torch.Tensor) -> None:
    """What a loss remembers of a batch (statistics, banks) has nothing of the masked samples either."""
    padded, short = build(case), build(case)
    if not list(padded.buffers()):
        return
    mask = by_item(case, inputs, samples)
    call_module(padded, fill(case, inputs, mask, math.nan), **masked_by(case, mask))
    call_module(short, pick(case, inputs, samples.nonzero().flatten()))
    for (name, found), expected in zip(padded.named_buffers(), short.buffers(), strict=True):
        assert_near(found, expected, 1e-8, floor=EXACT.floor, what=f"what {name} keeps of a batch with padding")


def scattered_items(case: Case, inputs: Inputs, mask: torch.Tensor) -> None:
    """Masks inside a sample: what the masked items hold changes nothing, and the mean is over the kept ones."""
    before = {how: differentiate(case, inputs, mask=mask, reduction=how) for how in ("mean", "sum", "none")}
    for garbage in GARBAGE:
        for how, expected in before.items() if garbage is GARBAGE[0] else [("mean", before["mean"])]:
            after = differentiate(case, fill(case, inputs, mask, garbage), mask=mask, reduction=how)
            assert_near(after.value, expected.value, 1e-8, floor=EXACT.floor, what=f"{how!r} beside {garbage}")
            for gradient, plain in zip(after.student, expected.student, strict=True):
                assert_near(gradient, plain, 1e-7, floor=EXACT.floor, what=f"the gradient beside {garbage}")
    each = before["none"].value
    assert (each[~mask] == 0).all(), "a masked item has a value"
    assert_near(before["sum"].value, each.sum(), EXACT.value, floor=EXACT.floor, what="the masked sum")
    assert_near(before["mean"].value, each[mask].mean(), EXACT.value, floor=EXACT.floor, what="the masked mean")


def trailing_items(case: Case, inputs: Inputs) -> None:
    """Padding at the end of every sample: the same as samples without it."""
    whole = item_shape(case, inputs)
    for kept in {1, whole[1] - 1}:
        mask = (torch.arange(whole[1]) < kept).expand(whole)
        short = differentiate(case, cut_items(case, inputs, 0, kept))
        full = differentiate(case, fill(case, inputs, mask, math.nan), mask=mask)
        what = f"where {kept} of {whole[1]} items are no padding"
        assert_near(full.value, short.value, 1e-8, floor=EXACT.floor, what=f"the value {what}")
        for gradient, expected in zip(full.student, short.student, strict=True):
            padded = torch.zeros_like(gradient)
            padded[tuple(slice(size) for size in expected.shape)] = expected
            assert_near(gradient, padded, 1e-7, floor=EXACT.floor, what=f"the gradient {what}")


def all_masked(case: Case, draw: Draw) -> None:
    """A batch of padding only gives exactly 0, so that it neither trains nor breaks a run."""
    inputs = draw.inputs(case)
    mask = torch.zeros(item_shape(case, inputs), dtype=torch.bool)
    for garbage in GARBAGE:
        for reduction in ("mean", "sum", "none") if garbage is GARBAGE[0] else ("mean",):
            result = differentiate(case, fill(case, inputs, mask, garbage), mask=mask, reduction=reduction)
            assert (result.value == 0).all(), f"{reduction!r} of nothing is {result.value}"
            for gradient in [*result.student, *result.learned]:
                assert (gradient == 0).all(), "a masked item has a gradient"
