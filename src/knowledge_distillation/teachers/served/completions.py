"""What vLLM's completions endpoint is asked about a text, and how its answer is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.errors import TeacherError

IMPOSSIBLE = -9999.0
"""What vLLM writes for a log-probability of -inf, which JSON does not know."""


@dataclass(frozen=True, slots=True)
class Told:
    """The k likeliest next tokens after each token of several texts, text after text, on the CPU."""

    indices: Tensor
    """Token ids, int64, shape [tokens, k]."""
    log_probs: Tensor
    """Float32, shape [tokens, k], falling; -inf for a token that cannot come."""
    log_tail: Tensor
    """Log of the mass of all other tokens, float32, shape [tokens]."""


def question(model: str, texts: Sequence[Sequence[int]], k: int) -> dict[str, Any]:
    """The body of POST /v1/completions.

    Each text goes with its last token once more: the log-probabilities of that extra token are the distribution after
    the last one, keyed by token ids as all others. Those of a generated token would be keyed by words, which several
    ids may share.

    Args:
        model: the name that the server gives it.
        texts: token ids, at least one each.
        k: tokens a position.
    """
    return {
        "model": model,
        "prompt": [[*text, text[-1]] for text in texts],
        "max_tokens": 1,  # vLLM takes no fewer
        "temperature": 1.0,  # vLLM's prompt log-probabilities know no other
        "prompt_logprobs": k,
    }


def told(answer: Any, texts: Sequence[Sequence[int]], k: int, vocabulary: int) -> Told:
    """Read the answer to `question`.

    `choices[text]["prompt_logprobs"]` holds, for every token but the first, {id: {"logprob": ...}} of the k likeliest
    tokens at its place, and of the token itself, given those before.

    Args:
        answer: the JSON.
        texts, k: as asked.
        vocabulary: ids from 0 to this, exclusive, are known to the student.

    Raises:
        TeacherError: if the answer has another form, is about other tokens, or tells fewer than k or unknown ones.
    """
    try:
        rows = {choice["index"]: choice.get("prompt_logprobs") for choice in answer["choices"]}
        places = [place for number, text in enumerate(texts) for place in _places(rows[number], text, k)]
        indices = torch.tensor([[token for _, token in place] for place in places])
        exact = torch.tensor([[value for value, _ in place] for place in places], dtype=torch.float64)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise TeacherError(
            "The server must answer with one choice a text, each with prompt_logprobs as vLLM gives them, and did not "
            f"({type(error).__name__}: {error}). The student would learn from a misread teacher. Serve the teacher "
            "with vLLM."
        ) from None
    if int(indices.min()) < 0 or int(indices.max()) >= vocabulary:
        raise TeacherError(
            f"The student knows the token ids 0 to {vocabulary - 1}, and the server told of {int(indices.max())}: with "
            "another tokenizer every id means another word. Serve a model with the student's tokenizer, or correct "
            "vocabulary."
        )
    if not bool((exact < 1e-3).all()):
        raise TeacherError(
            "The server must tell log-probabilities, numbers up to 0, and told NaN or more: every loss would be wrong. "
            "Look into its log."
        )
    return Told(
        indices=indices,
        log_probs=exact.masked_fill(exact <= IMPOSSIBLE, -torch.inf).float(),
        log_tail=(1 - exact.exp().sum(dim=-1)).clamp(min=0).log().float(),
    )


def _places(
    row: Sequence[Mapping[str, Any] | None] | None, text: Sequence[int], k: int
) -> list[list[tuple[float, int]]]:
    """Log-probability and id of the k likeliest tokens after each token of one text."""
    if row is None:
        raise TeacherError(
            "The server answered without prompt_logprobs, so it told nothing about the text. It must be vLLM, or give "
            "them as vLLM does."
        )
    asked = [*text, text[-1]]
    if len(row) != len(asked):
        raise TeacherError(
            f"The server must answer for all {len(asked)} tokens of a text, and answered for {len(row)}: it cut the "
            "text or divided it anew, so that every answer would meet another token. Serve a model with the student's "
            "tokenizer and a longer context."
        )
    return [_likeliest(entries or {}, token, k) for token, entries in zip(asked[1:], row[1:], strict=True)]


def _likeliest(entries: Mapping[str, Any], token: int, k: int) -> list[tuple[float, int]]:
    if str(token) not in entries:
        raise TeacherError(
            f"The server must tell how likely token {token} was at its place, and told of {list(entries)[:5]} only: it "
            "answers about another text. Serve a model with the student's tokenizer."
        )
    found = sorted(((float(entry["logprob"]), int(name)) for name, entry in entries.items()), reverse=True)
    if len(found) < k:
        raise TeacherError(
            f"The server must tell {k} tokens a position, and told {len(found)}: the others would count as unlikely. "
            f"Give a smaller k, or start vLLM with --max-logprobs {k}."
        )
    return found[:k]  # one more comes along where the text's own token is not among the k
