"""The signals of both models on the first batch, as far as they can be had."""

from __future__ import annotations

from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.signals import Signals


def both_sides(patient: Patient) -> list[tuple[str, Signals]]:
    """("student", its signals) and ("teacher", its signals); one of them where the other cannot be asked.

    Raises:
        CannotTell: if neither can.
    """
    found = [("student", patient.said)]
    try:
        found.append(("teacher", patient.taught))
    except CannotTell:
        if patient.teacher is not None and "teacher" not in patient.crashes and not patient.quick:
            raise
    return found
