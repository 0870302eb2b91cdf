"""Propose which student layer should learn from which teacher layer, and say why."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from knowledge_distillation import projectors
from knowledge_distillation.capture.calls import first_batches
from knowledge_distillation.capture.cka import FEWEST_EXAMPLES, MinibatchCKA
from knowledge_distillation.capture.description import table
from knowledge_distillation.capture.layers import Layer, grams, layers
from knowledge_distillation.errors import CaptureError

SHORTLIST = 3
"""How many student layers of nearest depth compete by CKA for each teacher layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One proposal: this student layer learns from this teacher layer."""

    student: str
    teacher: str
    student_shape: tuple[int, ...]
    teacher_shape: tuple[int, ...]
    projector: str
    """The name to give to `projectors.build`."""
    cka: float | None
    """Linear CKA of the two features, about 0 to 1; None when no batch had 4 examples."""
    reason: str


class Pairs(list[Pair]):
    """Proposals in the order of the teacher's layers; prints as a table."""

    def __str__(self) -> str:
        rows = [
            (
                p.student,
                str(list(p.student_shape[1:])),
                p.teacher,
                str(list(p.teacher_shape[1:])),
                p.projector,
                "-" if p.cka is None else f"{p.cka:.2f}",
                p.reason,
            )
            for p in self
        ]
        return table(("student", "gives", "teacher", "gives", "projector", "CKA", "reason"), rows)


def pair(
    student: nn.Module,
    teacher: nn.Module,
    example: Any,
    *,
    teacher_example: Any = None,
    student_paths: Iterable[str] | None = None,
    teacher_paths: Iterable[str] | None = None,
    batches: int = 4,
) -> Pairs:
    """Propose a student layer for every teacher layer, by depth, shape and similarity of what they see.

    The layers are the repeated blocks of each model. For each teacher layer the student layers whose maps are
    nearest in size come first, then the three of nearest relative depth; among them linear CKA on the example
    decides, such that a deeper teacher layer gets no shallower student layer unless CKA gains more than it can lose.

    Both models are called in eval mode without gradient and left as they were.

    Args:
        student: any module.
        teacher: any module.
        example: one batch as for `describe`, or several: a data loader, or a list of batches. 4 examples at least
            are needed for CKA, 32 or more make it telling. A student that has not been trained shows what its
            architecture gives.
        teacher_example: the same examples in the teacher's form, if it takes other inputs.
        student_paths: only these layers, as paths or globs.
        teacher_paths: only these layers, such as ["layer*.1"], to have fewer proposals.
        batches: how many batches of a loader to use.

    Returns:
        A list of `Pair`, one for each teacher layer, which prints as a table.

    Raises:
        CaptureError: if a model shows no layers, or the two examples have different sizes.

    Reference: CKA: Kornblith, Norouzi, Lee, Hinton (2019), arXiv:1905.00414; over mini-batches: Nguyen, Raghu,
        Kornblith (2021), arXiv:2010.15327.
    """
    ours = first_batches(example, batches)
    theirs = ours if teacher_example is None else first_batches(teacher_example, batches)
    student_layers = layers(student, ours[0], student_paths)
    teacher_layers = layers(teacher, theirs[0], teacher_paths)
    shortlists = [_shortlist(layer, student_layers) for layer in teacher_layers]
    scores: dict[tuple[str, str], MinibatchCKA] = {}
    for our_batch, their_batch in zip(ours, theirs, strict=True):
        left, right = grams(student, our_batch, student_layers), grams(teacher, their_batch, teacher_layers)
        for layer, shortlist in zip(teacher_layers, shortlists, strict=True):
            for candidate in shortlist:
                _count_in(scores, candidate.path, layer.path, left, right)
    values = {key: score.value() for key, score in scores.items()}
    chosen = _in_order(teacher_layers, shortlists, values)
    return Pairs(
        _proposal(layer, candidate, shortlist, values)
        for layer, candidate, shortlist in zip(teacher_layers, chosen, shortlists, strict=True)
    )


