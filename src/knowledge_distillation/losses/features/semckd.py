"""Semantic calibration: learned attention decides which teacher layer teaches which student layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowledge_distillation.errors import ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.connectors import Channels, channel_list, connect, convolution
from knowledge_distillation.losses.features.maps import (
    Maps,
    as_stages,
    one_size,
    paired,
    per_sample,
    unit,
)
from knowledge_distillation.losses.inputs import check_positive, check_same_shape, full_precision, hide_masked
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce
from knowledge_distillation.losses.vectors import no_autocast

Grid = Sequence[Sequence[Tensor]]
"""Maps of every pair of layers: grid[student layer][teacher layer], each [batch, channels, height, width]."""


def semckd(
    student_values: Grid,
    teacher_values: Grid,
    *,
    attention: Tensor,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Semantic calibration: squared distances of all pairs of layers, weighted by attention of each sample.

    sum over student layers i and teacher layers j of attention[i, j] * mean (s_ij - t_ij)**2, divided by the
    number of student layers. One value per sample.

    When: it is unclear which layers belong together, or the networks are of unlike kind.

    Args:
        student_values: student layer i projected for teacher layer j, [batch, channels, height, width].
            Receives gradient.
        teacher_values: teacher layer j at the size of student layer i, same shapes. Detached inside.
        attention: shape [batch, student layers, teacher layers], each row adds up to 1. Receives gradient.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Squared feature units: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if the grids, their maps, the attention or the mask do not fit.
        ConfigError: if reduction is unknown.

    Example:
        >>> import torch
        >>> student = [[torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)]]
        >>> teacher = [[torch.full((1, 1, 1, 1), 1.0), torch.full((1, 1, 1, 1), 2.0)]]
        >>> semckd(student, teacher, attention=torch.tensor([[[0.75, 0.25]]])).item()
        1.75

    Reference: Chen, Mei, Zhang, Wang, Feng, Chen (2021), arXiv:2012.03236.
    """
    rows, columns = len(student_values), len(student_values[0]) if student_values else 0
    if [len(row) for row in teacher_values] != [columns] * rows or attention.shape[1:] != (rows, columns):
        raise ShapeError(
            f"student_values, teacher_values and attention must cover the same {rows} x {columns} pairs of layers: "
            f"teacher rows of {[len(row) for row in teacher_values]}, attention {tuple(attention.shape)}."
        )
    weights = full_precision(hide_masked(attention, mask))
    total = torch.zeros_like(weights[:, 0, 0])
    for i, (student_row, teacher_row) in enumerate(zip(student_values, teacher_values, strict=True)):
        for j, (one, other) in enumerate(zip(student_row, teacher_row, strict=True)):
            check_same_shape(one, other, "values")
            student, teacher = paired(one, other, mask)
            total = total + weights[:, i, j] * per_sample((student - teacher).square())
    return reduce(total / rows, mask=mask, reduction=reduction)


