"""One term of an objective: which loss, between which signals, with which weight."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from torch import Tensor, nn

from knowledge_distillation.accepted import is_finite_number
from knowledge_distillation.capture.views import Views
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.losses import Loss, catalogue, loss_named
from knowledge_distillation.objective.schedules import Schedule, is_schedule, schedule_from

OWN = "own"
ALL = "*"
"""As the student's signal of an own term: every loss that the student returned."""
AUTO = "auto"
"""As a setting of a named loss: to be read from the models and the first batch."""
SignalName = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """A loss, its weight and the two signals it compares.

    Args:
        loss: a `Loss`, any callable (student, teacher) -> scalar, a catalogue name such as "kd", or "own":
            the student's own loss term, named by `student`, or all of them with student="*". Sizes that a named loss
            needs (channels, widths) are read from the first batch, and so is a setting with the value "auto".
        weight: factor of the term, >= 0; 0 makes it a monitor: computed without gradient and logged only.
        student: a signal or module path of the student ("logits", "layer3.1", "input:fc", "weight:fc"), several as a
            tuple, or a role such as "@stages" or "@embedding", which is looked up in the model.
        teacher: the same for the teacher.
        projector: makes the student's signal comparable with the teacher's: a module, a name such as "linear",
            or "auto" (chosen from the shapes of the first batch). Trained with the student.
        schedule: progress from 0 to 1 -> factor on the weight.
        temperature: progress from 0 to 1 -> the loss's temperature, where the loss has one.
        views: "untouched", "transformed" or "all": both models see each picture turned by 0, 90, 180 and 270 degrees,
            and this term reads the first one, the others, or all as [samples, 4, ...]. Terms of the same objective
            that do not say read the first one.
        changes: other settings of the loss that change: name -> (progress from 0 to 1 -> value).
        gather: with several processes, whether the loss sees the samples of all of them as one batch, as relations,
            contrasts, memory banks and queues want it; gradients are those of one process with the whole batch.

    Raises:
        ConfigError: if the weight is not a finite number >= 0, the loss is no loss, own loss terms are gathered, or
            another field has another form.
    """

    loss: str | Callable[..., Tensor]
    weight: float = 1.0
    student: SignalName = "logits"
    teacher: SignalName = "logits"
    projector: str | nn.Module | None = None
    schedule: Schedule | None = None
    temperature: Schedule | None = None
    views: Views | None = None
    changes: Mapping[str, Schedule] | None = None
    gather: bool = False

    def __post_init__(self) -> None:
        if not is_finite_number(self.weight):
            raise ConfigError(f"A term's weight must be a finite number, got {self.weight!r}.")
        if self.weight < 0:
            raise ConfigError(
                f"A term's weight must be at least 0, got {self.weight!r}: the student would be driven away."
            )
        for kind in ("schedule", "temperature"):
            if getattr(self, kind) is not None and not is_schedule(getattr(self, kind)):
                raise ConfigError(
                    f"A term's {kind} must be a function of progress from 0 to 1, got {getattr(self, kind)!r}. A fixed "
                    "number belongs in the weight or in the loss."
                )
        for side in ("student", "teacher"):
            names = getattr(self, side)
            if not (isinstance(names, str) or (isinstance(names, tuple) and names)) or not all(
                isinstance(name, str) for name in names
            ):
                raise ConfigError(
                    f"A term's {side} must be a signal's name, or several as a tuple, got {names!r}: nothing could be "
                    'read. Name a signal or a module path, such as "logits" or "layer3.1".'
                )
        if self.projector is not None and not isinstance(self.projector, (str, nn.Module)):
            raise ConfigError(
                f"A term's projector must be a module, a name such as 'auto' or 'linear', or None; got "
                f"{self.projector!r}."
            )
        if self.changes is not None and not isinstance(self.changes, Mapping):
            raise ConfigError(f"A term's changes must map settings to functions of progress, got {self.changes!r}.")
        for setting, change in (self.changes or {}).items():
            if not is_schedule(change):
                raise ConfigError(
                    f"A term's changes must be functions of progress from 0 to 1, got {setting}={change!r}. A fixed "
                    "value is a setting of the loss."
                )
        if self.views is not None and self.views not in get_args(Views):
            raise ConfigError(f"A term's views must be one of {get_args(Views)}, got {self.views!r}.")
        if not isinstance(self.gather, bool):
            raise ConfigError(f"A term's gather must be true or false, got {self.gather!r}.")
        if self.gather and self.loss == OWN:
            raise ConfigError(
                "A term's gather puts the samples of all processes together before the loss, and the student computes "
                "its own loss itself: nothing would be gathered. Leave gather out."
            )
        if isinstance(self.loss, str):
            if self.loss != OWN and self.loss not in catalogue():
                raise ConfigError(f"There is no loss named {self.loss!r}. {nearest(self.loss, [OWN, *catalogue()])}")
        elif not callable(self.loss):
            raise ConfigError(f"A term's loss must be a name or a callable, got {type(self.loss).__name__}.")

    @property
    def is_monitor(self) -> bool:
        """Whether the term is only logged."""
        return self.weight == 0 and self.schedule is None

    def weight_at(self, progress: float) -> float:
        """The weight at a share of the training, from 0 to 1.

        Raises:
            ConfigError: if the schedule gives something else than a finite number >= 0.
        """
        if self.schedule is None:
            return self.weight
        factor = self.schedule(progress)
        if not is_finite_number(factor) or factor < 0:
            raise ConfigError(
                f"A term's schedule must give finite numbers of at least 0, and gives {factor!r} at progress "
                f"{progress:.3g}: the student would learn nothing, or be driven away."
            )
        return self.weight * factor


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A named loss whose sizes are known only with the first batch. Calling it before is an error."""

    name: str
    settings: Mapping[str, Any]

    def __call__(self, *signals: Any, **needs: Any) -> Tensor:
        raise ConfigError(
            f"The loss {self.name!r} needs sizes of the models ({', '.join(missing(self.name, self.settings))}). Train "
            "with DistillationModule or distill, which read them from the first batch, or build the loss yourself."
        )

    def build(self, sizes: Mapping[str, Any]) -> Loss:
        """The loss, with the missing settings taken from `sizes`."""
        needed = missing(self.name, self.settings)
        lacking = [name for name in needed if name not in sizes]
        if lacking:
            raise ConfigError(
                f"The loss {self.name!r} needs {lacking}, which cannot be read from the models or a batch. Set them: "
                f"objective={{{self.name!r}: {{{', '.join(f'{name!r}: ...' for name in lacking)}}}}}."
            )
        return loss_named(self.name, **{**self.settings, **{name: sizes[name] for name in needed}})


def missing(name: str, settings: Mapping[str, Any]) -> list[str]:
    """Settings that the named loss requires and does not have yet, and those that are "auto"."""
    parameters = inspect.signature(catalogue()[name].module).parameters.values()
    required = [
        p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    asked = [setting for setting, value in settings.items() if isinstance(value, str) and value == AUTO]
    return [*(parameter for parameter in required if parameter not in settings), *asked]


def named_loss(name: str, settings: Mapping[str, Any]) -> Loss | Unbuilt:
    """The loss of this name, or an `Unbuilt` if sizes of the models are still missing."""
    if name in catalogue() and missing(name, settings):
        return Unbuilt(name, dict(settings))
    return loss_named(name, **settings)


def term_from(spec: Any, name: str) -> Term:
    """A `Term` from what a recipe or a call gives: a Term, a loss, a loss name, a weight for the loss of this
    name, or a dict with "loss" and any of Term's fields; its further keys are the loss's settings.

    Raises:
        ConfigError: if the form or a key is wrong.
    """
    if isinstance(spec, Term):
        return spec
    if isinstance(spec, (int, float)) and not isinstance(spec, bool):
        return Term(named_loss(name, {}), weight=spec)
    if isinstance(spec, str):
        return Term(spec if spec == OWN else named_loss(spec, {}))
    if isinstance(spec, Mapping):
        return _from_mapping(spec, name)
    if callable(spec):
        return Term(spec)
    raise ConfigError(
        f"Term {name!r} must be a Term, a loss, a loss name, a weight or a dict with 'loss'; got {type(spec).__name__}."
    )


def _from_mapping(spec: Mapping[str, Any], name: str) -> Term:
    known = Term.__dataclass_fields__
    fields = {key: value for key, value in spec.items() if key in known and key != "loss"}
    settings = {key: value for key, value in spec.items() if key not in known}
    for side in ("student", "teacher"):
        if isinstance(fields.get(side), list):
            fields[side] = tuple(fields[side])
    fields["schedule"] = schedule_from(fields.get("schedule"))
    if isinstance(fields.get("changes"), Mapping):
        changes = fields["changes"].items()
        fields["changes"] = {setting: schedule_from(change, f"change of {setting}") for setting, change in changes}
    temperature = fields.pop("temperature", None)
    if isinstance(temperature, (int, float)):
        settings["temperature"] = temperature
    else:
        fields["temperature"] = schedule_from(temperature, "temperature")
    loss = spec.get("loss", name)
    if isinstance(loss, str) and loss in catalogue():
        accepted = list(inspect.signature(catalogue()[loss].module).parameters)
        for setting in settings:
            if setting not in accepted:
                others = [key for key in (*known, *accepted) if key != setting]
                raise ConfigError(
                    f"Term {name!r} has the key {setting!r}, which {loss} does not take. "
                    f"{nearest(str(setting), others)}"
                )
    if isinstance(loss, str) and loss != OWN:
        loss = named_loss(loss, settings)
    elif settings:
        setting, value = next(iter(settings.items()))
        raise ConfigError(
            f"Term {name!r} has unknown keys, {setting!r} with {value!r}: only losses given by name take settings. "
            f"{nearest(str(setting), known)}"
        )
    return Term(loss, **fields)
