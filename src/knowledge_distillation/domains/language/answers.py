"""Sequence-level distillation: what a teacher writes to each prompt, kept line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.domains.language.generation import generate
from knowledge_distillation.domains.tokenizers import beginning_of, ids_of
from knowledge_distillation.errors import CacheError, ConfigError


def write_answers(
    teacher: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    file: str | Path,
    *,
    new_tokens: int = 256,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Let a teacher answer every prompt, into a JSONL file that the data set `jsonl` reads.

    A file that was begun before goes on behind its last whole line, with the answers that it would have had.

    Args:
        teacher: a causal language model of Transformers.
        tokenizer: its tokenizer.
        prompts: texts, at least one token each.
        file: one line {"prompt", "completion"} for each prompt, in their order.
        new_tokens: to write at most.
        temperature: 0 takes the likeliest token each time; above 0 draws, by `seed`.
        seed: of the draws; torch's random state is left as it was.
        batch_size: prompts at a time.
        progress: called with (answers there, answers in all) after each batch.

    Returns:
        How many answers were written now.

    Raises:
        CacheError: if the file holds answers to other prompts.
        ConfigError: if a prompt has no token.

    Reference: Kim, Rush (2016), Sequence-Level Knowledge Distillation, arXiv:1606.07947, section 3.2.
    """
    check_whole("batch_size", batch_size, 1, "prompts")
    place = Path(file)
    place.parent.mkdir(parents=True, exist_ok=True)
    done = _whole_lines(place, prompts)
    begin = beginning_of(tokenizer)
    ids = [begin + ids_of(tokenizer, prompt) for prompt in prompts]
    empty = [at for at, prompt in enumerate(ids) if not prompt]
    if empty:
        raise ConfigError(f"Prompt {empty[0]} has no token: the teacher has nothing to answer to. Leave it out.")
    with place.open("a", encoding="utf-8", newline="\n") as out, torch.random.fork_rng():
        for first in range(done - done % batch_size, len(prompts), batch_size):  # a batch that was broken off, anew
            last = min(first + batch_size, len(prompts))
            torch.manual_seed(seed + first)
            written = generate(teacher, tokenizer, ids[first:last], new_tokens=new_tokens, temperature=temperature)
            for prompt, answer in list(zip(prompts[first:last], written, strict=True))[max(0, done - first) :]:
                completion = tokenizer.decode(answer, skip_special_tokens=True)
                out.write(json.dumps({"prompt": prompt, "completion": completion}, ensure_ascii=False) + "\n")
            out.flush()
            if progress is not None:
                progress(last, len(prompts))
    return len(prompts) - done


def _whole_lines(place: Path, prompts: Sequence[str]) -> int:
    """How many answers are there; a last line that was broken off is taken away."""
    if not place.exists():
        return 0
    content = place.read_bytes()
    kept = content[: content.rfind(b"\n") + 1]
    if kept != content:
        with place.open("r+b") as file:
            file.truncate(len(kept))
    try:
        there = [json.loads(line)["prompt"] for line in kept.decode("utf-8").split("\n")[:-1]]
    except (ValueError, KeyError, TypeError) as error:
        raise CacheError(f"{place} holds lines that are no answers ({error}). Choose another file.") from None
    if there != list(prompts[: len(there)]):
        raise CacheError(
            f"{place} holds answers to other prompts, or in another order: the student would learn a mixture. Choose "
            "another file, or give the prompts it was begun with."
        )
    return len(there)
