"""What goes wrong for a user who lets a teacher write the texts that the student learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from knowledge_distillation.domains.language import jsonl, write_answers
from knowledge_distillation.errors import CacheError, ConfigError
from tests.domains.language import tiny

PROMPTS = ["the cat", "a", "x+\u2028y=", "so", "why?"]  # one with a sign at which Python, not JSON, ends a line


def write(file: Path, prompts: list[str] = PROMPTS, **settings: Any) -> int:
    return write_answers(tiny.llama(98), tiny.letters(), prompts, file, new_tokens=5, **{"batch_size": 2, **settings})


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_broken_off_file_ends_as_it_would_have(temperature: float, tmp_path: Path) -> None:
    """Otherwise hours of generation are lost to one interruption, or two lines become one."""
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    assert write(whole, temperature=temperature) == 5
    content = whole.read_bytes()
    third = content.index(b"\n", content.index(b"\n", content.index(b"\n") + 1) + 1)
    broken.write_bytes(content[: third + 12])  # three lines and a part of the fourth
    assert write(broken, temperature=temperature) == 2
    assert broken.read_bytes() == content
    assert write(broken, temperature=temperature) == 0


def test_drawing_leaves_the_random_state_alone(tmp_path: Path) -> None:
    """Otherwise training after it is another one than training after reading the file."""
    teacher = tiny.llama(98)
    before = torch.get_rng_state()
    write_answers(teacher, tiny.letters(), PROMPTS, tmp_path / "a.jsonl", new_tokens=5, temperature=1.0)
    assert torch.equal(torch.get_rng_state(), before)


def test_answers_to_other_prompts_are_not_mixed_in(tmp_path: Path) -> None:
    """Otherwise the student learns one question's answer to another."""
    write(tmp_path / "a.jsonl")
    with pytest.raises(CacheError, match="holds answers to other prompts"):
        write(tmp_path / "a.jsonl", ["something else"])
    (tmp_path / "b.jsonl").write_text("no json\n")
    with pytest.raises(CacheError, match="holds lines that are no answers"):
        write(tmp_path / "b.jsonl")


def test_an_empty_prompt_is_refused(tmp_path: Path) -> None:
    """Otherwise the teacher writes about nothing."""
    with pytest.raises(ConfigError, match="Prompt 1 has no token"):
        write(tmp_path / "a.jsonl", ["a", ""])


def test_progress_is_told(tmp_path: Path) -> None:
    """Otherwise nobody knows whether it takes an hour or a week."""
    told: list[tuple[int, int]] = []
    write(tmp_path / "a.jsonl", progress=lambda done, total: told.append((done, total)))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_the_student_learns_what_was_written(tmp_path: Path) -> None:
    """Otherwise the file is of no data set."""
    tokenizer = tiny.saved(tmp_path / "letters", tokenizer=tiny.letters())
    write(tmp_path / "a.jsonl")
    data = jsonl(path=str(tmp_path / "a.jsonl"), tokenizer=tokenizer, validation=0.2, batch_size=5)
    written = {line["completion"] for line in map(json.loads, (tmp_path / "a.jsonl").read_text().split("\n")[:-1])}
    batch = next(iter(data.train))
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        assert tiny.letters().decode(ids[labels != -100]).removesuffix("<end>") in written
