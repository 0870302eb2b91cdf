"""A teacher, its tokenizer, and real text in files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.domains.text import tiny

TOPICS = ("cache", "doctor")


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return tiny.pieces([text for topic in TOPICS for text in tiny.paragraphs(topic)])


@pytest.fixture(scope="session")
def encoder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a BERT of four layers without a head, with its tokenizer."""
    return tiny.saved(tmp_path_factory.mktemp("encoder"), tiny.bert(len(tokenizer)), tokenizer)


@pytest.fixture(scope="session")
def topics(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A TSV file as GLUE's: paragraphs of two pages, and which page each is of."""
    file = tmp_path_factory.mktemp("topics") / "topics.tsv"
    rows = [f"{text}\t{topic}" for topic in TOPICS for text in tiny.paragraphs(topic)[:20]]
    file.write_text("\n".join(["sentence\tlabel", *rows]) + "\n", encoding="utf-8")
    return str(file)


@pytest.fixture(scope="session")
def tagged(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A JSONL file: words of a page, and whether each begins with a capital letter."""
    file = tmp_path_factory.mktemp("tagged") / "words.jsonl"
    lines = []
    for text in tiny.paragraphs("cache")[:20]:
        words = text.split()[:20]
        tags = ["CAPITAL" if word[0].isupper() else "O" for word in words]
        lines.append(json.dumps({"tokens": words, "tags": tags}))
    file.write_text("\n".join(lines), encoding="utf-8")
    return str(file)
