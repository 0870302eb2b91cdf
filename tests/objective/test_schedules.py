"""What goes wrong for a user when a weight or temperature does not follow its schedule."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.objective import Objective, Term, as_objective
from knowledge_distillation.objective.schedules import SCHEDULES, schedule_from
from knowledge_distillation.signals import Signals

POINTS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
BY_HAND: dict[str, tuple[dict[str, float], list[float]]] = {
    "linear": ({"start": 2.0, "end": 4.0}, [2.0, 2.2, 2.5, 3.0, 3.5, 4.0]),
    "cosine": (
        {"start": 3.0, "end": 1.0},
        [3.0, 2 + math.cos(0.1 * math.pi), 2 + math.sqrt(0.5), 2.0, 2 - math.sqrt(0.5), 1.0],
    ),
    "warm_up": ({"share": 0.5, "start": 0.0, "end": 2.0}, [0.0, 0.4, 1.0, 2.0, 2.0, 2.0]),
    "step": ({"at": 0.5, "before": 1.0, "after": 0.25}, [1.0, 1.0, 1.0, 0.25, 0.25, 0.25]),
}


def test_every_schedule_is_checked_here() -> None:
    """Otherwise a schedule is added whose values nobody knows."""
    assert set(SCHEDULES) == set(BY_HAND)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_schedule_follows_its_formula(name: str) -> None:
    """Otherwise a curriculum from a paper runs in another way here."""
    settings, expected = BY_HAND[name]
    schedule = schedule_from({"name": name, **settings})
    assert schedule is not None
    assert [schedule(progress) for progress in POINTS] == pytest.approx(expected)


def test_a_schedule_is_a_name_settings_a_callable_or_none() -> None:
    """Otherwise a recipe and a Python call cannot say the same."""
    assert schedule_from(None) is None
    assert schedule_from(math.sqrt) is math.sqrt
    assert schedule_from("linear")(0.25) == 0.25


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("linaer", r"no weight schedule named 'linaer'.*Did you mean 'linear'"),
        ({"start": 1}, "no weight schedule named None"),
        ({"name": "linear", "strat": 1}, "'linear' cannot be built.*strat"),
        ({"name": "warm_up", "share": 0}, "share must be above 0"),
        ({"name": "warm_up", "share": 1.5}, "share must be above 0"),
        (0.5, "0.5"),
    ],
)
def test_a_wrong_schedule_is_refused(spec: Any, message: str) -> None:
    """Otherwise a misspelt schedule leaves the weight constant."""
    with pytest.raises(ConfigError, match=message):
        schedule_from(spec)


@pytest.mark.parametrize("setting", ["start", "end"])
def test_a_setting_that_is_no_number_is_refused_when_the_recipe_is_read(setting: str) -> None:
    """Otherwise `start: high` is found in the first step, after the teacher was trained."""
    with pytest.raises(ConfigError, match=setting):
        schedule_from({"name": "linear", setting: "high"})


def test_other_settings_of_a_loss_change_too() -> None:
    """Otherwise a curriculum such as CTKD's needs a training loop of the user's own."""
    objective = Objective({"ctkd": {"changes": {"reversal": {"name": "warm_up", "share": 0.5}}}})
    assert objective.has_schedules
    student, teacher = (Signals(logits=torch.randn(4, 3)) for _ in range(2))
    for progress, reversal in ((0.0, 0.0), (0.25, 0.5), (1.0, 1.0)):
        objective(student, teacher, progress=progress)
        (loss,) = objective.losses.values()
        assert loss.reversal == pytest.approx(reversal)


def test_the_reversal_of_ctkd_climbs_as_in_its_paper() -> None:
    """Otherwise the preset starts with the hardest temperature, the opposite of its curriculum."""
    changes = as_objective("ctkd").terms["ctkd"].changes
    assert changes is not None
    assert [round(changes["reversal"](epoch / 240), 3) for epoch in (0, 5, 10, 240)] == [0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({"loss": "kd", "changes": {"temprature": "linear"}}, "'temprature'.*'temperature'"),
        ({"loss": "ctkd", "temperature": "linear"}, "changes 'temperature'"),
        ({"loss": "kd", "changes": {"temperature": 4}}, "4"),
        (Term(lambda student, teacher: student.sum(), changes={"margin": lambda progress: progress}), "'margin'"),
        ({"loss": "own", "student": "penalty", "changes": {"temperature": "linear"}}, "'temperature'"),
    ],
)
def test_a_setting_that_cannot_change_is_refused(term: Any, message: str) -> None:
    """Otherwise a misspelt setting stays as it is, without a word, or training breaks off in the first step."""
    with pytest.raises(ConfigError, match=message):
        Objective({"term": term, "cross_entropy": 1.0})


def test_a_recipe_can_schedule_weight_and_temperature() -> None:
    """Otherwise schedules are for Python users only."""
    schedule = {"name": "warm_up", "share": 0.5}
    term = {"loss": "kd", "weight": 2, "schedule": schedule, "temperature": {"name": "linear", "start": 1, "end": 5}}
    built = Objective({"kd": term, "cross_entropy": 1.0}).terms["kd"]
    assert built.schedule is not None
    assert built.temperature is not None
    assert built.schedule(0.25) == 0.5
    assert built.temperature(0.5) == 3.0
