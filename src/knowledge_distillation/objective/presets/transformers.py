"""Presets for the inside of transformers: hidden states, attention maps, queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor

from knowledge_distillation.losses import KD, Cosine, CrossEntropy, patient
from knowledge_distillation.objective.presets.building import Preset, Terms, alone
from knowledge_distillation.objective.presets.logits import hinton
from knowledge_distillation.objective.term import AUTO, Term

HIDDEN = ("hidden_states", "attentions")


def patient_skip(student_states: Sequence[Tensor], teacher_states: Sequence[Tensor]) -> Tensor:
    """PKD-Skip, arXiv:1908.09355: every student layer but the last with every k-th of the teacher.

    Args:
        student_states: the embedding output and M layers, [N, L, width] each. Receives gradient.
        teacher_states: the embedding output and K layers, K at least M, same shapes.
    """
    deep, shallow = len(teacher_states) - 1, len(student_states) - 1
    chosen = range(1, max(2, shallow))
    taught = [teacher_states[number * deep // shallow] for number in chosen]
    return patient([student_states[number] for number in chosen], taught)


def patient_kd() -> Terms:
    """Patient KD, arXiv:1908.09355: 0.5 KD at temperature 5 + 0.5 CE + 100 x the skipped hidden states."""
    return {**hinton(0.5, 5.0), "patient": Term(patient_skip, 100.0, "hidden_states", "hidden_states")}


def distilbert() -> Terms:
    """DistilBERT, arXiv:1910.01108: 5 x KD at temperature 2 + 2 x CE + the direction of the last hidden states.

    The labels are those of masked words, -100 elsewhere. The student is as wide as the teacher and starts from every
    second of its layers.
    """
    return {
        "kd": Term(KD(2.0), weight=5.0),
        "cross_entropy": Term(CrossEntropy(), weight=2.0),
        "cosine": Term(Cosine(), 1.0, "@last", "@last"),
    }


def minilm() -> Terms:
    """MiniLM, arXiv:2002.10957: attention and value relations of the last layer, as many heads on both sides."""
    return alone("minilm", "@attention", heads=AUTO)


def minilmv2() -> Terms:
    """MiniLMv2, arXiv:2012.15828: relations in 48 relation heads, as for base models, of the last layer.

    48 must divide both widths. For a large teacher the paper takes 64 heads and an upper middle layer.
    """
    return alone("minilmv2", "@attention", relation_heads=48)


TRANSFORMERS: Mapping[str, Preset] = {
    "tinybert": partial(alone, "tinybert", HIDDEN),
    "patient": patient_kd,
    "distilbert": distilbert,
    "minilm": minilm,
    "minilmv2": minilmv2,
}
