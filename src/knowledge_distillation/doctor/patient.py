"""What the checks look at: models, batches, signals and terms, each made when a check first asks for it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter, adapter_pair
from knowledge_distillation.doctor.answers import Answers, classified, joined
from knowledge_distillation.doctor.asking import (
    ask_student,
    ask_teacher,
    device_of,
    is_at_hand,
    is_outside,
    logits_or_none,
    models_of,
    prepared,
)
from knowledge_distillation.doctor.effort import affordable, too_large
from knowledge_distillation.doctor.loaders import CannotTell, first_items
from knowledge_distillation.doctor.once import once
from knowledge_distillation.doctor.plan import Plan
from knowledge_distillation.doctor.samples import Samples
from knowledge_distillation.doctor.terms import TermLook, looked_at
from knowledge_distillation.doctor.tokens import next_labels, repeats_inputs
from knowledge_distillation.objective import Objective, as_objective
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers import (
    BlackBoxTeacher,
    CachedTeacher,
    FollowsStudent,
    LiveTeacher,
    ReadsStudent,
    Teacher,
)
from knowledge_distillation.teachers.cache import TaughtBatch
from knowledge_distillation.training.pipelines import AccuracyPipeline, to_device
from knowledge_distillation.training.preparing import loader_sizes, make_ready

FEW_ITEMS = 16
"""Items of a question that is only asked to compare two answers, or of somebody outside."""


class Patient(Samples):
    """One training that has not begun.

    Args:
        plan: of the training.
        teacher: a module, a `Teacher` or None.
        student: about to be trained.
        train_loader, val_loaders: as for `distill`.
        quick: look at one batch of the training data and one of validation, cut to what is cheap to ask about.
    """

    def __init__(
        self,
        plan: Plan,
        teacher: Teacher | nn.Module | None,
        student: nn.Module,
        train_loader: Any,
        val_loaders: Mapping[str, Any] | None,
        quick: bool,
    ) -> None:
        self.plan, self.student = plan, student
        self.student_adapter, self.teacher_adapter = self._adapters(plan.adapter)
        if isinstance(teacher, nn.Module):
            teacher = LiveTeacher(teacher, adapter=self.teacher_adapter, temperature=plan.temperature)
        super().__init__(train_loader, val_loaders, teacher, quick)
        self.teacher_models = models_of(teacher)
        self._said: dict[tuple[str, int], Signals] = {}
        self._is_silent = False
        """Whether the teacher was found to give features and no answers."""
        self._only_in_training = False
        """Whether the student was found to compute its own losses in train mode alone."""

    @staticmethod
    def _adapters(adapter: Any) -> tuple[Adapter, Adapter]:
        try:
            return adapter_pair(adapter)
        except ValueError:  # the check of the arguments says so
            return adapter_pair("auto")

    # -- what the models say ---------------------------------------------------------------------------------------

    @once
    def said(self) -> Signals:
        """The student on the first training batch, with all that the objective reads."""
        return self.student_on("batches", 0)

    @once
    def taught(self) -> Signals:
        """The teacher on the first training batch, with all that the objective reads."""
        return self.teacher_on("batches", 0)

    def quick_items(self, batch: Any) -> int:
        """Items of a batch that both models can be asked about in the quick form."""
        one = first_items(batch, 1)
        sides = [
            (self.student, self.student_adapter),
            *((model, self.teacher_adapter) for model in self.teacher_models),
        ]
        if too_large(model for model, _ in sides):
            return FEW_ITEMS
        return affordable(
            partial(ask_student, model, adapter, one, temperature=self.plan.temperature) for model, adapter in sides
        )

    def _check_effort(self) -> None:
        if self.quick and too_large([self.student, *self.teacher_models]):
            raise CannotTell("models of this size are asked on a CPU in the full form only")

    def student_on(self, where: str, place: int) -> Signals:
        """The student's signals on one batch of "batches" or "validation"; asked once."""
        self._check_effort()
        key = (f"student {where}", place)
        if key not in self._said:
            batch = getattr(self, where)[place]
            wanted = self.wanted("student") if where == "batches" and place == 0 else ()
            with self.blaming("student"):
                said = ask_student(
                    self.student, self.student_adapter, batch, temperature=self.plan.temperature, wanted=wanted
                )
            if where == "batches" and place == 0 and not said.loss_terms and self._weighs_own_losses():
                said = replace(said, loss_terms=self._losses_in_training(batch))
                self._only_in_training = bool(said.loss_terms)
            self._said[key] = said
        return self._said[key]

    def _weighs_own_losses(self) -> bool:
        return any(bound.is_own for bound in self.objective.bound)

    def _losses_in_training(self, batch: Any) -> Mapping[str, Any]:
        """Of a student that computes its losses in train mode alone, as torchvision's detectors do."""
        with suppress(Exception):  # a part of a batch may be too small for batch normalisation
            temperature = self.plan.temperature
            return ask_student(
                self.student, self.student_adapter, batch, temperature=temperature, training=True
            ).loss_terms
        return {}

    def teacher_on(self, where: str, place: int) -> Signals:
        """The teacher's signals on one batch of "batches" or "validation"; asked once."""
        key = (f"teacher {where}", place)
        if key not in self._said:
            batch = getattr(self, where)[place]
            wanted = self.wanted("teacher") if where == "batches" and place == 0 else ()
            if isinstance(self.teacher, CachedTeacher) and not isinstance(batch, TaughtBatch):
                raise CannotTell("a cached teacher does not answer validation data")
            self._said[key] = self.ask(batch, wanted)
            self._is_silent = self._is_silent or _gives_features_alone(self._said[key])
        return self._said[key]

    def taught_for(self, batch: Any, place: int) -> Signals | None:
        """What the objective needs of the teacher on a training batch; None where it needs nothing, or is not asked.

        Args:
            batch: the training batch at that place, perhaps cut.
            place: 0 for the first.
        """
        if not self.objective.learns_from_teacher or isinstance(self.teacher, ReadsStudent):
            return None
        if self.teacher is not None and is_outside(self.teacher):
            raise CannotTell("a teacher outside this process is asked only once")
        if place == 0 and batch is self.batches[0]:
            return self.taught
        return self.ask(batch, self.wanted("teacher"))

    def ask(self, batch: Any, wanted: tuple[str, ...] = ()) -> Signals:
        """The teacher's signals on any batch.

        Raises:
            CannotTell: if there is no teacher to ask, or it raised.
        """
        teacher = self.teacher
        if teacher is None:
            raise CannotTell("there is no teacher")
        self._check_effort()
        if self.quick and not is_at_hand(teacher):
            raise CannotTell("a teacher outside this process, or of your own kind, is asked in the full form only")
        if self._is_silent and not wanted:
            raise CannotTell("the teacher gives features and no answers")
        if isinstance(teacher, ReadsStudent):
            asked = wanted or ("logits",)
            with self.blaming("student"):
                own = ask_student(
                    self.student,
                    self.student_adapter,
                    batch,
                    temperature=self.plan.temperature,
                    wanted=teacher.reads(asked),
                )
            with prepared(teacher, device_of(self.student)):
                return teacher.from_student(own)
        if isinstance(teacher, BlackBoxTeacher):
            wanted = ("labels",)
        if is_outside(teacher):
            batch = first_items(batch, FEW_ITEMS)
        device = device_of(self.student)
        with self.blaming("teacher"), prepared(teacher, device) as ready:
            return ask_teacher(ready, to_device(batch, device), wanted)

    def answers(self, side: str, where: str) -> Answers:
        """What a model answers to the labelled items of "batches" or "validation".

        Raises:
            CannotTell: if it does not classify, or nothing is labelled.
        """
        parts = []
        for place, batch in enumerate(getattr(self, where)):
            signals = (self.student_on if side == "student" else self.teacher_on)(where, place)
            labels, mask = self.labels_of(batch), signals.mask
            if side == "teacher" and mask is None and isinstance(self.teacher, CachedTeacher):
                mask = self.student_on(where, place).mask
            if labels is not None and isinstance(signals.labels, Tensor):
                labels = signals.labels
            if labels is not None and signals.logits is not None and len(labels) > _items(signals):
                labels = labels[: _items(signals)]
            if labels is not None and repeats_inputs(batch, labels):  # a language model that shifts them itself
                labels = next_labels(labels)
            parts.append(classified(signals, labels, mask))
        return joined(parts)

    @once
    def models_agree(self) -> bool:
        """Whether both models say the same, as a student that is a copy of its teacher does: terms of 0 are right."""
        if isinstance(self.teacher, (FollowsStudent, ReadsStudent)):
            return True
        said, taught = logits_or_none(self.said), logits_or_none(self.taught)
        if said is None or taught is None or said.shape != taught.shape:
            return False
        return bool((said.float() - taught.float()).abs().max() < 1e-4)

    def teacher_stands_alone(self) -> None:
        """Raise CannotTell for a teacher that is made of the student: it starts as good as that."""
        if self.teacher is None:
            raise CannotTell("there is no teacher")
        if isinstance(self.teacher, (ReadsStudent, FollowsStudent)):
            raise CannotTell("the teacher is made of the student")

    # -- the objective ---------------------------------------------------------------------------------------------

    @once
    def objective(self) -> Objective:
        """A copy of the objective, as it was given."""
        with self.blaming("objective"):
            return copy.deepcopy(as_objective(self.plan.objective))

    @once
    def ready(self) -> Objective:
        """A copy of the objective with its layers found and its sizes and projectors built."""
        objective = copy.deepcopy(self.objective)
        if objective.is_ready:
            return objective
        self._check_effort()
        if objective.needs_teacher and self.teacher is None:
            raise CannotTell("there is no teacher")
        if self.quick and objective.roles("student") | objective.roles("teacher"):
            raise CannotTell("layers are looked up by role in the full form only")
        if self.quick and self.teacher is not None and not is_at_hand(self.teacher):
            raise CannotTell("a teacher outside this process, or of your own kind, is asked in the full form only")
        few = first_items(self.batches[0], FEW_ITEMS)
        sizes = loader_sizes(self.train_loader)
        device = device_of(self.student)
        with self.blaming("objective"):
            if self.teacher is None or isinstance(self.teacher, ReadsStudent):
                make_ready(objective, self.student, self.student_adapter, self.teacher, few, sizes)
            else:
                with prepared(self.teacher, device) as teacher:
                    make_ready(objective, self.student, self.student_adapter, teacher, few, sizes)
        return objective

    def wanted(self, side: str) -> tuple[str, ...]:
        """Signal names that the objective reads on one side; none where it cannot be made ready."""
        try:
            objective = self.ready
        except CannotTell:
            return ()
        mirrored: tuple[str, ...] = ()
        if side == "student" and isinstance(self.teacher, ReadsStudent):
            mirrored = self.teacher.reads(objective.wanted("teacher"))
        return tuple(dict.fromkeys((*objective.wanted(side), *mirrored)))

    @once
    def terms(self) -> list[TermLook]:
        """Every term of the objective on the first training batch; in the full form with its pull on the student."""
        objective = self.ready
        if any(term.views for term in objective.terms.values()):
            raise CannotTell("its terms read views, which only training makes")
        taught = self.taught if objective.needs_teacher else None
        said = self.said
        if self.quick:
            return looked_at(objective, said, taught, ())
        parameters = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        with self.blaming("student"):
            said = ask_student(
                self.student,
                self.student_adapter,
                self.batches[0],
                temperature=self.plan.temperature,
                wanted=self.wanted("student"),
                graph=True,
                training=self._only_in_training,
            )
        return looked_at(objective, said, taught, parameters)

    @property
    def scores_by_accuracy(self) -> bool:
        """Whether the student is scored by its accuracy."""
        return self.plan.pipeline is None or isinstance(self.plan.pipeline, AccuracyPipeline)


def _items(signals: Signals) -> int:
    logits = signals.logits
    return len(logits if isinstance(logits, Tensor) else logits.log_probs)


def _gives_features_alone(said: Signals) -> bool:
    """Whether nothing that a model gave stands for an answer, as of detectors and embedding models."""
    return bool(said.features) and said.logits is None and said.log_probs is None and said.labels is None
