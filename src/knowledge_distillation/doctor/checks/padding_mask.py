"""Padding that counts as content."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from knowledge_distillation.doctor.answers import IGNORED
from knowledge_distillation.doctor.asking import logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.doctor.tokens import mask_of, padding, steps
from knowledge_distillation.objective.binding import BoundTerm

HARM = "Models attend to padding and losses count it: the student learns most about what means nothing."


def padding_mask(patient: Patient) -> Iterator[Finding]:
    """The mask is all ones, or turned round, on padded data; or a loss counts padding."""
    sequences = steps(patient.content)
    pads = padding(sequences)
    mask = mask_of(patient.content)
    if mask is not None and mask.shape != sequences.shape[:2]:
        mask = None
    if pads is None and mask is not None and not bool(mask.all()):
        pads = ~mask
    if pads is None:
        return
    share = f"{100 * float(pads.float().mean()):.0f}% of {pads.numel()} places are padding"
    if mask is not None and bool(mask.all()):
        yield Finding(
            "error",
            "The mask is all ones on padded data.",
            f"{share}, and the mask counts every place.",
            HARM,
            "Make the mask from the lengths: attention_mask = input_ids != pad_token_id.",
        )
        return
    if mask is not None and float(mask[pads].float().mean()) > 0.9 and float(mask[~pads].float().mean()) < 0.1:
        yield Finding(
            "error",
            "The mask is turned round: it counts padding and hides content.",
            f"{share}; the mask is True at {100 * float(mask[pads].float().mean()):.0f}% of them and at "
            f"{100 * float(mask[~pads].float().mean()):.0f}% of the rest.",
            HARM,
            "True (1) must stand where a token counts.",
        )
        return
    yield from _counted(patient, pads, share)


def _counted(patient: Patient, pads: Tensor, share: str) -> Iterator[Finding]:
    logits = logits_or_none(patient.said)
    per_step = logits is not None and logits.dim() == 3 and logits.shape[:2] == pads.shape
    if not per_step:
        if mask_of(patient.content) is None:
            yield Finding(
                "note",
                "The batches are padded and carry no mask.",
                f"{share}.",
                "A model that does not know its padding reads it as content.",
                "Hand over 'attention_mask', if the model takes one.",
            )
        return
    labels = patient.labels_of(patient.content)
    ignored = labels is not None and labels.shape == pads.shape and bool((labels[pads] == IGNORED).all())
    masked = patient.said.mask is not None and not bool((patient.said.mask & pads.to(patient.said.mask.device)).any())
    counting = [bound.name for bound in patient.objective.bound if _counts(bound, masked, ignored)]
    if counting:
        yield Finding(
            "error" if labels is None or not ignored else "warning",
            f"Padding is counted in the loss ({', '.join(counting)}).",
            f"{share}; "
            + ("the loss gets no mask" if not masked else "a loss of your own is handed no mask")
            + (", and labels at padding are not -100." if labels is not None and not ignored else "."),
            "The mean is taken over padding too, and the student learns to predict it.",
            "Yield dicts with 'attention_mask', set labels at padding to -100, or let your loss apply the mask.",
        )


def _counts(bound: BoundTerm, masked: bool, ignored: bool) -> bool:
    if bound.is_monitor or bound.is_own:
        return False
    reads_steps = bound.student in ("logits", "log_probs")
    if not reads_steps or (masked and bound.takes_mask):
        return False
    return not ("labels" in bound.needs and ignored and not bound.uses_teacher)
