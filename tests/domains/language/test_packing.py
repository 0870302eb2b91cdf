"""What goes wrong for a user who puts several prompts with their completions into one row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import IGNORED, causal_student
from knowledge_distillation.domains.language import jsonl
from knowledge_distillation.domains.language.packing import Packed, best_fit
from knowledge_distillation.domains.language.responses import prompts_of
from knowledge_distillation.domains.language.rows import Rows, padded
from knowledge_distillation.errors import ConfigError, ModelContractError
from tests.domains.language import tiny
from tests.domains.language.left_heads import FUSED, MIXED, module_of
from tests.training.toys import quiet_trainer

LENGTH = 120
SUMS = [{"prompt": f"{n}+{n * n}=", "completion": f"{n + n * n}."} for n in range(1, 13)]
CHATS = [
    {
        "messages": [
            {"role": "user", "content": f"What is {n}?"},
            {"role": "assistant", "content": "n" * n},
            {"role": "user", "content": "More."},
            {"role": "assistant", "content": f"{n}!"},
        ]
    }
    for n in range(1, 5)
]
TEXTS = [{"text": "a" * n} for n in range(2, 30, 3)]


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.saved(tmp_path_factory.mktemp("letters"), tokenizer=tiny.letters())


def data(records: list[Any], letters: str, folder: Path, *, packed: bool, length: int = LENGTH) -> Any:
    file = folder / "records.jsonl"
    file.write_text("\n".join(map(json.dumps, records)))
    return jsonl(path=str(file), tokenizer=letters, validation=str(file), length=length, packed=packed, batch_size=3)


def losses(model: nn.Module, loader: Any) -> dict[tuple[int, ...], list[float]]:
    """For each text, by its tokens, the loss at each of them that counts."""
    found = {}
    for batch in loader:
        said = causal_student(model, batch)
        each = nn.functional.cross_entropy(said.logits.transpose(1, 2), said.labels, reduction="none")
        for row, mask in enumerate(batch["attention_mask"]):
            for text in range(1, int(mask.max()) + 1):
                own = mask == text
                found[tuple(batch["input_ids"][row][own].tolist())] = each[row][own].tolist()
    return found


@pytest.mark.parametrize("records", [SUMS, CHATS, TEXTS], ids=["completions", "chats", "texts"])
@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
def test_every_token_has_the_loss_that_it_has_alone(
    make: Any, records: list[Any], letters: str, tmp_path: Path
) -> None:
    """Otherwise a text reads its neighbours, stands at another position, or is learnt where it is only to be read."""
    packed = data(records, letters, tmp_path, packed=True)
    model = make(99)
    together, alone = losses(model, packed.train), losses(model, packed.validation["validation"])
    assert together.keys() == alone.keys()
    assert len(alone) == len(records)
    assert len(packed.train.dataset) < len(records)
    for text, values in alone.items():
        assert together[text] == pytest.approx(values, abs=1e-5)
        assert any(values)


@pytest.mark.parametrize("objective", [MIXED, FUSED], ids=["logits", "fused"])
def test_training_on_packed_rows_is_training_on_the_texts(objective: Any, letters: str, tmp_path: Path) -> None:
    """Otherwise the student's gradient is another one as soon as rows are packed."""
    weights = []
    for packed in (True, False):
        rows = data(SUMS, letters, tmp_path, packed=packed).train
        module = module_of(objective, lambda seed: tiny.llama(99, seed=seed))
        quiet_trainer(accumulate_grad_batches=len(rows)).fit(module, rows)
        weights.append([weight.detach() for weight in module.student_model.parameters()])
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_masks_and_labels_are_those_counted_by_hand() -> None:
    """Otherwise a test that compares two ways of ours holds though both are wrong."""
    none = IGNORED
    texts = Rows(
        [
            {"input_ids": torch.tensor([5, 6]), "labels": torch.tensor([none, 6])},
            {"input_ids": torch.tensor([7, 8, 9]), "labels": torch.tensor([7, 8, 9])},
            {"input_ids": torch.tensor([3, 4, 5, 6]), "labels": torch.tensor([none, none, 5, 6])},
        ]
    )
    batch = padded([Packed(texts, 5)[0], Packed(texts, 5)[1]])
    assert batch["input_ids"].tolist() == [[3, 4, 5, 6, 0], [7, 8, 9, 5, 6]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 2, 2]]
    labels = causal_student(tiny.llama(), batch).labels
    assert isinstance(labels, Tensor)
    assert labels.tolist() == [[none, 5, 6, none, none], [8, 9, none, 6, none]]  # 5 follows from no 9


@given(st.lists(st.integers(1, 20), max_size=40), st.integers(20, 60))
def test_each_text_is_in_one_row_that_takes_it(lengths: list[int], room: int) -> None:
    """Otherwise texts are lost, learnt twice, or cut; or rows stay half empty."""
    bins = best_fit(lengths, room)
    assert sorted(number for row in bins for number in row) == list(range(len(lengths)))
    filled = [sum(lengths[number] for number in row) for row in bins]
    assert all(length <= room for length in filled)
    assert sum(2 * length <= room for length in filled) <= 1


def test_what_cannot_be_packed_is_refused(letters: str, tmp_path: Path) -> None:
    """Otherwise a response follows the first prompt of a row alone, or the teacher's tokens fit into no row."""
    batch = next(iter(data(SUMS, letters, tmp_path, packed=True).train))
    with pytest.raises(ModelContractError, match="one text a row"):
        prompts_of(batch)
    other = tiny.saved(tmp_path / "pieces", tokenizer=tiny.pieces(["the cat sat on the mat"] * 9))
    path = str(tmp_path / "records.jsonl")
    with pytest.raises(ConfigError, match="Leave `packed` out"):
        jsonl(path=path, tokenizer=letters, teacher_tokenizer=other, packed=True)
