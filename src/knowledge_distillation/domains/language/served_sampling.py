"""Responses from a server such as vLLM, which writes many at once and faster than a training process can."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.domains.language.responses import Prompts, Responses
from knowledge_distillation.errors import ConfigError, TeacherError
from knowledge_distillation.losses.inputs import check_positive
from knowledge_distillation.teachers.served.endpoint import Endpoint


class ServedSampler:
    """A server writes, by vLLM's POST {url}/v1/completions with token ids both ways.

    The server has its own copy of the student. Training does not change it: `refresh` is called before each batch is
    written, to put the student's new weights there, in whatever way the server was set up for. Without it the
    responses are those of the student that was served first, which is off-policy.

    Args:
        url: of the server, such as http://localhost:8000.
        model: the name that the server gives the student.
        max_new_tokens: a response is cut after so many, >= 1.
        temperature: > 0; 1 draws from the student as it is.
        refresh: student -> None; None leaves the served weights alone.
        api_key_env: name of the environment variable with the key; None sends no key.
        timeout: seconds without a byte from the server after which it counts as gone, > 0.

    Raises:
        ConfigError: if a setting is wrong.

    Reference: vLLM's vllm/entrypoints/openai/completion/protocol.py: `return_token_ids`, from 0.10.2 on.
    """

    def __init__(
        self,
        url: str,
        model: str,
        max_new_tokens: int = 128,
        *,
        temperature: float = 1.0,
        refresh: Callable[[nn.Module], None] | None = None,
        api_key_env: str | None = None,
        timeout: float = 120.0,
    ) -> None:
        if refresh is not None and not callable(refresh):
            raise ConfigError(f"refresh must be a function student -> None, got {refresh!r}.")
        self.endpoint = Endpoint(url, api_key_env=api_key_env, timeout=timeout)
        self.model = model
        self.max_new_tokens = check_whole("max_new_tokens", max_new_tokens, unit="tokens")
        self.temperature = check_positive("temperature", temperature)
        self.refresh = refresh

    def sample(self, student: nn.Module, teacher: nn.Module | None, prompts: Prompts) -> Responses:
        """See `Sampler`; a server draws by a seed that comes from torch's generator.

        Raises:
            TeacherError: if the server is away or too slow, refuses, or answers without token ids.
        """
        if self.refresh is not None:
            self.refresh(student)
        texts = [row[there].tolist() for row, there in zip(prompts.ids.cpu(), prompts.mask.cpu(), strict=True)]
        question = {
            "model": self.model,
            "prompt": texts,
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "seed": int(torch.randint(2**31, ())),
            "logprobs": 0,
            "return_token_ids": True,  # nosec B105
        }
        written = _read(self.endpoint.ask("v1/completions", question), len(texts))
        longest = max(1, *(len(ids) for ids, _ in written))
        ids = torch.zeros(len(texts), longest, dtype=prompts.ids.dtype)
        mask = torch.zeros(len(texts), longest, dtype=torch.bool)
        log_probs = torch.zeros(len(texts), longest)
        for row, (tokens, said) in enumerate(written):
            ids[row, : len(tokens)] = torch.tensor(tokens, dtype=ids.dtype)
            mask[row, : len(tokens)] = True
            log_probs[row, : len(tokens)] = torch.tensor(said)
        device = prompts.ids.device
        return Responses(ids.to(device), mask.to(device), log_probs.to(device))


def _read(answer: Any, texts: int) -> list[tuple[list[int], list[float]]]:
    """Tokens and their log-probabilities of each text, in the order of the texts."""
    try:
        choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
        found = [([int(i) for i in c["token_ids"]], _numbers(c["logprobs"]["token_logprobs"])) for c in choices]
    except (KeyError, TypeError, ValueError, IndexError):
        raise TeacherError(
            "The server must answer with 'token_ids' and 'logprobs' of every response, and does not: its words cannot "
            f"be turned into tokens without loss. Use vLLM from 0.10.2 on. It answered {str(answer)[:200]}."
        ) from None
    if len(found) != texts or any(len(tokens) != len(said) for tokens, said in found):
        raise TeacherError(
            f"The server must give one response to each of {texts} prompts, with a log-probability a token, and gave "
            f"{len(found)}. What is missing cannot be learnt from. Look into its log."
        )
    return found


def _numbers(values: Any) -> list[float]:
    numbers = [float(value) for value in values]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a log-probability is not finite")
    return numbers
