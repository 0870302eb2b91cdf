"""What goes wrong for a user when the forms of terms and objectives are read wrongly."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses import KD, CrossEntropy
from knowledge_distillation.objective import Objective, Term, as_objective
from knowledge_distillation.objective.presets import hinton
from knowledge_distillation.objective.term import term_from


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf, True, "0.5", None], ids=repr)
def test_a_weight_that_is_no_finite_number_from_0_is_refused(weight: Any) -> None:
    """Otherwise the student is driven away from the teacher, or every loss is NaN."""
    with pytest.raises(ConfigError, match="weight must be"):
        Term(KD(), weight)


@pytest.mark.parametrize("loss", [3, None, ["kd"]], ids=repr)
def test_a_loss_that_is_neither_name_nor_callable_is_refused(loss: Any) -> None:
    """Otherwise the mistake shows up in the first step, after the data was loaded."""
    with pytest.raises(ConfigError, match="name or a callable"):
        Term(loss)


@pytest.mark.parametrize("field", ["schedule", "temperature"])
def test_a_number_where_a_schedule_belongs_is_refused(field: str) -> None:
    """Otherwise Term("kd", temperature=4) dies in the first step with 'float is not callable'."""
    with pytest.raises(ConfigError, match=field):
        Term(KD(), **{field: 4.0})


def test_every_form_of_a_term_means_the_same() -> None:
    """Otherwise a recipe and a Python call train different things."""
    for spec in ("kd", KD(4.0), {"loss": "kd"}, {}, {"temperature": 4.0}, Term("kd")):
        term = term_from(spec, "kd")
        assert (term.weight, term.student, term.teacher) == (1.0, "logits", "logits")
    assert term_from(0.25, "kd").weight == 0.25
    assert term_from({"weight": 2, "student": ["a", "b"]}, "kd").student == ("a", "b")
    loss = term_from({"loss": "cross_entropy", "label_smoothing": 0.1}, "ce").loss
    assert isinstance(loss, CrossEntropy)
    assert loss.label_smoothing == 0.1
    assert term_from("own", "aux").loss == "own"


def test_a_number_as_temperature_sets_the_loss_and_a_callable_schedules_it() -> None:
    """Otherwise `temperature: 4` in a recipe is dropped or called."""
    fixed = term_from({"loss": "kd", "temperature": 7}, "kd")
    assert isinstance(fixed.loss, KD)
    assert fixed.loss.temperature == 7.0
    assert fixed.temperature is None
    assert term_from({"loss": "kd", "temperature": math.sqrt}, "kd").temperature is math.sqrt


def test_an_unknown_key_of_a_named_loss_shows_the_near_one() -> None:
    """Otherwise `wieght: 10` is taken for a setting of the loss, and the user hunts for it."""
    with pytest.raises(ConfigError, match=r"wieght.*'weight'"):
        Objective({"kd": {"loss": "kd", "wieght": 10}})


def test_an_unknown_key_of_a_users_loss_shows_the_near_one() -> None:
    """Otherwise the key is silently dropped."""
    with pytest.raises(ConfigError, match=r"'mine' has unknown keys.*Did you mean 'weight'"):
        Objective({"mine": {"loss": nn.MSELoss(), "wieght": 10}})


@pytest.mark.parametrize("terms", [{}, None, [], ["kd"], 3], ids=repr)
def test_an_objective_without_terms_is_refused(terms: Any) -> None:
    """Otherwise training runs and changes nothing."""
    with pytest.raises(ConfigError, match="at least one named term"):
        Objective(terms)


def test_an_objective_of_monitors_only_is_refused() -> None:
    """Otherwise the student learns nothing, with a log full of losses."""
    with pytest.raises(ConfigError, match="learn nothing"):
        Objective({"kd": 0, "cross_entropy": 0.0})


@pytest.mark.parametrize("spec", [True, None, 3j, [1]], ids=repr)
def test_a_term_of_another_type_is_refused_by_name(spec: Any) -> None:
    """Otherwise `kd: true` in a recipe weighs 1 by accident."""
    with pytest.raises(ConfigError, match="Term 'kd' must be"):
        Objective({"kd": spec})


def test_hintons_alpha_weighs_the_soft_term_and_the_rest_the_labels() -> None:
    """Otherwise alpha means the opposite of what the docstring says, as it does between other toolkits."""
    terms = hinton(alpha=0.7, temperature=5.0)
    assert terms["kd"].weight == 0.7
    assert terms["cross_entropy"].weight == pytest.approx(0.3)
    assert terms["kd"].loss.temperature == 5.0
    assert [(name, term.weight) for name, term in as_objective("kd").terms.items()] == [
        ("kd", 0.9),
        ("cross_entropy", pytest.approx(0.1)),
    ]


def test_an_objective_comes_from_a_name_a_loss_a_term_or_terms() -> None:
    """Otherwise the short forms of the README do not work."""
    ready = Objective({"kd": 1.0})
    assert as_objective(ready) is ready
    assert list(as_objective("forward_kl").terms) == ["forward_kl"]
    assert list(as_objective(KD()).terms) == ["distillation"]
    assert list(as_objective(Term(nn.MSELoss())).terms) == ["distillation"]
    assert list(as_objective({"a": "kd"}).terms) == ["a"]
    assert not as_objective("labels").needs_teacher
    assert "labels" not in {need for bound in as_objective("soft")._bound for need in bound.needs}


def test_an_unknown_objective_shows_presets_and_losses_near_it() -> None:
    """Otherwise the user cannot tell which names there are."""
    with pytest.raises(ConfigError, match=r"'label'.*Did you mean 'labels'"):
        as_objective("label")
    with pytest.raises(ConfigError, match=r"'forwrd_kl'.*'forward_kl'"):
        as_objective("forwrd_kl")
    with pytest.raises(ConfigError, match="objective must be a name"):
        as_objective(torch.zeros(1))
