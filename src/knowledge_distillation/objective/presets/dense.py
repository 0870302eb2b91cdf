"""Presets for segmentation and detection.

Segmentation: logits [samples, classes, height, width], labels [samples, height, width], 255 or -100 where a pixel
does not count. Detection: the student's own losses, all of them, beside one level of its features; for a pyramid of
several levels, one such term for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knowledge_distillation.losses import CrossEntropy
from knowledge_distillation.objective.presets.building import Preset, Terms, beside_own
from knowledge_distillation.objective.term import AUTO, Term, named_loss

VOID = 255
"""The label of pixels without a class in Cityscapes and Pascal VOC."""


def beside_pixels(name: str, weight: float, **settings: Any) -> Terms:
    """CE of every pixel, but for label 255, + weight x one loss on the class score maps."""
    return {
        "cross_entropy": Term(CrossEntropy(ignore_index=VOID, class_axis=1)),
        name: Term(named_loss(name, settings), weight),
    }


def pixel_kd() -> Terms:
    """Pixel-wise part of structured distillation, arXiv:1903.04197: CE + 10 x KD of every pixel, a start.

    Its pair-wise and adversarial parts are not in it. Pixels of label 255 count in the KD, as in the paper.
    """
    return beside_pixels("pixel_kd", 10.0)


def cwd() -> Terms:
    """Channel-wise distillation, arXiv:2011.13256: CE + 3 x CWD at temperature 4 on the class score maps."""
    return beside_pixels("cwd", 3.0, temperature=4.0)


def fgd() -> Terms:
    """Focal and global distillation, arXiv:2111.11837: the detector's losses + FGD as on one-stage anchors.

    The batch gives "boxes" and "image_size".
    """
    return beside_own("fgd", 1.0, "@last", teacher_channels=AUTO)


def fbkd() -> Terms:
    """Attention and relations of detectors, ICLR 2021: the detector's losses + FBKD as on two-stage detectors."""
    return beside_own("fbkd", 1.0, "@last", teacher_channels=AUTO)


def pkd_features() -> Terms:
    """Pearson correlation of detectors, arXiv:2207.02039: the detector's losses + 10 x PKD, as on one-stage ones."""
    return beside_own("pkd_features", 10.0, "@last", "auto")


def one_stage_head() -> Terms:
    """Heads of one-stage detectors, arXiv:1805.06361: the detector's losses + the head's, scaled by objectness."""
    return beside_own("one_stage_head_kd", 1.0, ("objectness", "boxes", "class_logits"))


def two_stage_head() -> Terms:
    """Heads of two-stage detectors, NeurIPS 2017: the detector's losses + 0.5 class and 0.5 box term of the head.

    The paper takes half of the loss on the hard labels beside the class term, and adds a hint on the features.
    """
    return beside_own("two_stage_head_kd", 1.0, ("class_logits", "boxes"), class_weight=0.5, box_weight=0.5)


DENSE: Mapping[str, Preset] = {
    "pixel_kd": pixel_kd,
    "cwd": cwd,
    "fgd": fgd,
    "fbkd": fbkd,
    "pkd_features": pkd_features,
    "one_stage_head": one_stage_head,
    "two_stage_head": two_stage_head,
}
