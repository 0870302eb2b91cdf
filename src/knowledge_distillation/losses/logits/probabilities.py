"""Softened probabilities of both sides, for the losses that relate items to each other."""

from __future__ import annotations

from torch import Tensor

from knowledge_distillation.losses.inputs import hide_masked, paired_log_probabilities

# Below this temperature outputs saturate, and what two models say differently falls under float32's
# resolution of 1; the probabilities are then taken in float64.
FLOAT64_BELOW_TEMPERATURE = 1.0


def paired_probabilities(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """softmax(logits / temperature) of both sides as matrices, 0 at masked items.

    Args:
        student_logits: shape [*batch, classes]. Receives gradient.
        teacher_logits: same shape. Detached inside.
        temperature: softening, > 0.
        mask: shape [*batch], True where the item counts; None counts all.

    Returns:
        Student and teacher probabilities, shape [items, classes], float32 or float64.
    """
    if temperature < FLOAT64_BELOW_TEMPERATURE and student_logits.device.type != "mps":
        student_logits, teacher_logits = student_logits.double(), teacher_logits.double()
    student, teacher = paired_log_probabilities(student_logits, teacher_logits, temperature=temperature, mask=mask)
    classes = student.shape[-1]
    return (
        hide_masked(student.exp(), mask).reshape(-1, classes),
        hide_masked(teacher.exp(), mask).reshape(-1, classes),
    )
