"""What goes wrong for a user when answers are paired with the wrong labels, or the task is taken for another."""

from __future__ import annotations

import pytest
import torch

from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.evaluation.outputs import dense, rows_of, scores_of
from knowledge_distillation.evaluation.tasks import arrange, find_task, item_values
from knowledge_distillation.losses import TopK
from knowledge_distillation.signals import Signals
from tests.training.toys import seeded

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("scores", "labels", "task"),
    [
        (torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]), "classification"),
        (torch.zeros(4, 3), torch.zeros(4, 1, dtype=torch.long), "classification"),
        (torch.zeros(2, 5, 3), torch.zeros(2, 5, dtype=torch.long), "classification"),
        (torch.zeros(2, 5, 300), torch.zeros(2, 5, dtype=torch.long), "language"),
        (torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.long), "classification"),
        (torch.zeros(4, 3), torch.tensor([[0, 1, 1]] * 4), "multilabel"),
        (torch.zeros(4, 3), torch.tensor([[0.0, 1.0, 1.0]] * 4), "multilabel"),
        (torch.zeros(4, 1), torch.tensor([0, 1, 1, 0]), "multilabel"),
        (torch.zeros(4), torch.tensor([0, 1, 1, 0]), "multilabel"),
        (torch.zeros(4, 3), torch.tensor([[0.2, 0.5, 0.3]] * 4), "classification"),
        (torch.zeros(4, 1), torch.tensor([0.2, 1.5, 0.3, 2.0]), "regression"),
        (torch.zeros(4), torch.tensor([3, 5, 0, 9]), "regression"),
        (torch.zeros(4, 3), None, "classification"),
        (torch.zeros(4, 1), None, "regression"),
        (torch.zeros(2, 5, 300), None, "language"),
    ],
)  # fmt: skip
def test_the_task_is_seen_from_a_batch(scores: torch.Tensor, labels: torch.Tensor | None, task: str) -> None:
    """Otherwise everybody must name it, or a regression is scored by accuracy."""
    assert find_task(scores, labels)[0] == task


def test_labels_that_fit_nothing_are_refused() -> None:
    """Otherwise items and answers are paired wrongly and some number comes out."""
    with pytest.raises(ModelContractError, match="fit no task with logits"):
        find_task(torch.zeros(4, 3), torch.zeros(5, dtype=torch.long))
    with pytest.raises(ModelContractError, match="must fit logits"):
        arrange("classification", torch.zeros(4, 3), torch.zeros(5, dtype=torch.long))
    with pytest.raises(ModelContractError, match="must fit logits"):
        arrange("regression", torch.zeros(4, 3), torch.zeros(4))


def test_pixels_have_their_classes_on_the_second_axis() -> None:
    """Otherwise a segmentation model's columns are taken for its classes."""
    scores, labels = torch.randn(2, 3, 4, 5, generator=seeded(1)), torch.randint(3, (2, 4, 5), generator=seeded(2))
    arranged, told = arrange("classification", scores, labels)
    assert arranged.shape == (2, 4, 5, 3)
    assert torch.equal(arranged.argmax(dim=-1), scores.argmax(dim=1))
    assert torch.equal(told, labels)


def test_padding_and_ignored_labels_count_nowhere() -> None:
    """Otherwise padding, which any model predicts well, lifts the score of a language model."""
    logits = torch.randn(2, 3, 4, generator=seeded(1))
    labels = torch.tensor([[0, -100, 2], [1, 3, 0]])
    mask = torch.tensor([[True, True, True], [True, False, True]])
    said = Signals(logits=logits, labels=labels, mask=mask)
    (rows,) = rows_of("classification", {"one": said, "two": said}, device=CPU, classes=4)
    assert rows.labels.tolist() == [0, 2, 1, 0]
    assert (rows.sample.tolist(), rows.position.tolist()) == ([0, 0, 1, 1], [0, 2, 0, 2])
    assert torch.equal(rows.scores["two"], logits[[0, 0, 1, 1], [0, 2, 0, 2]])


def test_models_of_two_tokenizers_come_apart() -> None:
    """Otherwise the student's third token is compared with the teacher's third, which is another word."""
    short = Signals(logits=torch.zeros(1, 2, 4), labels=torch.tensor([[1, 2]]))
    long = Signals(logits=torch.zeros(1, 3, 5), labels=torch.tensor([[0, 4, -100]]))
    found = list(rows_of("classification", {"student": short, "teacher": long}, device=CPU, classes=5))
    assert [(list(rows.scores), rows.labels.tolist()) for rows in found] == [
        (["student"], [1, 2]),
        (["teacher"], [0, 4]),
    ]


def test_large_vocabularies_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a batch of a language model is copied several times over."""
    from knowledge_distillation.evaluation import outputs

    monkeypatch.setattr(outputs, "PIECE", 8)
    said = Signals(logits=torch.arange(20.0).reshape(5, 4), labels=torch.arange(5) % 4)
    found = list(rows_of("classification", {"one": said}, device=CPU, classes=4))
    assert [len(rows.labels) for rows in found] == [2, 2, 1]
    assert torch.equal(torch.cat([rows.scores["one"] for rows in found]), said.logits)


@pytest.mark.parametrize("label", [4, -1])
def test_a_label_beyond_the_classes_is_an_error(label: int) -> None:
    """Otherwise the models are blamed for labels that are shifted by one."""
    said = Signals(logits=torch.zeros(2, 4), labels=torch.tensor([0, label]))
    with pytest.raises(ConfigError, match=f"from 0 to 3, or -100 for what does not count; found {label}"):
        list(rows_of("classification", {"one": said}, device=CPU, classes=4))


def test_a_sparse_teachers_rest_is_spread_evenly() -> None:
    """Otherwise what a cache keeps of a teacher sums to less than 1, and every likelihood is off."""
    sparse = TopK(
        indices=torch.tensor([[2, 0, 0], [1, 3, 0]]),
        log_probs=torch.tensor([[0.6, 0.2, 0.0], [0.7, 0.1, 0.1]]).log(),
    )
    expected = torch.tensor([[0.2, 0.1, 0.6, 0.1], [0.1, 0.7, 0.1, 0.1]])
    torch.testing.assert_close(dense(sparse, 4).exp(), expected)


def test_log_probabilities_stand_for_logits() -> None:
    """Otherwise a model that gives log-probabilities only cannot be scored."""
    logits = torch.randn(3, 4, generator=seeded(1))
    said = Signals(log_probs=logits.log_softmax(dim=-1))
    torch.testing.assert_close(scores_of(said, "classification").softmax(dim=-1), logits.softmax(dim=-1))
    independent = Signals(log_probs=torch.nn.functional.logsigmoid(logits))
    torch.testing.assert_close(scores_of(independent, "multilabel"), logits)


def test_a_regression_is_judged_by_its_absolute_error_and_labels_by_their_share() -> None:
    """Otherwise slices of a regression show shares of nothing."""
    assert item_values("regression", torch.tensor([[1.0, 5.0]]), torch.tensor([[2.0, 2.0]])).tolist() == [2.0]
    found = item_values("multilabel", torch.tensor([[1.0, -1.0, 1.0]]), torch.tensor([[1, 1, -100]]))
    assert found.tolist() == [0.5]
