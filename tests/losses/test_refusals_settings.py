"""What goes wrong for a user whose recipe holds a number that no loss can mean."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from typing import Any

import pytest

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses import catalogue
from tests.laws.collect import cases_of

NUMBERS = [
    (loss, name)
    for loss, entry in catalogue().items()
    for name, parameter in inspect.signature(entry.module).parameters.items()
    if isinstance(parameter.default, float) and name in inspect.signature(entry.function).parameters
]
WEIGHTS = [(loss, name) for loss, name in NUMBERS if name.endswith("_weight")]


def refused(loss: str, name: str, value: Any) -> None:
    case = cases_of(loss)[0]
    with pytest.raises(ConfigError, match=name):
        replace(case, settings={**case.settings, name: value}).build()


@pytest.mark.parametrize(("loss", "name"), NUMBERS)
@pytest.mark.parametrize("value", [math.nan, "1", True], ids=repr)
def test_a_setting_that_is_no_number_is_refused(loss: str, name: str, value: Any) -> None:
    """Otherwise it turns up as NaN, or as an error of torch, in the first step."""
    refused(loss, name, value)


@pytest.mark.parametrize(("loss", "name"), WEIGHTS)
@pytest.mark.parametrize("value", [-1.0, math.inf])
def test_a_part_of_a_loss_has_a_weight_that_teaches(loss: str, name: str, value: float) -> None:
    """Otherwise the student is driven away from the teacher without a word."""
    refused(loss, name, value)
