"""Knowledge review: each stage of the teacher teaches the student's stage together with all deeper ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.connectors import channel_list, channel_pairs, connect, convolution
from knowledge_distillation.losses.features.maps import Maps, add_stages, as_stages, check_images, paired_stages
from knowledge_distillation.losses.inputs import check_same_shape
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce

PYRAMID = (4, 2, 1)


def reviewkd(
    student_features: Maps,
    teacher_features: Maps,
    *,
    pyramid: Sequence[int] = PYRAMID,
    stage_weights: Sequence[float] | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Hierarchical context loss: mean squared error of two maps at their own size and at coarser ones.

    (mse(s, t) + sum over levels l of 2**-i * mse(pool_l(s), pool_l(t))) / (1 + sum of 2**-i), where pool_l
    averages to l x l and i = 1, 2, ... counts the levels smaller than the map. Stages are added; one value
    per sample.

    When: networks of unlike kind; among the strongest losses on feature maps.

    Args:
        student_features: already fused, [batch, channels, height, width] for each stage. Receives gradient.
        teacher_features: same shapes. Detached inside.
        pyramid: sides of the pooled maps, from large to small; 4, 2, 1 in the authors' code.
        stage_weights: one weight for each stage; None weighs all 1.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Squared feature units: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if stages, shapes or the mask do not fit.
        ConfigError: if pyramid, stage_weights or reduction is wrong.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]]]])
        >>> round(reviewkd(torch.zeros(1, 1, 2, 2), teacher).item(), 4)
        2.0

    Reference: Chen, Liu, Zhao, Jia (2021), hierarchical context loss, arXiv:2104.09044.
    """
    if not all(isinstance(side, int) and side > 0 for side in pyramid):
        raise ConfigError(f"pyramid must hold whole numbers above 0, got {list(pyramid)}.")
    values = []
    for student, teacher in paired_stages(student_features, teacher_features, mask):
        check_images(student, teacher)
        check_same_shape(student, teacher, "features")
        gap = student - teacher
        value, weight, total = gap.square().mean(dim=(1, 2, 3)), 1.0, 1.0
        for side in pyramid:
            if side < min(gap.shape[2:]):
                weight /= 2
                total += weight
                # Pooling is linear: the pooled difference is the difference of the pooled maps.
                value = value + weight * F.adaptive_avg_pool2d(gap, side).square().mean(dim=(1, 2, 3))
        values.append(value / total)
    return reduce(add_stages(values, stage_weights), mask=mask, reduction=reduction)


class Fusion(nn.Module):
    """Attention-based fusion (ABF): mixes a stage's map with what comes from the deeper stages.

    Args:
        channels: of the student's stage.
        middle: common width of all stages.
        teacher_channels: of the teacher's stage.
        deepest: nothing comes from below, so there is nothing to mix.
    """

    def __init__(self, channels: int, middle: int, teacher_channels: int, *, deepest: bool) -> None:
        super().__init__()
        self.enter = nn.Sequential(convolution(channels, middle), nn.BatchNorm2d(middle))
        self.leave = nn.Sequential(convolution(middle, teacher_channels, 3), nn.BatchNorm2d(teacher_channels))
        self.attention = nn.Sequential()
        if not deepest:
            self.attention.extend([nn.Conv2d(2 * middle, 2, 1), nn.Sigmoid()])
        for layers in (self.enter, self.leave):
            nn.init.kaiming_uniform_(layers.get_submodule("0").get_parameter("weight"), a=1)

    def forward(
        self, features: Tensor, deeper: Tensor | None, size: Sequence[int], mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Fused map with the teacher's channels and `size`, and the mixed map for the next shallower stage."""
        mixed = connect(self.enter, features, mask)
        if deeper is not None:
            deeper = F.interpolate(deeper, list(mixed.shape[2:]), mode="nearest")
            share = connect(self.attention, torch.cat([mixed, deeper], dim=1))
            mixed = mixed * share[:, :1] + deeper * share[:, 1:]
        if list(mixed.shape[2:]) != list(size):
            mixed = F.interpolate(mixed, list(size), mode="nearest")
        return connect(self.leave, mixed, mask), mixed


class ReviewKD(Loss):
    """`reviewkd` as a module; see there for shapes, units and sources.

    It learns one attention-based fusion (`Fusion`) for each stage and runs them from the deepest stage to the
    shallowest; maps take the teacher's size by nearest-neighbour interpolation.

    Args:
        student_channels: of the student's maps, whole numbers above 0, one for each stage from shallow to deep.
            ConfigError if there are not as many as in teacher_channels.
        teacher_channels: of the teacher's maps, in the same way.
        middle_channels: width of the maps that are mixed, a whole number above 0, else ConfigError. None takes the
            channels of the student's deepest stage, 512 at most.
    """

    facts = Facts(
        families=("features",),
        signal="feature maps",
        paper=Paper(
            title="Distilling Knowledge via Knowledge Review",
            authors="Chen, Liu, Zhao, Jia",
            year=2021,
            arxiv="2104.09044",
        ),
        learns="fusions: an attention-based fusion for each stage",
        exceptions={"micro_batches": "the fusion's batch normalisation sees the whole batch"},
    )

    def __init__(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        *,
        middle_channels: int | None = None,
        pyramid: Sequence[int] = PYRAMID,
        stage_weights: Sequence[float] | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        pairs = channel_pairs(student_channels, teacher_channels)
        [middle] = channel_list(
            "middle_channels", min(512, pairs[-1][0]) if middle_channels is None else middle_channels
        )
        last = len(pairs) - 1
        self.fusions = nn.ModuleList(
            Fusion(student, middle, teacher, deepest=stage == last) for stage, (student, teacher) in enumerate(pairs)
        )
        self.pyramid = tuple(pyramid)
        self.stage_weights = stage_weights
        self.reduction: Reduction = reduction

    def fused(self, student_features: Maps, teacher_features: Maps, mask: Tensor | None = None) -> list[Tensor]:
        """The student's maps after fusion, in the teacher's shapes, shallow to deep."""
        students, teachers = as_stages(student_features), as_stages(teacher_features)
        if not len(students) == len(teachers) == len(self.fusions):
            raise ShapeError(
                f"this loss was built for {len(self.fusions)} stages, got {len(students)} student and "
                f"{len(teachers)} teacher maps."
            )
        results: list[Tensor] = []
        deeper: Tensor | None = None
        for stage in reversed(range(len(students))):
            result, deeper = self.fusions[stage](students[stage], deeper, teachers[stage].shape[2:], mask)
            results.insert(0, result)
        return results

    def forward(self, student_features: Maps, teacher_features: Maps, *, mask: Tensor | None = None) -> Tensor:
        return reviewkd(
            self.fused(student_features, teacher_features, mask),
            teacher_features,
            pyramid=self.pyramid,
            stage_weights=self.stage_weights,
            mask=mask,
            reduction=self.reduction,
        )
