"""The objective: named terms -> one total to minimise, and every component."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.views import of_views, rotations
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses import Loss
from knowledge_distillation.objective.balancing import balance_named
from knowledge_distillation.objective.binding import BoundTerm, bind, each, missing_own
from knowledge_distillation.objective.finished import finished
from knowledge_distillation.objective.layers import in_place_of_roles
from knowledge_distillation.objective.share import Share
from knowledge_distillation.objective.term import ALL, SignalName, Term, term_from
from knowledge_distillation.signals import Signals


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
        self.terms: dict[str, Term] = {str(name): _term(spec, str(name)) for name, spec in terms.items()}
        weighted = [name for name, term in self.terms.items() if not term.is_monitor]
        if not weighted:
            raise ConfigError(f"Every term of {sorted(self.terms)} has weight 0, so the student would learn nothing.")
        self.losses = nn.ModuleDict()
        self.projectors = nn.ModuleDict()
        self.balance = None if balance is None else balance_named(balance, weighted)
        self.student_parameters: Callable[[], Sequence[Tensor]] = tuple
        """Gives the parameters whose gradients a balance measures; the training module sets it."""
        self._bound = [bind(name, term) for name, term in self.terms.items()]
        for bound in self._bound:
            self._own_parts(bound)
        self._has_views = any(term.views for term in self.terms.values())
        self._checked = False

    def _own_parts(self, bound: BoundTerm) -> None:
        """Take learned parts as sub-modules, so that they are trained and saved."""
        key = "term " + bound.name.replace("%", "%25").replace(".", "%2E")  # module names take no dot, nor "train"
        if isinstance(bound.loss, nn.Module):
            self.losses[key] = bound.loss
        if isinstance(bound.projector, nn.Module):
            self.projectors[key] = bound.projector

    # -- what the objective asks of the models -----------------------------------------------------------------------

    @property
    def bound(self) -> Sequence[BoundTerm]:
        """The terms as they are computed, in their order."""
        return tuple(self._bound)

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
        """Whether any weight, temperature or other setting changes during training."""
        return any(term.schedule or term.temperature or term.changes for term in self.terms.values())

    def wanted(self, side: str) -> tuple[str, ...]:
        """Every signal name that the terms read on one side ("student" or "teacher"), without repeats."""
        names: dict[str, None] = {}
        for bound in self._bound:
            if not bound.is_own and (side == "student" or bound.uses_teacher):
                names.update(dict.fromkeys(each(getattr(bound, side))))
        return tuple(names)

    def leaves_head(self, side: str) -> bool:
        """Whether all terms that read the logits of a side can apply the head themselves: none needs them whole.

        Args:
            side: "student" or "teacher".
        """
        read = [bound for bound in self._bound if not bound.is_own and (side == "student" or bound.uses_teacher)]
        of_logits = [bound for bound in read if "logits" in each(getattr(bound, side))]
        return bool(of_logits) and all(bound.applies_head for bound in of_logits)

    @property
    def is_ready(self) -> bool:
        """Whether every loss and projector is built and every role found; if not, call `find_layers` and `prepare`."""
        return all(bound.is_ready for bound in self._bound) and not self.roles("student") | self.roles("teacher")

    @property
    def shared_memories(self) -> dict[str, Tensor]:
        """Buffers by name that stay equal in all processes of themselves: what gathered terms remember of samples."""
        gathered = [bound.loss for bound in self._bound if bound.term.gather and isinstance(bound.loss, Loss)]
        return {
            f"{name}.{memory}": getattr(loss, memory)
            for name, loss in self.named_modules()
            if any(loss is one for one in gathered)
            for memory in loss.memories
        }

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
            setattr(bound, side, in_place_of_roles(getattr(bound, side), paths))

    def prepare(
        self,
        student: Signals,
        teacher: Signals | None,
        sizes: Mapping[str, Any],
        part: Callable[[str, tuple[str, ...]], Any] | None = None,
    ) -> None:
        """Build what depends on shapes: projectors by name, and losses that need channel counts or widths.

        Args:
            student: signals of one example batch.
            teacher: the same of the teacher.
            sizes: further settings by name, such as {"samples": 50000, "batch_size": 64}, and the student's extras.
            part: (setting, the term's signals of the teacher) -> what the teacher's model has for it, for settings
                in `parts.PARTS`; None where there is no such model.

        Raises:
            ConfigError: if a size is not known, or the student and the teacher give different numbers of layers.
        """
        for bound in self._bound:
            if bound.is_ready:
                continue
            bound.prepare(student, teacher, sizes, part)
            self._own_parts(bound)

    def shown(self, batch: Any) -> Any:
        """What both models see of a batch: the batch itself, or its views where terms read them (`Term.views`)."""
        return rotations(batch) if self._has_views else batch

    def finished(self, student: nn.Module) -> nn.Module:
        """The student as it answers after training: itself, or with what a loss such as `SimKD` adds to it for good."""
        for bound in self._bound:
            if bound.is_ready and not bound.is_monitor:
                student = finished(student, bound.loss, bound.student)
        return student

    @property
    def undivided(self) -> str:
        """Why parts of a batch do not add up to the whole; "" where they do."""
        if self.balance is not None:
            return "the balance of the terms looks at the whole batch"
        return next((bound.undivided for bound in self._bound if bound.undivided), "")

    @property
    def gathered(self) -> str:
        """Why one of several processes cannot compute its loss in parts; "" where it waits for no other."""
        names = [bound.name for bound in self._bound if bound.term.gather]
        return f"term {names[0]!r} has gather=True, which takes all processes for each part" if names else ""

    def counted_items(self, student: Signals) -> Tensor | None:
        """How many items the total is a mean over; None where it is, or a part of it is, a mean over something else."""
        weighted = (bound for bound in self._bound if not bound.is_monitor)
        if student.mask is None or self.balance is not None or not all(b.counts_items(student) for b in weighted):
            return None
        return student.mask.bool().sum()

    # -- the sum -----------------------------------------------------------------------------------------------------

    def forward(
        self,
        student: Signals,
        teacher: Signals | None,
        *,
        progress: float = 0.0,
        monitors: bool = True,
        share: Share | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total and every component.

        Args:
            student: with graph.
            teacher: without graph; None when no term needs it.
            progress: from 0 at the start to 1 at the end of training, for schedules.
            monitors: whether to compute terms of weight 0 as well.
            share: of a batch that is taken in parts, how much this part is; totals and components of all parts then
                add up to those of the whole, unless `undivided` says why not.

        Returns:
            The weighted sum, a scalar; and each term's unweighted value by name, followed by the student's own
            loss terms that no term weighs. Components may carry graph.

        Raises:
            ConfigError: if a signal, a needed input or an own loss term is missing.
        """
        if not self._checked:
            self._check_first(student)
        seen = {"untouched": (student, teacher)}
        if self._has_views:
            kinds = dict.fromkeys(bound.term.views or "untouched" for bound in self._bound)
            seen = {kind: (of_views(student, kind), teacher and of_views(teacher, kind)) for kind in kinds}
        total: Tensor | None = None
        components: dict[str, Tensor] = {}
        parts: dict[str, Tensor] = {}
        for bound in self._bound:
            if bound.is_monitor:
                if monitors:
                    with torch.no_grad():
                        value = bound.value(*seen[bound.term.views or "untouched"], progress)
                        components[bound.name] = value if share is None else value * bound.share(student, share)
                continue
            value = bound.value(*seen[bound.term.views or "untouched"], progress)
            if share is not None:
                value = value * bound.share(student, share)
            components[bound.name] = value
            weight = bound.term.weight_at(progress)
            weighted = value if weight == 1.0 else value * weight
            if self.balance is not None:
                parts[bound.name] = weighted
            else:
                total = weighted if total is None else total + weighted
        if self.balance is not None:
            total, factors = self.balance(parts, self.student_parameters())
            components.update((f"weight_{name}", factor) for name, factor in factors.items())
        if student.loss_terms:
            used = {each(bound.student)[0] for bound in self._bound if bound.is_own}
            counted = 1.0 if share is None else (share.samples if share.items is None else share.items)
            own = ((name, value * counted) for name, value in student.loss_terms.items() if name not in used)
            components = {**dict(own), **components}
        if total is None:  # the constructor requires one term with a weight
            raise AssertionError("an objective without weighted terms was built")
        return total, components

    def _check_first(self, student: Signals) -> None:
        if not self.is_ready:
            unready = [bound.name for bound in self._bound if not bound.is_ready] or sorted(self.wanted("student"))
            raise ConfigError(
                f"{unready} need shapes or layers of the models. DistillationModule and distill read them from the "
                "first batch; in your own loop call objective.find_layers and objective.prepare first."
            )
        for bound in self._bound:
            names = student.loss_terms if each(bound.student)[0] != ALL or not student.loss_terms else (ALL,)
            if bound.is_own and each(bound.student)[0] not in names:
                raise missing_own(bound, student, [other.name for other in self._bound if not other.is_own])
        self._checked = True


def _term(spec: Any, name: str) -> Term:
    """`term_from`, whose refusals say which term it is."""
    try:
        return term_from(spec, name)
    except ConfigError as error:
        raise error if repr(name) in str(error) else ConfigError(f"Term {name!r}: {error}") from error
