"""What goes wrong for a user when terms are weighed, looked up or scheduled wrongly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses import KD, CrossEntropy
from knowledge_distillation.objective import Objective, Term
from knowledge_distillation.projectors import build
from knowledge_distillation.signals import Signals

GENERATOR = torch.Generator().manual_seed(3)
STUDENT, TEACHER = torch.randn(2, 6, 4, generator=GENERATOR).double()
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
MAP = torch.randn(6, 5, generator=GENERATOR).double()
WIDE = torch.randn(6, 7, generator=GENERATOR).double()


def said(**changes: Any) -> Signals:
    return Signals(**{"logits": STUDENT, "labels": LABELS, "features": {"hidden": MAP}, **changes})


def taught(**changes: Any) -> Signals:
    return Signals(**{"logits": TEACHER, "features": {"hidden": WIDE}, **changes})


def kd_by_hand(temperature: float, student: Tensor = STUDENT) -> float:
    mine, theirs = (log_softmax(logits.numpy() / temperature, axis=-1) for logits in (student, TEACHER))
    return float(temperature**2 * (np.exp(theirs) * (theirs - mine)).sum(-1).mean())


def cross_entropy_by_hand() -> float:
    return float(-log_softmax(STUDENT.numpy(), axis=-1)[np.arange(6), LABELS.numpy()].mean())


def test_the_total_is_the_weighted_sum_and_components_are_unweighted() -> None:
    """Otherwise a weight from a paper means something else here, and logs cannot be compared between runs."""
    objective = Objective({"kd": {"loss": "kd", "weight": 0.9, "temperature": 3}, "cross_entropy": 0.1})
    total, components = objective(said(), taught())
    assert float(components["kd"]) == pytest.approx(kd_by_hand(3.0), rel=1e-9)
    assert float(components["cross_entropy"]) == pytest.approx(cross_entropy_by_hand(), rel=1e-9)
    assert float(total) == pytest.approx(0.9 * kd_by_hand(3.0) + 0.1 * cross_entropy_by_hand(), rel=1e-9)


@given(st.floats(0, 1e3), st.floats(0.01, 1e3))
def test_the_total_is_linear_in_every_weight(first: float, second: float) -> None:
    """Otherwise doubling a weight does not double its pull."""
    total, _ = Objective({"kd": first, "cross_entropy": second})(said(), taught())
    assert float(total) == pytest.approx(first * kd_by_hand(4.0) + second * cross_entropy_by_hand(), rel=1e-9)


def test_a_monitor_is_computed_without_gradient_and_changes_nothing() -> None:
    """Otherwise a loss that is only watched trains the student."""
    student = STUDENT.clone().requires_grad_()
    total, components = Objective({"kd": 1.0, "cross_entropy": 0.0})(said(logits=student), taught())
    assert float(components["cross_entropy"]) == pytest.approx(cross_entropy_by_hand(), rel=1e-9)
    assert not components["cross_entropy"].requires_grad
    assert float(total.detach()) == pytest.approx(kd_by_hand(4.0), rel=1e-9)
    (gradient,) = torch.autograd.grad(total, student)
    alone = STUDENT.clone().requires_grad_()
    Objective({"kd": 1.0})(said(logits=alone), taught())[0].backward()
    assert torch.equal(gradient, alone.grad)


def test_monitors_are_skipped_when_nobody_logs() -> None:
    """Otherwise every step pays for numbers that are thrown away."""
    calls: list[int] = []

    def watched(student: Tensor, teacher: Tensor) -> Tensor:
        calls.append(1)
        return student.sum()

    objective = Objective({"kd": 1.0, "watched": Term(watched, weight=0)})
    assert "watched" not in objective(said(), taught(), monitors=False)[1]
    assert calls == []
    assert "watched" in objective(said(), taught())[1]


def test_own_terms_are_weighed_by_name_and_the_others_only_reported() -> None:
    """Otherwise the student's own losses are dropped, or all of them train it unasked."""
    own = {"aux": torch.tensor(2.0), "other": torch.tensor(5.0)}
    objective = Objective({"kd": 1.0, "mine": Term("own", 3.0, student="aux")})
    total, components = objective(said(loss_terms=own), taught())
    assert float(total) == pytest.approx(kd_by_hand(4.0) + 6.0, rel=1e-6)
    assert float(components["mine"]) == 2.0
    assert float(components["other"]) == 5.0
    assert "aux" not in components


