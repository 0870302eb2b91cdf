"""What goes wrong for a user when two models do not count their tokens alike."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import causal_student, causal_teacher
from knowledge_distillation.domains.language.vocabulary import Vocabulary, resolve
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.objective import as_objective
from knowledge_distillation.signals import Signals
from tests.domains.language import tiny

LETTERS = tiny.LETTERS
DIVERGENCES = ("forward_kl", "reverse_kl", "generalized_jsd", "skew_forward_kl", "tvd", "adaptive_kl", "cross_entropy")


def batch_of(tokenizer: Any, text: str = "a cat sat.") -> dict[str, Tensor]:
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}


def signals(vocabulary: Vocabulary, student: nn.Module, teacher: nn.Module, batch: Any) -> tuple[Signals, Signals]:
    ours, theirs = vocabulary.adapters
    return ours(student, batch, 1.0), theirs(teacher, batch, 1.0)


def over(said: Signals, columns: Tensor | slice) -> Signals:
    """The same with these columns alone."""
    from dataclasses import replace

    return replace(said, logits=said.logits[..., columns])


def losses(said: Signals, taught: Signals) -> dict[str, float]:
    found = {}
    for name in DIVERGENCES:
        total, _ = as_objective({name: 1.0})(said, taught)
        found[name] = total.item()
    return found


def with_rows(model: Any, ids: list[int], columns: int) -> Any:
    """The same model in another vocabulary: row `ids[n]` of the new one is row n of the old; the others are random."""
    torch.manual_seed(9)
    other = tiny.llama(columns)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        wider = torch.randn(columns, state[name].shape[1])
        wider[ids] = state[name][: len(ids)]
        state[name] = wider
    other.load_state_dict(state)
    return other


def test_padding_columns_change_no_loss_and_get_no_gradient() -> None:
    """Otherwise 152,064 columns cannot learn from 151,936, or the student learns to answer with what is no token."""
    tokenizer = tiny.letters()
    size, batch = len(tokenizer), batch_of(tokenizer)
    student, teacher = tiny.llama(size, seed=1), tiny.llama(size, seed=2)
    expected = losses(causal_student(student, batch), causal_teacher(teacher, batch))
    wide_student = with_rows(student, list(range(size)), size + 30)
    wide_teacher = with_rows(teacher, list(range(size)), size + 6)
    said, taught = signals(resolve(tokenizer, tokenizer), wide_student, wide_teacher, batch)
    assert said.logits.shape[-1] == taught.logits.shape[-1] == size
    assert losses(said, taught) == pytest.approx(expected, rel=1e-5)
    total, _ = as_objective({"reverse_kl": 1.0, "cross_entropy": 1.0})(said, taught)
    gradient = torch.autograd.grad(total, wide_student.lm_head.weight)[0]
    assert bool((gradient[size:] == 0).all())
    assert bool((gradient[:size] != 0).any())


def test_a_teacher_with_more_tokens_is_heard_on_the_shared_ones() -> None:
    """Otherwise its tokens cannot be compared, or the mass of what the student does not know is taught as something."""
    own, theirs = tiny.letters(), tiny.letters([*LETTERS, "Ä", "Ö", "Ü"])
    vocabulary = resolve(own, theirs)
    assert vocabulary.kind == "superset"
    batch, size = batch_of(own), len(own)
    student, teacher = tiny.llama(size, seed=1), tiny.llama(len(theirs), seed=2)
    said, taught = signals(vocabulary, student, teacher, batch)
    expected = losses(causal_student(student, batch), over(causal_teacher(teacher, batch), slice(size)))
    assert losses(said, taught) == pytest.approx(expected, rel=1e-5)


def test_a_student_with_more_tokens_is_compared_on_the_shared_ones() -> None:
    """Otherwise reverse KL is infinite, since the teacher gives the student's own tokens no probability."""
    own, theirs = tiny.letters([*LETTERS, "Ä", "Ö"]), tiny.letters()
    vocabulary = resolve(own, theirs)
    batch, size = batch_of(own), len(theirs)
    student, teacher = tiny.llama(len(own), seed=1), tiny.llama(size, seed=2)
    said, taught = signals(vocabulary, student, teacher, batch)
    assert bool((said.logits[..., size:] == -torch.inf).all())
    expected = losses(over(causal_student(student, batch), slice(size)), causal_teacher(teacher, batch))
    assert losses(said, taught) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ModelContractError, match=r"holds token 98 \('Ä'\), which the teacher does not know"):
        signals(vocabulary, student, teacher, batch_of(own, "an Ä"))


