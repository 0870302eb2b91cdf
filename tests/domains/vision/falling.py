"""What the log of a run says about its terms."""

from __future__ import annotations

import csv
from collections.abc import Sequence

from knowledge_distillation.run import Run


def falls(run: Run, terms: Sequence[str]) -> None:
    """Assert that every term is smaller at the end of the training than at its beginning."""
    with (run.directory / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for term in terms:
        values = [float(row[term]) for row in rows if row[term]]
        assert len(values) >= 4
        assert sum(values[-2:]) < sum(values[:2]), term
