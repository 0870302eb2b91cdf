"""Cases of the losses for language models and other sequences."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import wasserstein_distance

from tests.laws.case import Case, Inputs

VOCABULARY = 11
# ids of the tokens that a student's and a teacher's vocabulary share
STUDENT_IDS, TEACHER_IDS = [0, 2, 3, 7, 10], [4, 2, 9, 0, 1]

Array = np.ndarray[Any, Any]


def items(generator: torch.Generator, batch: int) -> Inputs:
    student, teacher = torch.randn(2, batch, VOCABULARY, generator=generator, dtype=torch.float64) * 2
    return Inputs(student=student, teacher=teacher)


def tokens(generator: torch.Generator, batch: int) -> Inputs:
    student, teacher = torch.randn(2, batch, 4, VOCABULARY, generator=generator, dtype=torch.float64) * 2
    return Inputs(student=student, teacher=teacher)


def both(inputs: Inputs, settings: Mapping[str, Any]) -> tuple[Array, Array]:
    """Student's and teacher's softened probabilities."""
    temperature = settings.get("temperature", 1.0)
    return softmax(inputs.student.numpy() / temperature, -1), softmax(inputs.teacher.numpy() / temperature, -1)


def kl(first: Array, second: Array) -> Array:
    return rel_entr(first, second).sum(-1)


def reverse_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    student, teacher = both(inputs, settings)
    return float(kl(student, teacher).mean())


def symmetric_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    student, teacher = both(inputs, settings)
    weight = settings["forward_weight"]
    return float((weight * kl(teacher, student) + (1 - weight) * kl(student, teacher)).mean())


def jsd(student: Array, teacher: Array, beta: float) -> Array:
    if beta == 0:
        return kl(teacher, student)
    if beta == 1:
        return kl(student, teacher)
    mixture = beta * teacher + (1 - beta) * student
    return beta * kl(teacher, mixture) + (1 - beta) * kl(student, mixture)


def jsd_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    return float(jsd(*both(inputs, settings), settings["beta"]).mean())


def skew_forward_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    student, teacher = both(inputs, settings)
    return float(kl(teacher, settings["skew"] * teacher + (1 - settings["skew"]) * student).mean())


def skew_reverse_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    student, teacher = both(inputs, settings)
    return float(kl(student, (1 - settings["skew"]) * teacher + settings["skew"] * student).mean())


def tvd_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    student, teacher = both(inputs, settings)
    # the mass by which the teacher exceeds the student is the largest difference that any event can have
    return float(np.maximum(teacher - student, 0).sum(-1).mean())


def adaptive_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    values = []
    for student, teacher in zip(*(side.reshape(-1, side.shape[-1]) for side in both(inputs, settings)), strict=True):
        head = tail = mass = 0.0
        for rank, place in enumerate(np.argsort(-teacher)):
            mass += teacher[place]
            error = abs(teacher[place] - student[place])
            if rank == 0 or mass <= settings["head_mass"]:
                head += error
            else:
                tail += error
        values.append((head * kl(teacher, student) + tail * kl(student, teacher)) / (head + tail))
    return float(np.mean(values))


def sparse(inputs: Inputs, settings: Mapping[str, Any]) -> list[tuple[Array, Array]]:
    """For each item the student's and the teacher's masses of the outcomes that the loss compares."""
    outcomes = []
    for student, teacher in zip(*(side.reshape(-1, side.shape[-1]) for side in both(inputs, settings)), strict=True):
        top = np.argsort(-teacher)[: settings["k"]]
        rest = [place for place in range(len(teacher)) if place not in top]
        student_rest, teacher_rest = math.fsum(student[rest]), math.fsum(teacher[rest])
        if settings.get("tail", "bucket") == "bucket":
            outcomes.append((np.append(student[top], student_rest), np.append(teacher[top], teacher_rest)))
        elif settings["tail"] == "renormalise":
            outcomes.append((student[top] / student[top].sum(), teacher[top] / teacher[top].sum()))
        else:
            outcomes.append((np.append(student[top], student_rest), np.append(teacher[top] / teacher[top].sum(), 0)))
    return outcomes


def top_k_kl_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    return float(np.mean([kl(teacher, student) for student, teacher in sparse(inputs, settings)]))


def top_k_tvd_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    return float(np.mean([np.maximum(teacher - student, 0).sum() for student, teacher in sparse(inputs, settings)]))


def nothing_outside(inputs: Inputs) -> Inputs:
    """Both sides agree and know five classes only: where ignoring the tail ignores nothing."""
    known = inputs.student.clone()
    known[..., 5:] = -300.0
    return replace(inputs, student=known, teacher=known.clone())


def ranking_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    values = []
    probabilities = both(inputs, {})
    rows = zip(*(side.reshape(-1, side.shape[-1]) for side in [*probabilities, inputs.student.numpy()]), strict=True)
    for student, teacher, scores in rows:
        top = np.argsort(-teacher)[: settings["k"]]
        losses = []
        for better in top:
            for worse in top:
                if teacher[better] > teacher[worse]:
                    if "margin" in settings:
                        margin = settings["margin"]
                        wanted = teacher[better] - teacher[worse] if margin is None else margin
                        losses.append(max(0.0, wanted - (student[better] - student[worse])))
                    else:
                        losses.append(math.log1p(math.exp(scores[worse] - scores[better])))
        values.append(np.mean(losses))
    return float(np.mean(values))


def far_apart(inputs: Inputs) -> Inputs:
    """Both sides agree, and their three most likely classes lie further apart than the margin."""
    known = torch.full_like(inputs.student, -300.0)
    known[..., [6, 1, 4]] = torch.tensor([0.6, 0.3, 0.1], dtype=known.dtype).log()
    return replace(inputs, student=known, teacher=known.clone())


def samples(generator: torch.Generator, batch: int) -> Inputs:
    student = torch.randn(batch, 4, VOCABULARY, generator=generator, dtype=torch.float64) * 2
    ids = torch.randint(0, VOCABULARY, (batch, 4, 5), generator=generator)
    counts = torch.randint(0, 4, (batch, 4, 5), generator=generator).double()
    counts[..., 0] += 1
    return Inputs(student=student, teacher=ids, needs={"counts": counts})


def samples_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    log_probs = log_softmax(inputs.student.numpy() / settings["temperature"], -1).reshape(-1, VOCABULARY)
    ids, counts = inputs.teacher.numpy().reshape(-1, 5), inputs.needs["counts"].numpy().reshape(-1, 5)
    values = []
    for row, drawn, times in zip(log_probs, ids, counts, strict=True):
        every = [row[name] for name, count in zip(drawn, times, strict=True) for _ in range(int(count))]
        values.append(-np.mean(every))
    return float(np.mean(values))


def wider_teacher(generator: torch.Generator, batch: int) -> Inputs:
    student = torch.randn(batch, 4, VOCABULARY, generator=generator, dtype=torch.float64) * 2
    teacher = torch.randn(batch, 4, VOCABULARY + 3, generator=generator, dtype=torch.float64) * 2
    return Inputs(student=student, teacher=teacher)


def longer_teacher(generator: torch.Generator, batch: int) -> Inputs:
    """The student's four tokens meet the teacher's first four of five that count, at odd places."""
    student = torch.randn(batch, 4, VOCABULARY, generator=generator, dtype=torch.float64) * 2
    teacher = torch.randn(batch, 7, VOCABULARY - 2, generator=generator, dtype=torch.float64) * 2
    counted = torch.rand(batch, 7, generator=generator).argsort(1) < 5
    return Inputs(student=student, teacher=teacher, needs={"teacher_mask": counted})


def uld_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    temperature = settings["temperature"]
    student = softmax(inputs.student.numpy() / temperature, -1)
    teacher = softmax(inputs.teacher.numpy() / (settings.get("teacher_temperature") or temperature), -1)
    values = []
    for sample in range(len(student)):
        rows = teacher[sample]
        if "teacher_mask" in inputs.needs:
            rows = rows[inputs.needs["teacher_mask"][sample].numpy()]
        values += [ranked(first, second) for first, second in zip(student[sample], rows, strict=False)]
    return float(np.mean(values))


def ranked(first: Array, second: Array) -> float:
    """L1 between sorted masses: the width of the padded vocabulary times the Wasserstein distance of its masses."""
    width = max(len(first), len(second))
    padded = [np.pad(side, (0, width - len(side))) for side in (first, second)]
    return width * wasserstein_distance(*padded)


def uld_log_probs(generator: torch.Generator, batch: int) -> Inputs:
    inputs = tokens(generator, batch)
    return replace(inputs, student=inputs.student.log_softmax(-1) - 0.5, teacher=inputs.teacher.log_softmax(-1) - 0.2)


def uld_log_probs_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    sides = (np.exp(side.numpy()).reshape(-1, VOCABULARY) for side in (inputs.student, inputs.teacher))
    return float(
        np.mean([np.abs(np.sort(first) - np.sort(second)).sum() for first, second in zip(*sides, strict=True)])
    )


def hybrid_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    student, teacher = both(inputs, settings)
    weight = settings.get("matched_weight")
    if weight is None:
        weight = len(TEACHER_IDS) / teacher.shape[-1]
    values = []
    for first, second in zip(
        student.reshape(-1, student.shape[-1]), teacher.reshape(-1, teacher.shape[-1]), strict=True
    ):
        unmatched = np.delete(first, STUDENT_IDS), np.delete(second, TEACHER_IDS)
        outcomes = np.append(first[STUDENT_IDS], unmatched[0].sum()), np.append(second[TEACHER_IDS], unmatched[1].sum())
        values.append(weight * jsd(*outcomes, settings["beta"]) + (1 - weight) * ranked(*unmatched))
    return float(np.mean(values))


def same_by_the_ids(inputs: Inputs) -> Inputs:
    """The teacher says what the student says, with the student's tokens renamed."""
    teacher = torch.empty_like(inputs.student)
    teacher[..., TEACHER_IDS] = inputs.student[..., STUDENT_IDS]
    others = [[name for name in range(VOCABULARY) if name not in ids] for ids in (STUDENT_IDS, TEACHER_IDS)]
    teacher[..., others[1]] = inputs.student[..., others[0]]
    return replace(inputs, teacher=teacher)


