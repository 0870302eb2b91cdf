"""Labels that are numbers, some not known, and a teacher without parameters: what the doctor must not cry out over."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from knowledge_distillation.doctor import Diagnosis, diagnose

NAN, INFINITE = float("nan"), float("inf")


class Forest(nn.Module):
    """Answers without a parameter or a buffer, as a fitted forest does."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows.sum(dim=1, keepdim=True)


def diagnosed(teacher: nn.Module, check: str, **changed: Any) -> Diagnosis:
    """Of a regression whose third label is not known; a value may be put in at a place of rows or labels."""
    values = {"rows": torch.randn(64, 5, generator=torch.Generator().manual_seed(0)), "labels": torch.zeros(64, 1)}
    values["labels"][2] = NAN
    for name, (place, value) in changed.items():
        values[name][place] = value
    loader = DataLoader(TensorDataset(values["rows"], values["labels"]), batch_size=16)
    objective = {"soft_regression": 0.5, "label_regression": 0.5}
    return diagnose(teacher, nn.Linear(5, 1), loader, {"test": loader}, objective=objective, checks=[check])


def test_a_label_that_is_not_known_is_no_fault() -> None:
    """Otherwise the usual table, with rows that nobody measured, is refused as damaged."""
    found = diagnosed(nn.Linear(5, 1), "finite")
    assert found.findings == ()
    assert found.checks == ("finite",)


@pytest.mark.parametrize(
    ("changed", "count"),
    [
        ({"rows": ((3, 1), NAN)}, 1),
        ({"labels": ((5, 0), INFINITE)}, 1),
        ({"rows": ((2, 0), NAN), "labels": ((9, 0), -INFINITE)}, 2),
    ],
    ids=["row", "label", "both, in the row without a label"],
)
def test_what_is_broken_is_found_beside_labels_that_are_not_known(changed: Any, count: int) -> None:
    """Otherwise one missing label hides a damaged column, and training ends in NaN."""
    (finding,) = diagnosed(nn.Linear(5, 1), "finite", **changed).named("finite")
    assert finding.severity == "error"
    assert finding.evidence.startswith(f"{count} numbers in the 4 batches")


def test_a_student_is_not_called_larger_than_a_teacher_that_has_no_parameters() -> None:
    """Otherwise every network that a forest teaches is said to be passed in the wrong place."""
    found = diagnosed(Forest(), "student_size")
    assert found.findings == ()
    assert found.skipped == {"student_size": "the teacher has no parameters"}
    assert diagnosed(nn.Linear(5, 1, bias=False), "student_size").named("student_size")
