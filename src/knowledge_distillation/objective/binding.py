"""A term bound to its models: its loss built, its signals resolved, and how its value is computed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from knowledge_distillation import projectors
from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.errors import ConfigError, ModelContractError, ShapeError, nearest
from knowledge_distillation.losses import (
    FusedDivergence,
    HingeRanking,
    LogisticRanking,
    Loss,
    Projected,
    SampledCrossEntropy,
    TopK,
    TopKKL,
    TopKTVD,
    catalogue,
)
from knowledge_distillation.losses.facts import Facts
from knowledge_distillation.objective.gathering import together
from knowledge_distillation.objective.parts import PARTS
from knowledge_distillation.objective.schedules import Schedule
from knowledge_distillation.objective.share import Share
from knowledge_distillation.objective.term import ALL, OWN, SignalName, Term, Unbuilt, missing, named_loss
from knowledge_distillation.signals import Signals

LABELS = "labels"
"""As the teacher's signal of a term: the labels that it gives, in the place of the batch's."""
SPARSE = {
    "top_k_kl": TopKKL,
    "top_k_tvd": TopKTVD,
    "fused_divergence": FusedDivergence,
    "hinge_ranking": HingeRanking,
    "logistic_ranking": LogisticRanking,
}
"""The losses that take a teacher of whom only the top k is known."""


@dataclass(slots=True)
class BoundTerm:
    """A term of an objective, ready to be computed once `is_ready`. Make it with `bind`.

    Attributes:
        name: of the term.
        term: as it was given.
        loss: the loss, or an `Unbuilt` until `prepare`.
        student, teacher: signal names or module paths; roles until the objective finds their layers.
        projector: a module, None, or a name until `prepare`.
        needs: keyword inputs of the loss.
        takes: keyword inputs that it gets where there are any.
        takes_mask, uses_teacher, is_monitor, is_own: what kind of term it is.
        takes_taught_labels: whether the labels that the loss needs are the teacher's.
        changing: the settings of the loss that change during training.
    """

    name: str
    term: Term
    loss: Any
    student: SignalName
    teacher: SignalName
    projector: Any
    needs: tuple[str, ...]
    takes: tuple[str, ...]
    takes_mask: bool
    uses_teacher: bool
    is_monitor: bool
    is_own: bool
    takes_taught_labels: bool
    changing: Mapping[str, Schedule]

    @property
    def is_ready(self) -> bool:
        """Whether nothing of it waits for the shapes of a first batch."""
        return not isinstance(self.loss, Unbuilt) and not isinstance(self.projector, str)

    def prepare(
        self,
        student: Signals,
        teacher: Signals | None,
        sizes: Mapping[str, Any],
        part: Callable[[str, tuple[str, ...]], Any] | None = None,
    ) -> None:
        """Build what depends on shapes; arguments and errors as of `Objective.prepare`."""
        said, taught = lookup(student, self.student, "student"), None
        if self.uses_teacher and teacher is not None:
            taught = lookup(teacher, self.teacher, "teacher")
        if isinstance(self.projector, str):
            self.projector = _built_projector(self.projector, said, taught, self.name)
        if isinstance(self.loss, Unbuilt):
            shapes = {"student_channels": _channels(said), "student_width": _width(said)}
            if taught is not None:
                shapes |= {"teacher_channels": _channels(taught), "teacher_width": _width(taught)}
                shapes |= {"width": _width(taught), "teacher_size": _size(taught)}
            asked = missing(self.loss.name, self.loss.settings)
            parts = {name: part(name, each(self.teacher)) for name in asked if name in PARTS} if part else {}
            self.loss = self.loss.build({**sizes, **shapes, **parts})

    def value(self, student: Signals, teacher: Signals | None, progress: float) -> Tensor:
        """The unweighted value, a scalar; arguments and errors as of `Objective.forward`."""
        if self.is_own:
            return self._own_value(student)
        for setting, change in self.changing.items():
            setattr(self.loss, setting, change(progress))
        said = lookup(student, self.student, "student")
        taught = None
        if self.uses_teacher:
            if teacher is None:
                raise ConfigError(
                    f"Term {self.name!r} compares with a teacher, but there is none. Pass a teacher, or use the "
                    "objective 'labels'."
                )
            taught = lookup(teacher, self.teacher, "teacher")
            self._check_takes(taught)
        if self.takes_taught_labels:
            student, taught = replace(student, labels=taught), None
        keywords = self._keywords(student, teacher, said)
        if self.term.gather:
            said, taught, keywords = together((said, taught, keywords))
        if self.projector is not None:
            said, taught = _projected(self.projector, said, taught)
        return self._one_number(said, taught, keywords)

    def _keywords(self, student: Signals, teacher: Signals | None, said: Any) -> dict[str, Any]:
        """What the loss gets beside the two signals."""
        mask = student.mask if student.mask is not None else self._token_mask(student, said)
        masked = self.takes_mask and mask is not None
        if not masked and not self.needs and not self.takes:
            return {}
        keywords = {need: _needed(need, student, self.name) for need in self.needs}
        if masked:  # where the loss counts whole responses, the mask of the signals is that of their tokens
            keywords["token_mask" if "token_mask" in self.takes else "mask"] = mask
        if "teacher_mask" in self.takes and teacher is not None and teacher.mask is not None:
            keywords["teacher_mask"] = teacher.mask
        given = {"labels": student.labels, **student.extras}
        return keywords | {name: given[name] for name in self.takes if given.get(name) is not None}

    def _token_mask(self, student: Signals, said: Any) -> Tensor | None:
        """Which tokens of hidden states or attention count, where the answers have no mask of their own."""
        tokens, facts = student.feature_mask, getattr(self.loss, "facts", None)
        if tokens is None or facts is None or "transformers" not in facts.families:
            return None
        first = said[0] if isinstance(said, list) and said else said
        fits = isinstance(first, Tensor) and first.dim() > 2 and len(first) == len(tokens)
        return tokens if fits and tokens.shape[1] in first.shape[1:-1] else None

    def _one_number(self, said: Any, taught: Any, keywords: Mapping[str, Any]) -> Tensor:
        try:
            result = self.loss(said, taught, **keywords)
        except ShapeError as error:
            raise ShapeError(
                f"Term {self.name!r}, of the student's {self.student!r} and the teacher's {self.teacher!r}: {error}"
            ) from error
        except (IndexError, RuntimeError) as error:  # of torch on a CPU: an index that points beyond the classes
            complaint = self._label_complaint(said, keywords.get("labels"))
            if complaint is None:
                raise
            raise ModelContractError(complaint) from error
        except (AttributeError, TypeError) as error:
            if not isinstance(self.loss, Loss) or not (isinstance(said, list) or isinstance(taught, list)):
                raise
            raise ConfigError(
                f"Term {self.name!r} compares the student's {self.student!r} with the teacher's {self.teacher!r}, and "
                "its loss takes one signal of each. Name one, or make a term for each pair."
            ) from error
        if isinstance(result, Tensor) and result.numel() == 1:
            return result
        shown = f"a tensor of shape {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise ModelContractError(
            f"The loss of term {self.name!r} must return one number as a tensor, got {shown}: there is nothing to "
            "minimise. Reduce it, with .mean() or reduction='mean'."
        )

    def _label_complaint(self, said: Any, labels: Any) -> str | None:
        if not isinstance(said, (Tensor, Projected)) or not isinstance(labels, Tensor) or labels.device.type != "cpu":
            return None
        classes = said.shape[getattr(self.loss, "class_axis", -1)]
        ignored = getattr(self.loss, "ignore_index", IGNORED)
        wrong = labels[(labels != ignored) & (labels != IGNORED) & ((labels < 0) | (labels >= classes))]
        if not len(wrong):
            return None
        return (
            f"Term {self.name!r}: labels must be from 0 to {classes - 1}, since the student gives {classes} classes, "
            f"got {wrong[0].item()}. Give the student as many classes as the data has, or mark what has no label with "
            f"{ignored}."
        )

    def share(self, student: Signals, share: Share) -> float:
        """Of this term, how much a part of a batch counts: its mean is over samples, or over what the mask counts."""
        return share.items if self.counts_items(student) and share.items is not None else share.samples

    def counts_items(self, student: Signals) -> bool:
        """Whether this term is a mean over the items that the student's mask counts."""
        return student.mask is not None and (self.takes_mask or self.is_own) and "token_mask" not in self.takes

    @property
    def applies_head(self) -> bool:
        """Whether its loss takes hidden states and a head (`Projected`) where it reads logits."""
        asks_more = self.projector is not None or self.term.gather or self.term.views is not None
        return isinstance(self.loss, FusedDivergence) and not asks_more

    @property
    def undivided(self) -> str:
        """Why parts of a batch do not add up to the whole for this term, or ""."""
        facts = getattr(self.loss, "facts", None)
        reason = facts.exceptions.get("micro_batches") if facts else None
        return f"of term {self.name!r}, {reason}" if reason and not self.is_monitor else ""

    def _check_takes(self, taught: Any) -> None:
        if not isinstance(self.loss, Loss) or self.takes_taught_labels:
            return
        if isinstance(taught, TopK) and not isinstance(self.loss, tuple(SPARSE.values())):
            raise ConfigError(
                f"Term {self.name!r} compares all classes, and the teacher tells only its {taught.indices.shape[-1]} "
                f"likeliest: the others are not known. Use a loss that takes them: {', '.join(SPARSE)}."
            )
        if isinstance(self.loss, SampledCrossEntropy):
            return
        if isinstance(taught, Tensor) and not (taught.is_floating_point() or taught.is_complex()):
            raise ConfigError(
                f"Term {self.name!r} compares scores, and the teacher tells class ids ({taught.dtype}), such as draws: "
                "they would be taken for scores. Use 'sampled_cross_entropy' for draws, or dense logits."
            )

    def _own_value(self, student: Signals) -> Tensor:
        name = each(self.student)[0]
        own = student.loss_terms
        values = {each_name: own[each_name] for each_name in (own if name == ALL else (name,)) if each_name in own}
        if not values:
            raise missing_own(self, student)
        tensors = [_own_number(each_name, value) for each_name, value in values.items()]
        return tensors[0] if len(tensors) == 1 else torch.stack(tensors).sum()


