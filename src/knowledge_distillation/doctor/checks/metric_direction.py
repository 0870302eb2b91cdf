"""A score of which nobody says whether more is better."""

from __future__ import annotations

import re
from collections.abc import Iterator

from knowledge_distillation.doctor.finding import Finding
from knowledge_distillation.doctor.patient import Patient
from knowledge_distillation.training.pipelines import LOWER_IS_BETTER

HIGHER_IS_BETTER = (
    "acc", "accuracy", "top", "f1", "auc", "auroc", "map", "ap", "iou", "miou", "dice", "bleu", "rouge", "recall",
    "precision", "r2", "correlation", "spearman", "pearson", "ndcg", "mrr", "psnr", "ssim", "score", "em", "kappa",
)  # fmt: skip


def metric_direction(patient: Patient) -> Iterator[Finding]:
    """A pipeline of the user's own does not say which way its score improves, and neither does the loader's name."""
    pipeline = patient.plan.pipeline
    if pipeline is None or getattr(pipeline, "higher_is_better", None) is not None:
        return
    known = {*LOWER_IS_BETTER, *HIGHER_IS_BETTER}
    for name in patient.val_loaders:
        words = {word.lower() for word in re.split(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])", name)}
        if not words & known:
            yield Finding(
                "warning",
                f"Nobody says whether a higher score on {name!r} is better.",
                f"{type(pipeline).__name__} has no higher_is_better, and the name has none of "
                f"{len(known)} known words; higher is taken for better.",
                "If it is a loss or an error rate, the worst checkpoint is kept as the best.",
                "Set higher_is_better = True or False on the pipeline.",
            )
            return
