"""Tables as data sets: a CSV file of the user's, and the real ones that scikit-learn ships."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Metric as TorchMetric
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.labelling import UNLABELLED, keep_labels
from knowledge_distillation.domains.tabular.columns import Missing, Places, Training, prepared
from knowledge_distillation.domains.tabular.reading import Task, read_csv
from knowledge_distillation.domains.tabular.table import Table
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.inputs import check_between
from knowledge_distillation.training.metric_pipeline import MetricPipeline

Metric = Literal["rmse", "mae", "r2"]
METRICS: Mapping[str, Callable[[], TorchMetric]] = {
    "rmse": partial(MeanSquaredError, squared=False),
    "mae": MeanAbsoluteError,
    "r2": R2Score,
}
LARGEST_BATCH = 1000
"""Validation rows at a time."""


def csv_table(
    path: str,
    target: str | Sequence[str],
    *,
    task: Task = "classification",
    categorical: Sequence[str] = (),
    drop: Sequence[str] = (),
    delimiter: str = ",",
    missing: Missing = "refuse",
    bad_rows: float = 0.01,
    validation: float = 0.25,
    metric: Metric = "rmse",
    batch_size: int = 32,
    labelled: int | None = None,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """A CSV file whose first line names the columns; rows without a target are learnt from the teacher alone.

    Args:
        path: of the file, in UTF-8.
        target: column to predict; several for a regression with several outputs.
        task: "classification" or "regression".
        categorical: columns of texts, told apart by equality. All others must hold numbers.
        drop: columns to leave out.
        delimiter: between fields.
        missing: "refuse" raises an error that counts missing values; "impute" fills numbers with the mean of the
            training rows, and gives missing categories a code of their own.
        bad_rows: share of rows that may be left out because they cannot be read; each is named in the log.
        validation: share of the rows with a target that is held out, above 0 and below 1; always the same ones.
        metric: score of a regression, in the target's units: "rmse" or "mae", lower is better; or "r2".
        batch_size: of the training loader.
        labelled: how many training rows keep their target; the teacher teaches the others. None keeps all.
        seed: chooses which keep it.
        workers: of the loaders.

    Raises:
        ConfigError: if the file is no such table, more rows than `bad_rows` cannot be read, values are missing and are
            not to be, or an argument is out of its range.
    """
    check_between("bad_rows", bad_rows, 0.0, 1.0)
    table = read_csv(
        Path(path), [target] if isinstance(target, str) else target, task=task, categorical=categorical, drop=drop,
        delimiter=delimiter, bad_rows=bad_rows,
    )  # fmt: skip
    return as_data(
        table, missing=missing, validation=validation, metric=metric, batch_size=batch_size, labelled=labelled,
        seed=seed, workers=workers,
    )  # fmt: skip


def as_data(
    table: Table,
    *,
    missing: Missing = "refuse",
    validation: float = 0.25,
    metric: Metric = "rmse",
    batch_size: int = 32,
    labelled: int | None = None,
    seed: int = 0,
    workers: int = 0,
) -> Data:
    """Loaders of a table; arguments as of `csv_table`.

    Batches are (rows float32 [batch, columns], labels). Rows hold the numbers of the table as they stand: a student
    standardises them itself, so that what is shipped takes what stands in a table.

    Raises:
        ConfigError: if an argument is out of its range, values are missing, or no row is left to train or validate on.
    """
    check_whole("batch_size", batch_size, 1, "rows")
    train, test = _split(table, validation)
    columns, rows = prepared(table, train, missing)
    classes = len(table.class_names)
    labels = torch.from_numpy(table.targets) if classes else torch.from_numpy(table.targets.astype(np.float32))
    every = labels[train]
    given = _fewer(every, table.known[train], labelled, seed)
    training = Training(rows[train], given, every, classes)
    return Data(
        train=DataLoader(TensorDataset(rows[train], given), batch_size, shuffle=True, num_workers=workers),
        validation={"test": DataLoader(TensorDataset(rows[test], labels[test]), LARGEST_BATCH, num_workers=workers)},
        facts={"classes": classes, "columns": columns, "training": training},
        class_names=table.class_names,
        pipeline=None if classes else MetricPipeline(METRICS[metric]()),
    )


def _split(table: Table, share: float) -> tuple[Places, Places]:
    """Numbers of training and validation rows, int64, in order; rows without a target are all for training."""
    check_between("validation", share, 0.0, 1.0)
    known = np.flatnonzero(table.known)
    held = round(share * len(known))
    if not 1 <= held < len(known):
        raise ConfigError(
            f"{table.name}: validation must leave rows with a target on both sides, and a share of {share} of "
            f"{len(known)} holds {held} out. Choose another share, or give more rows."
        )
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0)).numpy()
    test = np.sort(known[order[:held]])
    return np.setdiff1d(np.arange(len(table.values)), test), test


def _fewer(labels: Tensor, known: Any, count: int | None, seed: int) -> Tensor:
    """The labels with all but `count` of the known ones hidden, classes evenly."""
    if count is None:
        return labels
    places = torch.from_numpy(np.flatnonzero(known))
    told = labels[places]
    kinds = torch.zeros(len(told), dtype=torch.int64) if labels.is_floating_point() else told
    hidden = places[keep_labels(kinds, count, seed) == UNLABELLED]
    fewer = labels.clone()
    fewer[hidden] = torch.nan if labels.is_floating_point() else UNLABELLED
    return fewer
