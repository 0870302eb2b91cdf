"""A teacher, its tokenizer and texts in folders of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.domains.language import tiny

SENTENCES = ("the cat sat on the mat.", "a dog ran to the cat.", "the mat is red and the dog is not.")


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a llama of four layers with a tokenizer of letters."""
    tokenizer = tiny.letters()
    model = tiny.llama(tiny_columns(), layers=4)
    return tiny.saved(tmp_path_factory.mktemp("teacher"), model, tokenizer)


def tiny_columns() -> int:
    """Two columns more than there are tokens, as models have for speed."""
    return len(tiny.letters()) + 2


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder of three texts."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for number, sentence in enumerate(SENTENCES):
        (folder / f"19{number}0_speech.txt").write_text(sentence * 4)
    return folder


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """A JSONL file of ten sums."""
    file = tmp_path / "sums.jsonl"
    lines = [{"prompt": f"{n}+{n}=", "completion": str(2 * n)} for n in range(1, 11)]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file