def test_an_own_term_may_be_a_plain_number() -> None:
    """Otherwise a student that returns floats breaks on logging."""
    total, _ = Objective({"aux": Term("own", 2.0, student="aux")})(said(loss_terms={"aux": 0.25}), None)
    assert float(total) == 0.5


def test_an_own_term_that_the_student_does_not_return_shows_the_near_name() -> None:
    """Otherwise a misspelt name counts nothing for the whole training."""
    objective = Objective({"kd": 1.0, "aux": Term("own", 1.0, student="student_los")})
    with pytest.raises(ConfigError, match=r"'student_los'.*Did you mean 'student_loss'"):
        objective(said(loss_terms={"student_loss": torch.tensor(1.0)}), taught())


def test_an_own_term_that_is_missing_on_a_later_batch_is_named() -> None:
    """Otherwise a student that returns its loss in train mode only dies with a KeyError at the first validation."""
    objective = Objective({"kd": 1.0, "aux": Term("own", 1.0, student="aux")})
    objective(said(loss_terms={"aux": torch.tensor(1.0)}), taught())
    with pytest.raises(ConfigError, match="'aux'"):
        objective(said(), taught())


def test_an_absent_signal_names_the_side_and_the_near_names() -> None:
    """Otherwise a term on a misspelt layer ends in a KeyError without the side."""
    with pytest.raises(ConfigError, match=r"student gave no signal named 'hiden'.*Did you mean 'hidden'"):
        Objective({"hint": Term(nn.MSELoss(), student="hiden")})(said(), taught())
    with pytest.raises(ConfigError, match=r"teacher gave no signal named 'layer9'.*Known: hidden, logits"):
        Objective({"hint": Term(nn.MSELoss(), student="hidden", teacher="layer9")})(said(), taught())


def test_an_unknown_loss_shows_the_near_name() -> None:
    """Otherwise the user cannot find the name of a loss that exists."""
    with pytest.raises(ConfigError, match=r"'cros_entropy'.*Did you mean 'cross_entropy'"):
        Objective({"cros_entropy": 0.5})


def test_a_schedule_multiplies_the_weight_by_progress() -> None:
    """Otherwise a term that should fade in stands at full weight from the start."""
    objective = Objective({"kd": 1.0, "fading": Term(CrossEntropy(), 0.5, schedule=lambda progress: 1 - progress)})
    for progress in (0.0, 0.25, 1.0):
        total, components = objective(said(), taught(), progress=progress)
        expected = kd_by_hand(4.0) + 0.5 * (1 - progress) * cross_entropy_by_hand()
        assert float(total) == pytest.approx(expected, rel=1e-9)
        assert float(components["fading"]) == pytest.approx(cross_entropy_by_hand(), rel=1e-9)


def test_a_scheduled_temperature_reaches_the_loss() -> None:
    """Otherwise annealing the temperature does nothing."""
    objective = Objective({"kd": Term(KD(1.0), temperature=lambda progress: 2 + 6 * progress)})
    for progress, temperature in ((0.0, 2.0), (0.5, 5.0), (1.0, 8.0)):
        assert float(objective(said(), taught(), progress=progress)[0]) == pytest.approx(kd_by_hand(temperature))


def test_a_scheduled_temperature_on_a_loss_without_one_is_refused() -> None:
    """Otherwise the schedule is set on nothing and silently ignored."""
    with pytest.raises(ConfigError, match="temperature"):
        Objective({"ce": Term(CrossEntropy(), temperature=lambda progress: 2.0)})(said(), taught())


def test_missing_labels_are_explained_with_the_way_out() -> None:
    """Otherwise unlabelled data ends in a TypeError inside the loss."""
    with pytest.raises(ConfigError, match=r"'cross_entropy' needs 'labels'.*\(inputs, labels\).*teacher terms only"):
        Objective({"cross_entropy": 1.0})(said(labels=None), None)


def test_further_needs_come_from_the_adapters_extras() -> None:
    """Otherwise losses that need a sample index or boxes cannot be used."""

    class Indexed(nn.Module):
        needs = ("index",)

        def forward(self, student: Tensor, teacher: Tensor, *, index: Tensor) -> Tensor:
            return index.sum()

    objective = Objective({"indexed": Term(Indexed())})
    total, _ = objective(said(extras={"index": torch.tensor([2, 5])}), taught())
    assert int(total) == 7
    with pytest.raises(ConfigError, match=r"'indexed' needs 'index'.*extras"):
        objective(said(), taught())


