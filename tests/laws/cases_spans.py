"""Cases of the losses between tokenizers, by spans of the same text and by a projection of the vocabulary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.special import rel_entr, softmax

from tests.laws.case import Case, Inputs

Array = np.ndarray[Any, Any]
CLASSES = 11
STUDENT_SPANS = [0, 1, 1, 2]
TEACHER_SPANS = [-1, 0, 0, 1, 2, -1, -1], [-1, 0, -1, 1, 1, 2, 2]
"""Span 1, of two tokens of the student, has one of the teacher here and two there."""
MATCHED = {"student_ids": [0, 2, 3, 7, 10], "teacher_ids": [4, 2, 9, 0, 1]}
TO_STUDENT = [3, 1, 0, 2, 7, 5, 6, 4]
"""The student's token for each of the teacher's first eight; of the other three one is split, one is a beginning."""


def dense_projection() -> Array:
    found = np.zeros((CLASSES, len(TO_STUDENT)))
    found[range(len(TO_STUDENT)), TO_STUDENT] = 1
    found[8, [0, 5]] = 0.25, 0.75
    found[9, 2] = 1
    return found


PROJECTION = torch.tensor(dense_projection(), dtype=torch.float64).to_sparse()


def spanned(generator: torch.Generator, batch: int, classes: int = CLASSES) -> Inputs:
    def side(tokens: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        logits = torch.randn(batch, tokens, width, generator=generator, dtype=torch.float64) * 2
        return logits, torch.randint(0, width, (batch, tokens), generator=generator)

    (student, labels), (teacher, teacher_labels) = side(4, classes), side(7, CLASSES)
    kinds = torch.randint(0, 2, (batch,), generator=generator)
    needs = {
        "labels": labels,
        "spans": torch.tensor(STUDENT_SPANS).repeat(batch, 1),
        "teacher_labels": teacher_labels,
        "teacher_spans": torch.tensor(TEACHER_SPANS)[kinds],
    }
    return Inputs(student=student, teacher=teacher, needs=needs)


def spanned_narrow(generator: torch.Generator, batch: int) -> Inputs:
    return spanned(generator, batch, len(TO_STUDENT))


def narrow(generator: torch.Generator, batch: int) -> Inputs:
    inputs = spanned_narrow(generator, batch)
    return Inputs(student=inputs.student, teacher=inputs.teacher[:, :4])


def pairs_of(inputs: Inputs, settings: Mapping[str, Any]) -> Iterator[tuple[list[Any], list[Any]]]:
    """For each span both sides' tokens as (distribution, token that stands there)."""
    temperature = settings.get("temperature", 1.0)
    for sample in range(len(inputs.student)):
        sides = []
        for logits, prefix in ((inputs.student, ""), (inputs.teacher, "teacher_")):
            probs = softmax(logits[sample].numpy() / temperature, -1)
            labels, spans = (inputs.needs[prefix + name][sample].tolist() for name in ("labels", "spans"))
            sides.append([[(probs[t], labels[t]) for t in range(len(spans)) if spans[t] == n] for n in range(3)])
        yield from zip(*sides, strict=True)


def merged(tokens: list[Any]) -> Array:
    found = tokens[0][0].copy()
    for probs, token in tokens[1:]:
        found *= probs[token]
    return found  # type: ignore[no-any-return]


def per_token(values: list[float]) -> float:
    """The mean over the student's four tokens, of which three begin a span."""
    return sum(values) / (len(values) / 3 * 4)


def ranked(first: Array, second: Array) -> float:
    width = max(len(first), len(second))
    sides = [np.sort(np.pad(side, (0, width - len(side)))) for side in (first, second)]
    return float(np.abs(sides[0] - sides[1]).sum())


def uld_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    return per_token([ranked(merged(ours), merged(theirs)) for ours, theirs in pairs_of(inputs, settings)])


