"""What goes wrong for a user with a real pretrained teacher: the student forgets what it was cut out of."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import knowledge_distillation as kd
from knowledge_distillation import students
from tests.students.lite0 import DAISY, KEPT, PALACE, lite0, lite0_student, photos
from tests.students.models import answer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def teacher() -> nn.Module:
    return lite0()


def test_the_search_finds_blocks_that_can_go_and_both_photographs_are_still_known(teacher: nn.Module) -> None:
    """Otherwise a cut that destroys the model looks as good as one that it survives."""
    images = photos()
    assert answer(teacher, images).argmax(-1).tolist() == [PALACE, DAISY]
    found = students.search_layers(teacher, 13, [images])
    assert list(found.kept) == KEPT
    assert answer(found.student, images).argmax(-1).tolist() == [PALACE, DAISY]
    assert len(found.cuts) == 36
    assert 2 * found.cuts[found.kept] < min(found.score_of_rule.values())
    torch.testing.assert_close(answer(found.student, images), answer(lite0_student(teacher), images))


def test_stages_of_teacher_and_student_are_tapped_side_by_side(teacher: nn.Module) -> None:
    """Otherwise features of a real teacher and of its cut student cannot be compared."""
    images, student = photos(), lite0_student(teacher)
    paths = [f"blocks.{stage}" for stage in range(7)]
    with torch.no_grad(), kd.capture.tap(teacher, paths) as theirs, kd.capture.tap(student, paths) as ours:
        teacher(images)
        student(images)
        for path in paths:
            assert ours[path].shape == theirs[path].shape
        torch.testing.assert_close(ours["blocks.1"], theirs["blocks.1"])  # before the first block that went
        assert not torch.allclose(ours["blocks.3"], theirs["blocks.3"])


@pytest.mark.parametrize("way", ["narrow", "factorise"])
def test_narrow_and_low_rank_students_of_real_weights_are_near_their_teacher(teacher: nn.Module, way: str) -> None:
    """Otherwise the wrong channels went, or the halves of a layer do not multiply to it."""
    images = photos()
    student = (
        students.narrow(teacher, images[:1], 0.98) if way == "narrow" else students.factorise(teacher, energy=0.95)
    )
    assert sum(p.numel() for p in student.parameters()) < sum(p.numel() for p in teacher.parameters())
    similar = nn.functional.cosine_similarity(answer(student, images), answer(teacher, images))
    assert float(similar.min()) > 0.8
