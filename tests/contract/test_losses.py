"""C. The losses: statements 19 to 26."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.errors import ConfigError
from tests.contract.toy import BATCH, Constant, Student, Teacher, first_step, rows, same, training, weights
from tests.oracles.golden import load
from tests.oracles.golden import rows as golden_rows


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def own(logits: Tensor) -> dict[str, Any]:
    """What the original's wav2vec2 student returns under "loss"."""
    return {"loss": {"student_loss": logits.square().mean(), "features_pen": logits.abs().mean()}}


@pytest.mark.parametrize("temperature", [1, 2, 4.5])
def test_19_kd_loss_is_the_batch_mean_divergence_times_the_squared_temperature(temperature: float) -> None:
    """Coefficients tuned with the original would weigh something else, without any message."""
    said, taught = drawn(6, 5, seed=1), drawn(6, 5, seed=2)
    log_prob, prob = (said / temperature).log_softmax(dim=-1), (taught / temperature).softmax(dim=-1)
    expected = F.kl_div(log_prob, prob, reduction="batchmean").item() * temperature**2
    assert first_step(Constant(said), Constant(taught), temperature=temperature)["kd_loss"] == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(7, 4), (5, 3, 4), (5, 1, 4), (2, 3, 2, 4)], ids=str)
def test_20_kd_loss_is_a_mean_over_items_whatever_the_axes(shape: tuple[int, ...]) -> None:
    """The original divided by the first axis only, so a (time, batch, vocabulary) loss grew with the batch size.

    With two axes, and with one sequence a batch as in its demos, the number is the original's.
    """
    said, taught = drawn(*shape, seed=3), drawn(*shape, seed=4)
    total = F.kl_div(said.log_softmax(dim=-1), taught.softmax(dim=-1), reduction="sum").item()
    items = said.numel() / shape[-1]
    assert first_step(Constant(said), Constant(taught))["kd_loss"] == pytest.approx(total / items)


@pytest.mark.parametrize("shape", [(6, 5), (5, 3, 4)], ids=str)
def test_21_cos_embed_loss_is_one_minus_the_mean_cosine(shape: tuple[int, ...]) -> None:
    """A cosine along another axis would pull whole columns of the batch together."""
    said, taught = drawn(*shape, seed=5), drawn(*shape, seed=6)
    norms = said.norm(dim=-1) * taught.norm(dim=-1)
    expected = 1 - ((said * taught).sum(dim=-1) / norms).mean().item()
    assert first_step(Constant(said), Constant(taught))["cos_embed_loss"] == pytest.approx(expected)


def test_22_the_two_monitors_are_computed_and_never_trained_on() -> None:
    """Curves of earlier runs could not be compared, or the monitors would steer the training they only watch."""
    said, taught = drawn(6, 5, seed=7), drawn(6, 5, seed=8)
    seen = first_step(Constant(said), Constant(taught))
    assert seen["train_logit_diff"] == pytest.approx((said - taught).square().mean().item())
    prob_diff = (said.softmax(dim=-1) - taught.softmax(dim=-1)).abs().mean().item()
    assert seen["train_prob_diff"] == pytest.approx(prob_diff)
    assert seen["train_final_loss"] == seen["kd_loss"]


@pytest.mark.parametrize(
    "coefficients",
    [
        {"kd_loss": 1},
        {"kd_loss": 0.5, "cos_embed_loss": 2},
        {"cos_embed_loss": 1},
        {"kd_loss": 1, "cos_embed_loss": 0, "features_pen": 1, "student_loss": 0},
        {"student_loss": 0.25, "features_pen": 3},
    ],
    ids=lambda given: "+".join(given),
)
def test_23_final_loss_is_the_weighted_sum_of_known_components(coefficients: dict[str, float]) -> None:
    """A coefficient that is dropped or applied twice changes the training and shows in no other number."""
    seen = first_step(Student(add=own), Teacher(), final_loss_coeff_dict=coefficients)
    expected = sum(coefficient * seen[name] for name, coefficient in coefficients.items())
    assert seen["train_final_loss"] == pytest.approx(expected, rel=1e-6)