def hybrid_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    beta, weight = settings["beta"], settings["matched_weight"]
    values = []
    for tokens in pairs_of(inputs, settings):
        outcomes, rests = [], []
        for side, ids in zip(map(merged, tokens), (MATCHED["student_ids"], MATCHED["teacher_ids"]), strict=True):
            outcomes.append(np.append(side[ids], 1 - side[ids].sum()))
            rests.append(np.delete(side, ids))
        ours, theirs = outcomes
        mixture = beta * theirs + (1 - beta) * ours
        jsd = beta * rel_entr(theirs, mixture).sum() + (1 - beta) * rel_entr(ours, mixture).sum()
        values.append(weight * jsd + (1 - weight) * ranked(*rests))
    return per_token(values)


def projection_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    student, teacher = (
        softmax(side.numpy() / settings["temperature"], -1) for side in (inputs.student, inputs.teacher)
    )
    masses = np.einsum("btv,vw->btw", teacher, dense_projection())
    return float(rel_entr(masses / masses.sum(-1, keepdims=True), student).sum(-1).mean())


def spanned_projection_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    values = []
    for ours, theirs in pairs_of(inputs, settings):
        if len(ours) > 1 and len(theirs) > 1:
            values.append(0.0)
            continue
        probs, written = theirs[0]
        mass = float(np.prod([row[token] for row, token in theirs])) if len(ours) == 1 else probs[written]
        masses = np.zeros(len(TO_STUDENT))
        for token, share in enumerate(probs):
            masses += (share - mass * (token == written)) * dense_projection()[token]
        masses[ours[0][1]] += mass
        values.append(float(rel_entr(masses / masses.sum(), ours[0][0]).sum()))
    return per_token(values)


def same_side(inputs: Inputs) -> Inputs:
    """Both tokenizers are one, and say the same."""
    needs = {**inputs.needs, "teacher_labels": inputs.needs["labels"], "teacher_spans": inputs.needs["spans"]}
    return replace(inputs, teacher=inputs.student.clone(), needs=needs)


def same_by_the_ids(inputs: Inputs) -> Inputs:
    rest = {side: [name for name in range(CLASSES) if name not in ids] for side, ids in MATCHED.items()}
    teachers = dict(zip(MATCHED["student_ids"], MATCHED["teacher_ids"], strict=True))
    teachers |= dict(zip(rest["student_ids"], rest["teacher_ids"], strict=True))
    new = torch.tensor([teachers[name] for name in range(CLASSES)])
    same = same_side(inputs)
    teacher = torch.empty_like(inputs.student).index_copy(-1, new, inputs.student)
    return replace(same, teacher=teacher, needs={**same.needs, "teacher_labels": new[inputs.needs["labels"]]})


def same_by_the_projection(inputs: Inputs) -> Inputs:
    places = torch.tensor(TO_STUDENT)
    teacher = torch.full((*inputs.student.shape[:-1], CLASSES), -torch.inf, dtype=inputs.student.dtype)
    teacher[..., : len(places)] = inputs.student[..., places]
    if not inputs.needs:
        return replace(inputs, teacher=teacher)
    same = same_side(inputs)
    return replace(
        same, teacher=teacher, needs={**same.needs, "teacher_labels": places.argsort()[same.needs["labels"]]}
    )


CASES = [
    Case(
        name="uld",
        inputs=spanned,
        oracle=uld_oracle,
        settings={"temperature": 1.0},
        item_axes=2,
        neighbours_meet=True,
        fixed_width=True,
        equality=same_side,
        label="spans",
    ),
    Case(
        name="hybrid_uld",
        inputs=spanned,
        oracle=hybrid_oracle,
        settings={**MATCHED, "beta": 0.5, "matched_weight": 0.7, "temperature": 1.0},
        item_axes=2,
        neighbours_meet=True,
        fixed_width=True,
        equality=same_by_the_ids,
        fixed=("beta",),
        label="spans",
    ),
    Case(
        name="projection_kl",
        inputs=narrow,
        oracle=projection_oracle,
        settings={"projection": PROJECTION, "temperature": 1.0},
        item_axes=2,
        fixed_width=True,
        equality=same_by_the_projection,
    ),
    Case(
        name="projection_kl",
        inputs=spanned_narrow,
        oracle=spanned_projection_oracle,
        settings={"projection": PROJECTION, "temperature": 1.0},
        item_axes=2,
        neighbours_meet=True,
        fixed_width=True,
        equality=same_by_the_projection,
        label="spans",
    ),
]
