"""What goes wrong for a user when a student learns without data."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import auto
from knowledge_distillation.domains.catalogue import build_model
from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.vision import digits
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.running import run_recipe
from knowledge_distillation.ways import distill_data_free
from knowledge_distillation.ways.data_free import DataFree, GeneratedTeacher, generated_adapter
from knowledge_distillation.ways.generator import (
    ImageGenerator,
    Noise,
    activation_loss,
    information_entropy_loss,
    one_hot_loss,
)
from tests.training.toys import QUIET, Difficult, flags, identical, mlp, snapshot

SMALL: dict[str, Any] = {"channels": 1, "size": 8, "mean": 0.3, "std": 0.37, "batch_size": 64}


@functools.lru_cache
def trained() -> dict[str, Tensor]:
    """The weights of a CNN that knows the digits."""
    torch.manual_seed(0)
    model = build_model("digits_cnn", digits().facts, {}, {})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(2):
        for images, labels in digits(batch_size=32).train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
    return snapshot(model)


def knowing() -> nn.Module:
    model = build_model("digits_cnn", digits().facts, {}, {})
    model.load_state_dict(trained())
    return model


def student() -> nn.Module:
    torch.manual_seed(1)
    return build_model("small_cnn", digits().facts, {"width": 16}, {})


class Forbidden:
    """A train loader that may be looked at, but not opened."""

    def __len__(self) -> int:
        return 40

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("a real training image was asked for")


def guarded(**settings: Any) -> Data:
    real = digits()
    return Data(train=Forbidden(), validation=real.validation, facts=real.facts)


def accuracy(model: nn.Module) -> float:
    images, labels = digits().validation["test"].dataset.tensors
    with torch.no_grad():
        return float((model.eval()(images).argmax(-1) == labels).float().mean())


@pytest.mark.slow
def test_the_recipe_beats_chance_without_opening_the_real_images(tmp_path: Path) -> None:
    """Otherwise a user who has lost the data, or may not use it, gets a student that guesses, or a crash."""
    weights = tmp_path / "teacher.safetensors"
    save_model(knowing(), str(weights))
    recipe = read_recipe(
        "digits_data_free",
        [
            f"teacher={{name: digits_cnn, weights: '{weights}'}}",
            "data={name: guarded}",
            "method.steps_per_epoch=40",
            "training.max_epochs=2",
            "training.trainer={enable_progress_bar: false}",
        ],
    )
    run = run_recipe(recipe, directory=tmp_path / "run", own={"guarded": guarded})
    assert run.scores["test"] >= 0.3
    fresh = student()
    load_model(fresh, str(tmp_path / "run" / "student.safetensors"))
    assert accuracy(fresh) == pytest.approx(run.scores["test"], abs=1e-6)


def test_the_teacher_is_left_bit_identical_and_every_image_is_invented(tmp_path: Path) -> None:
    """Otherwise the only copy of the knowledge is spoilt: its batch statistics become those of invented images."""
    teacher, learner = knowing(), student()
    teacher.train()
    next(iter(teacher.parameters())).requires_grad_(False)
    before, modes, start = snapshot(teacher), flags(teacher), snapshot(learner)
    shown: list[Tensor] = []
    learner.register_forward_pre_hook(lambda module, inputs: shown.append(inputs[0].detach().clone()))
    run = distill_data_free(
        teacher, learner, **SMALL, steps_per_epoch=3, max_epochs=2, learning_rate=5e-3, directory=tmp_path / "run",
        trainer=QUIET,
    )  # fmt: skip
    assert identical(snapshot(teacher), before)
    assert flags(teacher) == modes
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert run.student is learner
    assert not identical(snapshot(learner), start)
    assert [tuple(images.shape) for images in shown] == [(64, 1, 8, 8)] * 6
    for images in shown:
        torch.testing.assert_close(images.mean(), torch.tensor(0.3), atol=1e-3, rtol=0)
        torch.testing.assert_close(images.std(), torch.tensor(0.37), atol=1e-2, rtol=0)
    real = torch.cat([digits().train.dataset.tensors[0], digits().validation["test"].dataset.tensors[0]])
    assert torch.cdist(torch.cat(shown).flatten(1), real.flatten(1)).min() > 0.1


def test_the_students_loss_moves_no_generator_and_the_generators_no_student() -> None:
    """Otherwise the generator invents images that flatter the student in place of those that the teacher knows."""
    torch.manual_seed(0)
    teacher, learner, generator = knowing(), student(), ImageGenerator(1, 8)
    both = DataFree(generator, learner)
    seer = GeneratedTeacher(teacher, adapter=auto, temperature=1.0)
    seer.prepare(torch.device("cpu"))
    said = generated_adapter(auto)(both, torch.randn(16, 64), 1.0)
    taught = seer.from_student(said)
    assert said.logits is not None
    assert taught.logits is not None
    assert not taught.logits.requires_grad
    nn.functional.kl_div(said.logits.log_softmax(-1), taught.logits.softmax(-1), reduction="batchmean").backward()
    assert all(parameter.grad is None for parameter in generator.parameters())
    assert any(parameter.grad is not None for parameter in learner.parameters())
    learner.zero_grad(set_to_none=True)
    (
        one_hot_loss(None, taught.features["logits_on_images"]) + activation_loss(None, taught.features[seer.layer])
    ).backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in generator.parameters())
    assert all(parameter.grad is None for model in (learner, teacher) for parameter in model.parameters())
    seer.release()
    assert all(parameter.requires_grad for parameter in teacher.parameters())


def test_the_generators_losses_are_those_of_the_paper() -> None:
    """Otherwise the generator is pulled to one class, or away from images that the teacher knows."""
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 3.0]], dtype=torch.float64)
    chances = logits.exp() / logits.exp().sum(-1, keepdim=True)
    mean = chances.mean(0)
    torch.testing.assert_close(one_hot_loss(None, logits), -(chances[0, 0].log() + chances[1, 2].log()) / 2)
    torch.testing.assert_close(information_entropy_loss(None, logits), (mean * mean.log()).sum())
    assert float(activation_loss(None, torch.tensor([[1.0, -3.0]]))) == -2.0
    certain = torch.tensor([[0.0, -1e4, -1e4]], requires_grad=True)
    information_entropy_loss(None, certain).backward()
    assert certain.grad is not None
    assert bool(certain.grad.isfinite().all())


def test_noise_is_new_every_time() -> None:
    """Otherwise the generator sees the same few vectors over and over, and invents as few images."""
    noise = Noise(2, 4, 8)
    torch.manual_seed(0)
    drawn = [noise[0], noise[1], noise[0]]
    torch.manual_seed(0)
    assert torch.equal(noise[0], drawn[0])
    assert not any(torch.equal(drawn[a], drawn[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"std": 0.0}, "std"),
        ({"mean": float("nan")}, "mean"),
        ({"size": 3}, "size"),
        ({"batch_size": 1}, "batch_size"),
        ({"steps_per_epoch": 0}, "steps_per_epoch"),
        ({"generator_learning_rate": -1.0}, "generator_learning_rate"),
        ({"teacher": nn.Flatten()}, "linear"),
        ({"teacher": "resnet"}, "nn.Module"),
    ],
)
def test_settings_that_cannot_work_are_named(changed: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    """Otherwise the run fails in the middle of a convolution."""
    arguments = {"teacher": Difficult(), "student": mlp(), **SMALL, **changed}
    with pytest.raises(ConfigError, match=complaint):
        distill_data_free(**arguments, directory=tmp_path / "run", trainer=QUIET)
