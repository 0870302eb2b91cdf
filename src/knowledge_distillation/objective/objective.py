"""The objective: named terms -> one total to minimise, and every component."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation import projectors
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.losses import Loss, catalogue
from knowledge_distillation.objective.balancing import balance_named
from knowledge_distillation.objective.term import OWN, SignalName, Term, Unbuilt, named_loss, term_from
from knowledge_distillation.signals import Signals


@dataclass(slots=True)
class _Bound:
    """A term with its loss built and its lookups resolved."""

    name: str
    term: Term
    loss: Any
    student: SignalName
    teacher: SignalName
    projector: Any
    needs: tuple[str, ...]
    takes_mask: bool
    uses_teacher: bool
    is_monitor: bool
    is_own: bool

    @property
    def is_ready(self) -> bool:
        return not isinstance(self.loss, Unbuilt) and not isinstance(self.projector, str)


class Objective(nn.Module):
    """A weighted sum of terms. An nn.Module, so that learned parts of losses and projectors train with the student.

    Args:
        terms: name -> `Term`, loss, loss name, weight, or dict (see `term_from`).
        balance: None, "gradient_norm" or "uncertainty": factors on top of the weights, found while training and
            logged as weight_<term>.

    Raises:
        ConfigError: if there is no term with a weight, or a name is unknown.
    """

    def __init__(self, terms: Mapping[str, Any], *, balance: str | None = None) -> None:
        super().__init__()
        if not isinstance(terms, Mapping) or not terms:
            raise ConfigError("An objective needs at least one named term, such as {'kd': 0.9, 'cross_entropy': 0.1}.")
        self.terms: dict[str, Term] = {str(name): term_from(spec, str(name)) for name, spec in terms.items()}
        weighted = [name for name, term in self.terms.items() if not term.is_monitor]
        if not weighted:
            raise ConfigError(f"Every term of {sorted(self.terms)} has weight 0, so the student would learn nothing.")
        self.losses = nn.ModuleDict()
        self.projectors = nn.ModuleDict()
        self.balance = balance_named(balance, weighted) if balance else None
        self.student_parameters: Callable[[], Sequence[Tensor]] = tuple
        """Gives the parameters whose gradients a balance measures; the training module sets it."""
        self._bound = [self._bind(name, term) for name, term in self.terms.items()]
        self._checked = False

    def _bind(self, name: str, term: Term) -> _Bound:
        loss: Any = term.loss
        is_own = isinstance(loss, str) and loss == OWN
        if isinstance(term.projector, str) and term.projector not in projectors.NAMES:
            raise ConfigError(f"There is no projector {term.projector!r}. {nearest(term.projector, projectors.NAMES)}")
        if isinstance(loss, str) and not is_own:
            loss = named_loss(loss, {})
        facts = catalogue()[loss.name].facts if isinstance(loss, Unbuilt) else getattr(loss, "facts", None)
        if term.temperature is not None and not (is_own or isinstance(loss, Unbuilt) or hasattr(loss, "temperature")):
            raise ConfigError(f"Term {name!r} schedules a temperature, and its loss has none: it would change nothing.")
        bound = _Bound(
            name=name,
            term=term,
            loss=loss,
            student=term.student,
            teacher=term.teacher,
            projector=term.projector,
            needs=tuple(facts.needs if facts else getattr(loss, "needs", ())),
            takes_mask=isinstance(loss, (Loss, Unbuilt)),
            uses_teacher=not is_own and (facts is None or facts.uses_teacher),
            is_monitor=term.is_monitor,
            is_own=is_own,
        )
        self._own_parts(bound)
        return bound

    def _own_parts(self, bound: _Bound) -> None:
        """Take learned parts as sub-modules, so that they are trained and saved."""
        key = "term " + bound.name.replace("%", "%25").replace(".", "%2E")  # module names take no dot, nor "train"
        if isinstance(bound.loss, nn.Module):
            self.losses[key] = bound.loss
        if isinstance(bound.projector, nn.Module):
            self.projectors[key] = bound.projector

    # -- what the objective asks of the models -----------------------------------------------------------------------

    @property
    def needs_teacher(self) -> bool:
        """Whether any term looks at the teacher; without one the teacher is not run at all."""
        return any(bound.uses_teacher for bound in self._bound)

    @property
    def learns_from_teacher(self) -> bool:
        """Whether any term that counts looks at the teacher; if not, it is only asked for monitors."""
        return any(bound.uses_teacher and not bound.is_monitor for bound in self._bound)

    @property
    def has_schedules(self) -> bool:
        """Whether any weight or temperature changes during training."""
        return any(term.schedule or term.temperature for term in self.terms.values())

    def wanted(self, side: str) -> tuple[str, ...]:
        """Every signal name that the terms read on one side ("student" or "teacher"), without repeats."""
        names: dict[str, None] = {}
        for bound in self._bound:
            if not bound.is_own and (side == "student" or bound.uses_teacher):
                names.update(dict.fromkeys(_each(getattr(bound, side))))
        return tuple(names)

    @property
    def is_ready(self) -> bool:
        """Whether every loss and projector is built and every role found; if not, call `find_layers` and `prepare`."""
        return all(bound.is_ready for bound in self._bound) and not self.roles("student") | self.roles("teacher")

    def roles(self, side: str) -> set[str]:
        """Roles such as "@stages" that still stand for module paths."""
        return {name for name in self.wanted(side) if name.startswith("@")}

    def find_layers(self, side: str, paths: Mapping[str, SignalName]) -> None:
        """Put module paths in the place of roles.

        Args:
            side: "student" or "teacher".
            paths: role -> path or paths.
        """
        for bound in self._bound:
            name = getattr(bound, side)
            if isinstance(name, str) and name in paths:
                setattr(bound, side, paths[name])

    def prepare(self, student: Signals, teacher: Signals | None, sizes: Mapping[str, Any]) -> None:
        """Build what depends on shapes: projectors by name, and losses that need channel counts or widths.

        Args:
            student: signals of one example batch.
            teacher: the same of the teacher.
            sizes: further sizes by setting name, such as {"samples": 50000, "batch_size": 64}.

        Raises:
            ConfigError: if a size is not known, or the student and the teacher give different numbers of layers.
        """
        for bound in self._bound:
            if bound.is_ready:
                continue
            said, taught = _lookup(student, bound.student, "student"), None
            if bound.uses_teacher and teacher is not None:
                taught = _lookup(teacher, bound.teacher, "teacher")
            if isinstance(bound.projector, str):
                bound.projector = _built_projector(bound.projector, said, taught, bound.name)
            if isinstance(bound.loss, Unbuilt):
                shapes = {"student_channels": _channels(said), "student_width": _width(said)}
                if taught is not None:
                    shapes |= {"teacher_channels": _channels(taught), "teacher_width": _width(taught)}
                    shapes |= {"width": _width(taught)}
                bound.loss = bound.loss.build({**sizes, **shapes})
            self._own_parts(bound)

    # -- the sum -----------------------------------------------------------------------------------------------------

    def forward(
        self, student: Signals, teacher: Signals | None, *, progress: float = 0.0, monitors: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total and every component.

        Args:
            student: with graph.
            teacher: without graph; None when no term needs it.
            progress: from 0 at the start to 1 at the end of training, for schedules.
            monitors: whether to compute terms of weight 0 as well.

        Returns:
            The weighted sum, a scalar; and each term's unweighted value by name, followed by the student's own
            loss terms that no term weighs. Components may carry graph.

        Raises:
            ConfigError: if a signal, a needed input or an own loss term is missing.
        """
        if not self._checked:
            self._check_first(student)
        total: Tensor | None = None
        components: dict[str, Tensor] = {}
        parts: dict[str, Tensor] = {}
        for bound in self._bound:
            if bound.is_monitor:
                if monitors:
                    with torch.no_grad():
                        components[bound.name] = self._value(bound, student, teacher, progress)
                continue
            value = self._value(bound, student, teacher, progress)
            components[bound.name] = value
            term = bound.term
            weight = term.weight if term.schedule is None else term.weight * term.schedule(progress)
            weighted = value if weight == 1.0 else value * weight
            if self.balance is not None:
                parts[bound.name] = weighted
            else:
                total = weighted if total is None else total + weighted
        if self.balance is not None:
            total, factors = self.balance(parts, self.student_parameters())
            components.update((f"weight_{name}", factor) for name, factor in factors.items())
        if student.loss_terms:
            used = {_each(bound.student)[0] for bound in self._bound if bound.is_own}
            own = ((name, value) for name, value in student.loss_terms.items() if name not in used)
            components = {**dict(own), **components}
        if total is None:  # the constructor requires one term with a weight
            raise AssertionError("an objective without weighted terms was built")
        return total, components

    def _value(self, bound: _Bound, student: Signals, teacher: Signals | None, progress: float) -> Tensor:
        if bound.is_own:
            value = student.loss_terms.get(_each(bound.student)[0])
            if value is None:
                raise _missing_own(bound, student)
            return value if isinstance(value, Tensor) else torch.tensor(float(value))
        if bound.term.temperature is not None:
            bound.loss.temperature = bound.term.temperature(progress)
        said = _lookup(student, bound.student, "student")
        taught = None
        if bound.uses_teacher:
            if teacher is None:
                raise ConfigError(
                    f"Term {bound.name!r} compares with a teacher, but there is none. Pass a teacher, or use the "
                    "objective 'labels'."
                )
            taught = _lookup(teacher, bound.teacher, "teacher")
        if bound.projector is not None:
            said, taught = _projected(bound.projector, said, taught)
        result: Tensor
        masked = bound.takes_mask and student.mask is not None
        if not masked and not bound.needs:
            result = bound.loss(said, taught)
            return result
        keywords = {need: _needed(need, student, bound.name) for need in bound.needs}
        if masked:
            keywords["mask"] = student.mask
        result = bound.loss(said, taught, **keywords)
        return result

    def _check_first(self, student: Signals) -> None:
        if not self.is_ready:
            unready = [bound.name for bound in self._bound if not bound.is_ready] or sorted(self.wanted("student"))
            raise ConfigError(
                f"{unready} need shapes or layers of the models. DistillationModule and distill read them from the "
                "first batch; in your own loop call objective.find_layers and objective.prepare first."
            )
        for bound in self._bound:
            if bound.is_own and _each(bound.student)[0] not in student.loss_terms:
                raise _missing_own(bound, student, [other.name for other in self._bound if not other.is_own])
        self._checked = True


