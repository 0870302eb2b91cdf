"""What goes wrong for a user when a teacher gives only answers, and they are lost, mistaken or taken for scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

import knowledge_distillation as kd
from knowledge_distillation.errors import CaptureError, ConfigError, ModelContractError, ShapeError
from knowledge_distillation.objective import Term
from knowledge_distillation.teachers import BlackBoxTeacher, LiveTeacher, Teacher, answered_batch
from tests.teachers.language_server import VOCABULARY, CausalModel
from tests.training.toys import CLASSES, identical, loader, mlp, points, quiet_trainer, snapshot

HARD = {"hard": {"loss": "cross_entropy", "teacher": "labels"}}
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]])


def rule(batch: Any) -> Tensor:
    """The class is the number of positive features, up to the last class."""
    return (batch[0] > 0).sum(dim=1).clamp(max=CLASSES - 1)


def trained(teacher: Any, objective: Any, data: Any, epochs: int = 3) -> nn.Module:
    student = mlp()
    quiet_trainer(max_epochs=epochs).fit(kd.DistillationModule(student, teacher, objective, learning_rate=0.02), data)
    return student


def test_its_answers_teach_exactly_as_labels_would() -> None:
    """Otherwise the student learns the data's own labels, or nothing, and the loss falls all the same."""
    inputs = points().tensors[0]
    relabelled = torch.utils.data.TensorDataset(inputs, rule((inputs, None)))
    expected = trained(None, "labels", DataLoader(relabelled, batch_size=8))
    taught = trained(BlackBoxTeacher(rule), HARD, loader())
    assert identical(snapshot(taught), snapshot(expected))
    assert not identical(snapshot(taught), snapshot(trained(None, "labels", loader())))


def test_both_labels_can_teach_side_by_side() -> None:
    """Otherwise the teacher's labels take the place of the data's in every term."""
    signals = kd.Signals(logits=LOGITS.clone().requires_grad_(), labels=torch.tensor([1, 0]))
    answer = BlackBoxTeacher(lambda batch: [0, 2]).signals(None)
    objective = kd.Objective({"own": {"loss": "cross_entropy", "weight": 0.5}, **HARD})
    total, parts = objective(signals, answer)
    torch.testing.assert_close(parts["own"], F.cross_entropy(LOGITS, torch.tensor([1, 0])))
    torch.testing.assert_close(parts["hard"], F.cross_entropy(LOGITS, torch.tensor([0, 2])))
    torch.testing.assert_close(total, 0.5 * parts["own"] + parts["hard"])


def test_the_students_mask_and_unknown_answers_do_not_count() -> None:
    """Otherwise padding is learnt, or "I do not know" as a class."""
    mask = torch.tensor([True, False])
    signals = kd.Signals(logits=LOGITS, mask=mask)
    objective = kd.Objective(HARD)
    expected = F.cross_entropy(LOGITS[:1], torch.tensor([0]))
    torch.testing.assert_close(objective(signals, kd.Signals(labels=torch.tensor([0, 2])))[0], expected)
    unknown = BlackBoxTeacher(lambda batch: [0, -100], classes=3).signals(None)
    torch.testing.assert_close(objective(kd.Signals(logits=LOGITS), unknown)[0], expected)


def test_a_users_own_loss_gets_the_answers_as_the_teachers_signal() -> None:
    """Otherwise only the shipped cross-entropy can learn from a black box."""
    objective = kd.Objective({"hard": Term(nn.CrossEntropyLoss(), teacher="labels")})
    value, _ = objective(kd.Signals(logits=LOGITS), BlackBoxTeacher(lambda batch: [0, 2]).signals(None))
    torch.testing.assert_close(value, F.cross_entropy(LOGITS, torch.tensor([0, 2])))


def test_the_teacher_is_not_asked_where_no_term_reads_its_labels() -> None:
    """Otherwise the control run pays for every call of the interface."""
    teacher = BlackBoxTeacher(lambda batch: pytest.fail("asked"))
    trained(teacher, "labels", loader(), epochs=1)


@pytest.mark.parametrize("objective", ["kd", "soft", "dkd", {"kd": 1.0, **HARD}], ids=str)
def test_an_objective_that_compares_scores_is_refused(objective: Any) -> None:
    """Otherwise a class id is read as a score, or the user sees a missing attribute."""
    module = kd.DistillationModule(mlp(), BlackBoxTeacher(rule), objective)
    with pytest.raises(ConfigError, match=r"only labels are known.*\['logits'\].*\"teacher\": \"labels\""):
        quiet_trainer().fit(module, loader())


def test_labels_of_a_teacher_that_gives_none_are_not_taken_from_the_data() -> None:
    """Otherwise a misunderstanding trains on the data's labels and calls it distillation."""
    teacher = LiveTeacher(mlp())
    teacher.prepare(torch.device("cpu"))
    with pytest.raises(CaptureError, match="'labels'"):
        teacher.signals(points()[:4], ("labels",))
    teacher.release()
    with pytest.raises(ConfigError, match=r"teacher gave no signal named 'labels'"):
        kd.Objective(HARD)(kd.Signals(logits=LOGITS, labels=torch.tensor([1, 0])), kd.Signals(logits=LOGITS))
    with pytest.raises(ConfigError, match="no teacher"):
        kd.DistillationModule(mlp(), None, HARD)