def responses(generator: torch.Generator, batch: int) -> Inputs:
    inputs = tokens(generator, batch)
    author = torch.rand(batch, generator=generator) < 0.5
    length = torch.randint(1, 5, (batch, 1), generator=generator)
    return replace(inputs, needs={"from_teacher": author, "token_mask": torch.arange(4) < length})


def distillm2_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    student, teacher = both(inputs, settings)
    skew, weight = settings["skew"], settings.get("student_weight", 0.5)
    values = []
    for response, author in enumerate(inputs.needs["from_teacher"].tolist()):
        own = inputs.needs["token_mask"][response].numpy()
        ours, theirs = student[response][own], teacher[response][own]
        if author:
            values.append(2 * (1 - weight) * kl(theirs, skew * theirs + (1 - skew) * ours).mean())
        else:
            values.append(2 * weight * kl(ours, skew * ours + (1 - skew) * theirs).mean())
    return float(np.mean(values))


def pairs(generator: torch.Generator, batch: int) -> Inputs:
    student, teacher = torch.randn(2, batch, 2, 5, generator=generator, dtype=torch.float64).abs().neg() * 3
    length = torch.randint(1, 6, (batch, 2, 1), generator=generator)
    return Inputs(student=student, teacher=teacher, needs={"token_mask": torch.arange(5) < length})


