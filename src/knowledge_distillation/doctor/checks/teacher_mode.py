"""A teacher that answers the same question differently."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.doctor.asking import logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell, batch_size, first_items
from knowledge_distillation.doctor.patient import FEW_ITEMS, Patient
from knowledge_distillation.teachers import CachedTeacher

LEAST_CHANGE, LEAST_CHANGE_IN_HALF = 0.01, 0.1
"""Of the logits' standard deviation."""


def teacher_mode(patient: Patient) -> Iterator[Finding]:
    """The teacher answers with dropout or batch statistics active: the same items asked again get other answers.

    16 items are asked twice more, apart from the batch that they came in.
    """
    patient.teacher_stands_alone()
    yield from _modules(patient)
    if isinstance(patient.teacher, CachedTeacher):
        return
    batch = patient.batches[0]
    few = first_items(batch, FEW_ITEMS)
    whole, once, again = (logits_or_none(found) for found in (patient.taught, patient.ask(few), patient.ask(few)))
    if whole is None or once is None or again is None or once.shape != again.shape:
        raise CannotTell("the teacher gives no logits to compare")
    least = LEAST_CHANGE_IN_HALF if whole.dtype in (torch.float16, torch.bfloat16) else LEAST_CHANGE
    changed = _change(once, again)
    if changed > least:
        yield Finding(
            "error",
            "The teacher answers the same items differently each time: dropout or another random part is active.",
            f"Logits change by {100 * changed:.1f}% of their spread between two questions in eval mode.",
            "The student learns noise, and a cache of this teacher holds one draw of it.",
            "Let the random part follow self.training (nn.Dropout, or training=self.training), and call eval() on it.",
        )
        return
    alone = whole[: len(once)] if batch_size(batch) == len(whole) else once
    per_item = alone.shape == once.shape and once.shape[-1] != len(once)  # scores of pairs depend on the batch
    moved = _change(alone, once) if per_item and len(whole) > len(once) else 0.0
    if moved > least:
        yield Finding(
            "error",
            "The teacher's answer to an item depends on the others in its batch: batch statistics are in use.",
            f"Logits of {len(once)} items change by {100 * moved:.1f}% of their spread without the other "
            f"{len(whole) - len(once)} items.",
            "What the student is taught changes with the shuffling.",
            "Put every BatchNorm of the teacher into eval mode, with running statistics.",
        )


def _modules(patient: Patient) -> Iterator[Finding]:
    for model in patient.teacher_models:
        active = [name for name, module in model.named_modules() if module.training and _acts(module)]
        with undisturbed(model):
            stuck = [name for name, module in model.named_modules() if module.training and _acts(module)]
        if stuck:
            yield Finding(
                "error",
                "Parts of the teacher stay in train mode after eval().",
                f"{len(stuck)} modules with dropout or batch normalisation, the first is {stuck[0]!r}.",
                "Its answers are random or depend on the batch, and its batch statistics change while it teaches.",
                "Let the teacher's train() pass the mode on to these modules.",
            )
        elif active and not patient.quick:  # training puts it right by itself
            yield Finding(
                "note",
                "The teacher came in train mode.",
                f"{len(active)} modules with dropout or batch normalisation, the first is {active[0]!r}.",
                "None here: training puts it into eval mode. A loop of your own would teach noise.",
                "Call teacher.eval().",
            )


def _acts(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) or (isinstance(module, _DropoutNd) and module.p > 0)


def _change(some: Tensor, others: Tensor) -> float:
    """Mean change as a share of the spread."""
    finite = torch.isfinite(some) & torch.isfinite(others)
    if not bool(finite.any()):
        return 0.0
    one, other = some[finite].float(), others[finite].float()
    spread = float(one.std()) if one.numel() > 1 else 0.0
    return float((one - other).abs().mean()) / max(spread, 1e-6)
