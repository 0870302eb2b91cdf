"""What goes wrong for a user who asks where the student lost, and for whom."""

from __future__ import annotations

import math

import pytest
import torch

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.evaluation.samples import Sample
from knowledge_distillation.evaluation.slices import Slices, class_rows
from knowledge_distillation.evaluation.worse import Worse


def test_slices_are_bools_or_groups_and_count_items() -> None:
    """Otherwise a group that the student fails stays hidden in the mean."""
    slices = Slices({"long": lambda batch: batch > 2, "kind": lambda batch: ["a", "b", "a"]})
    members = slices.members(torch.tensor([1, 3, 5]), 3)
    # the second sample has two items, as a text of two tokens
    sample = torch.tensor([0, 1, 1, 2])
    slices.add(members, sample, {"teacher": torch.tensor([1.0, 1, 0, 1]), "student": torch.tensor([0.0, 1, 0, 0])})
    rows = {row["slice"]: row for row in slices.rows("teacher", "student")}
    assert rows["long"] == {"slice": "long", "items": 3, "teacher": 2 / 3, "student": 1 / 3, "change": -1 / 3}
    assert rows["kind=a"] == {"slice": "kind=a", "items": 2, "teacher": 1.0, "student": 0.0, "change": -1.0}
    assert rows["kind=b"]["items"] == 2


def test_a_slice_without_items_has_no_score() -> None:
    """Otherwise it shows 0, as if everything in it were wrong."""
    slices = Slices({"none": lambda batch: torch.zeros(2, dtype=torch.bool)})
    slices.add(slices.members(None, 2), torch.arange(2), {"teacher": torch.ones(2), "student": torch.ones(2)})
    assert slices.rows("teacher", "student") == [
        {"slice": "none", "items": 0, "teacher": None, "student": None, "change": None}
    ]


def test_a_slicer_of_another_length_is_an_error() -> None:
    """Otherwise samples are counted in the wrong slice."""
    with pytest.raises(ConfigError, match="one entry for each of the 3 samples"):
        Slices({"short": lambda batch: [True]}).members(None, 3)
    with pytest.raises(ConfigError, match="must be a callable"):
        Slices({"name": "not callable"})


def test_classes_without_items_have_no_row() -> None:
    """Otherwise the change of a class that never came is 0 over 0."""
    rows = class_rows([(2, 1.0), (0, math.nan)], [(2, 0.5), (0, math.nan)], {0: "cat"}.get)
    assert rows == [{"class": 0, "name": "cat", "items": 2, "teacher": 1.0, "student": 0.5, "change": -0.5}]


def count_in(worse: Worse, student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, start: int) -> None:
    right = (student.argmax(1) == labels).double(), (teacher.argmax(1) == labels).double()
    worse.add(
        labels=labels,
        before=teacher,
        after=student,
        values=(right[1], right[0]),
        sample=torch.arange(len(labels)),
        position=torch.zeros(len(labels), dtype=torch.long),
        start=start,
        look=lambda place, position: Sample("text", f"{start}+{place}"),
    )


def test_the_surest_new_mistakes_come_first_over_all_batches() -> None:
    """Otherwise the report shows mistakes of the first batch, or ones that the teacher makes too."""
    labels = torch.tensor([0, 0, 0, 1])
    teacher = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])  # wrong on the third
    worse = Worse("classification", 2)
    count_in(worse, torch.tensor([[0.0, 1], [0, 3], [0, 9], [0, 1]]), teacher, labels, 0)
    count_in(worse, torch.tensor([[0.0, 2], [1, 0], [9, 0], [0, 1]]), teacher, labels, 4)
    assert [(item.index, item.label, item.teacher, item.student) for item in worse.items] == [
        (1, 0, 0, 1),
        (4, 0, 0, 1),
    ]
    assert worse.items[0].confidence == pytest.approx(1 / (1 + math.exp(-3)))
    assert [item.sample.content for item in worse.items] == ["0+1", "4+0"]
    assert worse.counts() == {"both_right": 3, "only_teacher_right": 3, "only_student_right": 1, "both_wrong": 1}


def test_answers_that_are_nan_do_not_crowd_out_the_others() -> None:
    """Otherwise one broken item hides every mistake that can be understood."""
    labels, teacher = torch.tensor([0, 0]), torch.tensor([[1.0, 0], [1, 0]])
    worse = Worse("classification", 1)
    count_in(worse, torch.tensor([[math.nan, math.nan], [0.0, 1]]), teacher, labels, 0)
    assert [item.index for item in worse.items] in ([1], [])
    assert [item.index for item in worse.items] == [1]


def test_a_regression_lists_the_largest_growth_of_the_error() -> None:
    """Otherwise a regression has no examples to look at."""
    worse = Worse("regression", 1)
    labels, teacher, student = torch.zeros(3, 1), torch.tensor([[1.0], [0], [5]]), torch.tensor([[2.0], [-3], [5]])
    worse.add(
        labels=labels,
        before=teacher,
        after=student,
        values=(teacher.abs()[:, 0], student.abs()[:, 0]),
        sample=torch.arange(3),
        position=torch.zeros(3, dtype=torch.long),
        start=0,
        look=lambda place, position: None,
    )
    (item,) = worse.items
    assert (item.index, item.label, item.teacher, item.student, item.confidence) == (1, 0.0, 0.0, -3.0, None)
    assert worse.counts() is None
