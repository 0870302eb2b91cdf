"""Presets for sequences: language models with one or two tokenizers, preference pairs, CTC."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from knowledge_distillation.objective.presets.building import Preset, Terms, alone, mixed
from knowledge_distillation.objective.term import Term, named_loss


def gold(**ids: Any) -> Terms:
    """Hybrid ULD (GOLD, Hugging Face 2025): spans of the same text, matched tokens by JSD and the others by rank.

    By the language domain's data; with adapter "two_tokenizers", tokens at the same place meet instead of spans.

    Args:
        ids: "student_ids" and "teacher_ids" of the tokens that both vocabularies know, in one order. Only the two
            tokenizers can say which these are: without them they are the adapter's extras, as of the language domain's
            data, or training stops before the first step.
    """
    return {"hybrid_uld": Term(named_loss("hybrid_uld", ids))}


def top_k() -> Terms:
    """Forward KL from the teacher's 64 likeliest classes and the mass of the others, live or from a cache."""
    return alone("top_k_kl", k=64)


def distillm2() -> Terms:
    """DistiLLM-2, arXiv:2503.07067: skew KL 0.1, forward on the teacher's responses and reverse on the student's.

    The batch gives "from_teacher", one entry a response; its attention mask, or "token_mask", says which tokens count.
    """
    return alone("distillm2", skew=0.1, student_weight=0.5)


def minillm() -> Terms:
    """MiniLLM, arXiv:2306.08543: reverse KL of whole responses by a policy gradient, clip 0.2; on the student's own.

    The paper adds the loss of language modelling on plain text: a term "cross_entropy" beside it, on such batches.
    """
    return alone("minillm", clip=0.2)


def akl() -> Terms:
    """Adaptive KL, arXiv:2404.02657: forward and reverse KL by where the error lies, the head being half the mass."""
    return alone("adaptive_kl", head_mass=0.5)


def f_distill() -> Terms:
    """f-DISTILL with total variation, arXiv:2307.15190, token by token.

    The paper trains on the teacher's and on the student's own samples in equal parts: the data decide that.
    """
    return alone("tvd")


def dpkd() -> Terms:
    """Direct preference KD, arXiv:2406.19774: prefer the teacher's response, beta 0.1; adapter "response_pairs".

    The paper adds the loss of language modelling, with a weight of its own: a term "cross_entropy" beside it.
    """
    return alone("dpkd", "token_log_probs", beta=0.1)


def uld() -> Terms:
    """Universal logit distillation, arXiv:2402.12030: CE + 1.5 x ULD between tokenizers; adapter "two_tokenizers"."""
    return mixed("uld", 1.5, 1.0)


def ctc_kd() -> Terms:
    """Takashima, Li, Kawai (2018): KL of the CTC posteriors in every frame, the blank being class 0.

    The paper interpolates it with the CTC loss: return that as the student's own loss, and weigh it by a term "own".
    """
    return alone("ctc_kd")


LANGUAGE: Mapping[str, Preset] = {
    "gkd": partial(alone, "generalized_jsd", beta=0.5),
    "distillm": partial(alone, "skew_forward_kl", skew=0.1),
    "distillm_reverse": partial(alone, "skew_reverse_kl", skew=0.1),
    "distillm2": distillm2,
    "minillm": minillm,
    "akl": akl,
    "f_distill": f_distill,
    "top_k": top_k,
    "dpkd": dpkd,
    "uld": uld,
    "gold": gold,
    "ctc_kd": ctc_kd,
}