def test_the_mask_reaches_our_losses_and_not_a_users_function() -> None:
    """Otherwise padding counts, or a plain function of two tensors breaks on a keyword."""
    mask = torch.tensor([True, True, False, False, False, True])
    objective = Objective({"kd": 1.0, "mine": Term(lambda student, teacher: (student - teacher).square().mean(), 0)})
    total, components = objective(said(mask=mask), taught())
    mine, theirs = (log_softmax(logits.numpy()[mask] / 4, axis=-1) for logits in (STUDENT, TEACHER))
    assert float(total) == pytest.approx(16 * (np.exp(theirs) * (theirs - mine)).sum(-1).mean())
    assert float(components["mine"]) == pytest.approx(float((STUDENT - TEACHER).square().mean()))


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.functional.mse_loss, lambda s, t: ((s - t) ** 2).mean()])
def test_any_callable_of_two_tensors_is_a_loss(loss: Any) -> None:
    """Otherwise users must subclass something to try an idea."""
    for spec in (loss, Term(loss), {"loss": loss}):
        total, _ = Objective({"mine": spec})(said(), taught())
        assert float(total) == pytest.approx(float(((STUDENT - TEACHER) ** 2).mean()), rel=1e-9)


def test_a_term_of_several_layers_hands_them_over_in_order() -> None:
    """Otherwise multi-layer losses compare the wrong pairs."""
    seen: list[Any] = []

    def record(student: Any, teacher: Any) -> Tensor:
        seen.extend([student, teacher])
        return student[0].sum()

    spec = {"loss": record, "student": ["hidden", "logits"], "teacher": ["logits", "hidden"]}
    Objective({"several": spec})(said(), taught())
    assert [list(map(id, side)) for side in seen] == [[id(MAP), id(STUDENT)], [id(TEACHER), id(WIDE)]]


def test_wanted_names_each_signal_once_and_skips_own_terms_and_unread_teachers() -> None:
    """Otherwise layers are tapped that nobody reads, or a term waits for one that is not."""
    objective = Objective(
        {
            "kd": 1.0,
            "hint": Term(nn.MSELoss(), student="hidden", teacher=("layer1", "layer2")),
            "again": Term(nn.MSELoss(), student="hidden", teacher="layer1"),
            "cross_entropy": 1.0,
            "own": Term("own", student="aux"),
        }
    )
    assert objective.wanted("student") == ("logits", "hidden")
    assert objective.wanted("teacher") == ("logits", "layer1", "layer2")


def test_labels_alone_need_no_teacher_and_a_monitor_of_the_teacher_does() -> None:
    """Otherwise the control arm pays for a teacher, or a watched divergence is silently absent."""
    assert not Objective({"cross_entropy": 1.0}).needs_teacher
    assert not Objective({"own": Term("own", student="aux")}).needs_teacher
    assert Objective({"cross_entropy": 1.0, "kd": 0}).needs_teacher
    with pytest.raises(ConfigError, match=r"'kd' compares with a teacher.*objective 'labels'"):
        Objective({"kd": 1.0})(said(), None)


def test_learned_parts_of_losses_and_projectors_are_parameters_of_the_objective() -> None:
    """Otherwise connectors stay at their random start and the student chases noise."""
    scale, projector = nn.Bilinear(4, 4, 1), nn.Linear(5, 7).double()
    objective = Objective(
        {"learned": Term(scale), "hint.1": Term(nn.MSELoss(), student="hidden", teacher="hidden", projector=projector)}
    )
    mine = {id(parameter) for parameter in objective.parameters()}
    assert mine == {id(parameter) for module in (scale, projector) for parameter in module.parameters()}


def test_two_terms_whose_names_differ_in_a_dot_keep_both_learned_parts() -> None:
    """Otherwise one of two connectors is never trained, without a word."""
    first, second = nn.Linear(5, 7).double(), nn.Linear(5, 7).double()
    hint = {"loss": nn.MSELoss(), "student": "hidden", "teacher": "hidden"}
    objective = Objective({"a.b": {**hint, "projector": first}, "a_b": {**hint, "projector": second}})
    mine = {id(parameter) for parameter in objective.parameters()}
    assert {id(first.weight), id(second.weight)} <= mine


