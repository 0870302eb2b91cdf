"""FitNets' hint: the student's middle layer predicts the teacher's."""

from __future__ import annotations

from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.features.connectors import channel_pairs, connect
from knowledge_distillation.losses.features.maps import Elements, paired, per_sample
from knowledge_distillation.losses.inputs import check_same_shape
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def hint(
    student_features: Tensor,
    teacher_features: Tensor,
    *,
    elements: Elements = "mean",
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """FitNets hint: squared distance between the regressed student's features and the teacher's.

    mean over elements of (student - teacher)**2, one value per sample.

    When: the first feature loss to try: a layer of the student should carry what a layer of the teacher does.

    Args:
        student_features: already through the regressor, shape [batch, channels, *space]. Receives gradient.
        teacher_features: same shape. Detached inside.
        elements: "mean" over the elements of a sample, or their "sum", the squared norm.
        mask: shape [batch], True where the sample counts; None counts all.
        reduction: "mean" over counted samples, "sum", or "none" for one value per sample, shape [batch].

    Returns:
        Squared feature units: a scalar, or [batch] for "none". 0 when no sample counts.

    Raises:
        ShapeError: if the shapes differ, or the mask does not match the samples.
        ConfigError: if elements or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[1.0, 2.0, 3.0]])
        >>> student = torch.tensor([[1.0, 0.0, 2.0]])
        >>> round(hint(student, teacher).item(), 4)
        1.6667

    Reference: Romero, Ballas, Kahou, Chassang, Gatta, Bengio (2014), arXiv:1412.6550.

    Differs: the paper writes half the squared norm, which is `elements="sum"` with a weight of 0.5. It trains
        with the hint alone at first, where the factor does not matter; beside other terms the mean keeps one
        weight good for any size of map, and published weights (CRD benchmark: 100) belong to it.
    """
    check_same_shape(student_features, teacher_features, "features")
    student, teacher = paired(student_features, teacher_features, mask)
    return reduce(per_sample((student - teacher).square(), elements), mask=mask, reduction=reduction)


class Hint(Loss):
    """`hint` as a module; see there for shapes, units and sources.

    With channel counts it learns the regressor, a convolution without padding that takes the student's map to
    the teacher's channels. The paper's `kernel_size` is student size - teacher size + 1, so that the sizes
    agree too. Without channel counts the features must already have one shape.

    Args:
        student_channels: of the student's map, above 0. None, together with teacher_channels, learns no regressor;
            ConfigError if only one of the two is given.
        teacher_channels: of the teacher's map, above 0, or None.
        kernel_size: height and width of the regressor's kernel in pixels of the map, one number for both; without
            channel counts it does nothing. The paper's is student size - teacher size + 1.
    """

    facts = Facts(
        families=("features",),
        signal="feature map",
        paper=Paper(
            title="FitNets: Hints for Thin Deep Nets",
            authors="Romero, Ballas, Kahou, Chassang, Gatta, Bengio",
            year=2014,
            arxiv="1412.6550",
        ),
        learns="regressor: a convolution from the student's channels to the teacher's, if channels are given",
    )

    def __init__(
        self,
        student_channels: int | None = None,
        teacher_channels: int | None = None,
        *,
        kernel_size: int | tuple[int, int] = 1,
        elements: Elements = "mean",
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.regressor = nn.Sequential()
        if student_channels is not None and teacher_channels is not None:
            [(student, teacher)] = channel_pairs(student_channels, teacher_channels)
            self.regressor.append(nn.Conv2d(student, teacher, kernel_size))
        elif student_channels is not None or teacher_channels is not None:
            raise ConfigError("student_channels and teacher_channels must be given together, or neither of them.")
        self.elements: Elements = elements
        self.reduction: Reduction = reduction

    def forward(self, student_features: Tensor, teacher_features: Tensor, *, mask: Tensor | None = None) -> Tensor:
        student = connect(self.regressor, student_features, mask)
        return hint(student, teacher_features, elements=self.elements, mask=mask, reduction=self.reduction)
