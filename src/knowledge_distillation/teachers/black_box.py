"""A teacher of which only the answers are known: class ids, no probabilities, nothing inside."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from knowledge_distillation.accepted import is_whole
from knowledge_distillation.errors import ConfigError, ModelContractError, ShapeError
from knowledge_distillation.signals import Signals

IGNORED = -100
LABELS = "labels"


class BlackBoxTeacher:
    """Ask a function for the right class of every item; it may call an interface, a rule, or people.

    Terms take its answer for labels with `teacher="labels"`:

        objective={"hard": {"loss": "cross_entropy", "teacher": "labels"}}

    beside terms with the data's own labels, if there are any. A term that compares logits is refused: a single answer
    tells nothing about the other classes.

    Answers in text are no class ids of the student's batch: its text must be read as well. See `answered_batch`.

    Args:
        answer: batch -> class ids in the shape of the student's items, [N] or [N, L], as a tensor, an array or lists;
            -100 where it does not know. Called without gradient.
        classes: how many there are, >= 1; None does not look for ids beyond the last.
        identity: what answers, and whatever else its answers depend on, such as "gpt-5.2, prompt 3". It is all that
            the fingerprint knows; None takes the function's name.

    Raises:
        ConfigError: if `answer` cannot be called or `classes` is no whole number above 0.
    """

    def __init__(
        self, answer: Callable[[Any], Any], *, classes: int | None = None, identity: str | None = None
    ) -> None:
        if not callable(answer):
            raise ConfigError(f"answer must be a function batch -> class ids, got {type(answer).__name__}.")
        if classes is not None and (not is_whole(classes) or classes < 1):
            raise ConfigError(f"classes must be a whole number, at least 1, or None, got {classes!r}.")
        self.answer = answer
        self.classes = classes
        self.identity = identity or getattr(answer, "__qualname__", None) or type(answer).__qualname__
        self._device: torch.device | None = None

    @property
    def fingerprint(self) -> str:
        """sha256 over the identity: what stands behind a function cannot be looked into."""
        return hashlib.sha256(f"black box:{self.identity}".encode()).hexdigest()

    def prepare(self, device: torch.device) -> None:
        """Answers go to this device."""
        self._device = device

    def signals(self, batch: Any, wanted: Sequence[str] = (LABELS,)) -> Signals:
        """The class of every item, as `Signals.labels`, int64.

        Raises:
            ConfigError: if something else than labels is wanted.
            ModelContractError: if the answer is no whole numbers, or, on the CPU, none from 0 to `classes` - 1.
        """
        others = [name for name in wanted if name != LABELS]
        if others:
            raise ConfigError(
                f"Of a black-box teacher only labels are known, and a term reads {others} of it: there is nothing to "
                'compare with. Learn its labels: objective={"hard": {"loss": "cross_entropy", "teacher": "labels"}}.'
            )
        with torch.no_grad():
            found = self.answer(batch)
        try:
            ids = torch.as_tensor(found)
        except (TypeError, ValueError, RuntimeError) as error:
            raise _no_ids(f"{type(found).__name__} ({error})") from None
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool or ids.dim() == 0:
            raise _no_ids(f"{ids.dtype} {tuple(ids.shape)}")
        ids = ids.detach().long()
        if ids.device.type == "cpu" and ids.numel():  # on a device, looking would make it wait
            self._check_range(ids)
        return Signals(labels=ids if self._device is None else ids.to(self._device))

    def release(self) -> None:
        """Nothing is held."""
        self._device = None

    def _check_range(self, ids: Tensor) -> None:
        least, most = (int(found) for found in ids.where(ids != IGNORED, 0).aminmax())
        if least < 0 or (self.classes is not None and most >= self.classes):
            last = "the last class" if self.classes is None else self.classes - 1
            raise ModelContractError(
                f"A black-box teacher must answer with class ids from 0 to {last}, or {IGNORED} where it does not "
                f"know; got {least} to {most}. The student has no such class. Correct the answers, or classes."
            )


def answered_batch(
    prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], *, pad: int, longest: int | None = None
) -> dict[str, Tensor]:
    """A batch of texts that a teacher wrote, for a student that learns to write the same: sequence-level distillation.

    The student reads prompt and answer; "labels" hold the token that each position is to predict, which is the next
    one, where that belongs to the answer. Train on it with objective="labels"; no teacher is asked any more.

    Args:
        prompts: token ids of the student's tokenizer, at least one each.
        answers: token ids of what the teacher wrote, with the token that ends a text; at least one each.
        pad: id that fills shorter texts on the right.
        longest: tokens a text, >= 2; longer answers are cut. None cuts nothing.

    Returns:
        input_ids, attention_mask and labels, int64, shape [texts, longest text]; labels are -100 where nothing is
        taught.

    Raises:
        ShapeError: if there are not as many answers as prompts, one is empty, or a prompt leaves no room for an answer.

    Example:
        >>> batch = answered_batch([[5, 6], [7]], [[8, 2], [2]], pad=0)
        >>> batch["input_ids"].tolist(), batch["labels"].tolist()
        ([[5, 6, 8, 2], [7, 2, 0, 0]], [[-100, 8, 2, -100], [2, -100, -100, -100]])

    Reference: Kim, Rush (2016), Sequence-Level Knowledge Distillation, arXiv:1606.07947, section 3.2.
    """
    if len(prompts) != len(answers) or not prompts:
        raise ShapeError(
            f"There must be one answer to each prompt, got {len(answers)} answers, {len(prompts)} prompts."
        )
    inputs, labels = [], []
    for place, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        if not prompt or not answer or (longest is not None and len(prompt) >= longest):
            raise ShapeError(
                f"Text {place} has a prompt of {len(prompt)} and an answer of {len(answer)} tokens; both need at least "
                f"one token, and the prompt must leave room for an answer in {longest or 'any number of'} tokens: "
                "nothing would be learnt from it. Leave it out, or raise longest."
            )
        text = torch.tensor([*prompt, *answer][:longest])
        inputs.append(text)
        labels.append(torch.cat((text[1:], text.new_tensor([IGNORED]))))
        labels[-1][: len(prompt) - 1] = IGNORED
    masks = [torch.ones_like(text) for text in inputs]
    return {
        "input_ids": pad_sequence(inputs, batch_first=True, padding_value=pad),
        "attention_mask": pad_sequence(masks, batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }


def _no_ids(came: str) -> ModelContractError:
    return ModelContractError(
        f"A black-box teacher must answer with class ids, whole numbers in the shape of the student's items; got "
        f"{came}. Turn scores into ids with argmax, and words with a table of the classes."
    )