def test_a_reordered_teacher_is_the_same_teacher() -> None:
    """Otherwise the student is taught a scrambled language, without an error since the sizes are equal."""
    own, theirs = tiny.letters(), tiny.letters(LETTERS[::-1])
    vocabulary = resolve(own, theirs)
    assert vocabulary.kind == "reordered"
    batch = batch_of(own)
    student, teacher = tiny.llama(len(own), seed=1), tiny.llama(len(own), seed=2)
    places = own.convert_ids_to_tokens(list(range(len(own))))
    moved = with_rows(teacher, theirs.convert_tokens_to_ids(places), len(theirs))
    said, taught = signals(vocabulary, student, moved, batch)
    assert torch.allclose(taught.logits, causal_teacher(teacher, batch).logits, atol=1e-5)
    expected = losses(causal_student(student, batch), causal_teacher(teacher, batch))
    assert losses(said, taught) == pytest.approx(expected, rel=1e-5)


def test_ids_that_no_token_has_get_no_probability() -> None:
    """Otherwise reverse KL is infinite at the holes of a vocabulary, where the teacher says nothing."""
    own, theirs = tiny.letters(gap=3), tiny.letters()
    vocabulary, batch = resolve(own, theirs), batch_of(own)
    assert vocabulary.tokens == len(theirs) + 3
    student, teacher = tiny.llama(vocabulary.tokens, seed=1), tiny.llama(len(theirs), seed=2)
    said, taught = signals(vocabulary, student, teacher, batch)
    kept = vocabulary.student_ids
    alone = over(causal_student(student, batch), kept), causal_teacher(teacher, batch_of(theirs))
    found, expected = losses(said, taught), losses(alone[0], over(alone[1], vocabulary.teacher_ids))
    for name in set(DIVERGENCES) - {"cross_entropy"}:  # whose labels are other columns there
        assert found[name] == pytest.approx(expected[name], rel=1e-5), name


def test_foreign_tokenizers_are_told_and_taught_by_their_own_tokens() -> None:
    """Otherwise equal ids are compared, which mean other words to the other model."""
    own, theirs = tiny.letters(), tiny.pieces(["the cat sat on the mat"] * 5)
    vocabulary = resolve(own, theirs)
    assert vocabulary.kind == "foreign"
    assert "'uld'" in vocabulary.explanation
    texts = batch_of(own), batch_of(theirs)
    batch = {**texts[0], **{f"teacher_{name}": entry for name, entry in texts[1].items()}}
    student, teacher = tiny.llama(len(own)), tiny.llama(len(theirs) + 3)
    said, taught = signals(vocabulary, student, teacher, batch)
    assert taught.logits.shape == (1, texts[1]["input_ids"].shape[1], len(theirs))
    total, _ = as_objective("uld")(said, taught)
    assert torch.isfinite(total)
    ids = {"student_ids": vocabulary.student_ids.tolist(), "teacher_ids": vocabulary.teacher_ids.tolist()}
    assert own.convert_ids_to_tokens(ids["student_ids"]) == theirs.convert_ids_to_tokens(ids["teacher_ids"])
    gold, _ = as_objective({"gold": {"loss": "hybrid_uld", **ids}})(said, taught)
    assert torch.isfinite(gold)


def test_the_same_words_split_in_another_way_are_foreign() -> None:
    """Otherwise two tokenizers with one vocabulary and other merges pass for one, and texts no longer fit."""
    own = tiny.letters()
    other = tiny.letters()
    from tokenizers import normalizers

    other.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert own.get_vocab() == other.get_vocab()
    assert resolve(own, other).kind == "foreign"
    assert resolve(own, tiny.letters()).kind == "identical"


def test_texts_of_the_users_own_decide_too() -> None:
    """Otherwise tokenizers that differ only where the user's texts are special pass for one."""
    own, other = tiny.letters(), tiny.letters()
    other.add_tokens(["<tool>"])
    assert resolve(own, other).kind == "superset"
    assert resolve(own, other, texts=["call <tool> now"]).kind == "foreign"


@pytest.mark.parametrize("whose", ["student", "teacher"])
def test_a_model_with_fewer_columns_than_tokens_is_refused(whose: str) -> None:
    """Otherwise the tokenizer of another model is taken, and its ids mean other words or point nowhere."""
    tokenizer = tiny.letters()
    size, batch = len(tokenizer), batch_of(tokenizer, "\x20!")
    sizes = {"student": size, "teacher": size, whose: 50}
    models = [tiny.llama(sizes[name]) for name in ("student", "teacher")]
    with pytest.raises(ConfigError, match=f"The {whose}'s logits.*98 tokens, and have 50"):
        signals(resolve(tokenizer, tokenizer), *models, batch)


def test_what_was_done_is_said() -> None:
    """Otherwise the user does not learn that a part of the vocabulary is left out."""
    own = tiny.letters()
    assert "one vocabulary of 98 tokens" in resolve(own, own).explanation
    more = tiny.letters([*LETTERS, "Ä"])
    assert "share 98 tokens under the same ids; 0 are the student's alone and 1 the teacher's" in (
        resolve(own, more).explanation
    )
    assert "through a table" in resolve(own, tiny.letters(LETTERS[::-1])).explanation
