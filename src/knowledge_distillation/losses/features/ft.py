"""Factor transfer: the student translates its features into the teacher's paraphrase."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.connectors import channel_pairs, connect
from knowledge_distillation.losses.features.maps import Elements, check_elements, one_size, paired, per_sample, unit
from knowledge_distillation.losses.inputs import (
    check_between,
    check_positive,
    check_same_shape,
    check_weight,
    full_precision,
    hide_masked,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce

LEAK = 0.1


def ft(
    student_factors: Tensor,
    teacher_factors: Tensor,
    *,
    p: float = 1.0,
    elements: Elements = "mean",
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Factor transfer: p-norm of the difference between the two factors, each scaled to length 1.

    |F_t / |F_t|_2 - F_s / |F_s|_2|_p with each sample's factor flattened, one value per sample.

    When: teacher and student differ so much that the teacher's features need a paraphrase first.

    Args:
        student_factors: the translator's output, shape [batch, channels, height, width]. Receives gradient.
        teacher_factors: the paraphraser's encoder output, same channels; the larger map is average-pooled to
            the size of the smaller. Detached inside.
        p: order of the norm, >= 1; 1 in the authors' code.
        elements: "mean" divides the norm by (elements of a sample)**(1 / p), so that p = 1 is the mean absolute
            difference; "sum" is the plain p-norm.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Dimensionless: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if the channels or batches differ, or the mask does not match the samples.
        ConfigError: if p is below 1, or elements or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[[3.0, 4.0]]]])
        >>> student = torch.tensor([[[[1.0, 0.0]]]])
        >>> round(ft(student, teacher).item(), 4)
        0.6

    Reference: Kim, Park, Kwak (2018), arXiv:1802.04977.

    Differs: the paper writes the plain norm (`elements="sum"`); the weight of 500 belongs to the authors' code,
        which takes the mean. RepDistiller's code averages the channels away first: attention transfer.
    """
    check_between("p", p, 1.0, float("inf"))
    check_elements(elements)
    student, teacher = one_size(*paired(student_factors, teacher_factors, mask))
    check_same_shape(student, teacher, "factors")
    gap = unit(student.flatten(start_dim=1)) - unit(teacher.flatten(start_dim=1))
    norm: Tensor = torch.linalg.vector_norm(gap, ord=p, dim=1)
    if elements == "mean":
        norm = norm / gap.shape[1] ** (1 / p)
    return reduce(norm, mask=mask, reduction=reduction)


class Paraphraser(nn.Module):
    """Autoencoder on the teacher's features; its code is the factor.

    Three 3x3 convolutions, then three transposed ones, each with a leaky ReLU of slope 0.1.

    Args:
        channels: of the teacher's map.
        factors: channels of the factor, the paper's rate k times `channels`; k is 0.5 in the authors' code.
    """

    def __init__(self, channels: int, factors: int) -> None:
        super().__init__()
        self.encoder = _three_layers(nn.Conv2d, (channels, channels, factors, factors))
        self.decoder = _three_layers(nn.ConvTranspose2d, (factors, factors, channels, channels))

    def forward(self, features: Tensor) -> Tensor:
        """The reconstruction of a map [batch, channels, height, width]."""
        return connect(self.decoder, connect(self.encoder, features))


class FT(Loss):
    """`ft` as a module; see there for shapes, units and sources.

    It learns the translator together with the student. The paraphraser is learned before that, from the
    teacher's features alone, and frozen here: thaw it with `requires_grad_(True)`, minimise
    `paraphrase_loss`, freeze it again. Untrained it is a random projection. With a `paraphrase_weight` it learns
    beside the student instead, from the same batches: its reconstruction error is added to the loss, and no
    gradient of the student's term reaches it.

    Args:
        student_channels: of the student's map, a whole number above 0; else ConfigError.
        teacher_channels: of the teacher's map, likewise.
        rate: channels of the factor per channel of the teacher, > 0, else ConfigError: the paper's k; 0.5 in the
            authors' code.
        paraphrase_weight: of the reconstruction error in the loss, >= 0; 0, as in the paper, keeps the paraphraser
            frozen.
    """

    facts = Facts(
        families=("features",),
        signal="feature map",
        paper=Paper(
            title="Paraphrasing Complex Network: Network Compression via Factor Transfer",
            authors="Kim, Park, Kwak",
            year=2018,
            arxiv="1802.04977",
        ),
        learns="translator: three 3x3 convolutions; before the student, paraphraser: an autoencoder of the teacher",
    )

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        *,
        rate: float = 0.5,
        p: float = 1.0,
        elements: Elements = "mean",
        reduction: Reduction = "mean",
        paraphrase_weight: float = 0.0,
    ) -> None:
        super().__init__()
        [(student, teacher)] = channel_pairs(student_channels, teacher_channels)
        factors = max(1, round(teacher * check_positive("rate", rate)))
        self.paraphrase_weight = check_weight("paraphrase_weight", paraphrase_weight)
        self.paraphraser = Paraphraser(teacher, factors).requires_grad_(self.paraphrase_weight > 0)
        self.translator = _three_layers(nn.Conv2d, (student, student, factors, factors))
        self.p = check_between("p", p, 1.0, float("inf"))
        self.elements: Elements = elements
        self.reduction: Reduction = reduction

    def paraphrase_loss(
        self, teacher_features: Tensor, *, mask: Tensor | None = None, reduction: Reduction = "mean"
    ) -> Tensor:
        """Mean squared error of the paraphraser's reconstruction, to train it before the student or beside it."""
        features = full_precision(hide_masked(teacher_features.detach(), mask))
        gap = self.paraphraser(features) - features
        return reduce(per_sample(gap.square()), mask=mask, reduction=reduction)

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            teacher_factors = connect(self.paraphraser.encoder, teacher_features, mask)
        student_factors = connect(self.translator, student_features, mask)
        value = ft(
            student_factors, teacher_factors, p=self.p, elements=self.elements, mask=mask, reduction=self.reduction
        )
        if not self.paraphrase_weight:
            return value
        return value + self.paraphrase_weight * self.paraphrase_loss(
            teacher_features, mask=mask, reduction=self.reduction
        )


def _three_layers(kind: type[nn.Conv2d] | type[nn.ConvTranspose2d], widths: tuple[int, int, int, int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [kind(inputs, outputs, 3, padding=1), nn.LeakyReLU(LEAK)]
    return nn.Sequential(*layers)
