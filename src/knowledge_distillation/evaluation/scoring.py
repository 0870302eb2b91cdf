"""The headline figure of each model on a loader, clean or corrupted: the task's own metric, or the user's pipeline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.evaluation.robustness import Corrupted, Corruption
from knowledge_distillation.evaluation.subjects import Subject
from knowledge_distillation.evaluation.tasks import Task
from knowledge_distillation.evaluation.walking import Walk
from knowledge_distillation.training.pipelines import InferencePipeline, higher_is_better, score


def quality_of(
    subject: Subject, walk: Walk, loader: Any, pipeline: InferencePipeline | None, loader_name: str
) -> dict[str, Any]:
    """{"quality": {"metric", "value", "higher_is_better", "how"}, "also": {metric: value}}."""
    sums = walk.qualities.get(subject.name)
    own = sums.result() if sums is not None and walk.labelled else None
    also = own.pop("also") if own is not None else {}
    if pipeline is None:
        empty = {"metric": None, "value": None, "higher_is_better": True, "how": "not measured: no labels"}
        return {"quality": own or empty, "also": also}
    piped = _piped(subject, loader, pipeline, loader_name)
    if own is not None and not _same(own, piped):
        also = {own["metric"]: own["value"], **also}
    return {"quality": piped, "also": also}


def _same(own: Mapping[str, Any], piped: Mapping[str, Any]) -> bool:
    """Whether a pipeline found what the task's own metric found, which then need not be said twice."""
    return own["metric"] == piped["metric"] and math.isclose(own["value"], piped["value"], rel_tol=1e-5)


def _piped(subject: Subject, loader: Any, pipeline: InferencePipeline, name: str) -> dict[str, Any]:
    kind = type(pipeline).__name__
    metric = str(getattr(pipeline, "metric", kind))
    value = math.nan
    if subject.module is not None:
        with undisturbed(subject.module):  # a pipeline that trains or switches modes must not colour what follows
            value = score(pipeline, subject.module, loader, name)
    return {
        "metric": metric,
        "value": value,
        "higher_is_better": higher_is_better(pipeline, metric),
        "how": f"{kind}.run_inference_pipeline on the whole loader {name!r}",
    }


def qualities_on(
    asked: Sequence[Subject], loader: Any, task: Task | None, pipeline: InferencePipeline | None, name: str
) -> dict[str, dict[str, Any]]:
    """Each model's headline figure on one loader.

    Raises:
        ConfigError: if the loader is empty.
    """
    if pipeline is not None:
        return {subject.name: _piped(subject, loader, pipeline, name) for subject in asked}
    walk = Walk(asked, task, []).go(loader)
    if not walk.samples:
        raise ConfigError(f"The loader {name!r} is empty: 0 batches, so nothing can be measured.")
    return {subject.name: quality_of(subject, walk, loader, None, name)["quality"] for subject in asked}


def robustness_of(
    asked: Sequence[Subject],
    loader: Any,
    walk: Walk,
    pipeline: InferencePipeline | None,
    table: Mapping[str, Corruption],
    severities: Sequence[int],
    loader_name: str,
    notes: list[str],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Model -> corruption -> severity -> the headline figure."""
    if table and pipeline is None and not walk.labelled:
        notes.append("No robustness: without labels there is no quality to lose.")
        return {}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, corruption in table.items():
        for severity in severities:
            corrupted = Corrupted(loader, name, corruption, severity)
            for model, quality in qualities_on(asked, corrupted, walk.task, pipeline, loader_name).items():
                found.setdefault(model, {}).setdefault(name, {})[str(severity)] = quality["value"]
    return found
