"""Vocabularies that differ by padding, by order, or by tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from knowledge_distillation.capture.paths import unwrap
from knowledge_distillation.doctor.asking import logits_or_none
from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.loaders import CannotTell
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.doctor.tokens import token_ids
from knowledge_distillation.losses import Loss

SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id", "cls_token_id", "sep_token_id", "mask_token_id")
LARGEST_PADDING = 512
HARM = "Probabilities of unlike tokens are compared, and the student learns a scrambled language."


def vocabulary(patient: Patient) -> Iterator[Finding]:
    """Vocabularies of teacher and student differ by padding, by order, or by tokenizer."""
    ids = token_ids(patient.content)
    comparing = [
        bound.name
        for bound in patient.objective.bound
        if bound.uses_teacher
        and bound.student == "logits"
        and (not isinstance(bound.loss, Loss) or bound.loss.facts.same_classes)
    ]
    yield from _out_of_range(patient, ids)
    yield from _two_texts(patient, ids, comparing)
    yield from _special(patient, comparing)
    yield from _sizes(patient, comparing)


def _out_of_range(patient: Patient, ids: Tensor) -> Iterator[Finding]:
    models = {"student": [patient.student], "teacher": patient.teacher_models}
    for whose, whom in models.items():
        asked = patient.content.get("teacher_input_ids", ids) if isinstance(patient.content, Mapping) else ids
        largest = int((asked if whose == "teacher" else ids).max())
        for model in whom:
            table = _embedding(model)
            if table is not None and largest >= table.num_embeddings:
                yield Finding(
                    "error",
                    f"The token ids do not fit the {whose}'s vocabulary.",
                    f"Largest id {largest}; the {whose}'s embedding has {table.num_embeddings} rows.",
                    "The ids come from another tokenizer: the model raises, or reads other words.",
                    "Tokenize with the tokenizer of both models; for two tokenizers use adapter='two_tokenizers'.",
                )


def _two_texts(patient: Patient, ids: Tensor, comparing: list[str]) -> Iterator[Finding]:
    content = patient.content
    theirs = content.get("teacher_input_ids") if isinstance(content, Mapping) else None
    if not isinstance(theirs, Tensor) or not comparing or (theirs.shape == ids.shape and bool((theirs == ids).all())):
        return
    renamed = theirs.shape == ids.shape and _is_renaming(ids, theirs)
    yield Finding(
        "error",
        "Teacher and student have vocabularies in another order."
        if renamed
        else "Teacher and student have other tokenizers.",
        f"input_ids {tuple(ids.shape)} and teacher_input_ids {tuple(theirs.shape)} of the same texts "
        + (
            f"differ in {100 * float((ids != theirs).float().mean()):.0f}% of places by a renaming of ids"
            if renamed
            else "differ"
        )
        + f", and {', '.join(comparing)} compares token id by token id.",
        HARM,
        "Use a loss between tokenizers (hybrid_uld, projection_kl, uld), or reorder the teacher's vocabulary to the "
        "student's.",
    )


def _is_renaming(ids: Tensor, theirs: Tensor) -> bool:
    pairs = {(int(own), int(other)) for own, other in zip(ids.flatten(), theirs.flatten(), strict=True)}
    return len(pairs) == len({own for own, _ in pairs}) == len({other for _, other in pairs})


def _special(patient: Patient, comparing: list[str]) -> Iterator[Finding]:
    if not comparing or len(patient.teacher_models) != 1:
        return
    own, theirs = _config(patient.student), _config(patient.teacher_models[0])
    differing = [
        f"{name} {own[name]} and {theirs[name]}" for name in SPECIAL if name in own and name in theirs
        and own[name] != theirs[name]
    ]  # fmt: skip
    if differing and logits_or_none(patient.said) is not None and patient.said.logits.dim() == 3:
        yield Finding(
            "warning",
            "Teacher and student name other special tokens: their tokenizers differ.",
            f"Student's and teacher's {'; '.join(differing)}.",
            HARM,
            "Use models of one tokenizer, or adapter='two_tokenizers' with a loss between tokenizers.",
        )


def _sizes(patient: Patient, comparing: list[str]) -> Iterator[Finding]:
    said, taught = logits_or_none(patient.said), logits_or_none(patient.taught)
    if said is None or taught is None or said.dim() != 3 or taught.dim() != 3:
        raise CannotTell("the models do not both give logits for every token")
    own, theirs = said.shape[-1], taught.shape[-1]
    if own == theirs:
        return
    padded = abs(own - theirs) <= LARGEST_PADDING and max(own, theirs) % 8 == 0
    yield Finding(
        "error" if comparing else "note",
        "The vocabularies differ by padding." if padded else "The vocabularies differ in size: other tokenizers.",
        f"Student {own} tokens, teacher {theirs}; compared by {', '.join(comparing) or 'no term'}.",
        "They cannot be compared token by token.",
        f"Cut the wider logits to {min(own, theirs)} in an adapter: the rows beyond are padding that no token uses."
        if padded
        else "Use a loss between tokenizers (hybrid_uld, projection_kl, uld) with adapter='two_tokenizers'.",
    )


def _embedding(model: nn.Module) -> nn.Embedding | None:
    """The table that token ids are looked up in: of the size that the model's configuration names, else the first."""
    inner = unwrap(model)
    tables = [module for module in inner.modules() if isinstance(module, nn.Embedding)]
    size = getattr(getattr(inner, "config", None), "vocab_size", None)
    return next((table for table in tables if table.num_embeddings == size), tables[0] if tables else None)


def _config(model: nn.Module) -> dict[str, Any]:
    config = getattr(unwrap(model), "config", None)
    size = getattr(config, "vocab_size", None)
    named = {name: getattr(config, name, None) for name in SPECIAL}
    return {key: value for key, value in named.items() if isinstance(value, int) and size and 0 <= value < size}
