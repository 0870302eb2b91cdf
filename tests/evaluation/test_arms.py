"""What goes wrong for a user when the arms of a comparison are not the trainings that they are said to be."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.evaluation.arms import CONTROL, DISTILLED, Trial, compare_arms


class Trainings:
    """Answers with scripted trials and notes what was asked."""

    def __init__(self, **seconds: float) -> None:
        self.asked: list[tuple[int, str, int | None]] = []
        self.seconds = {CONTROL: 1.0, DISTILLED: 1.0, **seconds}

    def __call__(self, seed: int, arm: str, steps: int | None) -> Trial:
        self.asked.append((seed, arm, steps))
        taken = steps or 100
        score = 0.5 + seed / 100 + (0.2 if arm == DISTILLED else 0.0) + (0.1 if steps else 0.0) + seed**2 / 1000
        return Trial(score, taken, self.seconds.get(arm, 1.0) * taken / 100, (1.0, 2.0), (float(seed),))


def test_the_control_gets_as_many_steps_as_the_time_of_the_teacher_allows() -> None:
    """Otherwise a teacher that halves the steps is compared as if it cost nothing."""
    train = Trainings(distilled=1.5)
    result = compare_arms(train, [4, 5, 6], metric="accuracy")
    assert train.asked[:2] == [(4, CONTROL, None), (4, DISTILLED, None)]
    assert train.asked[6:] == [(4, CONTROL, 150), (5, CONTROL, 150), (6, CONTROL, 150)]
    assert result.steps == {"with_teacher": 100, "without_teacher": 100}
    assert result.seconds == {"with_teacher": 1.5, "without_teacher": 1.0}
    timed = result.at_equal_time
    assert timed is not None
    assert timed.steps == {"with_teacher": 100, "without_teacher": 150}
    assert timed.seconds == {"with_teacher": 1.5, "without_teacher": 1.5}
    assert timed.with_teacher == result.with_teacher
    assert timed.difference == pytest.approx(result.difference - 0.1)
    assert (result.control, timed.control) == (
        "the same student without the teacher, at equal steps",
        "the same student without the teacher, at equal time",
    )


@pytest.mark.parametrize("distilled", [0.9, 1.01])
def test_a_teacher_that_costs_nothing_trains_no_control_twice(distilled: float) -> None:
    """Otherwise a cached teacher's user pays for a second control that has the same steps."""
    train = Trainings(distilled=distilled)
    result = compare_arms(train, [0, 1])
    assert len(train.asked) == 4
    assert result.at_equal_time is not None
    assert result.at_equal_time.without_teacher == result.without_teacher
    assert any("equal steps are equal time" in note for note in result.notes)


def test_equal_steps_alone_when_asked() -> None:
    """Otherwise half of the trainings are made for nothing."""
    train = Trainings(distilled=2.0)
    assert compare_arms(train, [0, 1], at_equal_time=False).at_equal_time is None
    assert len(train.asked) == 4


def test_every_further_arm_is_compared_with_the_control() -> None:
    """Otherwise 'label smoothing does as well as the teacher' is never seen."""
    result = compare_arms(Trainings(), [0, 1, 2], others=["label_smoothing"], at_equal_time=False)
    arm = result.arms["label_smoothing"]
    assert arm.without_teacher == result.without_teacher
    assert arm.difference == pytest.approx(0.0)
    assert json.loads(json.dumps(result.as_dict()))["arms"]["label_smoothing"]["verdict"] == arm.verdict


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_no_number_ends_it_at_once(bad: float) -> None:
    """Otherwise hours of further trainings end in the same message."""
    asked = []

    def train(seed: int, arm: str, steps: int | None) -> Trial:
        asked.append(arm)
        return Trial(bad)

    with pytest.raises(ConfigError, match=r"labels arm of seed 7 has (nan|inf).*Lower the learning rate"):
        compare_arms(train, [7, 8])
    assert asked == [CONTROL]


def test_seeds_that_change_nothing_are_not_counted() -> None:
    """Otherwise one training repeated five times is a certainty of 100%."""
    asked = []

    def train(seed: int, arm: str, steps: int | None) -> Trial:
        asked.append(seed)
        return Trial(0.9 if arm == DISTILLED else 0.8, 10, 1.0, (), (1.0, 2.0))

    with pytest.raises(ConfigError, match="seeds 0 and 1 gave the same student to the bit"):
        compare_arms(train, range(5))
    assert asked == [0, 0, 1, 1]


def test_other_batches_in_the_two_arms_are_said() -> None:
    """Otherwise the pairs are thought to be paired."""

    def train(seed: int, arm: str, steps: int | None) -> Trial:
        return Trial(seed / 10, 10, 1.0, (1.0, 2.0 if arm == DISTILLED else 3.0), (float(seed),))

    notes = compare_arms(train, [0, 1]).notes
    assert any("seed 0 did not see the same batches from epoch 2 on" in note for note in notes)


def test_an_untrained_control_has_no_equal_time() -> None:
    """Otherwise 0 steps are divided by."""

    def train(seed: int, arm: str, steps: int | None) -> Trial:
        return Trial(0.1, 0) if arm == CONTROL else Trial(0.9 + seed / 100, 10, 1.0, (), (float(seed),))

    result: Any = compare_arms(train, [0, 1, 2], control="the untrained student", notes=["no labels"])
    assert result.at_equal_time is None
    assert result.control == "the untrained student"
    assert result.notes == ("no labels",)
    assert result.verdict == "helped"


def test_one_seed_is_refused_before_anything_is_trained() -> None:
    """Otherwise an hour of training ends in 'needs at least 2 seeds'."""
    train = Trainings()
    with pytest.raises(ConfigError, match="at least 2 seeds"):
        compare_arms(train, [0])
    assert train.asked == []
