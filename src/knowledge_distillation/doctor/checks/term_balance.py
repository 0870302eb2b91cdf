"""Terms of which one drowns the others."""

from __future__ import annotations

from collections.abc import Iterator

from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient

FACTOR = 100.0


def term_balance(patient: Patient) -> Iterator[Finding]:
    """Weighted terms differ by more than 100 times, in value and in their pull on the student's parameters.

    Of an objective given by its name that is a note: the weights are its paper's, and meant.
    """
    if patient.objective.balance is not None:
        raise CannotTell("the objective balances its terms while training")
    looks = [
        look
        for look in patient.terms
        if look.weight > 0 and look.value and not (look.bound.uses_teacher and patient.models_agree)
    ]
    if len(looks) < 2:
        return
    values = {look.name: look.weight * abs(look.value or 0.0) for look in looks}
    pulls = {look.name: look.weight * look.pull for look in looks if look.pull}
    large, small = max(values, key=lambda name: values[name]), min(values, key=lambda name: values[name])
    by_value = values[large] / values[small]
    if len(pulls) == len(values):
        large, small = max(pulls, key=lambda name: pulls[name]), min(pulls, key=lambda name: pulls[name])
    by_pull = pulls[large] / pulls[small] if len(pulls) == len(values) else None
    if max(by_value, by_pull or 0.0) <= FACTOR:
        return
    named = isinstance(patient.plan.objective, str)
    sure = not named and by_pull is not None and min(by_value, by_pull) > FACTOR
    told = ", ".join(f"{name} {values[name]:.3g}" + (f" (gradient {pulls[name]:.3g})" if name in pulls else "")
                     for name in values)  # fmt: skip
    yield Finding(
        "warning" if sure else "note",
        f"Term {large!r} outweighs term {small!r} by more than {FACTOR:g} times.",
        f"Weight times value on the first batch: {told}.",
        f"{small!r} trains nothing while {large!r} is there.",
        f"Change the weights, or let them be found: Objective(..., balance='gradient_norm'). {large!r} would be level "
        f"at a weight {by_pull or by_value:.0f} times smaller.",
    )
