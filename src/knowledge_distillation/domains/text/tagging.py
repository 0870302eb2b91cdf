"""Words as a tagger reads them, and their tags as labels of tokens: the first token of a word bears its tag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knowledge_distillation.capture.adapters import IGNORED


def reads_no_spaces(tokenizer: Any) -> bool:
    """Whether words that a tokenizer is given in a list lack the space that they have in running text.

    So it is with RoBERTa's kind, which has the space within the token, unless `add_prefix_space` is set: its model
    would read all words of a sentence as one.
    """

    def cut(text: str) -> list[str]:
        found: list[str] = tokenizer.tokenize(text)
        return found

    running = cut("a a")
    return running != cut("a") * 2 and running == cut("a") + cut(" a")


def token_labels(words: Sequence[int | None], tags: Sequence[int]) -> list[int]:
    """A label for each token: its word's at the first token of the word, -100 at all others.

    Args:
        words: the number of each token's word; None for special tokens.
        tags: the number of each word's tag.

    Example:
        >>> token_labels([None, 0, 0, 1, None], [3, 7])
        [-100, 3, -100, 7, -100]
    """
    before: int | None = None
    labels = []
    for word in words:
        labels.append(IGNORED if word is None or word == before else tags[word])
        before = word
    return labels