def test_23_final_loss_and_its_gradient_are_the_originals() -> None:
    """Numbers recorded from the original's own code: a user who moves over must get the same training step."""
    (row,) = [row for row in golden_rows() if row["name"] == "seed_final_loss"]
    golden = load(row)
    student = Constant(golden.tensors["student_logits"].detach())
    before = student.raw.detach().clone()
    seen = first_step(
        student,
        Constant(golden.tensors["teacher_logits"]),
        temperature=golden.hyperparameters["T"],
        final_loss_coeff_dict=golden.hyperparameters["coeff"],
        optimize_method="sgd",
        learning_rate=1.0,
    )
    assert seen["train_final_loss"] == pytest.approx(golden.expected, rel=1e-6)
    assert seen["kd_loss"] == pytest.approx(3.1845076818863802, rel=1e-6)
    assert seen["cos_embed_loss"] == pytest.approx(0.9500471908590382, rel=1e-6)
    assert seen["train_logit_diff"] == pytest.approx(0.5115502442498924, rel=1e-6)
    assert seen["train_prob_diff"] == pytest.approx(0.051745753884117104, rel=1e-6)
    torch.testing.assert_close(before - student.raw.detach(), golden.gradients["student_logits"], rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        ({"kd_loss": 1, "student_los": 1}, "student_los.*Did you mean 'student_loss'"),
        ({"kd_loss": 1, "feature_pen": 0}, "feature_pen.*Did you mean 'features_pen'"),
        ({"kd_los": 1}, "kd_los"),
        ({"kd_los": 1}, "Did you mean 'kd_loss'"),
        ({"kd_loss": 1, "train_logit_diff": 1}, "train_logit_diff"),
        ({"kd_loss": 1, "train_prob_diff": 1}, "train_prob_diff"),
    ],
    ids=["typo", "typo_of_weight_0", "no_match", "no_match_suggests", "logit_monitor", "prob_monitor"],
)
def test_24_a_name_that_matches_nothing_is_refused_before_any_weight_moves(
    coefficients: dict[str, float], message: str, workplace: Path
) -> None:
    """The original skipped a misspelt loss in silence: days of training without the term the user had asked for."""
    student = Student(add=own)
    before = weights(student)
    with pytest.raises(ConfigError, match=message):
        training(student_model=student, final_loss_coeff_dict=coefficients).start_kd_training()
    assert same(before, weights(student))
    assert not list(workplace.rglob("*.ckpt"))


@pytest.mark.parametrize("nothing", [{}, {"kd_loss": 0}, {"kd_loss": 0, "cos_embed_loss": 0}], ids=["empty", "0", "0s"])
def test_24_coefficients_that_leave_nothing_to_learn_are_refused(nothing: dict[str, float]) -> None:
    """The original's loss was then the number 0, and training crashed or stood still."""
    with pytest.raises(ConfigError, match=r"(?i)final_loss_coeff_dict|weight 0"):
        training(final_loss_coeff_dict=nothing)


def test_25_components_without_a_coefficient_are_logged_only() -> None:
    """A user watches a loss before giving it a weight; it must be shown and must not steer."""
    seen = first_step(Student(add=own), Teacher(), final_loss_coeff_dict={"kd_loss": 1})
    logits = Student()(rows(BATCH))["logits"]
    assert seen["student_loss"] == pytest.approx(logits.square().mean().item(), rel=1e-6)
    assert seen["features_pen"] == pytest.approx(logits.abs().mean().item(), rel=1e-6)
    assert seen["cos_embed_loss"] > 0
    assert seen["train_final_loss"] == seen["kd_loss"]


def test_26_the_known_components_are_kd_cosine_and_the_students_own() -> None:
    """Dashboards and coefficient dicts name these; another name would empty them."""
    seen = first_step(Student(add=own), Teacher())
    others = {"epoch", "step", "train_final_loss", "train_final_loss_epoch", "train_logit_diff", "train_prob_diff"}
    components = {name for name in seen if name not in others and not name.startswith(("grad_", "lr-"))}
    assert components == {"kd_loss", "cos_embed_loss", "student_loss", "features_pen"}


@pytest.mark.parametrize("name", ["kd_loss", "cos_embed_loss"])
def test_26_a_students_loss_cannot_pass_for_the_toolkits(name: str) -> None:
    """The original's own value won; logging the student's under that name would show a wrong curve."""
    said, taught = drawn(BATCH, 3, seed=9), drawn(BATCH, 3, seed=10)
    expected = {
        "kd_loss": F.kl_div(said.log_softmax(dim=-1), taught.softmax(dim=-1), reduction="batchmean").item(),
        "cos_embed_loss": 1 - F.cosine_similarity(said, taught, dim=-1).mean().item(),
    }
    seen = first_step(Constant(said, loss={name: 99.0}), Constant(taught), final_loss_coeff_dict={name: 1})
    assert seen[name] == pytest.approx(expected[name])
    assert seen["train_final_loss"] == pytest.approx(expected[name])
