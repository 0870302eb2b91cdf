"""What goes wrong for a user who asks for a size and gets another, or for a speed that nothing has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from knowledge_distillation import students
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.students import targets
from tests.students.models import SmallResNet, vit

IMAGES = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_every_way_gives_its_largest_student_within_the_limit() -> None:
    """Otherwise a student is smaller than it had to be, or larger than it may be."""
    torch.manual_seed(0)
    teacher, inputs = vit(6), torch.zeros(1, 3, 16, 16)
    found = students.to_target(teacher, inputs, parameters=0.6)
    limit = 0.6 * size(teacher)
    assert {proposal.way for proposal in found} == {"keep_layers", "factorise"}  # its blocks hand on most of its width
    for proposal in found:
        assert proposal.parameters == size(proposal.student) <= limit
        assert proposal.share == pytest.approx(size(proposal.student) / size(teacher))
        kept = sum(t.numel() * t.element_size() for t in [*proposal.student.parameters(), *proposal.student.buffers()])
        assert proposal.bytes == kept
        assert proposal.latency_ms > 0
    cut = next(proposal for proposal in found if proposal.way == "keep_layers")
    assert size(students.keep_layers(teacher, cut.settings["count"] + 1, "spread")) > limit
    low = next(proposal for proposal in found if proposal.way == "factorise")
    assert size(students.factorise(teacher, low.settings["rank"] + 0.02)) > limit
    assert [p.parameters for p in found] == sorted((p.parameters for p in found), reverse=True)


def test_the_settings_of_a_proposal_make_its_student_again() -> None:
    """Otherwise the student that was chosen cannot be rebuilt."""
    teacher = SmallResNet()
    for proposal in students.to_target(teacher, IMAGES, bytes=15_000):
        made = {
            "keep_layers": lambda s: students.keep_layers(teacher, **s),
            "narrow": lambda s: students.narrow(teacher, IMAGES, **s),
            "factorise": lambda s: students.factorise(teacher, **s),
        }[proposal.way](dict(proposal.settings))
        again = made.state_dict()
        assert again.keys() == proposal.student.state_dict().keys()
        assert all(torch.equal(value, again[name]) for name, value in proposal.student.state_dict().items())


def test_several_limits_hold_together() -> None:
    """Otherwise the student is small and slow."""
    teacher = SmallResNet()
    (found,) = students.to_target(teacher, IMAGES, parameters=0.9, bytes=0.3, ways=["narrow"])
    assert found.bytes <= 0.3 * 4 * (size(teacher) + 200)
    assert found.parameters <= 0.9 * size(teacher)


def test_a_latency_is_reached_by_what_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a limit in milliseconds is compared with something else. A clock is put in place of the machine's."""
    monkeypatch.setattr(targets._Trial, "_milliseconds", lambda self, model: size(model) / 1000)
    teacher = SmallResNet()
    (found,) = students.to_target(teacher, IMAGES, latency_ms=2, ways=["narrow"])
    assert found.latency_ms == size(found.student) / 1000 <= 2
    assert found.teacher_latency_ms == size(teacher) / 1000
    with pytest.raises(ConfigError, match=r"No student of SmallResNet reaches latency_ms <= 0\.001"):
        students.to_target(teacher, IMAGES, latency_ms=0.001, ways=["narrow"])


def test_a_target_that_nobody_reaches_names_the_nearest() -> None:
    """Otherwise the user does not know how much to ask for."""
    teacher = SmallResNet()
    smallest = size(students.factorise(teacher, 0.02))
    with pytest.raises(ConfigError) as refusal:
        students.to_target(teacher, IMAGES, parameters=20)
    text = str(refusal.value)
    assert "parameters <= 20" in text
    nearest = text.partition("The nearest is ")[2]
    others = [size(students.narrow(teacher, IMAGES, 0.02)), smallest]
    assert f"{min(others):,} parameters" in nearest.partition("Others:")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "at least one limit"),
        ({"parameters": 0}, "positive number"),
        ({"parameters": True}, "positive number"),
        ({"latency_ms": float("inf")}, "positive number"),
        ({"bytes": 0.5, "ways": ["narow"]}, "'narrow'"),
        ({"bytes": 0.5, "ways": ["keep_layers"]}, "No way to make a student fits Sequential.*keep_layers"),
    ],
)
def test_what_cannot_be_aimed_at_is_refused(arguments: dict[str, Any], message: str) -> None:
    """Otherwise nothing is asked for and anything is given."""
    with pytest.raises(ConfigError, match=message):
        students.to_target(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), IMAGES, **arguments)
