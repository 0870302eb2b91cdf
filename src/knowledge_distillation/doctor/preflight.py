"""The quick examination that comes before every training: it warns, and never stops what would have run."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from knowledge_distillation.doctor.diagnose import diagnose
from knowledge_distillation.doctor.finding import Diagnosis
from knowledge_distillation.teachers import Teacher

logger = logging.getLogger(__name__)


def preflight(
    teacher: Teacher | nn.Module | None,
    student: nn.Module,
    train_loader: Iterable[Any],
    val_loaders: Mapping[str, Any] | None = None,
    *,
    directory: str | Path | None = None,
    **plan: Any,
) -> Diagnosis:
    """Examine a training in the quick form; errors and warnings go to the log, everything to doctor.json.

    Training is not refused, whatever is found, and an examination that fails is a line in the log. Models, loaders and
    random generators are left as they were.

    Args:
        teacher, student, train_loader, val_loaders: as for `distill`.
        directory: of the run, where doctor.json is written; None writes none.
        plan: what else `diagnose` takes.

    Returns:
        The diagnosis; an empty one if the examination itself failed.
    """
    try:
        diagnosis = diagnose(teacher, student, train_loader, val_loaders, quick=True, **plan)
    except Exception as error:  # a training that would run must run, even if the doctor cannot look at it
        logger.warning("The doctor could not look at this training: %s: %s", type(error).__name__, error)
        return Diagnosis((), ())
    for finding in diagnosis.findings:
        if finding.severity != "note":
            logger.warning("%s", finding)
    if directory is not None:
        diagnosis.write(Path(directory))
    return diagnosis