@pytest.mark.parametrize(
    "answer",
    [[0, 2], (0, 2), np.array([0, 2], dtype=np.int32), torch.tensor([0, 2], dtype=torch.uint8)],
    ids=lambda answer: type(answer).__name__,
)
def test_answers_may_be_tensors_arrays_or_lists(answer: Any) -> None:
    """Otherwise every user of an interface writes the same three lines."""
    teacher = BlackBoxTeacher(lambda batch: answer)
    assert isinstance(teacher, Teacher)
    teacher.prepare(torch.device("cpu"))
    labels = teacher.signals(None).labels
    assert labels is not None
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 2]
    teacher.release()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (["cat", "dog"], r"class ids.*got list \(.*words with a table"),
        (LOGITS, r"torch\.float32 \(2, 3\).*argmax"),
        (torch.tensor([True]), r"torch\.bool"),
        (3, r"int64 \(\)"),
        (None, r"NoneType"),
        ([0, 3], r"from 0 to 2.*got 0 to 3"),
        ([0, -1], r"from 0 to 2.*got -1 to 0"),
    ],
    ids=str,
)
def test_an_answer_that_is_no_class_is_refused(answer: Any, message: str) -> None:
    """Otherwise scores are rounded to classes, or CUDA stops with an assertion that names nobody."""
    with pytest.raises(ModelContractError, match=message):
        BlackBoxTeacher(lambda batch: answer, classes=3).signals(None)


def test_answers_for_other_items_are_refused() -> None:
    """Otherwise each answer meets another sample."""
    with pytest.raises(ShapeError, match="labels"):
        kd.Objective(HARD)(kd.Signals(logits=LOGITS), BlackBoxTeacher(lambda batch: [0]).signals(None))


def test_an_answer_without_items_and_a_lower_bound_alone() -> None:
    """Otherwise an empty last batch fails, or a teacher without `classes` may answer -1."""
    labels = BlackBoxTeacher(lambda batch: torch.empty(0, dtype=torch.long)).signals(None).labels
    assert labels is not None
    assert labels.shape == (0,)
    with pytest.raises(ModelContractError, match="0 to the last class"):
        BlackBoxTeacher(lambda batch: [-1]).signals(None)


@pytest.mark.parametrize(
    ("given", "message"), [({"answer": 5}, "answer must be a function"), ({"answer": rule, "classes": 0}, "classes")]
)
def test_a_wrong_setting_is_an_error_at_once(given: dict[str, Any], message: str) -> None:
    """Otherwise it shows up on the first batch."""
    with pytest.raises(ConfigError, match=message):
        BlackBoxTeacher(**given)


def test_the_fingerprint_is_that_of_what_the_user_names() -> None:
    """Otherwise answers to another prompt are taken for this one's."""
    first = BlackBoxTeacher(rule).fingerprint
    assert BlackBoxTeacher(rule).fingerprint == first
    assert BlackBoxTeacher(rule, identity="rule, 2").fingerprint != first
    assert BlackBoxTeacher(lambda batch: rule(batch)).fingerprint != first


PROMPTS, ANSWERS = [[5, 6, 7], [8], [4, 3]], [[9, 1, 2], [1, 6, 6, 6, 2], [2]]


def test_the_texts_of_a_teacher_teach_what_comes_next() -> None:
    """Otherwise the student learns to repeat the token it reads, or to write prompts."""
    batch = answered_batch(PROMPTS, ANSWERS, pad=0)
    assert {name: value.shape for name, value in batch.items()} == dict.fromkeys(batch, (3, 6))
    for row, (prompt, answer) in enumerate(zip(PROMPTS, ANSWERS, strict=True)):
        text = prompt + answer
        assert batch["input_ids"][row].tolist() == text + [0] * (6 - len(text))
        assert batch["attention_mask"][row].tolist() == [1] * len(text) + [0] * (6 - len(text))
        expected = {place: text[place + 1] for place in range(len(prompt) - 1, len(text) - 1)}
        assert {place: label for place, label in enumerate(batch["labels"][row].tolist()) if label != -100} == expected


def test_a_student_learns_to_write_the_teachers_texts() -> None:
    """Otherwise sequence-level distillation is described and does not work."""
    student = CausalModel(seed=8, width=16)
    batch = answered_batch(PROMPTS, ANSWERS, pad=0)
    texts = DataLoader(
        80 * list(zip(PROMPTS, ANSWERS, strict=True)),
        batch_size=3,
        collate_fn=lambda rows: answered_batch(*zip(*rows, strict=True), pad=0),
    )
    quiet_trainer().fit(kd.DistillationModule(student, None, "labels", learning_rate=0.05), texts)
    with torch.no_grad():
        said = student(batch["input_ids"], batch["attention_mask"]).argmax(-1)
    counted = batch["labels"] != -100
    assert torch.equal(said[counted], batch["labels"][counted])
    assert int(said.max()) < VOCABULARY


def test_long_answers_are_cut_and_the_longest_prompt_still_teaches_one_token() -> None:
    """Otherwise one long answer fills the memory."""
    batch = answered_batch(PROMPTS, ANSWERS, pad=0, longest=4)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 9], [8, 1, 6, 6], [4, 3, 2, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 9, -100], [1, 6, 6, -100], [-100, 2, -100, -100]]


@pytest.mark.parametrize(
    ("prompts", "answers", "longest", "message"),
    [
        ([[1]], [], None, "0 answers, 1 prompts"),
        ([], [], None, "0 answers, 0 prompts"),
        ([[1], []], [[2], [2]], None, r"Text 1 has a prompt of 0"),
        ([[1]], [[]], None, r"an answer of 0 tokens"),
        ([[1, 2, 3]], [[4]], 3, r"prompt of 3.*in 3 tokens.*raise longest"),
    ],
)
def test_texts_from_which_nothing_is_learnt_are_refused(
    prompts: Any, answers: Any, longest: int | None, message: str
) -> None:
    """Otherwise a sample counts as trained on and taught nothing."""
    with pytest.raises(ShapeError, match=message):
        answered_batch(prompts, answers, pad=0, longest=longest)
