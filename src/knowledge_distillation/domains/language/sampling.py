"""Who writes responses: a model by its own `generate`, token by token with a cache of keys and values."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.domains.language.responses import Prompts, Responses
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.losses.inputs import check_between, check_positive


@runtime_checkable
class Sampler(Protocol):
    """Writes responses to prompts."""

    def sample(self, student: nn.Module, teacher: nn.Module | None, prompts: Prompts) -> Responses:
        """Responses to prompts, without gradient, drawn from torch's global generator.

        Args:
            student: in eval mode.
            teacher: in eval mode; None where the sampler does not ask it.
            prompts: on the student's device.

        Returns:
            On the same device.
        """


class StudentSampler:
    """The student writes, by transformers' `generate`.

    Args:
        max_new_tokens: a response is cut after so many, >= 1.
        temperature: > 0; 1 draws from the student as it is, which on-policy objectives assume.
        top_p: draw from the likeliest tokens that hold this share of the mass, above 0 and up to 1.

    Raises:
        ConfigError: if a setting is out of its range.
        ModelContractError: from `sample`, if the student has no `generate`, or prompt and response do not fit its
            positions.
    """

    def __init__(self, max_new_tokens: int = 128, *, temperature: float = 1.0, top_p: float = 1.0) -> None:
        self.max_new_tokens = check_whole("max_new_tokens", max_new_tokens, unit="tokens")
        self.temperature = check_positive("temperature", temperature)
        self.top_p = check_between("top_p", top_p, 1e-6, 1.0)

    @torch.no_grad()
    def sample(self, student: nn.Module, teacher: nn.Module | None, prompts: Prompts) -> Responses:
        writer: Any = student
        if not callable(getattr(writer, "generate", None)):
            raise ModelContractError(
                f"{type(student).__name__} has no generate(), so it cannot write responses. Use a Hugging Face causal "
                "language model, or a sampler of your own."
            )
        check_room(student, prompts, self.max_new_tokens)
        ends = end_tokens(student)
        said = writer.generate(
            input_ids=prompts.ids,
            attention_mask=prompts.mask.long(),
            max_new_tokens=self.max_new_tokens,
            do_sample=True,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=0,
            pad_token_id=ends[0] if ends else 0,
        )
        ids = said[:, prompts.ids.shape[1] :]
        return Responses(ids, up_to_end(ids, ends))


def check_room(model: nn.Module, prompts: Prompts, more: int) -> None:
    """Raise ModelContractError unless prompts and responses fit the model's positions."""
    most = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if most is not None and prompts.ids.shape[1] + more > most:
        raise ModelContractError(
            f"{type(model).__name__} has {most} positions, and the longest prompt of {prompts.ids.shape[1]} tokens "
            f"with a response of {more} needs {prompts.ids.shape[1] + more}: what lies beyond would be noise. Shorten "
            "the prompts, or lower max_new_tokens."
        )


def end_tokens(model: nn.Module) -> list[int]:
    """The ids that end a text, as the model's generation settings say; none where they say nothing."""
    settings = getattr(model, "generation_config", None) or getattr(model, "config", None)
    ends = getattr(settings, "eos_token_id", None)
    if ends is None:
        return []
    return [int(end) for end in (ends if isinstance(ends, (list, tuple)) else [ends])]


def up_to_end(ids: Tensor, ends: list[int]) -> Tensor:
    """True up to the first end token of each row, and at it."""
    ended = torch.isin(ids, torch.tensor(ends, device=ids.device, dtype=ids.dtype)) if ends else ids < 0
    return (ended.cumsum(dim=1) - ended.long()) == 0
