"""What goes wrong for a user when logits, labels and masks of a language model do not meet."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import IGNORED, adapter_pair, causal_student, causal_teacher
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.objective import as_objective
from tests.domains.language import tiny

EOS = 0


def batch_of(*texts: list[int], prompts: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """Texts padded with eos on the right, as a tokenizer whose pad is its eos does it."""
    longest = max(map(len, texts))
    ids = torch.tensor([[*text, *[EOS] * (longest - len(text))] for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    labels = ids.masked_fill(mask == 0, IGNORED)
    for row, length in enumerate(prompts):
        labels[row, :length] = IGNORED
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


BATCH = batch_of([5, 6, 7, 8, EOS], [9, 10, EOS], prompts=(2, 1))


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
def test_the_loss_is_that_of_transformers(make: Any) -> None:
    """Otherwise labels are shifted twice or not at all, and the student learns to repeat what it reads."""
    model = make()
    expected = model(**BATCH).loss
    total, _ = as_objective("cross_entropy")(causal_student(model, BATCH), None)
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_labels_and_mask_are_those_counted_by_hand() -> None:
    """Otherwise prompts are learnt, or the eos that ends an answer is taken for padding because their ids are equal."""
    said = causal_student(tiny.llama(), BATCH)
    none = IGNORED
    assert said.labels is not None
    assert said.mask is not None
    assert said.labels.tolist() == [[none, 7, 8, EOS, none], [10, EOS, none, none, none]]
    assert said.mask.tolist() == [[False, True, True, True, False], [True, True, False, False, False]]


def test_padding_counts_nowhere_even_where_the_labels_name_it() -> None:
    """Otherwise a collator that forgets to mask its labels teaches the student to write eos for ever."""
    careless = {**BATCH, "labels": BATCH["input_ids"]}
    without = {name: entry for name, entry in BATCH.items() if name != "labels"}
    left = {name: entry.flip(1) for name, entry in careless.items()}  # padded on the left
    model = tiny.llama()
    for batch, counted in ((careless, 6), (without, 6), (left, 6)):
        mask = causal_student(model, batch).mask
        assert mask is not None
        assert int(mask.sum()) == counted


def test_padding_changes_no_loss_and_no_gradient() -> None:
    """Otherwise the loss of a text depends on which longer text is in its batch."""

    def gradients(batch: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        student, teacher = tiny.llama(seed=1), tiny.llama(seed=2)
        taught = causal_teacher(teacher, batch)
        total, _ = as_objective({"forward_kl": 1.0, "cross_entropy": 0.5})(causal_student(student, batch), taught)
        return total, list(torch.autograd.grad(total, list(student.parameters())))

    short = batch_of([5, 6, 7, EOS])
    padding = {"input_ids": 3, "attention_mask": 0, "labels": IGNORED}
    longer = {name: nn.functional.pad(entry, (0, 4), value=padding[name]) for name, entry in short.items()}
    (own, parts), (other, others) = gradients(short), gradients(longer)
    assert own.item() == pytest.approx(other.item(), rel=1e-5)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(parts, others, strict=True))


DIVERGENCES = (
    "forward_kl", "reverse_kl", "generalized_jsd", "skew_forward_kl", "skew_reverse_kl", "tvd", "adaptive_kl",
    "top_k_kl",
)  # fmt: skip


@pytest.mark.parametrize("loss", DIVERGENCES)
def test_every_divergence_is_its_mean_over_the_tokens_that_count(loss: str) -> None:
    """Otherwise prompts or padding are distilled beside the answers, and the mean is over too many tokens."""
    settings = {"k": 97} if loss == "top_k_kl" else {}
    student, taught = causal_student(tiny.llama(seed=1), BATCH), causal_teacher(tiny.llama(seed=2), BATCH)
    objective = as_objective({"term": {"loss": loss, **settings}})
    total, _ = objective(student, taught)
    assert student.mask is not None
    rows = objective.bound[0].loss(student.logits[student.mask], taught.logits[student.mask])  # without any mask
    assert total.item() == pytest.approx(rows.item(), rel=1e-5)


def adapted() -> Any:
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(tiny.llama(), peft.LoraConfig(r=2, task_type="CAUSAL_LM")).eval()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft reads it
@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2, adapted])
def test_documents_of_one_row_do_not_see_each_other(make: Any) -> None:
    """Otherwise the model answers from a text that has nothing to do with it, and its positions run on."""
    model = make()
    first, second = [5, 6, 7, EOS], [9, 10, EOS]
    packed = {
        "input_ids": torch.tensor([[*first, *second, 0], [*second, *first, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 2, 2, 2, 0], [1, 1, 1, 2, 2, 2, 2, 0]]),
    }
    said = causal_student(model, packed)
    alone = [model(torch.tensor([text])).logits[0] for text in (first, second)]
    assert torch.allclose(said.logits[0, :4], alone[0], atol=1e-5)
    assert torch.allclose(said.logits[0, 4:7], alone[1], atol=1e-5)
    assert torch.allclose(said.logits[1, 3:7], alone[0], atol=1e-5)
    assert said.labels is not None
    assert said.labels[0].tolist() == [6, 7, EOS, IGNORED, 10, EOS, IGNORED, IGNORED]


def test_a_model_without_positions_is_not_given_packed_documents() -> None:
    """Otherwise each document silently reads the one before it."""

    class Plain(nn.Module):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return nn.functional.one_hot(input_ids, 97).float()

    packed = {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.tensor([[1, 2]])}
    with pytest.raises(ModelContractError, match="takes no position_ids"):
        causal_student(Plain(), packed)


def test_the_load_balancing_loss_of_experts_is_a_loss_term() -> None:
    """Otherwise the student's experts die out while it is distilled."""
    model = tiny.mixtral()
    said = causal_student(model, BATCH)
    total, components = as_objective(
        {"cross_entropy": 1.0, "aux_loss": {"loss": "own", "student": "aux_loss", "weight": 0.1}}
    )(said, None)
    expected = model(**{**BATCH, "labels": None}, use_cache=False).aux_loss
    assert components["aux_loss"].item() == pytest.approx(expected.item())
    assert total.item() == pytest.approx((components["cross_entropy"] + 0.1 * expected).item())