def _missing_own(bound: _Bound, student: Signals, others: Sequence[str] = ()) -> ConfigError:
    wanted = _each(bound.student)[0]
    return ConfigError(
        f"Term {bound.name!r} weighs the student's own loss {wanted!r}, which the student did not return: it would "
        f"silently count nothing. {nearest(wanted, [*student.loss_terms, *others])}"
    )


def _each(names: SignalName) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _lookup(signals: Signals, names: SignalName, whose: str) -> Any:
    if names == "logits" and signals.logits is not None:
        return signals.logits
    if isinstance(names, str):
        value = signals.named(names, whose=whose)
        return list(value) if isinstance(value, tuple) else value
    found = [signals.named(name, whose=whose) for name in names]
    return [part for entry in found for part in (entry if isinstance(entry, (tuple, list)) else (entry,))]


def _needed(need: str, student: Signals, term: str) -> Any:
    value = student.labels if need == "labels" else student.extras.get(need)
    if value is None:
        raise ConfigError(
            f"Term {term!r} needs {need!r}, and the batch gave none. For labels let the data loader yield "
            "(inputs, labels) or a dict with 'labels'; other inputs come from the adapter's `extras`. "
            "Without labels, use an objective of teacher terms only."
        )
    return value


def _channels(features: Any) -> Any:
    """The channels of a map [N, C, H, W] or the width of vectors [..., D]; a list for several features."""
    if isinstance(features, list):
        return [_channels(feature) for feature in features]
    return features.shape[1] if features.dim() == 4 else features.shape[-1]


def _width(features: Any) -> Any:
    """The width of vectors; of several features, the first one's (a list may go on with attention scores)."""
    return _channels(features[0] if isinstance(features, list) else features)


def _built_projector(name: str, said: Any, taught: Any, term: str) -> nn.Module:
    if taught is None:
        raise ConfigError(f"Term {term!r} has a projector but no teacher signal to project to.")
    if not isinstance(said, list):
        return projectors.build(name, said, taught)
    if not isinstance(taught, list) or len(said) != len(taught):
        raise ConfigError(f"Term {term!r} compares {len(said)} student layers with {len(taught)} of the teacher.")
    return nn.ModuleList(projectors.build(name, *pair) for pair in zip(said, taught, strict=True))


def _projected(projector: Any, said: Any, taught: Any) -> tuple[Any, Any]:
    if isinstance(projector, nn.ModuleList):
        pairs = [_projected(part, *pair) for part, pair in zip(projector, zip(said, taught, strict=True), strict=True)]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if isinstance(projector, projectors.Projector):
        return projector(said), projector.target(taught)
    return projector(said), taught
