"""What the losses between samples and those for dense prediction refuse, and what they say about it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.losses.dense.cwd import cwd
from knowledge_distillation.losses.dense.fbkd import FBKD
from knowledge_distillation.losses.dense.fgd import FGD, fgd
from knowledge_distillation.losses.dense.one_stage_head_kd import one_stage_head_kd
from knowledge_distillation.losses.dense.pearson_features import pkd_features
from knowledge_distillation.losses.dense.pixel_kd import pixel_kd
from knowledge_distillation.losses.dense.two_stage_head_kd import two_stage_head_kd
from knowledge_distillation.losses.relations.cc import CC, cc
from knowledge_distillation.losses.relations.crd import CRD, crd
from knowledge_distillation.losses.relations.ickd import ICKD, ickd
from knowledge_distillation.losses.relations.pkt import pkt
from knowledge_distillation.losses.relations.rkd import RKD, rkd_angle, rkd_distance
from knowledge_distillation.losses.relations.sp import sp
from knowledge_distillation.losses.relations.sskd import SSKD, sskd
from tests.losses.refusals import Refusals, ones, refusals


def banked(bank: Tensor, contrast: Tensor) -> Tensor:
    heads = {"student_head": nn.Identity(), "teacher_head": nn.Identity()}
    return crd(ones(2, 3), ones(2, 3), **heads, student_bank=bank, teacher_bank=ones(5, 3), contrast=contrast)


def boxed(boxes: list[Tensor]) -> Tensor:
    contexts = {"student_context": nn.Identity(), "teacher_context": nn.Identity()}
    return fgd(ones(2, 3, 4, 4), ones(2, 3, 4, 4), boxes=boxes, image_size=(8, 8), **contexts)


HEAD = [ones(3, 5), ones(3, 4)]
ROWS = torch.zeros(2, 4, dtype=torch.long)
SHAPES: Refusals = [
    (lambda: rkd_distance(ones(3, 4), ones(2, 4)), "the same samples in the same order"),
    (lambda: rkd_angle(ones(3), ones(3)), r"must have shape \[batch, \.\.\.\]"),
    (lambda: sp(ones(3, 4), ones(3, 4), mask=ones(3, 4)), r"mask must have one entry per sample, shape \(3,\)"),
    (lambda: ickd(ones(2, 3, 4, 4), ones(2, 5, 4, 4)), "project the student to the teacher's channels"),
    (lambda: ickd(ones(2, 3), ones(2, 3)), r"must be \[batch, channels, \.\.\.\]"),
    (lambda: banked(ones(4, 3), ROWS), "Both banks must have one shape"),
    (lambda: banked(ones(5, 3), ROWS[:, :1]), "then at least one other row"),
    (lambda: banked(ones(5, 3), ROWS[:1]), "contrast"),
    (lambda: sskd(ones(2, 4, 3), ones(2, 3, 3)), r"\[batch, views, width\]"),
    (lambda: sskd(ones(2, 1, 3), ones(2, 1, 3)), "at least 2 views"),
    (lambda: sskd(ones(2, 4, 3), ones(2, 4, 3), mask=ones(2, 4)), "with all its views or not at all"),
    (lambda: cwd(ones(2, 3), ones(2, 3)), "Pass the map before it is pooled"),
    (lambda: cwd(ones(2, 3, 4, 4), ones(2, 3, 4, 5)), "teacher_features must have the shape of student_features"),
    (lambda: pixel_kd(ones(2, 3, 4, 4), ones(2, 3, 4, 4), class_axis=4), "class_axis 4 does not exist"),
    (lambda: pixel_kd(ones(2, 3, 4, 5), ones(2, 3, 4, 5), mask=ones(2, 5, 4)), "mask must match"),
    (lambda: pkd_features(ones(2, 3, 4, 4), ones(2, 5, 4, 4)), "put a 1x1 convolution on the student"),
    (lambda: boxed([ones(1, 4)]), r"one tensor \[objects, 4\] for each of the 2 samples"),
    (lambda: boxed([ones(1, 5)] * 2), r"one tensor \[objects, 4\]"),
    (lambda: two_stage_head_kd(HEAD[:1], HEAD, target_boxes=HEAD[1]), r"\(class_logits, boxes\) in this order"),
    (lambda: two_stage_head_kd(HEAD, [HEAD[0], ones(2, 4)], target_boxes=HEAD[1]), "teacher_boxes must have the shape"),
    (lambda: two_stage_head_kd(HEAD, HEAD, target_boxes=ones(4)), "target_boxes must have the shape of the boxes"),
    (lambda: one_stage_head_kd([ones(2), *HEAD[::-1]], [ones(2), *HEAD[::-1]]), "must speak of the same items"),
]
SETTINGS: Refusals = [
    (lambda: RKD(distance_weight=-1.0), "distance_weight must be a finite number of at least 0"),
    (lambda: RKD(angle_weight=-1.0), "angle_weight must be a finite number of at least 0"),
    (lambda: cc(ones(2, 3), ones(2, 3), kernel="cosine"), "kernel must be 'gaussian' or 'bilinear', got 'cosine'"),
    (lambda: CC(order=0), "order must be a whole number from 1"),
    (lambda: CC(gamma=0.0), "gamma must be a finite number above 0"),
    (lambda: pkt(ones(2, 3), ones(2, 3), variant="mean"), "variant must be 'paper' or 'code', got 'mean'"),
    (lambda: ICKD(3), "student_channels and teacher_channels must be given together"),
    (lambda: ICKD(normalization="none"), "normalization must be 'paper', 'cifar' or 'imagenet'"),
    (lambda: CRD(3, 3, 1), "samples >= 2 and negatives >= 1"),
    (lambda: CRD(3, 3, 9, negatives=0), "samples >= 2 and negatives >= 1"),
    (lambda: CRD(3, 3, 9, momentum=1.5), "momentum must be a number from 0.0 to 1.0"),
    (lambda: CRD(3, 3, 9, temperature=0.0), "temperature must"),
    (lambda: CRD(3, 3, 9, normalizer=-2.0), "normalizer must be a finite number above 0"),
    (lambda: SSKD(keep_wrong=1.2), "keep_wrong must be a number from 0.0 to 1.0"),
    (lambda: SSKD(temperature=0.0), "temperature must"),
    (lambda: SSKD(3).pretext(ones(2, 4, 3)), "build SSKD with teacher_width"),
    (lambda: FGD(3, background_weight=-1.0), "background_weight must be a finite number of at least 0"),
    (lambda: FBKD(3, temperature=0.0), "temperature must"),
    (
        lambda: two_stage_head_kd(HEAD, HEAD, target_boxes=HEAD[1], margin=-1.0),
        "margin must be a finite number of at least 0",
    ),
    (lambda: two_stage_head_kd(HEAD, HEAD, target_boxes=HEAD[1], background_class=5), "the index of one of 5 classes"),
    (
        lambda: one_stage_head_kd([ones(3), *HEAD[::-1]], [ones(3), *HEAD[::-1]], activation="relu"),
        "activation must be",
    ),
]


@pytest.mark.parametrize(("error", "call", "message"), refusals(shapes=SHAPES, settings=SETTINGS))
def test_refusals(error: type[Exception], call: Callable[[], object], message: str) -> None:
    """A shape that broadcasts by accident, or a setting out of range, would train the wrong thing for hours."""
    with pytest.raises(error, match=message):
        call()
