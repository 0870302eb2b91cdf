"""Faults as users make them are named by the check for them, and healthy trainings are left in peace."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.planted import FAULTS, HEALTHY
from benchmarks.planted.case import Case
from knowledge_distillation.doctor import CHECKS, diagnose

pytestmark = pytest.mark.filterwarnings("ignore:.*enable_nested_tensor.*", "ignore:.*lr_scheduler.step.*")
SLOW = ("BERT", "GPT-2", "deep teacher", "sure teacher")
"""Their teachers take long to train; `python -m benchmarks doctor` looks at them, and counts what it misses."""


def fast(cases: Iterable[Case]) -> list[Any]:
    return [pytest.param(case, id=case.name) for case in cases if not any(word in case.name for word in SLOW)]


@pytest.mark.parametrize("case", fast(FAULTS))
def test_a_planted_fault_is_named(case: Case, tmp_path: Path) -> None:
    """Otherwise the user finds out after the training, or never."""
    diagnosis = diagnose(**case.made(tmp_path), checks=[case.check])
    assert case.is_named(diagnosis), str(diagnosis)


@pytest.mark.parametrize("case", fast(HEALTHY))
def test_a_healthy_training_is_left_in_peace(case: Case, tmp_path: Path) -> None:
    """A doctor who cries wolf before every training is switched off."""
    diagnosis = case.examine(tmp_path, quick=True)
    assert diagnosis.healthy, str(diagnosis)
    broken = {name: why for name, why in diagnosis.skipped.items() if "the check raised" in why}
    assert not broken


@pytest.mark.parametrize("name", ["picture network", "text, tags", "frames with padding"])
def test_the_full_form_leaves_it_in_peace_too(name: str, tmp_path: Path) -> None:
    """The full form looks at more, and so has more chances to be wrong."""
    (case,) = [case for case in HEALTHY if case.name == name]
    diagnosis = case.examine(tmp_path)
    assert diagnosis.healthy, str(diagnosis)
    assert not [why for why in diagnosis.skipped.values() if "the check raised" in why]


def test_every_check_has_a_fault_planted_for_it() -> None:
    """A check that nothing is planted for may never have fired."""
    assert {case.check for case in FAULTS} == {check.name for check in CHECKS}
    assert len(FAULTS) >= 40


def test_every_check_says_what_it_finds() -> None:
    """The table of checks in the documentation is made of these sentences."""
    for check in CHECKS:
        assert check.finds.endswith("."), check.name
        assert len(check.finds) > 30, check.name
