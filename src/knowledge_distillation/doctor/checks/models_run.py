"""Models, loaders and terms that raise on the first batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.teachers import CachedTeacher


def models_run(patient: Patient) -> Iterator[Finding]:
    """A loader, model, adapter or term that raises on the first batch."""
    for attempt in _attempts(patient):
        with suppress(CannotTell):
            attempt()
    for what, error in patient.crashes.items():
        if (what == "objective" and "objective" not in patient.made) or _is_of_cache(patient, what):
            continue
        yield Finding(
            "error",
            f"The {what} raised on the first batch.",
            f"{type(error).__name__}: {error}",
            "Training stops there.",
            f"Call the {what} on one batch by hand, or pass an adapter that calls the model as it must be called.",
        )
    with suppress(CannotTell):
        for look in patient.terms:
            if look.error is not None and not look.unequal:
                yield Finding(
                    "error",
                    f"Term {look.name!r} cannot be computed on the first batch.",
                    f"{type(look.error).__name__}: {look.error}",
                    "Training stops there.",
                    "Give the term the signals, labels or settings that the message names.",
                )


def _attempts(patient: Patient) -> list[Callable[[], object]]:
    return [
        lambda: patient.batches,
        lambda: patient.validation,
        lambda: patient.ready,
        lambda: patient.said,
        lambda: patient.taught,
        lambda: patient.terms,
    ]


def _is_of_cache(patient: Patient, what: str) -> bool:
    return what == "train loader" and isinstance(patient.teacher, CachedTeacher)
