"""Students of a wanted size or speed: each way to make one is driven to the target, and each student's cost is told."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from knowledge_distillation.accepted import is_finite_number
from knowledge_distillation.capture.calls import call, undisturbed
from knowledge_distillation.errors import ConfigError, MissingExtraError, nearest
from knowledge_distillation.evaluation.latency import call_times
from knowledge_distillation.evaluation.sizes import memory_bytes, parameter_count
from knowledge_distillation.students.factorising import factorise
from knowledge_distillation.students.layers import keep_layers
from knowledge_distillation.students.narrowing import narrow
from knowledge_distillation.students.stacks import find_stack

logger = logging.getLogger(__name__)

SHARES = [round(1 - step / 50, 2) for step in range(1, 50)]
"""0.98, 0.96, ... 0.02: what narrow and factorise are tried with."""
ROUNDS, WARM_UP = 20, 5


@dataclass(frozen=True, slots=True)
class Proposal:
    """A student and what it costs.

    Attributes:
        way: the function of this room that made it.
        settings: its arguments besides teacher and example.
        student: untrained, with the teacher's weights as far as they are left.
        parameters: values of its parameters, shared ones once.
        share: the same as a share of the teacher's.
        bytes: parameters and buffers as they are stored.
        latency_ms: median of 20 calls on the example in eval mode.
        teacher_latency_ms: the same of the teacher, measured right before.
    """

    way: str
    settings: Mapping[str, Any]
    student: nn.Module = field(repr=False)
    parameters: int
    share: float
    bytes: int
    latency_ms: float
    teacher_latency_ms: float

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return (
            f"{self.way}({settings}): {self.parameters:,} parameters ({100 * self.share:.1f}% of the teacher's), "
            f"{self.bytes:,} bytes, {self.latency_ms:.2f} ms (teacher {self.teacher_latency_ms:.2f} ms)"
        )


def to_target(
    teacher: nn.Module,
    example: Any,
    *,
    parameters: float | None = None,
    bytes: float | None = None,
    latency_ms: float | None = None,
    ways: Sequence[str] = ("keep_layers", "narrow", "factorise"),
) -> list[Proposal]:
    """Students that keep to a limit: of each way to make one, the largest that does.

    The students are not trained, and their size does not say which learns best: train the first few epochs of each, or
    compare them with `kd compare`. A way that does not fit the model is left out, and logged.

    Args:
        teacher: its device is the one that is timed on.
        example: one batch on that device, as for `narrow`; its batch size is that of the latency.
        parameters: most parameters; a share of the teacher's if between 0 and 1.
        bytes: most bytes of parameters and buffers; a share if between 0 and 1.
        latency_ms: most milliseconds for one call on the example, median of 20. Other work on the machine counts in.
        ways: of "keep_layers" (rule "spread"), "narrow", "factorise".

    Returns:
        Proposals, those with the most parameters first.

    Raises:
        ConfigError: if no limit is given, one is out of range, a way is unknown, no way fits the model, or no student
            reaches the limits: the message names the nearest.
    """
    trial = _Trial(teacher, example, _limits(teacher, parameters, bytes, latency_ms))
    found: list[Proposal] = []
    missed: list[Proposal] = []
    unfit: list[str] = []
    for way in ways:
        if way not in WAYS:
            raise ConfigError(f"There is no way {way!r} to make a student. {nearest(way, WAYS)}")
        try:
            student = trial.timed(trial.largest(way))
        except (ConfigError, MissingExtraError) as error:
            logger.info("%s was left out: %s", way, error)
            unfit.append(f"{way}: {error}")
            continue
        (found if trial.excess(student) <= 1 else missed).append(student)
    if not found and not missed:
        raise ConfigError(f"No way to make a student fits {type(teacher).__name__}. {' '.join(unfit)}")
    if not found:
        closest = min(missed, key=trial.excess)
        others = "; ".join(str(student) for student in missed if student is not closest)
        raise ConfigError(
            f"No student of {type(teacher).__name__} reaches {trial.wanted}. The nearest is {closest}."
            f"{f' Others: {others}.' if others else ''} Ask for less, or make one student of another: "
            "narrow(keep_layers(teacher, ...), example, ...)."
        )
    return sorted(found, key=lambda student: -student.parameters)


Make = Callable[[nn.Module, Any, Any], tuple[nn.Module, dict[str, Any]]]
"""(teacher, example, rung) -> student and the arguments that make it."""


def _kept(teacher: nn.Module, example: Any, count: int) -> tuple[nn.Module, dict[str, Any]]:
    return keep_layers(teacher, count, "spread"), {"count": count, "rule": "spread"}


def _narrowed(teacher: nn.Module, example: Any, ratio: float) -> tuple[nn.Module, dict[str, Any]]:
    return narrow(teacher, example, ratio), {"ratio": ratio}


def _factorised(teacher: nn.Module, example: Any, rank: float) -> tuple[nn.Module, dict[str, Any]]:
    return factorise(teacher, rank), {"rank": rank}


def _counts(teacher: nn.Module) -> list[int]:
    stack = find_stack(teacher)
    return list(range(len(stack.layers) - 1, max(len(stack.fixed), 1) - 1, -1))


WAYS: Mapping[str, tuple[Make, Callable[[nn.Module], list[Any]]]] = {
    "keep_layers": (_kept, _counts),
    "narrow": (_narrowed, lambda teacher: SHARES),
    "factorise": (_factorised, lambda teacher: SHARES),
}
"""Way -> how a student is made, and what it is made with, largest student first."""


class _Trial:
    """Makes students one way or another until they keep to the limits."""

    def __init__(self, teacher: nn.Module, example: Any, limits: Mapping[str, float]) -> None:
        self.teacher, self.example, self.limits = teacher, example, limits
        self.wanted = " and ".join(f"{name} <= {limit:,.10g}" for name, limit in limits.items())

    def largest(self, way: str) -> Proposal:
        """The largest student that keeps to the limits; the smallest of all if none does.

        Raises:
            ConfigError: if the smallest cannot be made.
        """
        make, rungs_of = WAYS[way]
        rungs = rungs_of(self.teacher)
        propose = partial(self._proposal, way, make)
        best = propose(rungs[-1])
        low, high = 0, len(rungs) - 1  # the rung `high` reaches; those before `low` do not
        while self.excess(best) <= 1 and low < high:
            middle = (low + high) // 2
            try:
                tried = propose(rungs[middle])
            except ConfigError:  # such as a rank at which no layer gets smaller
                low = middle + 1
                continue
            if self.excess(tried) <= 1:
                best, high = tried, middle
            else:
                low = middle + 1
        return best

    def excess(self, student: Proposal) -> float:
        """How many times over the limit the student is, by the limit that it misses most; at most 1 if it reaches."""
        return max(float(getattr(student, name)) / limit for name, limit in self.limits.items())

    def timed(self, proposal: Proposal) -> Proposal:
        """The proposal with both latencies, unless it has them."""
        if not math.isnan(proposal.latency_ms):
            return proposal
        before, after = self._milliseconds(self.teacher), self._milliseconds(proposal.student)
        return replace(proposal, latency_ms=after, teacher_latency_ms=before)

    def _proposal(self, way: str, make: Make, rung: Any) -> Proposal:
        student, settings = make(self.teacher, self.example, rung)
        count = parameter_count(student)
        proposal = Proposal(
            way=way,
            settings=settings,
            student=student,
            parameters=count,
            share=count / parameter_count(self.teacher),
            bytes=memory_bytes(student),
            latency_ms=math.nan,
            teacher_latency_ms=math.nan,
        )
        return self.timed(proposal) if "latency_ms" in self.limits else proposal

    def _milliseconds(self, model: nn.Module) -> float:
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        with undisturbed(model):
            return statistics.median(
                call_times(
                    lambda: call(model, self.example), rounds=ROUNDS, warm_up=WARM_UP, threads=None, device=device
                )
            )


def _limits(
    teacher: nn.Module, parameters: float | None, size: float | None, latency_ms: float | None
) -> dict[str, float]:
    given = {"parameters": parameters, "bytes": size, "latency_ms": latency_ms}
    wanted = {name: value for name, value in given.items() if value is not None}
    for name, value in wanted.items():
        if not is_finite_number(value) or not 0 < value < float("inf"):
            raise ConfigError(f"{name} must be a positive number, got {value!r}.")
    if not wanted:
        raise ConfigError("Name at least one limit: parameters=0.25, bytes=1_000_000 or latency_ms=5.")
    whole = {"parameters": parameter_count(teacher), "bytes": memory_bytes(teacher), "latency_ms": 1}
    return {name: value * whole[name] if value < 1 else value for name, value in wanted.items()}
