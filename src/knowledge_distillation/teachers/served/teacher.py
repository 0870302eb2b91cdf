"""A teacher behind a server: the top k of every next-token distribution, over HTTP."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.capture.adapters import split_batch
from knowledge_distillation.errors import ConfigError, ModelContractError, TeacherError, nearest
from knowledge_distillation.losses import TopK
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers.served.completions import question, told
from knowledge_distillation.teachers.served.endpoint import Endpoint

IDENTITY = ("id", "root", "parent", "max_model_len")
"""What of a server's model card stays the same between two questions; "created" and "permission" do not."""


class ServedTeacher:
    """Ask a server for the k likeliest next tokens at every position of the student's own token ids.

    For servers with vLLM's completions endpoint: POST {url}/v1/completions with token ids and `prompt_logprobs`. Other
    OpenAI-compatible servers tell of generated tokens only, and are refused. Teacher and student must have the same
    tokenizer. One request a batch, and training waits for it.

    Its logits are a `TopK` at temperature 1 with the mass of the tail, for `top_k_kl`, `top_k_tvd` and the ranking
    losses. A loss at another temperature needs tail="renormalise".

    Args:
        url: of the server, such as http://localhost:8000.
        model: the name that the server gives the model.
        vocabulary: how many token ids the student knows: the last axis of its logits, >= 1.
        k: tokens a position, from 1 to `vocabulary`. vLLM allows 20, or what it was started with as --max-logprobs.
        api_key_env: name of the environment variable with the key, which is read for every request and kept nowhere;
            None sends no key.
        timeout: seconds without a byte from the server after which it counts as gone, > 0.
        retries: how often a request is repeated after HTTP 429 or 5xx or a dropped connection, >= 0.
        pause: seconds before the first repetition, > 0; doubled each time up to 30.

    Raises:
        ConfigError: if an argument is wrong.

    Reference: vLLM's vllm/entrypoints/openai/completion/protocol.py: CompletionRequest, CompletionResponseChoice.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        vocabulary: int,
        k: int = 20,
        api_key_env: str | None = None,
        timeout: float = 120.0,
        retries: int = 4,
        pause: float = 0.5,
    ) -> None:
        self._endpoint = Endpoint(url, api_key_env=api_key_env, timeout=timeout, retries=retries, pause=pause)
        if not isinstance(model, str) or not model:
            raise ConfigError(f"model must be the name that the server gives the model, got {model!r}.")
        self.model = model
        self.vocabulary = check_whole("vocabulary", vocabulary, unit="tokens")
        self.k = check_whole("k", k, unit="tokens")
        if k > vocabulary:
            raise ConfigError(f"k must be at most the student's vocabulary of {vocabulary} tokens, got {k}.")

    @property
    def fingerprint(self) -> str:
        """sha256 over the model's name, k, and what the server tells about the model; asks the server.

        The weights are not seen: others under the same name and path look the same.
        """
        card = self._card()
        known = [self.model, self.k, *(card.get(name) for name in IDENTITY)]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()

    def prepare(self, device: torch.device) -> None:
        """Look whether the server is there and has the model; answers go to the batch's own device.

        Raises:
            TeacherError: if not.
        """
        self._card()

    def signals(self, batch: Any, wanted: Sequence[str] = ("logits",)) -> Signals:
        """The teacher's distribution of the token after each position, where the student's logits predict it.

        Every text is sent with one token more, and vLLM generates one: its context must be two tokens longer.

        Args:
            batch: a mapping with "input_ids" [N, L], and "attention_mask" [N, L] for padding on either side.
            wanted: only "logits" is known.

        Returns:
            logits: a `TopK` [N, L, k], float32, on the batch's device; padding has all mass in its tail.
            mask: [N, L], True at tokens. labels: the batch's.

        Raises:
            ConfigError: if something else than logits is wanted.
            ModelContractError: if the batch has another form.
            TeacherError: if the server fails, or answers about other tokens or in another form.
        """
        inner = [name for name in wanted if name != "logits"]
        if inner:
            raise ConfigError(
                f"A served teacher tells the top k of its logits, and a term reads {inner} of it, which cannot be seen "
                "from outside. Compare logits, with top_k_kl for instance, or load the teacher as a module."
            )
        ids, counted = _tokens(batch)
        on_host, kept = torch.stack((ids, counted.to(ids.dtype))).cpu()  # in one copy: each waits for the device
        kept = kept.bool()
        _check_unbroken(kept)
        indices = torch.zeros(*ids.shape, self.k, dtype=torch.long)
        log_probs = torch.full((*ids.shape, self.k), -torch.inf)
        log_tail = torch.zeros(ids.shape)
        texts = [row[place].tolist() for row, place in zip(on_host, kept, strict=True) if place.any()]
        if texts:
            answer = told(self._ask(texts), texts, self.k, self.vocabulary)
            indices[kept], log_probs[kept], log_tail[kept] = answer.indices, answer.log_probs, answer.log_tail
        logits: Any = TopK(
            indices=indices.to(ids.device), log_probs=log_probs.to(ids.device), log_tail=log_tail.to(ids.device)
        )
        return Signals(logits=logits, mask=counted, labels=split_batch(batch)[2])

    def release(self) -> None:
        """Nothing is held."""

    def _ask(self, texts: Sequence[Sequence[int]]) -> Any:
        try:
            return self._endpoint.ask("v1/completions", question(self.model, texts, self.k))
        except TeacherError as error:
            if "logprobs" not in str(error):
                raise
            raise TeacherError(f"{error} Give a smaller k, or start vLLM with --max-logprobs {self.k}.") from None

    def _card(self) -> Mapping[str, Any]:
        answer = self._endpoint.ask("v1/models")
        cards = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(cards, list) or not all(isinstance(card, dict) and "id" in card for card in cards):
            raise TeacherError(
                f"{self._endpoint.url}/v1/models must list the served models, and answered {str(answer)[:100]}. It is "
                "no OpenAI-compatible server: correct url."
            )
        by_name: dict[str, dict[str, Any]] = {str(card["id"]): card for card in cards}
        if self.model not in by_name:
            raise TeacherError(
                f"The server at {self._endpoint.url} serves no model {self.model!r}. {nearest(self.model, by_name)}"
            )
        return by_name[self.model]


def _tokens(batch: Any) -> tuple[Tensor, Tensor]:
    """Ids and mask of a batch, both [N, L]."""
    ids = batch.get("input_ids") if isinstance(batch, Mapping) else None
    if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.is_floating_point():
        came = type(batch).__name__ if ids is None else f"input_ids {tuple(getattr(ids, 'shape', ()))}"
        raise ModelContractError(
            "A served teacher reads token ids: a batch must be a mapping with 'input_ids' of whole numbers [N, L], "
            f"got {came}. Let the data loader yield what the tokenizer gives."
        )
    mask = batch.get("attention_mask", torch.ones_like(ids))
    if not isinstance(mask, Tensor) or mask.shape != ids.shape:
        raise ModelContractError(
            f"attention_mask must have the shape of input_ids {tuple(ids.shape)}, got "
            f"{tuple(getattr(mask, 'shape', ()))}: nobody could tell tokens from padding."
        )
    return ids, mask.bool()


def _check_unbroken(kept: Tensor) -> None:
    """Texts are sent without their padding; a gap inside would join what the student sees apart."""
    edges = torch.nn.functional.pad(kept.long(), (1, 1)).diff(dim=-1).abs().sum(dim=-1)
    if bool((edges > 2).any()):
        raise ModelContractError(
            "attention_mask must be True on one unbroken stretch of each text, with padding only before or after it; "
            f"row {int((edges > 2).nonzero()[0])} has a gap, and the teacher would read other texts than the student."
        )
