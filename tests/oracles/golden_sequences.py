"""How the language-model losses are run against the golden vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from knowledge_distillation.losses.sequences.forward_kl import forward_kl
from knowledge_distillation.losses.sequences.generalized_jsd import generalized_jsd
from knowledge_distillation.losses.sequences.ranking import hinge_ranking, logistic_ranking
from knowledge_distillation.losses.sequences.reverse_kl import reverse_kl
from knowledge_distillation.losses.sequences.skew_kl import skew_forward_kl, skew_reverse_kl
from knowledge_distillation.losses.sequences.spans import align_spans, merge_spans
from knowledge_distillation.losses.sequences.symmetric_kl import symmetric_kl
from knowledge_distillation.losses.sequences.top_k import Tail, TopK, top_k_kl
from knowledge_distillation.losses.sequences.top_k_tvd import top_k_tvd
from knowledge_distillation.losses.sequences.tvd import tvd
from knowledge_distillation.losses.sequences.uld import uld, uld_from_log_probs

if TYPE_CHECKING:
    from tests.oracles.golden import Entry

TAILS: dict[str, Tail] = {"ZERO": "ignore", "SYMMETRIC_UNIFORM": "bucket"}


def logits(entry: Entry) -> tuple[Tensor, Tensor]:
    return entry.tensors["student_logits"], entry.tensors["teacher_logits"]


def labelled(entry: Entry, side: str = "") -> Tensor:
    return entry.tensors[f"{side}labels"] != entry.hyperparameters["ignore_index"]


def teacher_entropy(entry: Entry) -> Tensor:
    """Mean entropy of the counted tokens: what a cross-entropy has more than the divergence."""
    teacher = torch.distributions.Categorical(logits=entry.tensors["teacher_logits"])
    return teacher.entropy()[labelled(entry)].mean()


def cross_entropy_form(entry: Entry) -> Tensor:
    return forward_kl(*logits(entry), mask=labelled(entry)) + teacher_entropy(entry)


def skew_cross_entropy_form(entry: Entry) -> Tensor:
    skew = entry.hyperparameters["lam"]
    return skew_forward_kl(*logits(entry), skew=skew, mask=labelled(entry)) + teacher_entropy(entry)


def symmetric_cross_entropy_form(entry: Entry, forward_weight: float) -> Tensor:
    value = symmetric_kl(*logits(entry), forward_weight=forward_weight, mask=labelled(entry))
    return value + forward_weight * teacher_entropy(entry)


def gjsd(entry: Entry) -> Tensor:
    beta, temperature = (float(entry.hyperparameters[name]) for name in ("beta", "temperature"))
    mask = labelled(entry) if "labels" in entry.tensors else None
    total = generalized_jsd(*logits(entry), beta=beta, temperature=temperature, mask=mask, reduction="sum")
    student = entry.tensors["student_logits"]
    tokens = student[..., 0].numel() if mask is None else mask.sum()
    # without labels the reference divides by the first axis only
    batch = len(student) if mask is None else tokens
    share = {"batchmean": batch, "mean": tokens * student.shape[-1], "sum": 1}[entry.hyperparameters["reduction"]]
    return total / (entry.hyperparameters["num_items_in_batch"] or share)


def js_distance(entry: Entry) -> Tensor:
    return generalized_jsd(*logits(entry), beta=1 - entry.hyperparameters["lam"], mask=labelled(entry))


def with_squared_temperature(loss: Callable[..., Tensor]) -> Callable[[Entry], Tensor]:
    def run(entry: Entry) -> Tensor:
        temperature = entry.hyperparameters["temperature"]
        return loss(*logits(entry), temperature=temperature, mask=entry.tensors.get("mask")) * temperature**2

    return run


def top_k(entry: Entry, temperature: float = 1.0) -> TopK:
    """The teacher's top k, softened as the reference does it: the tail as if it were one class."""
    log_probs = entry.tensors["teacher_topk_logprobs"]
    if not entry.hyperparameters["log_target"]:
        log_probs = log_probs.log()
    if temperature == 1:
        return TopK(indices=entry.tensors["teacher_topk_ids"], log_probs=log_probs)
    log_tail = torch.log1p(-log_probs.exp().sum(dim=-1, keepdim=True))
    softened = torch.log_softmax(torch.cat([log_probs, log_tail], dim=-1) / temperature, dim=-1)
    return TopK(
        indices=entry.tensors["teacher_topk_ids"],
        log_probs=softened[..., :-1],
        log_tail=softened[..., -1],
        temperature=temperature,
    )


def sparse(loss: Callable[..., Tensor]) -> Callable[[Entry], Tensor]:
    def run(entry: Entry) -> Tensor:
        temperature = entry.hyperparameters["temperature"]
        return loss(
            entry.tensors["student_logits"],
            top_k(entry, temperature),
            tail=TAILS[entry.hyperparameters["missing"]],
            temperature=temperature,
            mask=entry.tensors.get("mask"),
            reduction="sum",
        )

    return run


def hinge(entry: Entry) -> Tensor:
    margin = entry.hyperparameters["margin"]
    return hinge_ranking(entry.tensors["student_logits"], top_k(entry), margin=margin, mask=entry.tensors.get("mask"))


def logistic(entry: Entry) -> Tensor:
    return logistic_ranking(entry.tensors["student_logits"], top_k(entry), mask=entry.tensors.get("mask"))


