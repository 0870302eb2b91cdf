"""What the control arm of a training learns from: the same plan without its teacher."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import adapter_pair
from knowledge_distillation.losses import CrossEntropy
from knowledge_distillation.objective import Term, as_objective
from knowledge_distillation.objective.control import without_teacher
from knowledge_distillation.objective.term import ALL, OWN
from knowledge_distillation.signals import Signals
from knowledge_distillation.training.loaders import one_loader
from knowledge_distillation.training.pipelines import to_device
from knowledge_distillation.training.plan import TrainingPlan, built


@dataclass(frozen=True, slots=True)
class Control:
    """Attributes:
    terms: of its objective; empty where there is nothing to learn from.
    says: what it is, in words.
    note: what a reader of the comparison must know about it; empty if nothing.
    """

    terms: Mapping[str, Term]
    says: str
    note: str = ""


def control_of(plan: TrainingPlan) -> Control:
    """The objective's own terms; where there are none, what student or batches offer; else nothing.

    Args:
        plan: from `TrainingPlan.kept`. A copy of its student is called once, if the objective has no term of its own.
    """
    own = without_teacher(as_objective(copy.deepcopy(plan.objective)))
    if own:
        return Control(own, f"the same student trained on {' + '.join(own)} alone")
    signals = _first_signals(plan)
    if signals.loss_terms:
        return Control(
            {"own": Term(OWN, student=ALL)},
            "the same student trained on its own loss",
            "No term of the objective does without the teacher, so the control learns from the loss that the student "
            "computes itself, which the distilled student did not learn from.",
        )
    if takes_cross_entropy(signals):
        return Control(
            {"cross_entropy": Term(CrossEntropy())},
            "the same student trained on the labels",
            "No term of the objective does without the teacher, so the control learns from the labels of the batches, "
            "which the distilled student did not learn from.",
        )
    return Control(
        {},
        "the same student untrained, for want of labels",
        "Without the teacher there is nothing to learn from: no term of the objective does without one, the student "
        "computes no loss of its own, and the batches carry no class labels. The control is the student as it began, "
        "so 'helped' says no more than that it learnt something.",
    )


def takes_cross_entropy(signals: Signals) -> bool:
    """Whether there is one whole number for each item of the logits."""
    logits, labels = signals.logits, signals.labels
    if not isinstance(logits, Tensor) or not isinstance(labels, Tensor):
        return False
    return labels.shape == logits.shape[:-1] and not labels.is_floating_point() and labels.dtype != torch.bool


def _first_signals(plan: TrainingPlan) -> Signals:
    """What the untrained student says about the first batch, in training mode, where many compute their loss."""
    student = plan.again().student
    if not isinstance(student, nn.Module):
        student = built(student)
    batch = next(iter(one_loader(plan.train_loader)))
    device = next((parameter.device for parameter in student.parameters()), torch.device("cpu"))
    with torch.no_grad():
        return adapter_pair(plan.adapter)[0](student.train(), to_device(batch, device), plan.temperature)
