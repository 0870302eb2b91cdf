"""What goes wrong for a user who learns from a teacher with another tokenizer, from the text to the gradient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from torch import Tensor

from knowledge_distillation.capture.adapters import causal_student
from knowledge_distillation.domains.language import jsonl
from knowledge_distillation.domains.language.data import _data, _row
from knowledge_distillation.domains.language.rows import Rows
from knowledge_distillation.domains.language.vocabulary import Vocabulary, resolve
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.objective import as_objective
from knowledge_distillation.signals import Signals
from tests.domains.language import tiny

RECORDS = [
    {"prompt": "the cat", "completion": " sat on the mat."},
    {"prompt": "a dog", "completion": " ran to the cat and the red mat."},
    {"prompt": "the mat is", "completion": " red."},
]
TEXTS = [record["prompt"] + record["completion"] for record in RECORDS]
METHODS = ("uld", "hybrid_uld", "projection_kl")
BOTH = {"pieces and words": (tiny.pieces(TEXTS * 3, 280), tiny.words(TEXTS)),
        "words and pieces": (tiny.words(TEXTS), tiny.pieces(TEXTS * 3, 280)),
        "two kinds of pieces": (tiny.pieces(TEXTS[:1] * 3, 270), tiny.pieces(TEXTS[1:] * 3, 300))}  # fmt: skip


def signals_of(vocabulary: Vocabulary, student: Any, teacher: Any) -> tuple[Signals, Signals, dict[str, Tensor]]:
    rows = Rows(_row(vocabulary, record, 64) for record in RECORDS)
    batch = next(iter(_data({"train": rows}, vocabulary, 64, len(rows), 0, None).train))
    return vocabulary.student_signals(student, batch), vocabulary.teacher_signals(teacher, batch), batch


def objective_of(method: str, vocabulary: Vocabulary, **settings: Any) -> Any:
    asked = {"student_ids": vocabulary.student_ids, "teacher_ids": vocabulary.teacher_ids}
    given = {"uld": {}, "hybrid_uld": asked, "projection_kl": {"projection": vocabulary.projection}}[method]
    return as_objective({"term": {"loss": method, **given, **settings}})


def spans_by_text(batch: dict[str, Tensor], sample: int, vocabulary: Vocabulary) -> list[tuple[list[int], list[int]]]:
    """The places of each span's tokens on both sides, found by decoding ever more tokens until the texts agree."""
    sides = []
    for tokenizer, prefix in ((vocabulary.student, ""), (vocabulary.teacher, "teacher_")):
        places = (batch[prefix + "labels"][sample] != -100).nonzero().flatten().tolist()
        ids = [batch[prefix + "input_ids"][sample, place].item() for place in places]
        sides.append((places, [tokenizer.decode(ids[: end + 1]) for end in range(len(ids))]))
    (ours, our_texts), (theirs, their_texts) = sides
    if our_texts[-1] != their_texts[-1]:  # one of them does not tell spaces
        our_texts, their_texts = ([text.replace(" ", "") for text in texts] for texts in (our_texts, their_texts))
    common = [text for text in our_texts if text in their_texts]
    ends = [(our_texts.index(text) + 1, their_texts.index(text) + 1) for text in common]
    begins = [(0, 0), *ends[:-1]]
    return [(ours[begin[0] : end[0]], theirs[begin[1] : end[1]]) for begin, end in zip(begins, ends, strict=True)]


def by_hand(method: str, vocabulary: Vocabulary, models: tuple[Any, Any], batch: dict[str, Tensor]) -> float:
    """The loss from the models' own probabilities, a loop over spans; see the cases of the laws for the formulas."""
    total, tokens = 0.0, int((batch["labels"][:, 1:] != -100).sum())
    widths = vocabulary.tokens, vocabulary.teacher_tokens
    for sample in range(len(RECORDS)):
        probs = []
        for model, prefix, width in zip(models, ("", "teacher_"), widths, strict=True):
            length = int(batch[prefix + "attention_mask"][sample].sum())
            with torch.no_grad():
                logits = model(input_ids=batch[prefix + "input_ids"][sample : sample + 1, :length]).logits[0]
            probs.append(softmax(logits[:, :width].double().numpy(), -1))
        ids = [batch[prefix + "input_ids"][sample].tolist() for prefix in ("", "teacher_")]
        for places in spans_by_text(batch, sample, vocabulary):
            first = [side[where[0] - 1] for side, where in zip(probs, places, strict=True)]
            rest = [
                float(np.prod([side[at - 1][names[at]] for at in where[1:]]))
                for side, where, names in zip(probs, places, ids, strict=True)
            ]
            shown = [names[where[0]] for names, where in zip(ids, places, strict=True)]
            total += value_by_hand(method, vocabulary, first, rest, shown, [len(where) for where in places])
    return total / tokens


