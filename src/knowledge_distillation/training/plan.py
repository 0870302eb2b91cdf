"""All that decides a training, so that it can be made again with another seed, objective or number of steps."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lightning.pytorch import seed_everything
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.teachers import EMATeacher, FollowsStudent, Teacher
from knowledge_distillation.teachers.live import full
from knowledge_distillation.training.module import DistillationModule
from knowledge_distillation.training.optimizers import OptimizerFactory
from knowledge_distillation.training.pipelines import InferencePipeline
from knowledge_distillation.training.random_state import random_state
from knowledge_distillation.training.rewinding import LoaderStart
from knowledge_distillation.training.schedules import ScheduleSpec


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The arguments of `distill` that decide what is learnt; see there.

    Attributes:
        student: a module, or a callable that makes one.
        start: weights of a student module before training, on the CPU; None for a callable.
        loader_start: how the train loader's own random generators stand before training.
    """

    teacher: Teacher | nn.Module | None
    student: nn.Module | Callable[[], nn.Module]
    train_loader: Iterable[Any]
    val_loaders: Mapping[str, Any] | None
    pipeline: InferencePipeline | None
    objective: Any
    max_epochs: int
    optimizer: str | OptimizerFactory | Mapping[str, Any]
    learning_rate: float
    schedule: ScheduleSpec
    warm_up_epochs: float
    adapter: str | Adapter | tuple[Adapter, Adapter]
    temperature: float
    seed: int
    speed: Any
    trainer: Mapping[str, Any]
    nonfinite: str = "stop"
    start: Mapping[str, Tensor] | None = None
    loader_start: LoaderStart | None = None

    def module(self) -> DistillationModule:
        """The module to train. Random generators stand as the seed says, so that equal plans give equal modules.

        Raises:
            ConfigError: if an argument is wrong, or the student's callable gives no module.
        """
        seed_everything(self.seed, workers=True, verbose=False)
        student, teacher = self.student, self.teacher
        if not isinstance(student, nn.Module) and callable(student):
            student = built(student)
            if isinstance(teacher, EMATeacher):  # made of another student than this new one
                teacher.load_state_dict(student.state_dict())
        names = (
            "objective", "optimizer", "learning_rate", "schedule", "warm_up_epochs", "adapter", "temperature",
            "val_loaders", "pipeline", "speed", "nonfinite",
        )  # fmt: skip
        return DistillationModule(student, teacher, **{name: getattr(self, name) for name in names})

    def kept(self) -> TrainingPlan:
        """The same plan as it is before training, which must not have begun: what training changes is copied.

        That is the weights of a student module, learned parts of an objective, a teacher that follows the student,
        and callbacks.
        """
        start = None
        if isinstance(self.student, nn.Module):
            start = {
                name: entry.detach().cpu().clone() if isinstance(entry, Tensor) else copy.deepcopy(entry)
                for name, entry in self.student.state_dict().items()
            }
        return replace(self, **self._copies(), start=start, loader_start=LoaderStart(self.train_loader, self.seed))

    def rewind(self, seed: int) -> None:
        """Let the train loader begin as it did before this plan's training, or from another seed; of a kept plan."""
        if self.loader_start is not None:
            self.loader_start.rewind(seed)

    def again(self, **changes: Any) -> TrainingPlan:
        """A plan to train from, out of a kept one, which stays as it is.

        Args:
            changes: any attribute.

        Raises:
            ConfigError: if something that training changes cannot be copied.
        """
        fresh = {**self._copies(), **changes}
        if isinstance(self.student, nn.Module):
            fresh["student"] = _copied("student", self.student)
        for value in (*fresh.values(), *fresh.get("trainer", {}).values()):
            if isinstance(value, Uncopied):
                raise ConfigError(
                    f"To train again, the {value.name} must be copied as it was before training, and deepcopy refused: "
                    f"{value.reason}. "
                    + (
                        "Pass the student as a callable that builds it."
                        if value.name == "student"
                        else "Name it by text."
                    )
                )
        if self.start is not None:
            fresh["student"].load_state_dict(self.start)
        return replace(self, **fresh)

    def _copies(self) -> dict[str, Any]:
        copies = {"objective": _copied("objective", self.objective)}
        if isinstance(self.teacher, FollowsStudent):
            copies["teacher"] = _copied("teacher", self.teacher)
        if self.trainer.get("callbacks"):
            copies["trainer"] = {**self.trainer, "callbacks": _copied("callbacks", self.trainer["callbacks"])}
        return copies


@dataclass(frozen=True, slots=True)
class Uncopied:
    """Stands for what could not be copied, until somebody needs it."""

    name: str
    reason: str


def _copied(name: str, value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception as error:  # any object of the user's may fail here in its own way
        return Uncopied(name, f"{type(error).__name__}: {error}")


def check_makes(name: str, make: Callable[[], nn.Module]) -> None:
    """Raise ConfigError unless a callable can be called without arguments."""
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        raise ConfigError(
            f"{name} must be an nn.Module, or a callable without arguments that makes one; {make!r} cannot be called "
            f"so ({error}). Write `lambda: ...`."
        ) from error
    except ValueError:  # a callable written in C says nothing
        return


def built(student: Callable[[], nn.Module]) -> nn.Module:
    """What the callable gives.

    Raises:
        ConfigError: if it takes arguments, or that is no module.
    """
    check_makes("student", student)
    made = student()
    if not isinstance(made, nn.Module):
        raise ConfigError(f"student must be an nn.Module, or a callable that makes one; it gave {type(made).__name__}.")
    return made


def weights_mark(model: nn.Module) -> tuple[float, ...]:
    """One number for each parameter; equal for models that are equal to the bit."""
    return tuple(float(full(parameter.detach()).cpu().double().sum()) for parameter in model.parameters())


def drawn() -> str:
    """Stands for all that was drawn from the random generators since they were seeded; equal for equal numbers."""
    digest = hashlib.sha256()
    for value in random_state().values():
        for part in value if isinstance(value, list) else [value]:
            digest.update(part.cpu().numpy().tobytes() if isinstance(part, Tensor) else repr(part).encode())
    return digest.hexdigest()