def _own_number(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value
    if isinstance(value, (int, float, np.number)):
        return torch.tensor(float(value))
    shown = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    raise ModelContractError(f"The student's loss {name!r} must be one number, got {shown}. Reduce it first.")


def bind(name: str, term: Term) -> BoundTerm:
    """Resolve a term as far as it can be without a batch.

    Raises:
        ConfigError: if the projector's name is unknown, or a setting is to change that the loss does not have.
    """
    loss: Any = term.loss
    is_own = isinstance(loss, str) and loss == OWN
    if isinstance(term.projector, str) and term.projector not in projectors.NAMES:
        raise ConfigError(f"There is no projector {term.projector!r}. {nearest(term.projector, projectors.NAMES)}")
    if isinstance(loss, str) and not is_own:
        loss = named_loss(loss, {})
    facts = catalogue()[loss.name].facts if isinstance(loss, Unbuilt) else getattr(loss, "facts", None)
    _check_changes(name, term, loss)
    needs = tuple(facts.needs if facts else getattr(loss, "needs", ()))
    takes_taught_labels = facts is not None and not facts.uses_teacher and term.teacher == LABELS and LABELS in needs
    return BoundTerm(
        name=name,
        term=term,
        loss=loss,
        student=term.student,
        teacher=term.teacher,
        projector=term.projector,
        needs=needs,
        takes=facts.takes if facts else (),
        takes_mask=isinstance(loss, (Loss, Unbuilt)),
        uses_teacher=not is_own and (_looks_at_teacher(loss, facts) or takes_taught_labels),
        is_monitor=term.is_monitor,
        is_own=is_own,
        takes_taught_labels=takes_taught_labels,
        changing=_changing(term),
    )


def _changing(term: Term) -> Mapping[str, Schedule]:
    """The settings of a term's loss that change during training, the temperature among them."""
    temperature = {"temperature": term.temperature} if term.temperature is not None else {}
    return {**temperature, **(term.changes or {})}


def _check_changes(name: str, term: Term, loss: Any) -> None:
    """Settings that change must be those of a loss of the catalogue, or attributes of another one."""
    kind = catalogue()[loss.name].module if isinstance(loss, Unbuilt) else type(loss)
    settings = list(inspect.signature(kind).parameters) if issubclass(kind, Loss) else None
    for setting in _changing(term):
        if settings is None and not hasattr(loss, setting):
            raise ConfigError(f"Term {name!r} changes {setting!r}, and its loss has none: it would change nothing.")
        if settings is not None and setting not in settings:
            raise ConfigError(
                f"Term {name!r} changes {setting!r}, and its loss has no such setting: it would change nothing. "
                f"{nearest(setting, settings)}"
            )


def _looks_at_teacher(loss: Any, facts: Facts | None) -> bool:
    """What the facts of a `Loss` say; of any other callable its own `uses_teacher`, else that it does."""
    return bool(getattr(loss, "uses_teacher", True)) if facts is None else facts.uses_teacher


def missing_own(bound: BoundTerm, student: Signals, others: Sequence[str] = ()) -> ConfigError:
    """The error for an own loss term that the student did not return; `others` are further names to suggest."""
    wanted = each(bound.student)[0]
    if wanted == ALL:
        return ConfigError(
            f"Term {bound.name!r} weighs the losses that the student computes itself, and it returned none, so its own "
            'task would not be learnt. In training let its forward return a dict with "loss": a dict of name -> '
            "scalar, or let an adapter give `loss_terms`."
        )
    return ConfigError(
        f"Term {bound.name!r} weighs the student's own loss {wanted!r}, which the student did not return: it would "
        f"silently count nothing. {nearest(wanted, [*student.loss_terms, *others])}"
    )


def each(names: SignalName) -> tuple[str, ...]:
    """One name or several, as a tuple."""
    return (names,) if isinstance(names, str) else names


def lookup(signals: Signals, names: SignalName, whose: str) -> Any:
    """The signal of this name; a list for several names, or for a signal that is itself a tuple."""
    if names == "logits" and signals.logits is not None:
        return signals.logits
    if names == LABELS and LABELS not in signals.features and signals.labels is not None:
        return signals.labels
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


def _size(features: Any) -> tuple[int, int] | None:
    """Height and width of a map; None for anything else."""
    is_map = isinstance(features, Tensor) and features.dim() == 4
    return (features.shape[2], features.shape[3]) if is_map else None


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