@pytest.mark.parametrize("name", ["type", "train", "keys", "half", "kd loss", "layer1.0.conv", "Überblick"])
def test_a_term_may_have_any_name(name: str) -> None:
    """Otherwise a harmless name ends in 'attribute already exists' from inside torch."""
    total, components = Objective({name: Term(KD(4.0))})(said(), taught())
    assert list(components) == [name]
    assert float(total) == pytest.approx(kd_by_hand(4.0))


def test_a_projector_maps_the_student_into_the_teachers_space() -> None:
    """Otherwise layers of unequal width cannot be compared."""
    projector = nn.Linear(5, 7).double()
    objective = Objective({"hint": Term(nn.MSELoss(), student="hidden", teacher="hidden", projector=projector)})
    total, _ = objective(said(), taught())
    expected = MAP.numpy() @ projector.weight.detach().numpy().T + projector.bias.detach().numpy()
    assert float(total.detach()) == pytest.approx(float(((expected - WIDE.numpy()) ** 2).mean()))
    total.backward()
    assert projector.weight.grad is not None


@pytest.mark.parametrize("name", ["linear", "auto"])
def test_a_projector_by_name_is_built_and_learned(name: str) -> None:
    """Otherwise `projector: auto` in a recipe is silently ignored and the widths clash."""
    objective = Objective({"hint": Term(nn.MSELoss(), student="hidden", teacher="hidden", projector=name)})
    assert not objective.is_ready
    objective.prepare(said(), taught(), {})
    assert objective.is_ready
    total, _ = objective(said(), taught())
    total.backward()
    shapes = sorted(tuple(parameter.shape) for parameter in objective.parameters())
    assert shapes == [(7,), (7, 5)]
    assert all(parameter.grad is not None for parameter in objective.parameters())


def test_an_unknown_projector_shows_the_near_name() -> None:
    """Otherwise a misspelt projector is no projector, without a word."""
    with pytest.raises(ConfigError, match=r"'liner'.*'linear'"):
        Objective({"hint": Term(nn.MSELoss(), student="hidden", teacher="hidden", projector="liner")})


def test_an_objective_that_still_needs_shapes_says_so_when_called() -> None:
    """Otherwise a plain loop ends in 'str is not callable', or compares layers without their projector."""
    for term in (
        Term(nn.MSELoss(), student="hidden", teacher="hidden", projector="auto"),
        Term("vid", student="hidden", teacher="hidden"),
    ):
        objective = Objective({"hint": term})
        assert not objective.is_ready
        with pytest.raises(ConfigError, match=r"(first batch|prepare)"):
            objective(said(), taught())


def test_a_named_loss_takes_its_sizes_from_the_shapes() -> None:
    """Otherwise the user must count channels by hand for every model pair."""
    maps = [torch.randn(2, channels, 4, 4, generator=GENERATOR) for channels in (3, 5)]
    objective = Objective({"vid": Term("vid", student="map", teacher="map")})
    student, teacher = (Signals(features={"map": feature}) for feature in maps)
    objective.prepare(student, teacher, {})
    shapes = [tuple(parameter.shape) for parameter in objective.parameters() if parameter.dim() == 4]
    assert (shapes[0][1], shapes[-1][0]) == (3, 5)
    objective(student, teacher)[0].backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())


def test_a_projector_also_drops_what_the_student_has_no_part_for() -> None:
    """Otherwise a convolutional student cannot learn from a transformer with a class token."""
    image, tokens = torch.randn(2, 3, 4, 4, generator=GENERATOR), torch.randn(2, 17, 6, generator=GENERATOR)
    projector = build("auto", image, tokens)
    projector.requires_grad_(False)
    objective = Objective({"hint": Term(nn.MSELoss(), student="map", teacher="tokens", projector=projector)})
    total, _ = objective(Signals(features={"map": image}), Signals(features={"tokens": tokens}))
    weight, bias = projector.parameters()
    mapped = torch.einsum("nchw,oc->nhwo", image, weight[:, :, 0, 0]).reshape(2, 16, 6) + bias
    assert float(total) == pytest.approx(float(((mapped - tokens[:, 1:]) ** 2).mean()), rel=1e-5)