def dpkd_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    values = []
    for student, teacher, own in zip(inputs.student, inputs.teacher, inputs.needs["token_mask"], strict=True):
        rewards = []
        for response in range(2):
            ratios = (student[response] - teacher[response])[own[response]].tolist()
            scale = len(ratios) if settings.get("length_normalised", True) else 1
            rewards.append(settings["beta"] * math.fsum(ratios) / scale)
        values.append(-math.log(1 / (1 + math.exp(rewards[1] - rewards[0]))))
    return float(np.mean(values))


def written(generator: torch.Generator, batch: int) -> Inputs:
    """Responses of up to 4 tokens that a student drew, in part from another mixture than it is now."""
    inputs = tokens(generator, batch)
    labels = torch.randint(VOCABULARY, (batch, 4), generator=generator)
    drawn = torch.rand(batch, 4, generator=generator, dtype=torch.float64).clamp(min=0.05).log()
    return replace(inputs, needs={"labels": labels, "sampled_log_probs": drawn})


def written_just_now(generator: torch.Generator, batch: int) -> Inputs:
    inputs = written(generator, batch)
    return replace(inputs, needs={"labels": inputs.needs["labels"]})


def minillm_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    students, teachers = (log_softmax(side.numpy(), -1) for side in (inputs.student, inputs.teacher))
    low, high = 1 - settings["clip"], 1 + settings["clip"]
    values = []
    for row, (student, teacher) in enumerate(zip(students, teachers, strict=True)):
        said = [int(label) for label in inputs.needs["labels"][row]]
        places = range(len(said))
        rewards = {place: teacher[place][said[place]] - student[place][said[place]] for place in places}
        for place in places:
            log_prob = student[place][said[place]]
            drawn = inputs.needs["sampled_log_probs"][row][place] if "sampled_log_probs" in inputs.needs else log_prob
            weight = math.exp(log_prob - float(drawn))
            later = [rewards[other] for other in places if other > place]
            reward = math.fsum(later) / len(later) if later else 0.0
            divergence = float(kl(np.exp(student[place]), np.exp(teacher[place])))
            values.append(weight * divergence - min(weight * reward, min(max(weight, low), high) * reward))
    return float(np.mean(values))