def value_by_hand(
    method: str, vocabulary: Vocabulary, first: list[Any], rest: list[float], shown: list[int], counts: list[int]
) -> float:
    if method == "projection_kl":
        if min(counts) > 1:
            return 0.0
        table = vocabulary.projection.to_dense().double().numpy()
        mass = first[1][shown[1]] * (rest[1] if counts[0] == 1 else 1.0)
        left = first[1].copy()
        left[shown[1]] -= mass
        target = left @ table
        target[shown[0]] += mass
        return float(rel_entr(target / target.sum(), first[0]).sum())
    ours, theirs = first[0] * rest[0], first[1] * rest[1]
    if method == "hybrid_uld":
        own, other = vocabulary.student_ids.numpy(), vocabulary.teacher_ids.numpy()
        pair = np.append(ours[own], 1 - ours[own].sum()), np.append(theirs[other], 1 - theirs[other].sum())
        kl = float(rel_entr(pair[1], pair[0]).sum())  # beta 0
        return 0.25 * kl + 0.75 * ranked(np.delete(ours, own), np.delete(theirs, other))
    return ranked(ours, theirs)


def ranked(ours: Any, theirs: Any) -> float:
    width = max(len(ours), len(theirs))
    sides = [np.sort(np.pad(side, (0, width - len(side)))) for side in (ours, theirs)]
    return float(np.abs(sides[0] - sides[1]).sum())


SETTINGS: dict[str, dict[str, Any]] = {"hybrid_uld": {"beta": 0.0, "matched_weight": 0.25}}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pair", BOTH)
def test_the_loss_is_that_of_the_spans_of_the_text(method: str, pair: str) -> None:
    """Otherwise rows are shifted, or tokens paired by place, and the student learns one word for another."""
    vocabulary = resolve(*BOTH[pair])
    assert vocabulary.kind == "foreign"
    student, teacher = (
        tiny.llama(vocabulary.tokens + 5, seed=1),
        tiny.llama(vocabulary.teacher_tokens + 3, seed=2),
    )
    said, taught, batch = signals_of(vocabulary, student, teacher)
    found, _ = objective_of(method, vocabulary, **SETTINGS.get(method, {}))(said, taught)
    expected = by_hand(method, vocabulary, (student, teacher), batch)
    assert expected > 0
    assert found.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_student_alone_gets_gradient_and_padding_none(method: str) -> None:
    """Otherwise the teacher is trained, or the student learns to answer with what is no token."""
    vocabulary = resolve(*BOTH["pieces and words"])
    student, teacher = tiny.llama(vocabulary.tokens + 5, seed=1), tiny.llama(vocabulary.teacher_tokens + 3, seed=2)
    said, taught, _ = signals_of(vocabulary, student, teacher)
    total, _ = objective_of(method, vocabulary)(said, taught)
    total.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in teacher.parameters())
    gradient = student.lm_head.weight.grad
    assert gradient is not None
    assert bool((gradient[vocabulary.tokens :] == 0).all())
    assert bool(gradient[: vocabulary.tokens].any())


