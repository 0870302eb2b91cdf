"""Which check stands for which law, and how hypothesis runs one on one case."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hypothesis import given

from tests.laws import check_batches, check_gradients, check_masks, check_modules, check_numbers, check_values
from tests.laws.case import Case
from tests.laws.draws import Draw, draws, profile

Check = Callable[[Case, Draw], None]

CHECKS: Mapping[str, Check] = {
    "zero_at_equality": check_values.zero_at_equality,
    "non_negative": check_values.non_negative,
    "shift_invariant": check_values.shift_invariant,
    "class_permutation": check_values.class_permutation,
    "batch_permutation": check_batches.batch_permutation,
    "masked_items": check_masks.masked_items,
    "all_masked": check_masks.all_masked,
    "micro_batches": check_batches.micro_batches,
    "teacher_detached": check_gradients.teacher_detached,
    "module_equals_function": check_modules.module_equals_function,
    "gradcheck": check_gradients.gradcheck,
    "precision": check_numbers.precision,
    "extreme_logits": check_numbers.extreme_logits,
    "masked_logits": check_numbers.masked_logits,
    "temperature_range": check_numbers.temperature_range,
    "compiled": check_modules.compiled,
    "round_trip": check_modules.round_trip,
    "batch_of_one": check_batches.batch_of_one,
}

# What holds for every loss without exception: nobody may be excused from it.
DUTIES: Mapping[str, Check] = {
    "oracle": check_values.oracle,
    "reductions": check_batches.reductions,
    "silent_signals": check_numbers.silent_signals,
}


def hold(law: str, case: Case, *, shrink: bool = True) -> None:
    """Raise unless the law holds for every draw that hypothesis makes.

    Raises:
        AssertionError: if the law is broken; a loss that fails in another way raises what it raised.
        Inapplicable: if the law has nothing to say about this case.
    """
    check = {**CHECKS, **DUTIES}[law]

    @profile(law, shrink=shrink)
    @given(draw=draws())
    def every_draw(draw: Draw) -> None:
        check(case, draw)

    every_draw()
