"""The catalogue of checks: one file each, in the order in which they look."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from knowledge_distillation.doctor.checks.arguments import arguments
from knowledge_distillation.doctor.checks.cache_views import cache_views
from knowledge_distillation.doctor.checks.class_counts import class_counts
from knowledge_distillation.doctor.checks.devices import devices
from knowledge_distillation.doctor.checks.duplicates import duplicates
from knowledge_distillation.doctor.checks.finite import finite
from knowledge_distillation.doctor.checks.frozen_student import frozen_student
from knowledge_distillation.doctor.checks.half_precision import half_precision
from knowledge_distillation.doctor.checks.label_order import label_order
from knowledge_distillation.doctor.checks.label_range import label_range
from knowledge_distillation.doctor.checks.learning_rate import learning_rate
from knowledge_distillation.doctor.checks.log_probabilities import log_probabilities
from knowledge_distillation.doctor.checks.metric_direction import metric_direction
from knowledge_distillation.doctor.checks.models_run import models_run
from knowledge_distillation.doctor.checks.padding_mask import padding_mask
from knowledge_distillation.doctor.checks.projector import projector
from knowledge_distillation.doctor.checks.shared_parameters import shared_parameters
from knowledge_distillation.doctor.checks.shifted_labels import shifted_labels
from knowledge_distillation.doctor.checks.shuffling import shuffling
from knowledge_distillation.doctor.checks.silent_terms import silent_terms
from knowledge_distillation.doctor.checks.softmax_axis import softmax_axis
from knowledge_distillation.doctor.checks.softmax_twice import softmax_twice
from knowledge_distillation.doctor.checks.student_size import student_size
from knowledge_distillation.doctor.checks.tapped_layers import tapped_layers
from knowledge_distillation.doctor.checks.teacher_fit import teacher_fit
from knowledge_distillation.doctor.checks.teacher_gradient import teacher_gradient
from knowledge_distillation.doctor.checks.teacher_inputs import teacher_inputs
from knowledge_distillation.doctor.checks.teacher_mode import teacher_mode
from knowledge_distillation.doctor.checks.teacher_saturated import teacher_saturated
from knowledge_distillation.doctor.checks.teacher_skill import teacher_skill
from knowledge_distillation.doctor.checks.temperature_squared import temperature_squared
from knowledge_distillation.doctor.checks.temperature_use import temperature_use
from knowledge_distillation.doctor.checks.term_balance import term_balance
from knowledge_distillation.doctor.checks.validation_loader import validation_loader
from knowledge_distillation.doctor.checks.vocabulary import vocabulary
from knowledge_distillation.doctor.checks.warm_up import warm_up
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient

Look = Callable[[Patient], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        look: what it does.
        quick: whether it belongs to the quick form as well.
    """

    look: Look
    quick: bool = True

    @property
    def name(self) -> str:
        """As findings and doctor.json call it."""
        return self.look.__name__

    @property
    def finds(self) -> str:
        """The fault that it looks for: the first sentence of its docstring."""
        return (inspect.getdoc(self.look) or "").partition("\n\n")[0].replace("\n", " ")


CHECKS = (
    Check(arguments),
    Check(devices),
    Check(warm_up),
    Check(metric_direction),
    Check(validation_loader),
    Check(frozen_student),
    Check(student_size),
    Check(shared_parameters),
    Check(shuffling),
    Check(duplicates),
    Check(cache_views),
    Check(label_range),
    Check(padding_mask),
    Check(vocabulary),
    Check(class_counts),
    Check(softmax_axis),
    Check(softmax_twice),
    Check(log_probabilities),
    Check(temperature_use),
    Check(temperature_squared),
    Check(teacher_mode),
    Check(teacher_gradient),
    Check(teacher_skill),
    Check(teacher_fit),
    Check(label_order),
    Check(teacher_inputs, quick=False),
    Check(teacher_saturated),
    Check(shifted_labels),
    Check(silent_terms),
    Check(term_balance),
    Check(tapped_layers),
    Check(projector),
    Check(finite),
    Check(half_precision),
    Check(learning_rate, quick=False),
    Check(models_run),
)
"""Every check; `models_run` is the last, because it reports what the others met."""
