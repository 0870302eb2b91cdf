"""Frame-wise distillation of CTC posteriors, with a choice of what to do about the blank."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from knowledge_distillation.accepted import is_whole
from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.facts import Facts, Paper
from knowledge_distillation.losses.inputs import (
    check_positive,
    check_same_shape,
    hide_masked,
    log_probabilities,
)
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.reduction import Reduction, reduce


def ctc_kd(
    student_log_probs: Tensor,
    teacher_log_probs: Tensor,
    *,
    blank: int = 0,
    blank_context: int | None = None,
    remove_blank: bool = False,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """CTC posterior distillation: forward KL in each frame, with a choice of frames and classes.

    sum over classes of p_t * (log p_t - log p_s) in each chosen frame, p softened by the temperature.
    blank_context=None chooses all frames; 0 those whose most likely class for the teacher is not the blank;
    n > 0 also the n frames on either side of these. remove_blank compares only the labels, both sides
    rescaled to 1 without the blank.

    When: a CTC student learns from a CTC teacher with the same labels and frame rate. Most frames of a CTC
    model say "blank" and nothing else; choosing frames keeps them from being most of the loss.

    Args:
        student_log_probs: logits, shape [samples, frames, classes]; they are normalised here. The
            log-probabilities that `torch.nn.CTCLoss` takes are logits too, and normalising leaves them as they
            are: hence the name. Receives gradient.
        teacher_log_probs: logits of the same shape. Detached inside.
        blank: id of the blank, negative ids count from the end; 0 in PyTorch and wav2vec 2.0.
        blank_context: blank frames to keep beside each label frame, >= 0; None keeps all frames.
        remove_blank: leave the blank out on both sides.
        temperature: softening, > 0, dimensionless; the wav2vec 2.0 compression of the original toolkit
            softened too. No factor of the squared temperature is applied.
        mask: shape [samples, frames], True at the frames of the recording; None counts all.
        reduction: "mean" over counted frames, "sum", or "none" for one value per frame, shape [samples,
            frames]. A frame that is not chosen has the value 0 and still counts, so that the same number
            of frames divides every loss of a run.

    Returns:
        Nats: a scalar, or [samples, frames] for "none". 0 when no frame counts.

    Raises:
        ShapeError: if the shapes differ or are not [samples, frames, classes], or the mask does not match.
        ConfigError: if blank, blank_context or temperature is out of range, or reduction is unknown.

    Example:
        >>> import torch
        >>> teacher = torch.tensor([[[0.9, 0.05, 0.05], [0.2, 0.7, 0.1]]]).log()
        >>> student = torch.tensor([[[0.5, 0.25, 0.25], [0.2, 0.1, 0.7]]]).log()
        >>> round(ctc_kd(student, teacher, blank_context=0, reduction="sum").item(), 4)
        1.1675

    Reference: Senior, Sak, de Chaumont Quitry, Sainath, Rao (2015), Acoustic Modelling with CD-CTC-SMBR LSTM
        RNNs (frame-wise CTC distillation); Takashima, Li, Kawai (2018), An Investigation of a Knowledge
        Distillation Method for CTC Acoustic Models; frames beside labels as in Hilmes, Rossenbach, Schlueter
        (2025), arXiv:2506.01503. Peng, Budhkar, Tuil, Levy, Sobhani, Cohen, Nassour (2021), arXiv:2103.15760,
        distil wav2vec 2.0 so.

    Differs: the original toolkit's wav2vec 2.0 code does not mask padding frames, divides by the number of
        samples only, and multiplies by the squared temperature.
    """
    check_same_shape(student_log_probs, teacher_log_probs, "log_probs")
    check_positive("temperature", temperature)
    check_blank_context(blank_context)
    if student_log_probs.dim() != 3:
        raise ShapeError(
            f"student_log_probs must be [samples, frames, classes], got {tuple(student_log_probs.shape)}; "
            "torch.nn.CTCLoss has the frames first: swap the first two axes."
        )
    classes = student_log_probs.shape[-1]
    if not -classes <= blank < classes:
        raise ConfigError(f"blank must be one of the {classes} classes, got {blank!r}.")
    is_blank = torch.arange(classes, device=student_log_probs.device) == blank % classes
    teacher_scores = hide_masked(teacher_log_probs.detach(), mask)
    student_scores = hide_masked(student_log_probs, mask)
    chosen = mask
    if blank_context is not None:
        says_label = ~is_blank[teacher_scores.argmax(dim=-1)]
        if mask is not None:
            says_label = says_label & mask.bool()
        chosen = near(says_label, blank_context)
    if remove_blank:
        teacher_scores = teacher_scores.masked_fill(is_blank, -torch.inf)
        student_scores = student_scores.masked_fill(is_blank, -torch.inf)
    teacher, student = log_probabilities(teacher_scores, temperature), log_probabilities(student_scores, temperature)
    values = (teacher.exp() * (teacher - student)).sum(dim=-1)
    if chosen is not None:
        values = torch.where(chosen.bool(), values, torch.zeros_like(values))
    return reduce(values, mask=mask, reduction=reduction)


def near(frames: Tensor, distance: int) -> Tensor:
    """True at the frames [samples, frames] that are True and at up to `distance` frames on either side."""
    if distance == 0:
        return frames
    return F.max_pool1d(frames.float().unsqueeze(1), 2 * distance + 1, stride=1, padding=distance).squeeze(1) > 0


def check_blank_context(blank_context: int | None) -> int | None:
    """Return `blank_context` if it is None or a whole number from 0, else raise ConfigError."""
    whole = is_whole(blank_context)
    if blank_context is not None and (not whole or blank_context < 0):
        raise ConfigError(f"blank_context must be None or a whole number of frames, at least 0, got {blank_context!r}.")
    return blank_context


class CTCKD(Loss):
    """`ctc_kd` as a module; see there for shapes, units and sources. It learns nothing of its own."""

    facts = Facts(
        families=("sequences",),
        signal="logits",
        paper=Paper(
            title="An Investigation of a Knowledge Distillation Method for CTC Acoustic Models",
            authors="Takashima, Li, Kawai",
            year=2018,
            venue="ICASSP 2018",
        ),
        same_classes=True,
        exceptions={"class_permutation": "the blank is one class and would have to be renamed too"},
    )

    def __init__(
        self,
        blank: int = 0,
        *,
        blank_context: int | None = None,
        remove_blank: bool = False,
        temperature: float = 1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.blank = blank
        self.blank_context = check_blank_context(blank_context)
        self.remove_blank = remove_blank
        self.temperature = check_positive("temperature", temperature)
        self.reduction: Reduction = reduction

    def forward(self, student_log_probs: Tensor, teacher_log_probs: Tensor, *, mask: Tensor | None = None) -> Tensor:
        return ctc_kd(
            student_log_probs,
            teacher_log_probs,
            blank=self.blank,
            blank_context=self.blank_context,
            remove_blank=self.remove_blank,
            temperature=self.temperature,
            mask=mask,
            reduction=self.reduction,
        )
