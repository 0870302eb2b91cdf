"""What goes wrong for a user when a sweep tries other settings than they meant."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.recipes.reading import check_recipe
from knowledge_distillation.recipes.search_space import examples, read_space
from tests.recipes.test_running import recipe

SECTIONS: dict[str, Any] = {
    "student": {"name": "net"},
    "teacher": {"name": "net"},
    "data": "points",
    "objective": {"kd": {"loss": "kd", "weight": 0.9}, "cross_entropy": 0.1},
    "training": {"optimizer": "adamw"},
}


def space(*over: str, **sections: Any) -> dict[str, Any]:
    return read_space(check_recipe({**SECTIONS, **sections}, "test"), over)


@pytest.mark.parametrize(
    ("text", "low", "high", "kind", "log"),
    [
        ("1..8", 1, 8, int, False),
        ("1.0..8", 1.0, 8.0, float, False),
        ("1e-4..1e-1:log", 1e-4, 1e-1, float, True),
        ("1e-4 .. 0.1:log", 1e-4, 0.1, float, True),
        ("16..256:log", 16, 256, int, True),
        ("-1..1", -1, 1, int, False),
    ],
)
def test_a_range_is_read_as_it_is_written(text: str, low: float, high: float, kind: type, log: bool) -> None:
    """Otherwise a width becomes 64.7, or a rate is drawn evenly where every decade was meant."""
    found = space(f"training.learning_rate={text}")["training.learning_rate"]
    assert (found.low, found.high, found.log) == (low, high, log)
    assert type(found.low) is type(found.high) is kind
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [found.suggest(study.ask(), "x") for _ in range(60)]
    assert all(low <= value <= high and isinstance(value, kind) for value in drawn)
    middle = (low * high) ** 0.5 if log else (low + high) / 2
    assert 0.2 < sum(value < middle for value in drawn) / 60 < 0.8


def test_a_list_gives_back_its_own_values() -> None:
    """Otherwise Optuna, which takes no lists, hands a text to the recipe."""
    values = [["layer1", "layer2"], {"name": "sgd", "momentum": 0.9}, "adamw", 2, 2.5, True, None]
    found = space(sweep={"training.optimizer": values})["training.optimizer"]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [found.suggest(study.ask(), "x") for _ in range(100)]
    assert all(any(value is known for known in values) for value in drawn)
    assert len({id(value) for value in drawn}) == len(values)


def test_the_command_line_wins_over_the_recipe() -> None:
    """Otherwise a second look at one range means editing the file."""
    section = {"training.learning_rate": "1e-4..1e-1:log", "objective.kd.temperature": [1, 4]}
    found = space("objective.kd.temperature=2..3", sweep=section)
    assert {path: str(values) for path, values in found.items()} == {
        "training.learning_rate": "0.0001..0.1:log",
        "objective.kd.temperature": "2..3",
    }


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ("traning.learning_rate=1..2", "no 'traning' in the recipe. Did you mean 'training'"),
        ("objective.kdd.weight=1..2", "no 'kdd' in objective. Did you mean 'kd'"),
        ("cache.directory=[a, b]", "no 'cache' in the recipe"),
        ("objective.cross_entropy.weight.x=1..2", "no 'weight' in cross_entropy"),
        ("objective=[kd, dkd]", "no path of a setting"),
        ("training.learning_rate", "--over takes a.b=values"),
        ("training.learning_rate=3", "must be a range such as"),
        ("training.learning_rate=low..high", "must be a range such as"),
        ("training.learning_rate=1..2:lin", "must be a range such as"),
        ("training.learning_rate=0..true", "must be a range such as"),
        ("training.learning_rate=1e-3..inf", "must be a range such as"),
        ("training.learning_rate=2..1", "must have low < high"),
        ("training.learning_rate=0..1:log", "low > 0 where it is logarithmic"),
        ("training.learning_rate=[0.1]", "at least 2 values"),
        ("training.learning_rate=[0.1, 0.1]", "each once"),
        ("training.learning_rate=[0.1, .nan]", "plain and finite"),
    ],
)
def test_wrong_values_and_paths_are_named(over: str, message: str) -> None:
    """Otherwise an hour of trials varies a setting that nothing reads."""
    with pytest.raises(ConfigError) as raised:
        space(over)
    assert message in str(raised.value)


def test_nothing_to_try_says_how() -> None:
    """Otherwise 20 equal trainings run."""
    with pytest.raises(ConfigError, match="nothing to sweep over"):
        space()


def test_every_choice_and_both_ends_are_checked() -> None:
    """Otherwise the one wrong name in a list is found after the trials before it."""
    plain = recipe(objective=SECTIONS["objective"])
    found = read_space(plain, ["training.optimizer=[adamw, sgd, adamx]", "training.learning_rate=0.1..0.2"])
    tried = [(one.training["optimizer"], one.training["learning_rate"]) for one in examples(plain, found)]
    assert tried == [("adamw", 0.1), ("sgd", 0.2), ("adamx", 0.2)]
    assert "optimizer" not in plain.training
