"""Responses that student and teacher write together, token by token: mixed sampling, and speculative sampling."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.domains.language.responses import Prompts, Responses
from knowledge_distillation.domains.language.sampling import check_room, end_tokens
from knowledge_distillation.errors import ConfigError, ShapeError
from knowledge_distillation.losses.inputs import check_between


class _Together(ABC):
    """Base: both models read what was written so far and a rule draws the next token from the two distributions."""

    def __init__(self, max_new_tokens: int) -> None:
        self.max_new_tokens = check_whole("max_new_tokens", max_new_tokens, unit="tokens")

    @abstractmethod
    def draw(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """The next token of each row, and its log-probability under what it was drawn from.

        Args:
            student, teacher: probabilities [N, V], float32.
        """

    @torch.no_grad()
    def sample(self, student: nn.Module, teacher: nn.Module | None, prompts: Prompts) -> Responses:
        if teacher is None:
            raise ConfigError(
                f"{type(self).__name__} asks the teacher for every token, and there is no live teacher. Use "
                "StudentSampler, or distil with a model as the teacher."
            )
        check_room(student, prompts, self.max_new_tokens)
        readers = _Reader(student, prompts), _Reader(teacher, prompts)
        ends = torch.tensor(end_tokens(student), device=prompts.ids.device, dtype=prompts.ids.dtype)
        going = torch.ones(len(prompts.ids), dtype=torch.bool, device=prompts.ids.device)
        ids, masks, log_probs = [], [], []
        for _ in range(self.max_new_tokens):
            student_says, teacher_says = (reader.next() for reader in readers)
            if student_says.shape != teacher_says.shape:
                raise ShapeError(
                    f"Student and teacher write together, so their vocabularies must be one: {student_says.shape[1]} "
                    f"and {teacher_says.shape[1]} tokens. Map the teacher to the student's vocabulary first."
                )
            token, log_prob = self.draw(student_says, teacher_says)
            ids.append(token)
            masks.append(going)
            log_probs.append(log_prob)
            going = going & ~torch.isin(token, ends)
            if not bool(going.any()):
                break
            for reader in readers:
                reader.take(token)
        return Responses(torch.stack(ids, 1), torch.stack(masks, 1), torch.stack(log_probs, 1))


class MixedSampler(_Together):
    """Tokens from a mixture of teacher and student, as MiniLLM writes its responses: less drivel to learn from.

    Each token is drawn from share * p_t + (1 - share) * p_s; the batch holds its log-probability, from which
    `losses.minillm` makes its importance weights.

    Args:
        max_new_tokens: a response is cut after so many, >= 1.
        share: of the teacher, 0 to 1; 0.2 in the paper.

    Raises:
        ConfigError: if a setting is out of its range; from `sample`, if there is no live teacher.
        ModelContractError: from `sample`, if prompt and response do not fit the student's positions.
        ShapeError: from `sample`, if the vocabularies have other sizes.

    Reference: Gu, Dong, Wei, Huang (2023), MiniLLM, arXiv:2306.08543, teacher-mixed sampling.
    """

    def __init__(self, max_new_tokens: int = 128, *, share: float = 0.2) -> None:
        super().__init__(max_new_tokens)
        self.share = check_between("share", share, 0.0, 1.0)

    def draw(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        mixed = self.share * teacher + (1.0 - self.share) * student
        token = torch.multinomial(mixed, 1)
        return token.squeeze(1), mixed.gather(1, token).squeeze(1).log()


class SpeculativeSampler(_Together):
    """The student proposes each token; what is not among the teacher's likeliest is drawn anew from the teacher.

    Args:
        max_new_tokens: a response is cut after so many, >= 1.
        accepted: the teacher's likeliest tokens that the student may say, >= 1; 25 in the paper.

    Raises:
        ConfigError: if a setting is out of its range; from `sample`, if there is no live teacher.
        ModelContractError: from `sample`, if prompt and response do not fit the student's positions.
        ShapeError: from `sample`, if the vocabularies have other sizes.

    Reference: Xu, Han, Zhang et al. (2024), Speculative Knowledge Distillation, arXiv:2410.11325.

    Differs: the authors verify blocks of proposals at once, which is faster and draws the same.
    """

    def __init__(self, max_new_tokens: int = 128, *, accepted: int = 25) -> None:
        super().__init__(max_new_tokens)
        self.accepted = check_whole("accepted", accepted, unit="tokens")

    def draw(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        proposed = torch.multinomial(student, 1)
        likely = torch.zeros_like(teacher, dtype=torch.bool)
        likely.scatter_(1, teacher.topk(min(self.accepted, teacher.shape[1])).indices, True)
        token = torch.where(likely.gather(1, proposed), proposed, torch.multinomial(teacher, 1))
        # Drawn as: the student's where likely, else its mass outside goes to the teacher.
        refused = student.masked_fill(likely, 0.0).sum(dim=1, keepdim=True)
        drawn = student * likely + refused * teacher
        return token.squeeze(1), drawn.gather(1, token).squeeze(1).log()


class _Reader:
    """One model that reads a text as it is written; keys and values of what it has read are kept."""

    def __init__(self, model: nn.Module, prompts: Prompts) -> None:
        self.model: Any = model
        self.device = next((parameter.device for parameter in model.parameters()), prompts.ids.device)
        self.home = prompts.ids.device
        self.ids = prompts.ids.to(self.device)
        self.mask = prompts.mask.to(self.device).long()
        self.past: Any = None
        takes = inspect.signature(model.forward).parameters
        self.takes_positions = "position_ids" in takes
        self.cache = "cache" if "cache" in takes else "past_key_values"  # its name before Transformers 5.24

    def next(self) -> Tensor:
        """Probabilities of the next token, [N, V], float32."""
        given: dict[str, Any] = {"input_ids": self.ids, "attention_mask": self.mask}
        if self.takes_positions:
            given["position_ids"] = (self.mask.cumsum(dim=1) - 1).clamp(min=0)[:, -self.ids.shape[1] :]
        said = self.model(**given, **{self.cache: self.past}, use_cache=True)
        self.past = said[self.cache]
        likely: Tensor = said.logits[:, -1].float().softmax(dim=-1).to(self.home)
        return likely

    def take(self, token: Tensor) -> None:
        """What was written."""
        self.ids = token.to(self.device).unsqueeze(1)
        self.mask = torch.cat([self.mask, torch.ones_like(self.ids)], dim=1)