def rows_before(mask: Tensor) -> Tensor:
    """The rows of logits that predict the marked tokens; a span that begins at 0 has no row for its first."""
    return torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)


def mean_of_samples(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over a sample's rows, then over the samples, as the reference codes take it."""
    return (values.sum(dim=1) / counted).mean()


def uld_llm_recipes(entry: Entry) -> Tensor:
    student_rows, teacher_rows = rows_before(labelled(entry, "student_")), rows_before(labelled(entry, "teacher_"))
    values = uld(
        *logits(entry),
        temperature=entry.hyperparameters["student_temperature"],
        teacher_temperature=entry.hyperparameters["teacher_temperature"],
        mask=student_rows,
        teacher_mask=teacher_rows,
        reduction="none",
    )
    counted = torch.minimum(student_rows.sum(dim=1), teacher_rows.sum(dim=1))
    return entry.hyperparameters["distillation_weight"] * mean_of_samples(values, counted)


def uld_trl(entry: Entry) -> Tensor:
    bayesian = entry.hyperparameters["strategy"] == "bayesian"
    marked = [labelled(entry, side) for side in ("student_", "teacher_")]
    if entry.hyperparameters["extended"]:
        return uld_of_spans(entry, *marked)
    if bayesian:
        marked = [rows_before(mask) for mask in marked]
    values = uld(
        *logits(entry),
        temperature=entry.hyperparameters["student_temperature"],
        teacher_temperature=entry.hyperparameters["teacher_temperature"],
        mask=marked[0],
        teacher_mask=marked[1],
        reduction="none",
    )
    counted = torch.minimum(marked[0].sum(dim=1), marked[1].sum(dim=1))
    return entry.hyperparameters["distillation_weight"] * mean_of_samples(values, counted)


def uld_of_spans(entry: Entry, student_marked: Tensor, teacher_marked: Tensor) -> Tensor:
    spans = {side: torch.full_like(entry.tensors[f"{side}_input_ids"], -1) for side in ("student", "teacher")}
    for sample in range(len(student_marked)):
        marked = {"student": student_marked[sample], "teacher": teacher_marked[sample]}
        ends = [entry.tensors[f"{side}_byte_offsets"][sample, marked[side], 1].tolist() for side in marked]
        for side, found in zip(marked, align_spans(*ends), strict=True):
            spans[side][sample, marked[side]] = torch.tensor(found)
    merged = {
        side: merge_spans(
            torch.log_softmax(entry.tensors[f"{side}_logits"] / entry.hyperparameters[f"{side}_temperature"], -1),
            entry.tensors[f"{side}_input_ids"],
            spans[side],
            keep="last" if entry.hyperparameters["strategy"] == "bayesian" else "first",
        )
        for side in spans
    }
    (student, there), (teacher, teacher_there) = merged["student"], merged["teacher"]
    values = uld_from_log_probs(student, teacher, mask=there, teacher_mask=teacher_there, reduction="none")
    return entry.hyperparameters["distillation_weight"] * mean_of_samples(values, there.sum(dim=1))


RUNNERS: dict[str, Callable[[Entry], Tensor]] = {
    "gjsd__trl": gjsd,
    "forward_kl__distillm": cross_entropy_form,
    "forward_kl__minillm": cross_entropy_form,
    "chunked_forward_kl__torchtune": cross_entropy_form,
    "skew_forward_kl__distillm": skew_cross_entropy_form,
    "reverse_kl__distillm": lambda entry: reverse_kl(*logits(entry), mask=labelled(entry)),
    "chunked_reverse_kl__torchtune": lambda entry: reverse_kl(*logits(entry), mask=labelled(entry)),
    "symmetric_kl__distillm": lambda entry: symmetric_cross_entropy_form(entry, 1 - entry.hyperparameters["lam"]),
    "chunked_symmetric_kl__torchtune": lambda entry: symmetric_cross_entropy_form(
        entry, entry.hyperparameters["sym_kd_ratio"]
    ),
    "js_distance__distillm": js_distance,
    "skew_reverse_kl__distillm": lambda entry: skew_reverse_kl(
        *logits(entry), skew=entry.hyperparameters["lam"], mask=labelled(entry)
    ),
    "tvd__distillm": lambda entry: tvd(*logits(entry), mask=labelled(entry)),
    "kl_dense__distillkit": with_squared_temperature(forward_kl),
    "tvd_dense__distillkit": with_squared_temperature(tvd),
    "jsd_dense__distillkit": with_squared_temperature(generalized_jsd),
    "kl_sparse__distillkit": sparse(top_k_kl),
    "tvd_sparse__distillkit": sparse(top_k_tvd),
    "hinge_sparse__distillkit": hinge,
    "logistic_ranking_sparse__distillkit": logistic,
    "uld__trl": uld_trl,
    "uld__llm_recipes": uld_llm_recipes,
}

CHUNKS = {"num_output_chunks": "a sum over tokens does not depend on how they are cut"}
SPARSE = {
    "eps": "it keeps logarithms from 0, which log-space has no need of",
    "chunk_length": "a sum over tokens does not depend on how they are cut",
}
IRRELEVANT: dict[str, dict[str, str]] = {
    "chunked_forward_kl__torchtune": CHUNKS,
    "chunked_reverse_kl__torchtune": CHUNKS,
    "chunked_symmetric_kl__torchtune": CHUNKS,
    "kl_sparse__distillkit": SPARSE,
    "tvd_sparse__distillkit": SPARSE,
}
