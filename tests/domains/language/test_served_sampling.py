"""What goes wrong for a user when a server writes the responses: other tokens, other prompts, no answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from knowledge_distillation.domains.language import ServedSampler
from knowledge_distillation.domains.language.responses import Prompts
from knowledge_distillation.errors import ConfigError, TeacherError
from tests.teachers.language_server import NAME, CausalModel, LanguageServer, running

PROMPTS = Prompts(torch.tensor([[0, 0, 3], [4, 5, 6]]), torch.tensor([[False, False, True], [True, True, True]]))


class Writing(LanguageServer):
    """Answers with as many tokens as the prompt is long: its last id, plus one each."""

    def completions(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        choices = []
        for number, prompt in enumerate(body["prompt"]):
            ids = [prompt[-1] + 1 + place for place in range(min(len(prompt), body["max_tokens"]))]
            said = {"token_logprobs": [-0.5 * (1 + place) for place in range(len(ids))]}
            choices.append({"index": number, "text": "?", "token_ids": ids, "logprobs": said})
        return 200, {"object": "text_completion", "model": NAME, "choices": choices[::-1]}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LanguageServer]:
    monkeypatch.setattr("tests.teachers.language_server.LanguageServer", Writing)
    with running(CausalModel()) as one:
        yield one


def test_responses_are_those_of_their_prompts(server: LanguageServer) -> None:
    """Otherwise a prompt is learnt with another one's response, or padding is sent as text."""
    torch.manual_seed(0)
    refreshed: list[nn.Module] = []
    student = nn.Linear(1, 1)
    sampler = ServedSampler(server.url, NAME, 5, refresh=refreshed.append)
    found = sampler.sample(student, None, PROMPTS)
    assert found.ids.tolist() == [[4, 0, 0], [7, 8, 9]]
    assert found.mask.tolist() == [[True, False, False], [True, True, True]]
    assert found.log_probs is not None
    assert found.log_probs.tolist() == [[-0.5, 0, 0], [-0.5, -1.0, -1.5]]
    assert refreshed == [student]
    asked = server.requests[-1]["body"]
    assert asked["prompt"] == [[3], [4, 5, 6]]
    sampler.sample(student, None, PROMPTS)
    assert server.requests[-1]["body"]["seed"] != asked["seed"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda answer: answer["choices"][0].pop("token_ids") and None, "'token_ids' and 'logprobs' of every response"),
        (lambda answer: answer["choices"].pop() and None, "one response to each of 2 prompts"),
        (lambda answer: answer["choices"][0]["token_ids"].append(1), "a log-probability a token"),
        (lambda answer: {"choices": 3}, "token_ids"),
        (lambda answer: answer["choices"][0]["logprobs"].update(token_logprobs=[None]), "token_ids"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(server: LanguageServer, change: Any, message: str) -> None:
    """Otherwise the student learns from responses with tokens missing."""
    server.plan.append(change)
    with pytest.raises(TeacherError, match=message):
        ServedSampler(server.url, NAME, 5).sample(nn.Linear(1, 1), None, PROMPTS)


def test_a_server_that_is_too_slow_and_settings_that_cannot_be_are_refused(server: LanguageServer) -> None:
    """Otherwise a training waits for ever."""
    server.plan.append(0.4)
    with pytest.raises(TeacherError, match=r"within 0\.1 seconds"):
        ServedSampler(server.url, NAME, 5, timeout=0.1).sample(nn.Linear(1, 1), None, PROMPTS)
    with pytest.raises(ConfigError, match="refresh must be a function"):
        ServedSampler(server.url, NAME, refresh=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="max_new_tokens"):
        ServedSampler(server.url, NAME, 0)
