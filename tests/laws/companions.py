"""What losses offer beside their value, each against a plain computation: helpers, first values, values per anchor."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import truncnorm
from torch import Tensor, nn

from knowledge_distillation.losses.embeddings.similarity_kl import similarity_kl
from knowledge_distillation.losses.features.ft import FT
from knowledge_distillation.losses.features.mgd import mgd
from knowledge_distillation.losses.features.ofd import margin_from_batch_norm
from knowledge_distillation.losses.features.semckd import SemCKD
from knowledge_distillation.losses.features.simkd import SimKD
from knowledge_distillation.losses.features.vid import VID
from knowledge_distillation.losses.relations.crd import CRD
from knowledge_distillation.losses.relations.rkd import rkd_distance
from knowledge_distillation.losses.relations.sp import sp
from knowledge_distillation.losses.relations.sskd import SSKD
from knowledge_distillation.losses.sequences.spans import align_spans, merge_spans, pair_tokens
from tests.laws.extremes import EXTREMES, Check, assert_same
from tests.laws.memories import MEMORIES, random


def paraphraser_keeps_the_size() -> None:
    module = FT(4, 6, rate=0.34).double()
    features = random(2, 6, 5, 3, seed=1)
    code = module.paraphraser.encoder(features)
    assert code.shape == (2, 2, 5, 3)
    assert module.paraphraser.decoder(code).shape == features.shape
    assert module.translator(random(2, 4, 5, 3, seed=2)).shape == code.shape


def paraphraser_learns_to_rebuild() -> None:
    module = FT(4, 6).double()
    features = random(2, 6, 5, 3, seed=1).requires_grad_()
    module.paraphraser.requires_grad_(True)
    loss = module.paraphrase_loss(features)
    assert_same(loss, ((module.paraphraser(features) - features) ** 2).mean())
    loss.backward()  # type: ignore[no-untyped-call]
    assert features.grad is None
    assert all(parameter.grad is not None for parameter in module.paraphraser.parameters())


def embeddings_have_the_asked_width() -> None:
    for batch, factor, width in [(8, 4, 2), (3, 4, 1)]:
        module = SemCKD([3], [4], batch, factor=factor)
        outputs = [layer.out_features for layer in module.queries.modules() if isinstance(layer, nn.Linear)]
        assert outputs[-1] == width


def masks_take_whole_pixels_or_whole_channels() -> None:
    for masked, within in {"pixels": (0,), "channels": (1, 2)}.items():
        torch.manual_seed(0)
        student = torch.ones(1, 4, 5, 6, dtype=torch.float64, requires_grad=True)
        value = mgd(student, torch.zeros(1, 4, 5, 6), generation=nn.Sequential(), masked=masked, masked_share=0.5)  # type: ignore[arg-type]
        [gradient] = torch.autograd.grad(value, student)
        seen = gradient[0] > 0
        assert_same(value, seen.sum())
        assert (seen.all(within) == seen.any(within)).all(), masked
        assert 0 < seen.sum() < seen.numel(), masked


def student_answers_through_the_teachers_classifier() -> None:
    module = SimKD(4, 6).double().eval()
    classifier = nn.Linear(6, 3).double()
    features = random(2, 4, 5, 3, seed=1)
    answers = module.student_logits(features, classifier)
    assert_same(answers, classifier(module.projector(features).flatten(2).mean(-1)))


def first_variance_is_what_was_asked() -> None:
    module = VID(3, 4, first_variance=5.0, smallest_variance=0.5)
    assert_same(nn.functional.softplus(module.log_scale) + 0.5, [5.0] * 4)


def margin_is_the_mean_of_negative_values() -> None:
    norm = nn.BatchNorm2d(4)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 1.5]))
        norm.bias.copy_(torch.tensor([0.0, 1.0, -0.7, 0.3]))
    pairs = zip(norm.bias.tolist(), norm.weight.abs().tolist(), strict=True)
    margin = margin_from_batch_norm(norm)
    assert_same(margin, [truncnorm.mean(-math.inf, -mean / wide, loc=mean, scale=wide) for mean, wide in pairs])
    assert not margin.requires_grad


def negatives_are_others() -> None:
    torch.manual_seed(0)
    module = CRD(3, 3, 5, width=2, negatives=400)
    rows = module.drawn(torch.tensor([0, 3, 4]))
    for own, drawn in zip([0, 3, 4], rows.tolist(), strict=True):
        assert drawn[0] == own
        assert set(drawn[1:]) == set(range(5)) - {own}


def pretext_trains_the_teachers_head_only() -> None:
    module = SSKD(3, 4, temperature=0.5).double()
    features = random(3, 4, 4, seed=1).requires_grad_()
    loss = module.pretext(features)
    directions = nn.functional.normalize(module.teacher_head(features), dim=-1).detach().numpy()
    rows = [log_softmax(directions[:, 0] @ directions[i, view] / 0.5)[i] for i in range(3) for view in (1, 2, 3)]
    assert_same(loss, -np.mean(rows))
    loss.backward()  # type: ignore[no-untyped-call]
    assert features.grad is None
    assert all(parameter.grad is not None for parameter in module.teacher_head.parameters())


def similarity_rows() -> None:
    """Row i of the normalised Gram matrices, not column i, belongs to anchor i."""
    student, teacher = random(4, 3, seed=1), random(4, 5, seed=2)

    def normalised(rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> object:
        gram = rows @ rows.T
        return gram / np.linalg.norm(gram, axis=1, keepdims=True)

    gaps = (normalised(student.numpy()) - normalised(teacher.numpy())) ** 2  # type: ignore[operator]
    assert_same(sp(student, teacher, reduction="none"), gaps.sum(1) / 4)


def distances_from_each_anchor() -> None:
    student, teacher = random(4, 3, seed=1), random(4, 5, seed=2)
    scale = {}
    for side in (student, teacher):
        lengths = [math.dist(one, other) for one in side.tolist() for other in side.tolist()]
        scale[id(side)] = sum(lengths) / 12
    expected = []
    for anchor in range(4):
        gaps = [
            math.dist(student[anchor], student[other]) / scale[id(student)]
            - math.dist(teacher[anchor], teacher[other]) / scale[id(teacher)]
            for other in range(4)
        ]
        expected.append(sum(gap * gap / 2 if abs(gap) < 1 else abs(gap) - 0.5 for gap in gaps) / 4)
    assert_same(rkd_distance(student, teacher, reduction="none"), expected)


def shares_of_each_anchor() -> None:
    student, teacher = random(4, 3, seed=1), random(4, 5, seed=2)

    def shares(rows: Tensor, anchor: int) -> object:
        directions = nn.functional.normalize(rows, dim=-1).numpy()
        return softmax(np.delete(directions @ directions[anchor], anchor) / 0.7)

    expected = [rel_entr(shares(teacher, anchor), shares(student, anchor)).sum() for anchor in range(4)]
    assert_same(similarity_kl(student, teacher, temperature=0.7, reduction="none"), expected)


def tokens_pair_by_place() -> None:
    """The n-th counted student token meets the n-th counted teacher token; the rest meet nobody."""
    teacher = torch.arange(6.0).view(2, 3, 1)
    teacher_mask = torch.tensor([[True, False, True], [False, True, False]])
    mask = torch.tensor([[True, False, True, True, True], [True, True, False, True, True]])
    rows, both = pair_tokens(torch.zeros(2, 5, 1), teacher, teacher_mask, mask)
    assert both.tolist() == [[True, False, True, False, False], [True, False, False, False, False]]
    assert rows[both].flatten().tolist() == [0.0, 2.0, 4.0]


def spans_end_where_both_end() -> None:
    """Two tokenizers cut one text; whatever lies behind the last common end has no span."""
    assert align_spans([2, 3, 6, 7, 9], [3, 5, 6, 8]) == ([0, 0, 1, -1, -1], [0, 1, 1, -1])
    assert align_spans([4], [1, 2, 3]) == ([-1], [-1, -1, -1])
    assert align_spans([1, 2], [1, 2]) == ([0, 1], [0, 1])


def spans_multiply_probabilities() -> None:
    probs = torch.tensor([[[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [0.5, 0.25, 0.25], [0.6, 0.2, 0.2]]])
    ids, spans = torch.tensor([[2, 0, 1, -100]]), torch.tensor([[0, 1, 1, -1]])
    for keep, second in {
        "last": [0.5 * 0.3, 0.25 * 0.3, 0.25 * 0.3],
        "first": [0.3 * 0.25, 0.3 * 0.25, 0.4 * 0.25],
    }.items():
        garbage = torch.where(spans.unsqueeze(-1) < 0, torch.nan, probs.log()).requires_grad_()
        merged, there = merge_spans(garbage, ids, spans, keep=keep)  # type: ignore[arg-type]
        assert there.tolist() == [[True, True, False, False]]
        assert_same(merged[there].exp(), [[0.1, 0.2, 0.7], second])
        [gradient] = torch.autograd.grad(merged[there].sum(), garbage)
        assert gradient.isfinite().all()
        assert (gradient[0, 3] == 0).all()


SPANS = (tokens_pair_by_place, spans_end_where_both_end, spans_multiply_probabilities)

COMPANIONS: Mapping[str, tuple[Check, ...]] = {
    **EXTREMES,
    "ft": (paraphraser_keeps_the_size, paraphraser_learns_to_rebuild),
    "mgd": (masks_take_whole_pixels_or_whole_channels,),
    "semckd": (embeddings_have_the_asked_width,),
    "simkd": (student_answers_through_the_teachers_classifier,),
    "vid": (first_variance_is_what_was_asked,),
    "ofd": (margin_is_the_mean_of_negative_values,),
    "crd": (*MEMORIES["crd"], negatives_are_others),
    "queue_kl": MEMORIES["queue_kl"],
    "uld": SPANS,
    "sskd": (pretext_trains_the_teachers_head_only,),
    "sp": (similarity_rows,),
    "rkd_distance": (distances_from_each_anchor,),
    "similarity_kl": (shares_of_each_anchor,),
}
