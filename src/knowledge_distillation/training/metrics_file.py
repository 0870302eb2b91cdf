"""metrics.csv of a run: continued where the checkpoint was written, so that no row stands twice."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from knowledge_distillation.training.durable_files import whole
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
        writer = _Writer(str(file.parent))
        self._experiment = writer
        if not file.exists():
            return
        if rows is None:
            file.rename(next_free(file.parent, "metrics.{}.csv"))
            return
        lines = file.read_bytes().splitlines(keepends=True)[: 1 + rows]
        if len(lines) < 2:
            file.unlink()
            return
        with whole(file) as kept:
            kept.write_bytes(b"".join(lines))
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


class _Writer(ExperimentWriter):
    """Lightning's removes an earlier file, and writes over the file when a column is added."""

    def _check_log_dir_exists(self) -> None:
        pass

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        with whole(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
            written = csv.DictWriter(file, fieldnames=fieldnames)
            written.writeheader()
            written.writerows(rows)


def best_values(file: Path, better: Mapping[str, bool]) -> dict[str, float]:
    """The best value of some columns.

    Args:
        file: metrics.csv of a run; without one there are no values.
        better: column -> whether higher is better.

    Returns:
        Column -> value, for those that hold finite numbers.
    """
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    values = {name: [float(row[name]) for row in rows if row.get(name)] for name in better}
    finite = {name: [value for value in found if math.isfinite(value)] for name, found in values.items()}
    return {name: (max if better[name] else min)(found) for name, found in finite.items() if found}
