"""What goes wrong for a user when a teacher's tokens are sought in the student's vocabulary."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from knowledge_distillation.domains.language import projection
from knowledge_distillation.domains.language.projection import surfaces
from tests.domains.language import tiny

TEXT = "the cat sat on the mat, and the dog ran to the cat."


def places(student: Any, teacher: Any) -> dict[str, str | None]:
    """The teacher's tokens and the student's to which their mass goes."""
    found = projection(student, teacher).to_dense()
    assert set(found.unique().tolist()) <= {0.0, 1.0}
    assert float(found.sum(1).max()) <= 1.0
    names = student.convert_ids_to_tokens(list(range(found.shape[1])))
    return {
        token: names[int(found[place].argmax())] if found[place].any() else None
        for token, place in teacher.get_vocab().items()
    }


def test_the_mass_goes_to_the_longest_beginning() -> None:
    """Otherwise the student is taught the letter where it has the word, or a word that is not written there."""
    student, teacher = tiny.pieces([TEXT] * 3, 262), tiny.pieces([TEXT] * 3, 290)
    own = {piece.replace("Ġ", " ") for piece in student.get_vocab()}
    for token, found in places(student, teacher).items():
        written = token.replace("Ġ", " ")
        longest = max((piece for piece in own if written.startswith(piece)), key=len)
        assert found is not None
        assert found.replace("Ġ", " ") == longest, token


def test_spaces_are_text_whatever_sign_a_tokenizer_has_for_them() -> None:
    """Otherwise no word of one family is found in the other."""
    student, teacher = tiny.pieces([TEXT] * 9, 320), tiny.words([TEXT])
    found = places(student, teacher)
    assert found["cat"] == "Ġcat"
    assert found["sat"] == "Ġsat"
    assert found["<end>"] == "<end>"
    assert found["<unk>"] is None


def test_sentencepiece_words_and_bytes_are_found() -> None:
    """Otherwise Llama's byte tokens, and its mark for a space, are taken for letters."""
    vocabulary = {"<end>": 0, "▁cat": 1, "cat": 2, "<0x41>": 3, "a": 4}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()])
    own = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    assert surfaces(own) == {1: b" cat", 2: b"cat", 3: b"A", 4: b"a"}


def test_half_characters_are_bytes_and_not_a_sign_for_nothing() -> None:
    """Otherwise all halves of characters are one token, and every emoji is taught as every other."""
    own = surfaces(tiny.pieces(["x"], 10))
    assert {content for content in own.values() if len(content) == 1} == {bytes([byte]) for byte in range(256)}


def test_what_has_no_beginning_has_no_place() -> None:
    """Otherwise its mass is put on a token that says something else."""
    found = places(tiny.letters(tiny.LETTERS[:50]), tiny.words(["zoo 12"]))
    assert found == {"<end>": "<end>", "<unk>": "<unk>", "zoo": " ", "12": " "}
    alone = places(tiny.letters(["a", "b"]), tiny.letters(["a", "é"]))
    assert alone == {"<end>": "<end>", "<unk>": "<unk>", "a": "a", "é": None}


@pytest.mark.parametrize("gap", [0, 3])
def test_a_renamed_vocabulary_is_a_permutation(gap: int) -> None:
    """Otherwise the same tokens under other ids are taught as others."""
    own, theirs = tiny.letters(), tiny.letters(tiny.LETTERS[::-1], gap=gap)
    found = projection(own, theirs).to_dense()
    assert found.shape == (len(own) + gap, len(own))
    for token, place in theirs.get_vocab().items():
        expected = torch.zeros(len(own))
        expected[own.get_vocab()[token]] = 1
        assert torch.equal(found[place], expected), token
