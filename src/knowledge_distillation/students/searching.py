"""Which layers to keep, found by trying: every cut is scored on validation data before anything is trained."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import combinations, islice
from typing import Any

from torch import nn

from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.capture.paths import unwrap
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.students.cutting import cut_for_now
from knowledge_distillation.students.layers import RULES, keep_layers, kept_of_stack
from knowledge_distillation.students.scoring import check_distance, distances
from knowledge_distillation.students.stacks import Stack, find_stack
from knowledge_distillation.training.pipelines import InferencePipeline, check_pipeline, higher_is_better, score

logger = logging.getLogger(__name__)

Kept = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LayerSearch:
    """What `search_layers` found.

    Attributes:
        student: the best cut, untrained.
        kept: its layers.
        cuts: every cut that was scored and its score, best first.
        score_of_rule: rule -> the score of its cut.
        scored_by: "kl", "cosine", or "pipeline".
    """

    student: nn.Module
    kept: Kept
    cuts: Mapping[Kept, float]
    score_of_rule: Mapping[str, float]
    scored_by: str


def search_layers(
    teacher: nn.Module,
    count: int,
    val_loader: Iterable[Any],
    *,
    by: str | InferencePipeline = "kl",
    stack: str | Sequence[str] | None = None,
    batches: int | None = 8,
    most: int = 256,
    adapter: str | Adapter = "auto",
) -> LayerSearch:
    """Try many ways to keep `count` layers, each as it is before any training, and take the best.

    Where there are at most `most` cuts, all are scored. Otherwise layers are dropped one at a time, each time the one
    without which the model is best, and the cuts of all rules are scored as well.

    Args:
        teacher: as for `keep_layers`.
        count: layers to keep.
        val_loader: validation batches, not those of the final test: the choice is made on them.
        by: "kl", the mean KL(teacher || student) in nats, for class or token logits; "cosine", the mean of 1 - cosine
            of each output vector with the teacher's, for embeddings; or an inference pipeline.
        stack: as for `keep_layers`.
        batches: score on the first so many; None for all. A pipeline always gets the whole loader.
        most: cuts up to which all are tried.
        adapter: how to call the model.

    Returns:
        The best student and the scores of all.

    Raises:
        ConfigError: as `keep_layers`; also if `by` is unknown or no cut has a finite score.
    """
    if isinstance(by, str):
        check_distance(by)
    else:
        check_pipeline(by)
    model = copy.deepcopy(unwrap(teacher))
    layers = find_stack(model, stack)
    rules = {rule: tuple(kept_of_stack(layers, count, rule)) for rule in RULES}
    trial = _Trial(model, layers, unwrap(teacher), val_loader, by, batches, adapter)
    free, extra = layers.free, count - len(layers.fixed)
    if math.comb(len(free), extra) <= most:
        trial.score({_with(layers, chosen) for chosen in combinations(free, extra)})
    else:
        whole: Kept = tuple(range(len(layers.layers)))
        while len(whole) > count:
            smaller = {tuple(other for other in whole if other != number) for number in whole if number in free}
            whole = trial.best(trial.score(smaller))
        trial.score(set(rules.values()))
    found = {kept: value for kept, value in trial.scores.items() if len(kept) == count and math.isfinite(value)}
    if not found:
        raise ConfigError(
            f"None of the {len(trial.scores)} cuts has a finite score, so none can be chosen. Look at the pipeline and "
            "the data, or choose the layers yourself with keep_layers."
        )
    kept = trial.best(found)
    ranked = dict(sorted(found.items(), key=lambda entry: (-entry[1] if trial.up else entry[1], entry[0])))
    logger.info("kept %s of %d layers, the best of %d cuts", list(kept), len(layers.layers), len(trial.scores))
    return LayerSearch(
        student=keep_layers(teacher, count, kept, stack=stack),
        kept=kept,
        cuts=ranked,
        score_of_rule={rule: found.get(cut, math.nan) for rule, cut in rules.items()},
        scored_by=by if isinstance(by, str) else "pipeline",
    )


def _with(stack: Stack, chosen: Iterable[int]) -> Kept:
    return tuple(sorted([*stack.fixed, *chosen]))


class _Trial:
    """Cuts one copy of the teacher this way and that, and keeps every score."""

    def __init__(
        self,
        model: nn.Module,
        stack: Stack,
        teacher: nn.Module,
        loader: Iterable[Any],
        by: str | InferencePipeline,
        batches: int | None,
        adapter: str | Adapter,
    ) -> None:
        self.model, self.stack, self.teacher = model, stack, teacher
        self.loader, self.by, self.batches, self.adapter = loader, by, batches, adapter
        self.scores: dict[Kept, float] = {}
        self.up = not isinstance(by, str) and higher_is_better(by, "validation")

    def score(self, cuts: Iterable[Kept]) -> dict[Kept, float]:
        """The scores of these cuts; each is measured once."""
        new = sorted(set(cuts) - set(self.scores))
        if isinstance(self.by, str):
            with ExitStack() as last:
                students = [partial(self._cut, kept, last) for kept in new]
                some = islice(self.loader, self.batches)
                self.scores |= zip(new, distances(students, self.teacher, some, self.by, self.adapter), strict=True)
        else:
            for kept in new:
                with cut_for_now(self.model, self.stack, kept):
                    self.scores[kept] = score(self.by, self.model, self.loader, "validation")
        return {kept: self.scores[kept] for kept in cuts}

    def best(self, scores: Mapping[Kept, float]) -> Kept:
        """The cut with the best finite score; of equal ones the first in order."""
        sign = -1 if self.up else 1

        def rank(kept: Kept) -> tuple[float, Kept]:
            return (sign * scores[kept] if math.isfinite(scores[kept]) else math.inf, kept)

        return min(scores, key=rank)

    def _cut(self, kept: Kept, last: ExitStack) -> nn.Module:
        last.close()  # what the cut before took out is put back first
        last.enter_context(cut_for_now(self.model, self.stack, kept))
        return self.model
