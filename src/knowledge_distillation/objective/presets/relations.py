"""Presets for how samples relate to each other, and for embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from knowledge_distillation.losses import KD, PKT, CrossEntropy
from knowledge_distillation.objective.presets.building import Preset, Terms, alone, beside_labels
from knowledge_distillation.objective.term import AUTO, Term, named_loss


def sskd(relation_weight: float = 10.0) -> Terms:
    """Self-supervised KD, arXiv:2006.07114: 0.1 CE + 0.9 KD + 2.7 KD on turned pictures + 10 SSKD between all views.

    Both models see each picture turned by 0, 90, 180 and 270 degrees. The paper trains the teacher's projection head
    before, for 60 epochs; here it learns at the same time, its pretext loss at weight 1 and apart from the student's.
    """
    settings = {"student_width": AUTO, "teacher_width": AUTO, "pretext_weight": 1 / relation_weight}
    return {
        "cross_entropy": Term(CrossEntropy(), weight=0.1),
        "kd": Term(KD(4.0), weight=0.9),
        "kd_transformed": Term(KD(4.0), weight=2.7, views="transformed"),
        "sskd": Term(named_loss("sskd", settings), relation_weight, "@embedding", "@embedding", views="all"),
    }


def compress() -> Terms:
    """CompRess, arXiv:2010.14713: nearness to the rest of the batch at temperature 0.04, without labels.

    The batch takes the place of the paper's memory of 128,000 samples, so it should be large.
    """
    return alone("similarity_kl", "@embedding")


def seed() -> Terms:
    """SEED, arXiv:2101.04731: nearness to a queue of 65,536 teacher embeddings, behind an MLP on the student."""
    return alone("queue_kl", "@embedding", projector="mlp", size=65536)


def margin_mse() -> Terms:
    """Margin-MSE, arXiv:2010.02666: scores [queries, 1 + negatives] by their margins, the positive first."""
    return alone("margin_mse")


RELATIONS: Mapping[str, Preset] = {
    "rkd": partial(beside_labels, "rkd", 1.0, "@embedding"),
    "sp": partial(beside_labels, "sp", 3000.0, "@last"),
    "cc": partial(beside_labels, "cc", 0.02, "@embedding"),
    "pkt": lambda: {
        "cross_entropy": Term(CrossEntropy()),
        "pkt": Term(PKT("code"), 30000.0, "@embedding", "@embedding"),
    },
    "ickd": partial(beside_labels, "ickd", 2.5, "@last", "auto", normalization="cifar"),
    "crd": partial(beside_labels, "crd", 0.8, "@embedding"),
    "sskd": sskd,
    "compress": compress,
    "seed": seed,
    "margin_mse": margin_mse,
}