def _count_in(
    scores: dict[tuple[str, str], MinibatchCKA],
    student_path: str,
    teacher_path: str,
    left: Mapping[str, Tensor],
    right: Mapping[str, Tensor],
) -> None:
    ours, theirs = left[student_path], right[teacher_path]
    if len(ours) != len(theirs):
        raise CaptureError(
            f"Both models must see the same examples, but {student_path!r} of the student gave {len(ours)} and "
            f"{teacher_path!r} of the teacher {len(theirs)}. Pass the same batch to both."
        )
    if len(ours) >= FEWEST_EXAMPLES:
        scores.setdefault((student_path, teacher_path), MinibatchCKA()).add(ours, theirs)


def _shortlist(layer: Layer, candidates: Sequence[Layer]) -> list[Layer]:
    nearest_size = min(_size_gap(candidate, layer) for candidate in candidates)
    fitting = [candidate for candidate in candidates if _size_gap(candidate, layer) == nearest_size]
    nearest_depth = sorted(fitting, key=lambda candidate: abs(candidate.depth - layer.depth))[:SHORTLIST]
    return [candidate for candidate in fitting if candidate in nearest_depth]


def _size_gap(one: Layer, other: Layer) -> float:
    """Octaves between the sizes of two maps; between a vector and positions more than any two maps have."""
    if 2 in (len(one.shape), len(other.shape)):
        return 0.0 if len(one.shape) == len(other.shape) else 99.0
    if len(one.shape) != len(other.shape) or len(one.shape) == 3:
        return 0.0
    return abs(math.log2(math.prod(one.shape[2:]) / math.prod(other.shape[2:])))


def _in_order(
    teacher_layers: Sequence[Layer], shortlists: Sequence[Sequence[Layer]], values: Mapping[tuple[str, str], float]
) -> list[Layer]:
    """The choice of greatest total CKA in which going back costs as much as all of one layer's similarity."""
    routes: list[tuple[float, list[Layer]]] = [(0.0, [])]
    for layer, shortlist in zip(teacher_layers, shortlists, strict=True):
        extended: list[tuple[float, list[Layer]]] = []
        # Deepest first: of two equals the deeper one wins, so that the last layers go together.
        for candidate in reversed(shortlist):
            worth = _worth(candidate, layer, values)
            options = [
                (total + worth - float(bool(route) and route[-1].depth > candidate.depth), route)
                for total, route in routes
            ]
            total, route = max(options, key=lambda option: option[0])
            extended.append((total, [*route, candidate]))
        routes = extended
    return max(routes, key=lambda option: option[0])[1]


def _worth(candidate: Layer, layer: Layer, values: Mapping[tuple[str, str], float]) -> float:
    cka = values.get((candidate.path, layer.path), 0.0)
    # Below 0 the estimate is noise. Depth decides between equals, and where there is no CKA.
    return (cka if cka > 0 else 0.0) - 1e-3 * abs(candidate.depth - layer.depth)


def _proposal(layer: Layer, chosen: Layer, shortlist: Sequence[Layer], values: Mapping[tuple[str, str], float]) -> Pair:
    cka = values.get((chosen.path, layer.path), math.nan)
    gap = _size_gap(chosen, layer)
    parts = [f"depth {chosen.depth:.2f} against {layer.depth:.2f}"]
    if len(chosen.shape) == len(layer.shape) == 4:
        sizes = ["x".join(map(str, shape[2:])) for shape in (chosen.shape, layer.shape)]
        parts.insert(0, f"both {sizes[0]}" if gap == 0 else f"nearest size, {sizes[0]} against {sizes[1]}")
    others = [
        (values.get((other.path, layer.path), math.nan), other.path) for other in shortlist if other is not chosen
    ]
    if math.isnan(cka):
        parts.append(f"no CKA: needs {FEWEST_EXAMPLES} examples that differ")
    elif not any(value > 0 for value, _ in [(cka, ""), *others]):
        parts.append("no CKA above 0, so depth decides")
    elif others:
        listed = ", ".join(f"{path} has {value:.2f}" for value, path in others)
        verdict = "best CKA" if all(not value > cka for value, _ in others) else "best CKA that keeps the order"
        parts.append(f"{verdict} ({listed})")
    else:
        parts.append("no other layer fits as well")
    return Pair(
        student=chosen.path,
        teacher=layer.path,
        student_shape=chosen.shape,
        teacher_shape=layer.shape,
        projector=projectors.choose(chosen.shape, layer.shape),
        cka=None if math.isnan(cka) else cka,
        reason="; ".join(parts),
    )
