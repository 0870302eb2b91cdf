"""Labels of a language model that are shifted twice, or not at all."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.doctor.answers import IGNORED
from knowledge_distillation.doctor.asking import logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.doctor.terms import TermLook
from knowledge_distillation.doctor.tokens import token_ids

ALL = 0.95


def shifted_labels(patient: Patient) -> Iterator[Finding]:
    """Labels are the inputs themselves where the loss does not shift them, or the next tokens where it does.

    How a term of the user's own, or a loss of the model, pairs logits and labels is read from its value: it is the
    cross-entropy at the same places, or of each place with the next label.
    """
    ids = token_ids(patient.content)
    read, logits = patient.said.labels, logits_or_none(patient.said)
    labels = read if isinstance(read, Tensor) else patient.labels  # an adapter may have shifted them
    if labels.shape != ids.shape or logits is None or logits.shape[:2] != ids.shape:
        raise CannotTell("the labels are no tokens of the inputs")
    counts = labels != IGNORED
    same = _share(labels == ids, counts)
    following = _share(labels[:, :-1] == ids[:, 1:], counts[:, :-1])
    if max(same, following) < ALL or min(same, following) >= ALL:
        return  # other labels than the inputs' own tokens, or inputs of one token
    for look in patient.terms:
        pairs = _pairing(look, logits, labels, patient.said.mask)
        told = f"{100 * same:.0f}% of the labels are the token at their own place, {100 * following:.0f}% the next one"
        if pairs == "same" and same >= ALL:
            yield Finding(
                "error",
                f"The labels are not shifted, and term {look.name!r} does not shift them.",
                f"{told}; the term compares the logits at a place with the label at that place.",
                "The model is taught to repeat the token that it reads, which needs no language.",
                "Shift them in the collate function: labels[:, :-1] = input_ids[:, 1:]; labels[:, -1] = -100.",
            )
        elif pairs == "next" and following >= ALL:
            yield Finding(
                "error",
                f"The labels are shifted twice: once in the data, once by term {look.name!r}.",
                f"{told}; the term compares the logits at a place with the label at the next.",
                "The model is taught to predict the token after the next.",
                "Leave the labels as the inputs where the model shifts them itself.",
            )


def _share(equal: Tensor, counts: Tensor) -> float:
    return float(equal[counts].float().mean()) if bool(counts.any()) else 0.0


def _pairing(look: TermLook, logits: Tensor, labels: Tensor, mask: Tensor | None) -> str | None:
    """Whether a term compares logits with the label at the "same" place or the "next"; None for any other."""
    if look.is_known_loss:
        return "same" if "labels" in look.bound.needs and look.bound.student == "logits" else None
    if not (look.bound.is_own or "labels" in look.bound.needs) or look.value is None:
        return None
    kept = [labels] if mask is None else [labels, labels.masked_fill(~mask.bool(), IGNORED)]
    for own in kept:
        for name, value in (
            ("same", _cross_entropy(logits, own)),
            ("next", _cross_entropy(logits[:, :-1], own[:, 1:])),
        ):
            if abs(value - look.value) <= 1e-4 * abs(value):
                return name
    return None


def _cross_entropy(logits: Tensor, labels: Tensor) -> float:
    scores, targets = logits.detach().flatten(0, 1).float(), labels.flatten().to(logits.device)
    usable = (targets == IGNORED) | ((targets >= 0) & (targets < scores.shape[-1]))
    if not bool(usable.all()):
        return float("nan")
    return float(F.cross_entropy(scores, targets, ignore_index=IGNORED))