@pytest.mark.parametrize(
    ("method", "settings"), [("hybrid_uld", {"beta": 0.0, "matched_weight": 1.0}), ("projection_kl", {})]
)
def test_where_all_tokens_are_shared_the_loss_is_that_of_one_tokenizer(method: str, settings: dict[str, Any]) -> None:
    """Otherwise a foreign tokenizer costs something even where it says the same."""
    own, theirs = tiny.letters(), tiny.letters(tiny.LETTERS[::-1])
    vocabulary, alike = Vocabulary(own, theirs, "foreign"), resolve(own, theirs)
    assert alike.kind == "reordered"
    student, teacher = tiny.llama(len(own) + 2, seed=1), tiny.llama(len(own) + 4, seed=2)
    said, taught, batch = signals_of(vocabulary, student, teacher)
    found, _ = objective_of(method, vocabulary, **settings)(said, taught)
    plain = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    expected, _ = as_objective({"forward_kl": 1.0})(
        alike.student_signals(student, plain), alike.teacher_signals(teacher, plain)
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = [torch.autograd.grad(value, student.lm_head.weight)[0] for value in (found, expected)]
    assert torch.allclose(*gradients, atol=1e-6)


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    """Otherwise accumulated gradients are those of another loss, since a text has fewer spans than tokens."""
    vocabulary = resolve(*BOTH["two kinds of pieces"])
    student, teacher = tiny.llama(vocabulary.tokens, seed=1), tiny.llama(vocabulary.teacher_tokens, seed=2)
    _, _, batch = signals_of(vocabulary, student, teacher)
    for method in METHODS:
        objective = objective_of(method, vocabulary)
        values, counts = [], []
        for part in (slice(None), slice(0, 1), slice(1, 3)):
            some = {name: entry[part] for name, entry in batch.items()}
            said = vocabulary.student_signals(student, some)
            total, _ = objective(said, vocabulary.teacher_signals(teacher, some))
            assert said.mask is not None
            values.append(total.item())
            counts.append(int(said.mask.sum()))
        parts = sum(value * count for value, count in zip(values[1:], counts[1:], strict=True))
        assert parts / counts[0] == pytest.approx(values[0], rel=1e-5)


def test_a_foreign_teacher_does_not_read_the_students_ids() -> None:
    """Otherwise a batch without the teacher's tokens, as on-policy training writes it, is read as other words."""
    vocabulary = resolve(*BOTH["pieces and words"])
    ids = torch.tensor([[1, 2, 3]])
    with pytest.raises(ModelContractError, match=r"no 'teacher_input_ids'.*on-policy"):
        vocabulary.teacher_signals(tiny.llama(vocabulary.tokens), {"input_ids": ids})


def test_spans_without_the_teachers_side_are_refused() -> None:
    """Otherwise tokens are paired by place in silence, where the data meant spans."""
    vocabulary = resolve(*BOTH["pieces and words"])
    student, teacher = tiny.llama(vocabulary.tokens, seed=1), tiny.llama(vocabulary.teacher_tokens, seed=2)
    _, taught, batch = signals_of(vocabulary, student, teacher)
    with pytest.raises(ConfigError, match=r"labels, spans, teacher_labels, teacher_spans together"):
        objective_of("uld", vocabulary)(causal_student(student, batch), taught)


def test_records_come_with_their_spans(tmp_path: Path) -> None:
    """Otherwise a recipe pairs tokens by place, where it could pair them by text."""
    place = tmp_path / "records.jsonl"
    place.write_text("\n".join(map(json.dumps, RECORDS)))
    folders = [tiny.saved(tmp_path / str(n), tokenizer=one) for n, one in enumerate(BOTH["pieces and words"])]
    data = jsonl(path=str(place), tokenizer=folders[0], teacher_tokenizer=folders[1], validation=0.3)
    batch = next(iter(data.train))
    for prefix in ("", "teacher_"):
        spans, labels = batch[prefix + "spans"], batch[prefix + "labels"]
        assert spans.shape == labels.shape
        assert bool((spans[:, -1] == -1).all())
        assert bool((labels[:, 1:][spans[:, :-1] >= 0] != -100).all())


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_without_a_common_span_trains_nothing(method: str) -> None:
    """Otherwise one text on which the tokenizers never meet makes every weight NaN."""
    vocabulary = resolve(*BOTH["pieces and words"])
    student, teacher = tiny.llama(vocabulary.tokens, seed=1), tiny.llama(vocabulary.teacher_tokens, seed=2)
    _, taught, batch = signals_of(vocabulary, student, teacher)
    batch = {**batch, "spans": torch.full_like(batch["spans"], -1)}
    total, _ = objective_of(method, vocabulary)(vocabulary.student_signals(student, batch), taught)
    total.backward()  # type: ignore[no-untyped-call]
    assert total.item() == 0.0
    assert all(not parameter.grad.any() for parameter in student.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("method", METHODS)
def test_a_teacher_in_half_precision_says_nearly_the_same(method: str) -> None:
    """Otherwise a large teacher that fits only in bfloat16 is an error about dtypes, or another loss."""
    vocabulary = resolve(*BOTH["words and pieces"])
    student, teacher = tiny.llama(vocabulary.tokens, seed=1), tiny.llama(vocabulary.teacher_tokens, seed=2)
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        said, taught, _ = signals_of(vocabulary, student, teacher.to(dtype))
        found.append(objective_of(method, vocabulary)(said, taught)[0].item())
    assert found[1] == pytest.approx(found[0], rel=0.03)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pair", BOTH)
def test_the_student_comes_nearer_to_the_teacher(method: str, pair: str) -> None:
    """Otherwise the loss is a number that is logged, and its gradient leads nowhere."""
    vocabulary = resolve(*BOTH[pair])
    student, teacher = tiny.llama(vocabulary.tokens, seed=1), tiny.llama(vocabulary.teacher_tokens, seed=2)
    _, taught, batch = signals_of(vocabulary, student, teacher)
    objective = objective_of(method, vocabulary)
    optimiser = torch.optim.Adam(student.parameters(), lr=0.01)
    values = []
    for _ in range(40):
        total, _ = objective(vocabulary.student_signals(student, batch), taught)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        values.append(total.item())
    assert values[-1] < 0.95 * values[0]  # by more it cannot where one token stands for several of the teacher's
