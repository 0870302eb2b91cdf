"""What goes wrong for a user whose teacher splits texts in another way, when texts are brought together."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from knowledge_distillation.domains.language.alignment import span_rows
from knowledge_distillation.domains.language.reading import pieces_of
from knowledge_distillation.domains.language.rows import encoded
from knowledge_distillation.errors import ConfigError
from tests.domains.language import tiny

TEXTS = ("the cat sat on the mat", "the naïve dog, a 👍🏽 and 世界")
TOKENIZERS = {
    "letters": tiny.letters([*tiny.LETTERS, *"ï👍🏽世界"]),
    "pieces": tiny.pieces([TEXTS[0]] * 5),
    "bytes": tiny.pieces(["x"], 10),
    "words": tiny.words(TEXTS),
}
PAIRS = list(combinations(TOKENIZERS, 2))


def rows_of(record: dict[str, Any], *tokenizers: Any, length: int = 99) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    found = tuple(
        encoded(tokenizer, pieces_of(tokenizer, record), length, whole="messages" in record) for tokenizer in tokenizers
    )
    assert None not in found
    return found  # type: ignore[return-value]


def spans_of(record: dict[str, Any], *tokenizers: Any, length: int = 99) -> list[dict[int, list[int]]]:
    """Of each side the ids of every span's tokens."""
    rows = rows_of(record, *tokenizers, length=length)
    learnt = [[text for text, is_learnt in pieces_of(one, record) if is_learnt] for one in tokenizers]
    aligned = span_rows(*tokenizers, rows, tuple(learnt), ended="messages" not in record)  # type: ignore[arg-type]
    sides = []
    for row, spans in zip(rows, aligned.values(), strict=True):
        assert spans.shape == row["labels"].shape
        found: dict[int, list[int]] = {}
        for place, span in enumerate(spans.tolist()):
            if span >= 0:
                found.setdefault(span, []).append(int(row["labels"][place + 1]))
        sides.append(found)
    return sides


def written(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False)).replace(" ", "")


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_spans_hold_the_same_text_and_cannot_be_cut(first: str, second: str) -> None:
    """Otherwise what one model says of a word is compared with what the other says of another word."""
    both = TOKENIZERS[first], TOKENIZERS[second]
    for text in TEXTS:
        ours, theirs = spans_of({"prompt": "go on: ", "completion": text}, *both)
        assert ours.keys() == theirs.keys()
        assert len(ours) > 1
        whole = [
            "".join(written(one, ids) for ids in side.values()) for one, side in zip(both, (ours, theirs), strict=True)
        ]
        assert whole[0] == whole[1] == (text + "<end>").replace(" ", "")
        for span in ours:
            assert written(both[0], ours[span]) == written(both[1], theirs[span])
            for tokens, others in ((1, 1), (1, 2), (2, 1), (2, 2)):
                if tokens < len(ours[span]) and others < len(theirs[span]):
                    begun = written(both[0], ours[span][:tokens]), written(both[1], theirs[span][:others])
                    assert begun[0] != begun[1] or "\ufffd" in begun[0] or not begun[0]


def test_words_and_pieces_meet_as_one_reads_them() -> None:
    """The spans of a known text, counted by hand: letters against the words of them, and the end against the end."""
    ours, theirs = spans_of({"prompt": "go", "completion": "the cat"}, TOKENIZERS["letters"], TOKENIZERS["words"])
    assert [len(ids) for ids in ours.values()] == [3, 4, 1]
    assert [len(ids) for ids in theirs.values()] == [1, 1, 1]


def test_bytes_of_one_character_stay_together() -> None:
    """Otherwise a half character of one side passes for a whole one of the other."""
    ours, theirs = spans_of({"prompt": "go", "completion": "a👍b"}, TOKENIZERS["bytes"], TOKENIZERS["letters"])
    assert [len(ids) for ids in ours.values()] == [1, 4, 1, 1]
    assert [len(ids) for ids in theirs.values()] == [1, 1, 1, 1]


def test_what_is_cut_off_on_one_side_is_compared_on_none() -> None:
    """Otherwise the beginning of a word on one side meets the whole word on the other."""
    record = {"prompt": "go", "completion": "the cat sat"}
    ours, theirs = spans_of(record, TOKENIZERS["letters"], TOKENIZERS["words"], length=8)
    assert written(TOKENIZERS["letters"], ours[0]) == "the"
    assert list(ours) == list(theirs) == [0]


def test_a_first_token_that_nothing_predicts_has_no_span() -> None:
    """Otherwise its probability is read from the end of another row."""
    ours, theirs = spans_of({"text": "the cat"}, TOKENIZERS["letters"], TOKENIZERS["words"])
    assert [written(TOKENIZERS["words"], ids) for ids in theirs.values()] == ["cat", "<end>"]
    assert [written(TOKENIZERS["letters"], ids) for ids in ours.values()] == ["cat", "<end>"]


def test_chat_templates_that_end_a_turn_in_other_ways_agree_on_the_answer() -> None:
    """Otherwise the end that one model must write is compared with the line break of the other's template, or lost."""
    own, other = tiny.letters(first=("<end>", "<unk>", "<stop>")), tiny.words(TEXTS)
    other.chat_template = tiny.CHAT.replace("{{ eos_token }}", "{{ eos_token }} and")
    record = {"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": "the cat"}]}
    ours, theirs = spans_of(record, own, other)
    assert [written(own, ids) for ids in ours.values()] == ["the", "cat", "<end>"]
    assert [written(other, ids) for ids in theirs.values()] == ["the", "cat", "<end>"]


def test_a_tokenizer_that_knows_no_characters_is_refused() -> None:
    """Otherwise its tokens are paired by chance."""

    class Slow:
        is_fast = False

    record = {"prompt": "go", "completion": "the cat"}
    rows = rows_of(record, TOKENIZERS["letters"], TOKENIZERS["letters"])
    with pytest.raises(ConfigError, match=r"which characters a token covers, and Slow does not.*fast tokenizer"):
        span_rows(Slow(), TOKENIZERS["letters"], rows, (["the cat"], ["the cat"]), ended=True)


def test_one_tokenizer_twice_has_a_span_for_each_token() -> None:
    """Otherwise tokens that both have alike are merged, and the loss is not that of one tokenizer."""
    own = TOKENIZERS["pieces"]
    ours, theirs = spans_of({"prompt": "go", "completion": TEXTS[0]}, own, own)
    assert ours == theirs
    assert {len(ids) for ids in ours.values()} == {1}
    assert torch.tensor(list(ours)).tolist() == list(range(len(ours)))
