"""Presets for feature maps inside convolutional networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from knowledge_distillation.losses import AT, FSP, CrossEntropy
from knowledge_distillation.objective.presets.building import Preset, Terms, alone, beside_labels
from knowledge_distillation.objective.presets.logits import hinton
from knowledge_distillation.objective.schedules import step, warm_up
from knowledge_distillation.objective.term import AUTO, Term, named_loss

STAGE_CHANNELS = {"student_channels": AUTO, "teacher_channels": AUTO}


def at_kd() -> Terms:
    """Attention transfer together with Hinton's KD: 1000 AT + 0.9 KD + 0.1 CE."""
    return {"at": Term(AT(distance="mean_squared"), 1000.0, "@stages", "@stages"), **hinton()}


def fsp_squared() -> Terms:
    """Flow between layers (FSP, CVPR 2017): CE + 50 FSP with the public code's average pooling and mean."""
    return {
        "cross_entropy": Term(CrossEntropy()),
        "fsp": Term(FSP(pooling="average", elements="mean"), 50.0, "@stages", "@stages"),
    }


def ab() -> Terms:
    """Activation boundaries, arXiv:1811.03233: they alone for the first eighth of training, then the labels alone.

    The paper's two stages, split and weighed as in RepDistiller: 30 of 240 epochs, 3 / 1000 of the sum over elements,
    halved with each stage away from the last.
    """
    loss = named_loss("ab", {**STAGE_CHANNELS, "stage_weights": AUTO})
    boundaries, task = step(at=1 / 8, before=1.0, after=0.0), step(at=1 / 8, before=0.0, after=1.0)
    return {
        "cross_entropy": Term(CrossEntropy(), schedule=task),
        "ab": Term(loss, 3e-3, "@preactivations", "@preactivations", schedule=boundaries),
    }


def ft(weight: float = 500.0) -> Terms:
    """Factor transfer, arXiv:1802.04977: CE + 500 x the distance of factors, as in the authors' code.

    The paper trains the paraphraser before, on the teacher's maps alone. Here it learns at the same time, its
    reconstruction error at weight 1 and apart from the student's: no stage of its own, but the first factors are those
    of a random projection.
    """
    loss = named_loss("ft", {"paraphrase_weight": 1 / weight})
    return {"cross_entropy": Term(CrossEntropy()), "ft": Term(loss, weight, "@last", "@last")}


def ofd() -> Terms:
    """Overhaul of feature distillation, arXiv:1904.01866: CE + OFD before the ReLUs, weighed as in the authors' code.

    A thousandth of the sum over elements, halved with each stage away from the last. Margins come from the teacher's
    batch normalisations; where a stage has none, from the teacher's negative values in each batch.
    """
    settings = {**STAGE_CHANNELS, "margins": AUTO, "stage_weights": AUTO}
    return beside_labels("ofd", 1e-3, "@preactivations", **settings)


def reviewkd() -> Terms:
    """Knowledge review, arXiv:2104.09044: CE + ReviewKD, raised over the first twelfth of training.

    Those are 20 of the authors' 240 epochs on CIFAR-100.
    """
    terms = beside_labels("reviewkd", 1.0, "@stages")
    return {**terms, "reviewkd": replace(terms["reviewkd"], schedule=warm_up(share=1 / 12))}


def mgd() -> Terms:
    """Masked generative distillation, arXiv:2205.01529: CE + 7e-5 x MGD with 0.15 of the channels masked.

    So trains the authors' classification code. Detectors mask pixels: a term "mgd" with masked="pixels".
    """
    return beside_labels("mgd", 7e-5, "@last", masked="channels", masked_share=0.15)


def simkd() -> Terms:
    """The teacher's classifier reused, arXiv:2203.14001: the last maps and nothing else, neither labels nor logits.

    The student answers through the projector and the teacher's classifier: so it is scored, and so `Run.student` is.
    """
    return alone("simkd", "@pooled", classifier=AUTO, teacher_size=AUTO)


def srrl() -> Terms:
    """Softmax regression of representations, ICLR 2021: CE + SRRL, its two parts with weight 1.

    So weighs the code of SimKD, which adds KD; the paper does not.
    """
    return beside_labels("srrl", 1.0, "@pooled", classifier=AUTO)


def catkd() -> Terms:
    """Class attention transfer, arXiv:2304.12777: CE + 400 x the distance of class activation maps, a start.

    The authors' code has a weight for each pair of networks, which this one was not checked against.
    """
    return beside_labels("catkd", 400.0, ("@pooled", "@classifier"))


FEATURES: Mapping[str, Preset] = {
    "fitnets": partial(beside_labels, "hint", 100.0, "@middle", "auto"),
    "at": partial(beside_labels, "at", 1000.0, "@stages", distance="mean_squared"),
    "at_kd": at_kd,
    "nst": partial(beside_labels, "nst", 50.0, "@stages"),
    "fsp": fsp_squared,
    "mgd": mgd,
    "reviewkd": reviewkd,
    "semckd": partial(beside_labels, "semckd", 400.0, "@stages"),
    "vid": partial(beside_labels, "vid", 1.0, "@last"),
    "kdsvd": partial(beside_labels, "kdsvd", 1.0, "@stages"),
    "ab": ab,
    "ofd": ofd,
    "ft": ft,
    "simkd": simkd,
    "srrl": srrl,
    "catkd": catkd,
}