def frames(generator: torch.Generator, batch: int) -> Inputs:
    """Peaked posteriors as CTC models have: mostly blank (class 0), here and there a label."""
    student, teacher = torch.randn(2, batch, 9, 6, generator=generator, dtype=torch.float64)
    teacher[..., 0] += 2.0
    return Inputs(student=student, teacher=teacher)


def ctc_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    student, teacher = both(inputs, settings)
    blank, context = settings.get("blank", 0), settings.get("blank_context")
    total = 0.0
    for sample in range(len(student)):
        labels = [frame for frame, row in enumerate(teacher[sample]) if row.argmax() != blank % len(row)]
        for frame, (ours, theirs) in enumerate(zip(student[sample], teacher[sample], strict=True)):
            if context is not None and all(abs(frame - label) > context for label in labels):
                continue
            if settings.get("remove_blank"):
                ours, theirs = (np.delete(row, blank) / np.delete(row, blank).sum() for row in (ours, theirs))
            total += float(kl(theirs, ours))
    return total / (student.shape[0] * student.shape[1])


FUSED = {
    "forward_kl": lambda inputs, settings: float(kl(*reversed(both(inputs, settings))).mean()),
    "reverse_kl": reverse_oracle,
    "generalized_jsd": jsd_oracle,
    "skew_forward_kl": skew_forward_oracle,
    "skew_reverse_kl": skew_reverse_oracle,
    "tvd": tvd_oracle,
}


def fused_oracle(inputs: Inputs, settings: Mapping[str, Any]) -> float:
    return settings.get("soft_weight", 1.0) * FUSED[settings["divergence"]](inputs, settings)


IDS = {"student_ids": STUDENT_IDS, "teacher_ids": TEACHER_IDS}

