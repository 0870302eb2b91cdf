"""Several teachers as one: the weighted mean of what they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, Literal

import torch
from torch import Tensor, nn

from knowledge_distillation.accepted import is_finite_number
from knowledge_distillation.capture.adapters import Adapter, auto
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.losses.inputs import check_positive, full_precision
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers.members import Members, logits_of
from knowledge_distillation.teachers.teacher import Teacher

Combine = Literal["probabilities", "logits"]


class EnsembleTeacher:
    """The weighted mean of several teachers, as one teacher. Every member is asked on every batch.

    With combine="probabilities" the answer's logits are temperature * log(mean of softmax(logits / temperature)): a
    loss at that temperature sees exactly the mean of the members' softened outputs. At any other temperature it sees
    that mean sharpened or flattened, which is not the mean of outputs softened there. With combine="logits" the scores
    themselves are averaged, which is the normalised geometric mean of the outputs at every temperature.

    Args:
        teachers: Teachers or nn.Modules with the same classes in the same order.
        weights: one for each, > 0, in any unit; None counts all alike.
        combine: "probabilities" (arithmetic mean) or "logits" (geometric mean).
        adapter: (model, batch, temperature) -> Signals, for members that are modules.
        temperature: of the loss that reads the answer, > 0; handed to the adapter as well.

    Raises:
        ConfigError: if there is no teacher, one follows the student, or the weights do not fit.

    Reference: Hinton, Vinyals, Dean (2015), arXiv:1503.02531, section 2: "either an arithmetic or geometric mean of
        their individual predictive distributions"; the mean of softened outputs: You, Xu, Xu, Tao (2017), Learning
        from Multiple Teacher Networks, KDD.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher | nn.Module],
        weights: Sequence[float] | None = None,
        combine: Combine = "probabilities",
        *,
        adapter: Adapter = auto,
        temperature: float = 1.0,
    ) -> None:
        self.temperature = check_positive("temperature", temperature)
        if combine not in COMBINATIONS:
            raise ConfigError(f"There is no way to combine named {combine!r}. {nearest(str(combine), COMBINATIONS)}")
        self.combine: Combine = combine
        self._members = Members(teachers, adapter=adapter, temperature=self.temperature)
        self.weights = _shares(weights, len(self._members))

    @property
    def members(self) -> Sequence[Teacher]:
        """The teachers that it is made of."""
        return self._members.teachers

    @property
    def fingerprint(self) -> str:
        """sha256 over the members' fingerprints, the weights, the way of combining and the temperature."""
        return self._members.fingerprint(self.weights, self.combine, self.temperature)

    def prepare(self, device: torch.device) -> None:
        """Move every member to the device and freeze it."""
        self._members.prepare(device)

    def signals(self, batch: Any, wanted: Sequence[str] = ("logits",)) -> Signals:
        """The combined logits, shape [*batch, classes], float32 or float64, without gradient.

        Raises:
            ConfigError: if a layer of the teachers is wanted.
            ShapeError: if the members' logits differ in shape.
        """
        answers = self._members.answers(batch, wanted)
        logits = [logits_of(answer, place) for place, answer in enumerate(answers)]
        shares = [torch.tensor(share, dtype=torch.float64) for share in self.weights]
        return answer_with(COMBINATIONS[self.combine](logits, shares, self.temperature), answers[0], self.temperature)

    def release(self) -> None:
        """Release every member."""
        self._members.release()


def mean_of_probabilities(logits: Sequence[Tensor], weights: Sequence[Tensor], temperature: float) -> Tensor:
    """Logits whose softmax at the temperature is the weighted mean of the members' softmax at the temperature.

    Computed on log-probabilities, so that a class which every member gives a tiny probability stays finite.

    Args:
        logits: of each member, shape [*batch, classes].
        weights: of each member, summing to 1 over the members, shape [] or [*batch, 1].
        temperature: > 0.

    Returns:
        Shape [*batch, classes], float32 or float64.
    """
    weighted = (
        (full_precision(scores) / temperature).log_softmax(dim=-1) + share.log()
        for scores, share in zip(logits, weights, strict=True)
    )
    return temperature * reduce(torch.logaddexp, weighted)


def mean_of_logits(logits: Sequence[Tensor], weights: Sequence[Tensor], temperature: float) -> Tensor:
    """The weighted mean of the scores; arguments as for `mean_of_probabilities`, the temperature plays no role."""
    weighted = (full_precision(scores) * share for scores, share in zip(logits, weights, strict=True))
    return reduce(torch.add, weighted)


COMBINATIONS: Mapping[str, Callable[[Sequence[Tensor], Sequence[Tensor], float], Tensor]] = {
    "probabilities": mean_of_probabilities,
    "logits": mean_of_logits,
}


def answer_with(logits: Tensor, example: Signals, temperature: float) -> Signals:
    """Signals with combined logits; labels and mask are those of one member's answer."""
    return Signals(
        logits=logits,
        log_probs=(logits / temperature).log_softmax(dim=-1),
        labels=example.labels,
        mask=example.mask,
    )


def _shares(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    given = [1.0] * count if weights is None else weights
    if not isinstance(given, (list, tuple)) or len(given) != count:
        got = len(given) if isinstance(given, (list, tuple)) else repr(given)
        raise ConfigError(f"There must be one weight for each of the {count} teachers, got {got}.")
    if not all(is_finite_number(weight) and weight > 0 for weight in given):
        raise ConfigError(
            f"The teachers' weights must be finite and above 0, got {given}. A teacher that counts nothing would be "
            "run for nothing: leave it out."
        )
    return tuple(weight / sum(given) for weight in given)