class SemCKD(Loss):
    """`semckd` as a module; see there for shapes, units and sources.

    It learns for each layer a small network that reads the similarities of its batch (query of the student,
    key of the teacher; attention is the softmax of their products over the teacher layers, divided by
    `temperature`), and for each pair of layers a regressor to the teacher's channels. The similarity networks
    have one input for each place in the batch: `batch_size` is the largest batch that can come, smaller ones
    are filled up with zeros.

    Args:
        student_channels: of the student's maps, whole numbers above 0, one for each layer, else ConfigError; one
            number is one layer.
        teacher_channels: of the teacher's maps, in the same way; there may be more or fewer layers.
        batch_size: samples in the largest batch that can come, a whole number above 0, else ConfigError.
        factor: > 0, else ConfigError; queries and keys have batch_size / factor entries; 4 in the authors' code.
        temperature: > 0, else ConfigError; divides the products of queries and keys before the softmax, 1 leaves
            them as they are.
    """

    facts = Facts(
        families=("features",),
        signal="feature maps",
        paper=Paper(
            title="Cross-Layer Distillation with Semantic Calibration",
            authors="Chen, Mei, Zhang, Wang, Feng, Chen",
            year=2021,
            arxiv="2012.03236",
        ),
        learns="queries, keys: a two-layer network for each layer; regressors: three convolutions for each pair",
        exceptions={
            "zero_at_equality": "every student layer is also compared with teacher layers that are not its own",
            "batch_permutation": "the learned similarity networks read samples by their place in the batch",
            "masked_items": "a masked sample still takes its place in the batch, so the others keep theirs",
            "micro_batches": "attention comes from similarities within the whole batch",
        },
    )

    def __init__(
        self,
        student_channels: Channels,
        teacher_channels: Channels,
        batch_size: int,
        *,
        factor: float = 4,
        temperature: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        students = channel_list("student_channels", student_channels)
        teachers = channel_list("teacher_channels", teacher_channels)
        [self.batch_size] = channel_list("batch_size", batch_size)
        width = max(1, int(batch_size / check_positive("factor", factor)))
        self.queries = nn.ModuleList(_embedding(batch_size, width) for _ in students)
        self.keys = nn.ModuleList(_embedding(batch_size, width) for _ in teachers)
        self.regressors = nn.ModuleList(
            nn.ModuleList(_regressor(student, teacher) for teacher in teachers) for student in students
        )
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def attention(self, student_features: Maps, teacher_features: Maps, mask: Tensor | None = None) -> Tensor:
        """Weight of each teacher layer for each student layer, [batch, student layers, teacher layers]."""
        queries = self._embed(self.queries, student_features, mask)
        keys = self._embed(self.keys, [features.detach() for features in as_stages(teacher_features)], mask)
        with no_autocast(queries):
            return torch.softmax(queries @ keys.mT / self.temperature, dim=-1)

    def projected(
        self, student_features: Maps, teacher_features: Maps, mask: Tensor | None = None
    ) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """Both grids of maps: the larger map of each pair pooled, the student's through its regressor."""
        students: list[list[Tensor]] = []
        teachers: list[list[Tensor]] = []
        for one, row in zip(as_stages(student_features), self.regressors, strict=True):
            students.append([])
            teachers.append([])
            for other, regressor in zip(as_stages(teacher_features), cast(nn.ModuleList, row), strict=True):
                student, teacher = one_size(*paired(one, other, mask))
                students[-1].append(connect(cast(nn.Sequential, regressor), student, mask))
                teachers[-1].append(teacher)
        return students, teachers

    def forward(self, student_features: Maps, teacher_features: Maps, *, mask: Tensor | None = None) -> Tensor:
        attention = self.attention(student_features, teacher_features, mask)
        student_values, teacher_values = self.projected(student_features, teacher_features, mask)
        return semckd(student_values, teacher_values, attention=attention, mask=mask, reduction=self.reduction)

    def _embed(self, networks: nn.ModuleList, maps: Maps, mask: Tensor | None) -> Tensor:
        stages = as_stages(maps)
        if len(stages) != len(networks) or any(len(features) > self.batch_size for features in stages):
            raise ShapeError(
                f"this loss was built for {len(networks)} layers and at most {self.batch_size} samples, got maps "
                f"{[tuple(features.shape) for features in stages]}. Build it with these channels and batch_size."
            )
        embedded = []
        for network, features in zip(networks, stages, strict=True):
            rows = full_precision(hide_masked(features, mask)).flatten(start_dim=1)
            with no_autocast(rows):
                similarities = F.pad(rows @ rows.mT, (0, self.batch_size - len(rows)))
            embedded.append(unit(full_precision(connect(cast(nn.Sequential, network), similarities, mask))))
        return torch.stack(embedded, dim=1)


def _embedding(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))


def _regressor(student: int, teacher: int) -> nn.Sequential:
    middle = 2 * teacher
    return nn.Sequential(
        convolution(student, middle),
        nn.BatchNorm2d(middle),
        nn.ReLU(),
        convolution(middle, middle, 3),
        nn.BatchNorm2d(middle),
        nn.ReLU(),
        convolution(middle, teacher),
    )