CASES = [
    Case(name="reverse_kl", inputs=items, oracle=reverse_oracle, settings={"temperature": 1.0}),
    Case(
        name="reverse_kl",
        inputs=tokens,
        oracle=reverse_oracle,
        settings={"temperature": 2.0},
        item_axes=2,
        label="tokens",
    ),
    Case(
        name="symmetric_kl",
        inputs=tokens,
        oracle=symmetric_oracle,
        settings={"forward_weight": 0.1, "temperature": 1.0},
        item_axes=2,
    ),
    Case(
        name="generalized_jsd",
        inputs=tokens,
        oracle=jsd_oracle,
        settings={"beta": 0.5, "temperature": 1.0},
        item_axes=2,
    ),
    Case(
        name="generalized_jsd",
        inputs=items,
        oracle=jsd_oracle,
        settings={"beta": 0.1, "temperature": 2.0},
        label="near_forward",
    ),
    Case(
        name="generalized_jsd",
        inputs=items,
        oracle=jsd_oracle,
        settings={"beta": 0.0, "temperature": 1.0},
        label="forward",
    ),
    Case(
        name="generalized_jsd",
        inputs=items,
        oracle=jsd_oracle,
        settings={"beta": 1.0, "temperature": 1.0},
        label="reverse",
    ),
    Case(
        name="skew_forward_kl",
        inputs=tokens,
        oracle=skew_forward_oracle,
        settings={"skew": 0.1, "temperature": 1.0},
        item_axes=2,
    ),
    Case(
        name="skew_reverse_kl",
        inputs=tokens,
        oracle=skew_reverse_oracle,
        settings={"skew": 0.1, "temperature": 1.0},
        item_axes=2,
    ),
    *(
        Case(
            name="fused_divergence",
            inputs=tokens,
            oracle=fused_oracle,
            settings={"divergence": divergence, "beta": 0.3, "skew": 0.1, "temperature": temperature, "chunk_size": 3},
            item_axes=2,
            label=divergence,
        )
        for divergence, temperature in [
            ("forward_kl", 1.0),
            ("reverse_kl", 2.0),
            ("generalized_jsd", 1.0),
            ("skew_forward_kl", 1.0),
            ("skew_reverse_kl", 1.0),
            ("tvd", 1.0),
        ]
    ),
    Case(name="tvd", inputs=tokens, oracle=tvd_oracle, settings={"temperature": 1.0}, item_axes=2),
    Case(
        name="adaptive_kl",
        inputs=tokens,
        oracle=adaptive_oracle,
        settings={"head_mass": 0.5, "temperature": 1.0},
        item_axes=2,
    ),
    Case(
        name="top_k_kl",
        inputs=tokens,
        oracle=top_k_kl_oracle,
        settings={"k": 4, "tail": "bucket", "temperature": 1.0},
        item_axes=2,
    ),
    Case(
        name="top_k_kl",
        inputs=tokens,
        oracle=top_k_kl_oracle,
        settings={"k": 4, "tail": "renormalise", "temperature": 2.0},
        item_axes=2,
        label="renormalise",
    ),
    Case(
        name="top_k_kl",
        inputs=tokens,
        oracle=top_k_kl_oracle,
        settings={"k": 5, "tail": "ignore", "temperature": 1.0},
        item_axes=2,
        equality=nothing_outside,
        label="ignore",
    ),
    Case(
        name="top_k_tvd",
        inputs=tokens,
        oracle=top_k_tvd_oracle,
        settings={"k": 4, "tail": "bucket", "temperature": 1.0},
        item_axes=2,
    ),
    Case(
        name="top_k_tvd",
        inputs=items,
        oracle=top_k_tvd_oracle,
        settings={"k": 3, "tail": "renormalise", "temperature": 2.0},
        label="renormalise",
    ),
    Case(
        name="top_k_tvd",
        inputs=items,
        oracle=top_k_tvd_oracle,
        settings={"k": 5, "tail": "ignore", "temperature": 1.0},
        equality=nothing_outside,
        label="ignore",
    ),
    Case(name="hinge_ranking", inputs=tokens, oracle=ranking_oracle, settings={"k": 5, "margin": None}, item_axes=2),
    Case(
        name="hinge_ranking",
        inputs=items,
        oracle=ranking_oracle,
        settings={"k": 3, "margin": 0.1},
        equality=far_apart,
        label="fixed_margin",
    ),
    Case(name="logistic_ranking", inputs=tokens, oracle=ranking_oracle, settings={"k": 5}, item_axes=2),
    Case(
        name="sampled_cross_entropy",
        inputs=samples,
        oracle=samples_oracle,
        settings={"temperature": 1.5},
        item_axes=2,
    ),
    Case(name="uld", inputs=tokens, oracle=uld_oracle, settings={"temperature": 1.0}, item_axes=2),
    Case(
        name="uld",
        inputs=wider_teacher,
        oracle=uld_oracle,
        settings={"temperature": 1.0, "teacher_temperature": 2.0},
        item_axes=2,
        label="wider_teacher",
    ),
    Case(
        name="uld",
        inputs=longer_teacher,
        oracle=uld_oracle,
        settings={"temperature": 1.0},
        item_axes=2,
        label="longer_teacher",
    ),
    Case(name="uld_from_log_probs", inputs=uld_log_probs, oracle=uld_log_probs_oracle, item_axes=2),
    Case(
        name="hybrid_uld",
        inputs=tokens,
        oracle=hybrid_oracle,
        settings={**IDS, "beta": 0.5, "temperature": 1.0},
        item_axes=2,
        fixed_width=True,
        equality=same_by_the_ids,
    ),
    Case(
        name="hybrid_uld",
        inputs=tokens,
        oracle=hybrid_oracle,
        settings={**IDS, "beta": 0.0, "matched_weight": 0.7, "temperature": 2.0},
        item_axes=2,
        fixed_width=True,
        equality=same_by_the_ids,
        label="forward",
    ),
    Case(
        name="distillm2",
        inputs=responses,
        oracle=distillm2_oracle,
        settings={"skew": 0.1, "student_weight": 0.7, "temperature": 1.0},
    ),
    Case(name="dpkd", inputs=pairs, oracle=dpkd_oracle, settings={"beta": 0.1}),
    Case(
        name="dpkd", inputs=pairs, oracle=dpkd_oracle, settings={"beta": 0.5, "length_normalised": False}, label="sums"
    ),
    Case(
        name="minillm",
        inputs=written,
        oracle=minillm_oracle,
        settings={"clip": 0.2},
        item_axes=2,
        neighbours_meet=True,
    ),
    Case(
        name="minillm",
        inputs=written_just_now,
        oracle=minillm_oracle,
        settings={"clip": 0.5},
        item_axes=2,
        neighbours_meet=True,
        label="drawn_just_now",
    ),
    Case(name="ctc_kd", inputs=frames, oracle=ctc_oracle, settings={"temperature": 1.0}, item_axes=2),
    Case(
        name="ctc_kd",
        inputs=frames,
        oracle=ctc_oracle,
        settings={"blank": 0, "blank_context": 1, "temperature": 2.0},
        item_axes=2,
        neighbours_meet=True,
        label="near_labels",
    ),
    Case(
        name="ctc_kd",
        inputs=frames,
        oracle=ctc_oracle,
        settings={"blank": -1, "blank_context": 0, "remove_blank": True, "temperature": 1.0},
        item_axes=2,
        label="labels_only",
    ),
]
