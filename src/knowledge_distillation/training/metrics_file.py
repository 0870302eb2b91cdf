"""metrics.csv of a run: continued where the checkpoint was written, so that no row stands twice."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only

from knowledge_distillation.training.places import next_free


class MetricsFile(CSVLogger):
    """Lightning's CSV logger on `metrics.csv` in the directory.

    Args:
        directory: of the run.
        rows: that a checkpoint counted, which are kept of an earlier file; None sets such a file aside.
    """

    def __init__(self, directory: Path, rows: int | None = None) -> None:
        super().__init__(directory, name="", version="")
        self._rows = 0
        self._begin(directory / "metrics.csv", rows)

    @rank_zero_only
    def _begin(self, file: Path, rows: int | None) -> None:
        lines: list[bytes] = []
        if file.exists() and rows is None:
            file.rename(next_free(file.parent, "metrics.{}.csv"))
        elif file.exists():
            lines = file.read_bytes().splitlines(keepends=True)[: 1 + (rows or 0)]
            file.unlink()
        with warnings.catch_warnings():
            # Lightning fears for earlier metrics in the folder; they have just been taken care of.
            warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
            writer: Any = self.experiment
        if len(lines) > 1:
            file.write_bytes(b"".join(lines))
            writer.metrics_keys = next(csv.reader([lines[0].decode()]))
            self._rows = len(lines) - 1

    def rows(self) -> int:
        """Rows in the file, those included that were waiting to be written; 0 on any rank but the first."""
        self.save()
        return self._rows

    @rank_zero_only
    def save(self) -> None:
        self._rows += len(self.experiment.metrics)
        super().save()
