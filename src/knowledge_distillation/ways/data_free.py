"""Distil without data: a generator invents images that the teacher is sure of, and the student learns from those."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import save_model
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from knowledge_distillation.capture.adapters import Adapter, adapter_pair
from knowledge_distillation.capture.reader import Reader
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.inputs import check_between, check_positive
from knowledge_distillation.objective import Term, as_objective
from knowledge_distillation.objective.layers import find_role
from knowledge_distillation.run import Run, distill
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers import LiveTeacher
from knowledge_distillation.training.optimizers import OptimizerFactory, make_optimizer
from knowledge_distillation.training.pipelines import AccuracyPipeline, InferencePipeline
from knowledge_distillation.training.planning import check_arguments
from knowledge_distillation.ways.generator import (
    ImageGenerator,
    Noise,
    activation_loss,
    information_entropy_loss,
    one_hot_loss,
)
from knowledge_distillation.ways.parts import PartLoader, PartPipeline


def distill_data_free(
    teacher: nn.Module,
    student: nn.Module,
    val_loaders: Mapping[str, Any] | None = None,
    *,
    channels: int,
    size: int,
    mean: float = 0.0,
    std: float = 1.0,
    generator: nn.Module | None = None,
    noise_size: int = 64,
    batch_size: int = 256,
    steps_per_epoch: int = 100,
    one_hot: float = 1.0,
    activation: float = 0.1,
    information_entropy: float = 5.0,
    generator_learning_rate: float = 1e-3,
    objective: Any = "soft",
    pipeline: InferencePipeline | None = None,
    adapter: str | Adapter | tuple[Adapter, Adapter] = "auto",
    optimizer: str | OptimizerFactory | Mapping[str, Any] = "adamw",
    **settings: Any,
) -> Run:
    """Train a student with a teacher and no training data at all.

    Every step a batch of noise becomes images. The generator moves so that the frozen teacher is sure of each image,
    excited by it, and sees all classes alike; the student learns the teacher's answers on the same images, through
    which none of its gradient reaches the generator.

    Args:
        teacher: an image classifier whose last linear layer is its head; left as it is.
        student: trained in place.
        val_loaders: name -> loader of real images, for scores only.
        channels, size: of the teacher's images.
        mean, std: of the teacher's training images, after their normalisation.
        generator: noise [batch, noise_size] -> images; default: `ImageGenerator`.
        noise_size: numbers in one noise vector.
        batch_size: images a step, >= 2; the paper takes 512 for MNIST and 1024 for CIFAR.
        steps_per_epoch: steps that count as one epoch, >= 1.
        one_hot, activation, information_entropy: weights of the generator's three losses, >= 0; the paper's are 1,
            0.1 and 5.
        generator_learning_rate: > 0.
        objective: how the student follows the teacher; terms that need labels cannot be used.
        pipeline: scores the student on a loader; default: accuracy.
        adapter: how to call teacher and student on images.
        optimizer: one for both, with two learning rates.
        settings: any further argument of `distill`.

    Returns:
        The `Run` of the student; the generator is at `run.module.student_model.generator`.

    Raises:
        ConfigError: if an argument is wrong, or the teacher has no linear layer.

    Reference: Chen, Wang, Xu, Yang, Liu, Shi, Xu, Xu, Tian (2019), DAFL, arXiv:1904.01186, section 3.

    Differs: entropies in nats (the authors' code takes log10); a weight of 5 is therefore 2.3 times theirs.
    """
    check_positive("generator_learning_rate", generator_learning_rate)
    check_positive("std", std)
    check_between("mean", mean, -1e6, 1e6)
    reads_student, reads_teacher = adapter_pair(adapter)
    noise = DataLoader(Noise(steps_per_epoch, batch_size, noise_size), batch_size=None)
    check_arguments(noise, val_loaders, settings.get("max_epochs", 10), settings.get("seed", 0))
    if generator is None:
        generator = ImageGenerator(channels, size, noise_size=noise_size, mean=mean, std=std)
    seer = GeneratedTeacher(teacher, adapter=reads_teacher, temperature=settings.get("temperature", 1.0))
    weights = {"one_hot": one_hot, "activation": activation, "information_entropy": information_entropy}
    losses = {
        "one_hot": (one_hot_loss, GRAPHED),
        "activation": (activation_loss, seer.layer),
        "information_entropy": (information_entropy_loss, GRAPHED),
    }
    terms = {name: Term(loss, weights[name], "images", signal) for name, (loss, signal) in losses.items()}
    whole = distill(
        seer,
        DataFree(generator, student),
        noise,
        {name: PartLoader(loader, "student") for name, loader in (val_loaders or {}).items()},
        objective={**as_objective(objective).terms, **terms},
        pipeline=PartPipeline(pipeline or AccuracyPipeline(reads_student)),
        adapter=generated_adapter(reads_student),
        optimizer=with_second_rate(optimizer, list(generator.parameters()), generator_learning_rate),
        **{"doctor": False, **settings},  # before the generator has learnt there is nothing to look at
    )
    if whole.module.trainer.is_global_zero:
        save_model(student, str(whole.directory / "student.safetensors"))
    # The images are made while the student learns, against it: without a teacher there is nothing to compare with.
    return replace(whole, student=student, plan=None, finished=None)


class DataFree(nn.Module):
    """A generator and the student that learns from its images, as one module; called, it is the student.

    Args:
        generator: noise -> images.
        student: images -> logits.
    """

    def __init__(self, generator: nn.Module, student: nn.Module) -> None:
        super().__init__()
        self.generator = generator
        self.student = student

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.student(*inputs, **named)


def generated_adapter(adapter: Adapter) -> Adapter:
    """Noise -> the student's signals on the generator's images, which it sees without their graph; and the images."""

    def read(model: nn.Module, noise: Tensor, temperature: float) -> Signals:
        images = model.get_submodule("generator")(noise)
        said = adapter(model.get_submodule("student"), images.detach(), temperature)
        return replace(said, features={**said.features, "images": images})

    return read


GRAPHED = "logits_on_images"
"""The teacher's logits with their graph into the images; "logits" are the same without it."""


class GeneratedTeacher:
    """A frozen model that answers on the generator's images, so that gradient reaches the images and nothing else.

    Args:
        model: the teacher; parameters, buffers and flags are given back as they were.
        adapter: (model, images, temperature) -> Signals.
        temperature: handed to the adapter.

    Raises:
        ConfigError: if it has no linear layer, before which the activation is read.
    """

    def __init__(self, model: nn.Module, *, adapter: Adapter, temperature: float) -> None:
        if not isinstance(model, nn.Module):
            raise ConfigError(
                f"A data-free teacher must be an nn.Module, got {type(model).__name__}: the generator learns from its "
                "gradient."
            )
        layer = find_role("@embedding", model, None, "teacher")
        self.layer = layer if isinstance(layer, str) else layer[-1]
        self._live = LiveTeacher(model, temperature=temperature)
        self._reader = Reader(model, adapter, temperature=temperature, wanted=("logits", self.layer), whose="teacher")
        self._flags: list[tuple[nn.Parameter, bool]] = []

    @property
    def fingerprint(self) -> str:
        """The model's, as a `LiveTeacher` of this temperature."""
        return self._live.fingerprint

    def prepare(self, device: torch.device) -> None:
        """Move to the device; eval mode; parameters ask for no gradient until `release`."""
        self._live.prepare(device)
        self._reader.attach()
        if not self._flags:
            self._flags = [(parameter, parameter.requires_grad) for parameter in self._live.model.parameters()]
        for parameter, _ in self._flags:
            parameter.requires_grad_(False)

    def reads(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The generated images."""
        return ("images",)

    def signals(self, batch: Any, wanted: Sequence[str] = ()) -> Signals:
        """Refuse: there are no images before the generator has made them.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("A data-free teacher answers on generated images only. Train with distill_data_free.")

    def from_student(self, student: Signals) -> Signals:
        """The answer on the images: "logits" without graph, `GRAPHED` and the activation with graph to the images."""
        said = self._reader.read(student.named("images", whose="student"))
        logits = said.named("logits", whose="teacher")
        features = {GRAPHED: logits, self.layer: said.named(self.layer, whose="teacher")}
        return Signals(logits=logits.detach(), features=features)

    def release(self) -> None:
        """Take hooks off; give modes and flags back."""
        self._reader.detach()
        self._live.release()
        for parameter, flag in self._flags:
            parameter.requires_grad_(flag)
        self._flags = []


def with_second_rate(
    optimizer: str | OptimizerFactory | Mapping[str, Any], second: Sequence[Tensor], learning_rate: float
) -> Callable[..., Optimizer]:
    """The same optimiser with another learning rate for some parameters.

    Args:
        optimizer: as for `make_optimizer`.
        second: parameters that get the second rate.
        learning_rate: the second rate.

    Returns:
        A callable (parameters, lr) -> Optimizer with a group for each rate.
    """
    marked = {id(parameter) for parameter in second}

    def make(parameters: Iterable[Tensor], lr: float) -> Optimizer:
        given = list(parameters)
        groups: list[dict[str, Any]] = [
            {"params": [parameter for parameter in given if id(parameter) not in marked]},
            {"params": [parameter for parameter in given if id(parameter) in marked], "lr": learning_rate},
        ]
        filled: Any = [group for group in groups if group["params"]]
        return make_optimizer(optimizer, filled, learning_rate=lr)

    return make
