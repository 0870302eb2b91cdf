"""Several teachers, each trusted on every sample as far as it is sure there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import Adapter, auto
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.losses.inputs import check_labels, check_positive, full_precision
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers.ensemble import answer_with, mean_of_probabilities
from knowledge_distillation.teachers.members import Members, logits_of
from knowledge_distillation.teachers.teacher import Teacher

By = Literal["labels", "entropy"]


class ConfidentTeacher:
    """The mean of several teachers' probabilities with weights of its own for every sample.

    With K teachers the weight of teacher k is (1 - softmax over the teachers of doubt_k) / (K - 1): the weights of a
    sample sum to 1, and the teacher with the largest doubt counts least. The doubt is the teacher's cross-entropy with
    the label, or its entropy where there is no label.

    Args:
        teachers: at least two Teachers or nn.Modules with the same classes in the same order.
        by: "labels" takes the cross-entropy, and the entropy of samples without a label (`ignore_index`, or none in
            the batch); "entropy" never looks at labels.
        adapter: (model, batch, temperature) -> Signals, for members that are modules.
        temperature: of the loss that reads the answer, > 0; probabilities are averaged at it, doubts taken at 1.
        ignore_index: the label of a sample without one.

    Raises:
        ConfigError: if there are fewer than two teachers, one follows the student, or `by` is unknown.

    Reference: Zhang, Chen, Wang (2022), CA-MKD, arXiv:2201.00007: the weights of the teachers' predictions.

    Differs: the paper knows every label; the entropy for samples without one is added here. The paper's second part,
        weights for intermediate layers, is left out.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher | nn.Module],
        by: By = "labels",
        *,
        adapter: Adapter = auto,
        temperature: float = 1.0,
        ignore_index: int = -100,
    ) -> None:
        if by not in ("labels", "entropy"):
            raise ConfigError(f"Confidence cannot be taken by {by!r}. {nearest(str(by), ('labels', 'entropy'))}")
        self.by: By = by
        self.temperature = check_positive("temperature", temperature)
        self.ignore_index = ignore_index
        self._members = Members(teachers, adapter=adapter, temperature=self.temperature, least=2)

    @property
    def members(self) -> Sequence[Teacher]:
        """The teachers that it is made of."""
        return self._members.teachers

    @property
    def fingerprint(self) -> str:
        """sha256 over the members' fingerprints and the settings."""
        return self._members.fingerprint(self.by, self.temperature, self.ignore_index)

    def prepare(self, device: torch.device) -> None:
        """Move every member to the device and freeze it."""
        self._members.prepare(device)

    def signals(self, batch: Any, wanted: Sequence[str] = ("logits",)) -> Signals:
        """The combined logits, shape [*batch, classes], float32 or float64, without gradient.

        Raises:
            ConfigError: if a layer of the teachers is wanted.
            ShapeError: if the members' logits differ in shape, or labels do not have the shape [*batch].
        """
        answers = self._members.answers(batch, wanted)
        logits = [logits_of(answer, place) for place, answer in enumerate(answers)]
        labels = answers[0].labels if self.by == "labels" else None
        weights = confidence_weights(logits, labels, ignore_index=self.ignore_index)
        combined = mean_of_probabilities(logits, weights.unsqueeze(-1).unbind(), self.temperature)
        return answer_with(combined, answers[0], self.temperature)

    def release(self) -> None:
        """Release every member."""
        self._members.release()


def confidence_weights(logits: Sequence[Tensor], labels: Tensor | None, *, ignore_index: int = -100) -> Tensor:
    """How far each teacher is trusted on each sample.

    Args:
        logits: of each of K >= 2 teachers, shape [*batch, classes].
        labels: class ids or `ignore_index`, shape [*batch]; None takes the entropy everywhere.
        ignore_index: the label of a sample without one.

    Returns:
        Shape [K, *batch], from 0 to 1 / (K - 1), summing to 1 over the teachers.

    Raises:
        ShapeError: if labels do not have the shape [*batch].

    Example:
        >>> import torch
        >>> sure, unsure = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 0.0]])
        >>> confidence_weights([sure, unsure], torch.tensor([0])).squeeze().tolist()[0] > 0.5
        True
    """
    doubts = torch.stack([_doubt(full_precision(scores).log_softmax(-1), labels, ignore_index) for scores in logits])
    return (1 - doubts.softmax(dim=0)) / (len(logits) - 1)


def _doubt(log_probs: Tensor, labels: Tensor | None, ignore_index: int) -> Tensor:
    """Nats, shape [*batch]: the cross-entropy with the label, the entropy where there is none."""
    # 0 * log 0 is 0 for an entropy, and NaN for the machine
    entropy = -(log_probs.exp() * log_probs.clamp(min=torch.finfo(log_probs.dtype).min)).sum(dim=-1)
    if labels is None:
        return entropy
    labels = check_labels(labels, log_probs)
    known = labels != ignore_index
    label = labels.masked_fill(~known, 0).unsqueeze(-1)
    return torch.where(known, -log_probs.gather(-1, label).squeeze(-1), entropy)
