"""The one base class of all losses: an nn.Module that can say what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from knowledge_distillation.losses.facts import Facts


class Loss(nn.Module):
    """A distillation loss `loss(student, teacher, *, mask=None, **needs) -> Tensor`.

    The mathematics lives in the pure function of the same name; a subclass only holds its
    settings and, where the paper has them, its trainable parts.
    """

    facts: ClassVar[Facts]
    memories: ClassVar[tuple[str, ...]] = ()
    """Buffers that remember samples of earlier batches."""

    if TYPE_CHECKING:

        def __call__(self, *arguments: Any, **keywords: Any) -> Tensor: ...
