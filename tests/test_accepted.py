"""What goes wrong for a user when a value of another kind is taken for the one that was meant."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from lightning.fabric import Fabric
from lightning.pytorch import Trainer
from torch import nn

from knowledge_distillation.accepted import _annotations, check_accepted, fits, is_finite_number
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.export import export
from knowledge_distillation.kd_training import KnowledgeDistillationTraining
from knowledge_distillation.losses import catalogue
from knowledge_distillation.run import distill
from knowledge_distillation.teachers import write_cache
from knowledge_distillation.training.optimizers import OPTIMIZERS

TAKERS: dict[str, Callable[..., Any]] = {
    "distill": distill,
    "export": export,
    "write_cache": write_cache,
    "original": KnowledgeDistillationTraining,
    "trainer": Trainer,
    "fabric": Fabric,
    **OPTIMIZERS,
    **{name: entry.module for name, entry in catalogue().items()},
}


@pytest.mark.parametrize("value", [0, 1, -2.5, 1e308, 10**300])
def test_a_number_is_a_number(value: float) -> None:
    """Otherwise right settings are refused."""
    assert is_finite_number(value)


@pytest.mark.parametrize("value", [True, None, "1", math.nan, math.inf, -math.inf, 10**400, 1j, [1]])
def test_what_no_float_can_be_is_no_number(value: Any) -> None:
    """Otherwise NaN goes on as a weight, and a number beyond floats ends in an OverflowError."""
    assert not is_finite_number(value)


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        (int, [0, -3], [True, 1.0, "1", None]),
        (float, [0, 0.5], [True, math.nan, "1", None]),
        (bool, [True, False], [0, 1, "no", None]),
        (str, ["", "a"], [None, 1, b"a"]),
        (float | None, [None, 1], ["1", True]),
        (Literal["mean", 2], ["mean", 2], ["sum", True, 2.0, None]),
        (Sequence[float], [[1, 2.5], (), (0,)], ["12", 1, [True], [math.nan], None]),
        (Iterable[int], [[1], range(3), iter("a")], [5, "12", ["a"]]),
        (list[int], [[1], (1,)], ["1", {1}, ["a"]]),
        (tuple[int, str], [(1, "a"), [1, "a"]], [(1,), (1, 2), "1a"]),
        (tuple[int, ...], [(), (1, 2)], [("a",), 1]),
        (Mapping[str, Any], [{}, {"a": object()}], [{1: 2}, [], "a"]),
        (Mapping[str, Mapping[int, str]], [{}, {"a": {0: "b"}}], [{"a": 5}, {"a": {"b": "c"}}]),
        (Callable[[int], int], [len, int], [5, "len", None]),
        (str | Path, ["a", Path("a")], [5, b"a", None]),
        (nn.Module, [nn.ReLU()], [nn.ReLU, "ReLU"]),
        (Any, [None, 5, "a", object()], []),
    ],
    ids=lambda value: "" if isinstance(value, list) else str(value),
)
def test_a_value_fits_its_annotation(annotation: Any, right: list[Any], wrong: list[Any]) -> None:
    """Otherwise True counts as 1 and a text as a list of letters."""
    assert [value for value in right if not fits(value, annotation)] == []
    assert [value for value in wrong if fits(value, annotation)] == []


def test_the_message_names_setting_value_and_what_is_accepted() -> None:
    """Otherwise the user knows that something is wrong, and not what."""
    with pytest.raises(ConfigError, match=r"Loss 'kd': reduction must be one of 'mean', 'sum', 'none', got 'avg'"):
        check_accepted("Loss 'kd'", catalogue()["kd"].module, {"temperature": 2, "reduction": "avg"})


@pytest.mark.parametrize("taker", TAKERS)
def test_the_annotations_of_what_takes_settings_are_read(taker: str) -> None:
    """Otherwise nothing is checked, and nobody sees that."""
    assert _annotations(TAKERS[taker])
