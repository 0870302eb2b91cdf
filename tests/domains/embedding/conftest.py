"""An embedding model with its tokenizer, and real text in files."""

from __future__ import annotations

from typing import Any

import pytest

from tests.domains.embedding import tiny


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return tiny.paragraphs("cache", "doctor", "export")


@pytest.fixture(scope="session")
def tokenizer(texts: list[str]) -> Any:
    return tiny.pieces(texts)


@pytest.fixture(scope="session")
def model(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of an embedding model of four layers: mean of the tokens, at unit length."""
    folder = tmp_path_factory.mktemp("model")
    return tiny.saved(folder, tiny.bert(len(tokenizer)), tokenizer, tiny.pooling("mean_tokens"), ("Normalize", None))


@pytest.fixture(scope="session")
def lines(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A text file: a paragraph on each line."""
    file = tmp_path_factory.mktemp("texts") / "texts.txt"
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return str(file)
