"""The objective: named terms -> one total to minimise, and every component."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.losses import Loss, loss_named
from knowledge_distillation.objective.term import OWN, SignalName, Term, term_from
from knowledge_distillation.signals import Signals


@dataclass(slots=True)
class _Bound:
    """A term with its loss built and its lookups resolved."""

    name: str
    term: Term
    loss: Any
    needs: tuple[str, ...]
    takes_mask: bool
    uses_teacher: bool
    projector: nn.Module | None
    is_monitor: bool
    is_own: bool


class Objective(nn.Module):
    """A weighted sum of terms. An nn.Module, so that learned parts of losses and projectors train with the student.

    Args:
        terms: name -> `Term`, loss, loss name, weight, or dict (see `term_from`).

    Raises:
        ConfigError: if there is no term with a weight, or a name is unknown.
    """

    def __init__(self, terms: Mapping[str, Any]) -> None:
        super().__init__()
        if not isinstance(terms, Mapping) or not terms:
            raise ConfigError("An objective needs at least one named term, such as {'kd': 0.9, 'cross_entropy': 0.1}.")
        self.terms: dict[str, Term] = {str(name): term_from(spec, str(name)) for name, spec in terms.items()}
        if all(term.is_monitor for term in self.terms.values()):
            raise ConfigError(f"Every term of {sorted(self.terms)} has weight 0, so the student would learn nothing.")
        self.losses = nn.ModuleDict()
        self.projectors = nn.ModuleDict()
        self._bound = [self._bind(name, term) for name, term in self.terms.items()]
        self._checked_own = False

    def _bind(self, name: str, term: Term) -> _Bound:
        loss = term.loss
        if isinstance(loss, str) and loss != OWN:
            loss = loss_named(loss)
        key = name.replace(".", "_")
        if isinstance(loss, nn.Module):
            self.losses[key] = loss
        if isinstance(term.projector, nn.Module):
            self.projectors[key] = term.projector
        facts = getattr(loss, "facts", None)
        return _Bound(
            name=name,
            term=term,
            loss=loss,
            needs=tuple(facts.needs) if facts else tuple(getattr(loss, "needs", ())),
            takes_mask=isinstance(loss, Loss),
            uses_teacher=loss != OWN and (facts is None or facts.uses_teacher),
            projector=term.projector if isinstance(term.projector, nn.Module) else None,
            is_monitor=term.is_monitor,
            is_own=term.loss == OWN,
        )

    @property
    def needs_teacher(self) -> bool:
        """Whether any term looks at the teacher; without one the teacher is not run at all."""
        return any(bound.uses_teacher for bound in self._bound)

    def wanted(self, side: str) -> tuple[str, ...]:
        """Every signal name that the terms read on one side ("student" or "teacher"), without repeats."""
        names: dict[str, None] = {}
        for bound in self._bound:
            if bound.loss != OWN and (side == "student" or bound.uses_teacher):
                names.update(dict.fromkeys(_each(getattr(bound.term, side))))
        return tuple(names)

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
        if not self._checked_own:
            self._check_own_names(student)
        total: Tensor | None = None
        components: dict[str, Tensor] = {}
        for bound in self._bound:
            term = bound.term
            if bound.is_monitor:
                if monitors:
                    with torch.no_grad():
                        components[bound.name] = self._value(bound, student, teacher, progress)
                continue
            value = self._value(bound, student, teacher, progress)
            components[bound.name] = value
            weight = term.weight if term.schedule is None else term.weight * term.schedule(progress)
            weighted = value if weight == 1.0 else value * weight
            total = weighted if total is None else total + weighted
        if student.loss_terms:
            used = {_each(term.student)[0] for term in self.terms.values() if term.loss == OWN}
            components.update((name, value) for name, value in student.loss_terms.items() if name not in used)
        if total is None:  # the constructor requires one term with a weight
            raise AssertionError("an objective without weighted terms was built")
        return total, components

    def _value(self, bound: _Bound, student: Signals, teacher: Signals | None, progress: float) -> Tensor:
        term = bound.term
        if bound.is_own:
            value = student.loss_terms[_each(term.student)[0]]
            return value if isinstance(value, Tensor) else torch.tensor(float(value))
        if term.temperature is not None:
            bound.loss.temperature = term.temperature(progress)
        said = student.logits if term.student == "logits" else None
        if said is None:
            said = _lookup(student, term.student, "student")
        taught = None
        if bound.uses_teacher:
            if teacher is None:
                raise ConfigError(
                    f"Term {bound.name!r} compares with a teacher, but there is none. Pass a teacher, or use the "
                    "objective 'labels'."
                )
            taught = teacher.logits if term.teacher == "logits" else None
            if taught is None:
                taught = _lookup(teacher, term.teacher, "teacher")
        if bound.projector is not None:
            said = bound.projector(said)
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

    def _check_own_names(self, student: Signals) -> None:
        for name, term in self.terms.items():
            wanted = _each(term.student)[0]
            if term.loss == OWN and wanted not in student.loss_terms:
                raise ConfigError(
                    f"Term {name!r} weighs the student's own loss {wanted!r}, which the student did not return: "
                    f"it would silently count nothing. {nearest(wanted, student.loss_terms)}"
                )
        self._checked_own = True

    def weighted_names(self) -> Iterator[str]:
        """Names of the terms that count in the total."""
        return (name for name, term in self.terms.items() if not term.is_monitor)


def _each(names: SignalName) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names


def _lookup(signals: Signals, names: SignalName, whose: str) -> Any:
    if isinstance(names, str):
        return signals.named(names, whose=whose)
    return [signals.named(name, whose=whose) for name in names]


def _needed(need: str, student: Signals, term: str) -> Any:
    value = student.labels if need == "labels" else student.extras.get(need)
    if value is None:
        raise ConfigError(
            f"Term {term!r} needs {need!r}, and the batch gave none. For labels let the data loader yield "
            "(inputs, labels) or a dict with 'labels'; other inputs come from the adapter's `extras`. "
            "Without labels, use an objective of teacher terms only."
        )
    return value