def test_a_teacher_with_another_tokenizer_reads_its_own_entries() -> None:
    """Otherwise it is asked about the student's ids, which mean other words to it."""
    theirs = {f"teacher_{name}": entry[:, :4] for name, entry in BATCH.items()}
    model = tiny.llama()
    said = causal_teacher(model, {**BATCH, **theirs})
    assert torch.equal(said.logits, causal_teacher(model, {name: entry[:, :4] for name, entry in BATCH.items()}).logits)
    assert said.mask is not None
    assert int(said.mask.sum()) == 4
    assert torch.equal(causal_student(model, {**BATCH, **theirs}).logits, causal_student(model, BATCH).logits)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (torch.zeros(2, 3, dtype=torch.long), r"dicts with 'input_ids'.*got Tensor"),
        ({"inputs": torch.zeros(2, 3)}, r"dicts with 'input_ids'.*\['inputs'\]"),
        ({**BATCH, "labels": torch.zeros(2)}, r"shape \(2, 5\) as input_ids, got \(2,\)"),
        ({"input_ids": torch.ones(1, 200, dtype=torch.long)}, r"at most 128 tokens a row.*has 200"),
    ],
    ids=["no dict", "no ids", "labels", "too long"],
)
def test_a_batch_that_cannot_be_read_is_refused(batch: Any, message: str) -> None:
    """Otherwise positions are made up beyond those that the model knows, or an index error says nothing."""
    with pytest.raises(ModelContractError, match=message):
        causal_student(tiny.llama(), batch)


def test_the_adapter_has_a_name() -> None:
    """Otherwise a recipe cannot say it."""
    assert adapter_pair("causal_lm") == (causal_student, causal_teacher)


@pytest.mark.parametrize("loss", ["forward_kl", "reverse_kl", "generalized_jsd", "tvd", "top_k_kl", "cross_entropy"])
def test_a_batch_in_which_nothing_counts_trains_nothing(loss: str) -> None:
    """Otherwise one batch of prompts alone makes every weight NaN, or trains on padding."""
    student, teacher = tiny.llama(seed=1), tiny.llama(seed=2)
    ids = torch.randint(1, 97, (2, 5))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.full_like(ids, -100)}
    said, taught = causal_student(student, batch), causal_teacher(teacher, batch)
    total, _ = as_objective({loss: 1.0})(said, taught)
    total.backward()  # type: ignore[no-untyped-call]
    assert total.item() == 0.0
    assert all(not parameter.grad.any() for parameter in student.parameters() if parameter.grad is not None)
