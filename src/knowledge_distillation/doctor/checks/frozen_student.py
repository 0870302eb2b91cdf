"""Parts of the student that will not learn."""

from __future__ import annotations

from collections.abc import Iterator

from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient

LEAST_SHARE = 0.05
MEANT = ("lora", "adapter", "prompt")


def frozen_student(patient: Patient) -> Iterator[Finding]:
    """Parameters of the student are frozen."""
    named = list(patient.student.named_parameters())
    frozen = [(name, parameter.numel()) for name, parameter in named if not parameter.requires_grad]
    total = sum(parameter.numel() for _, parameter in named)
    if not frozen:
        return
    share = sum(size for _, size in frozen) / total
    small = [name for name, p in named if p.requires_grad and any(word in name.lower() for word in MEANT)]
    everything = len(frozen) == len(named)
    yield Finding(
        "error" if everything else "note" if small or share < LEAST_SHARE else "warning",
        "The student has no trainable parameter." if everything else "Part of the student is frozen.",
        f"{len(frozen)} of {len(named)} parameters, {100 * share:.1f}% of the numbers, such as {frozen[0][0]!r}.",
        "Nothing would be learnt." if everything else "These stay as they are, whatever the teacher says.",
        "Unfreeze them (requires_grad_(True)), if that is not meant.",
    )
