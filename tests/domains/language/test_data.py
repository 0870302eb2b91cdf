"""What goes wrong for a user between a text file and a batch."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from knowledge_distillation.capture.adapters import IGNORED
from knowledge_distillation.domains.language import Blocks, jsonl, text_files
from knowledge_distillation.domains.language.generation import GenerationPipeline
from knowledge_distillation.domains.language.rows import chat_pieces, encoded, padded
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.evaluation import evaluate
from tests.domains.language import tiny

END = 0


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.saved(tmp_path_factory.mktemp("letters"), tokenizer=tiny.letters())


def written(tokenizer: Any, batch: Any, row: int, *, learnt: bool = False) -> str:
    """What stands in a row, or what of it is learnt."""
    kept = batch["labels"][row] != IGNORED if learnt else batch["attention_mask"][row].bool()
    return str(tokenizer.decode(batch["input_ids"][row][kept]))


def lines(file: Path, records: list[Any]) -> str:
    file.write_text("\n".join(json.dumps(record) for record in records))
    return str(file)


# -- running text ------------------------------------------------------------------------------------------------------


def test_no_token_is_lost_and_none_is_made_up_when_texts_are_packed() -> None:
    """Otherwise a part of the data is never learnt, or padding is."""
    documents = [[5, 6, 7, END], [8, END], [9, 10, 11, 12, END]]
    rows = list(Blocks(documents, 4))
    kept = [int(token) for row in rows for token in row["input_ids"][row["attention_mask"].bool()]]
    assert kept == [5, 6, 7, END, 8, END, 9, 10, 11, 12, END]
    assert [row["labels"].tolist() for row in rows][2] == [11, 12, END, IGNORED]
    assert all(row["attention_mask"].max() == 1 for row in rows)


def test_documents_that_are_kept_apart_are_numbered_in_each_row() -> None:
    """Otherwise a row whose first document began before it takes that for padding, or for the one behind it."""
    rows = list(Blocks([[5, 6, 7, 8, END], [9, END], [10, END]], 4, apart=True))
    assert [row["attention_mask"].tolist() for row in rows] == [[1, 1, 1, 1], [1, 2, 2, 3]]
    # the last token of all would be a row of its own, of which nothing can be predicted
    assert sum(int((row["attention_mask"] > 0).sum()) for row in rows) == 8


class Foreseeing(torch.nn.Module):
    """Answers with the token that comes, or, where it is to fail, with the one that has come."""

    def __init__(self, vocabulary: int, shift: int) -> None:
        super().__init__()
        self.vocabulary, self.shift = vocabulary, torch.nn.Parameter(torch.tensor(float(shift)))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        said = input_ids.roll(int(self.shift), dims=1)
        return {"logits": 9.0 * torch.nn.functional.one_hot(said, self.vocabulary) * self.shift.abs().clamp(min=1)}


def test_a_mistake_is_shown_where_it_is_made(letters: str, tmp_path: Path) -> None:
    """Otherwise the report shows numbers of tokens, or a passage in which the wrong word is another one."""
    written_text = "the state of the union is good and will be better next year. " * 9
    (tmp_path / "a.txt").write_text(written_text)
    data = text_files(path=str(tmp_path / "a.txt"), tokenizer=letters, length=120, batch_size=2, validation=0.3)
    size = data.facts["vocabulary"]
    assert len(data.class_names) == size
    found = evaluate(
        {"teacher": Foreseeing(size, -1), "student": Foreseeing(size, 0)}, next(iter(data.validation.values())),
        adapter=data.adapter, show=data.show, class_names=data.class_names, worse=40, cost=False, layers=None,
    ).as_dict()["regressions"]["worse"]  # fmt: skip
    assert len(found) == 40
    assert len({item["position"] for item in found}) > 10
    for item in found:
        read, to_come = item["sample"].split(" ▸ ")
        assert item["names"] == {"label": repr(to_come[0]), "teacher": repr(to_come[0]), "student": repr(read[-1])}
        assert read.removeprefix("…") + to_come.removesuffix("…") in written_text + "<end>"


def test_texts_are_joined_by_the_token_that_ends_them(letters: str, texts: Path) -> None:
    """Otherwise the last word of a speech runs into the first of the next."""
    data = text_files(path=str(texts), tokenizer=letters, length=500, validation={"val": "1920*"})
    assert data.train.dataset[0]["input_ids"].tolist().count(END) >= 2
    whole = data.train.dataset[0]
    content = tiny.letters().decode(whole["input_ids"][whole["attention_mask"].bool()])
    assert content == "the cat sat on the mat." * 4 + "<end>" + "a dog ran to the cat." * 4 + "<end>"


def test_validation_files_are_never_trained_on(letters: str, texts: Path) -> None:
    """Otherwise the perplexity is that of texts learnt by heart."""
    held = {"val": "1910*", "test": ["192?_*"]}
    data = text_files(path=str(texts), tokenizer=letters, length=500, train="*", validation=held)
    assert set(data.validation) == {"val", "test"}
    found = {name: written(tiny.letters(), next(iter(loader)), 0) for name, loader in data.validation.items()}
    assert found["val"].startswith("a dog")
    assert found["test"].startswith("the mat")
    assert "dog" not in written(tiny.letters(), next(iter(data.train)), 0)
    assert data.facts.items() >= {"vocabulary": 98, "length": 500}.items()


def test_a_share_is_held_out_of_one_file_too(letters: str, texts: Path) -> None:
    """Otherwise a single file cannot be validated on, or its rows are in both parts."""
    file = str(texts / "1900_speech.txt")
    data = text_files(path=file, tokenizer=letters, length=10, validation=0.3, seed=3)
    parts = [set(part.indices) for part in (data.train.dataset, data.validation["validation"].dataset)]
    assert not parts[0] & parts[1]
    assert len(parts[1]) == 3
    assert len(parts[0]) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "nowhere"}, "no file or folder nowhere"),
        ({"validation": {"val": "20*"}}, r"files for 'val', and none of its 3 fits '20\*'"),
        ({"train": "192*", "validation": "192*"}, r"files for 'train', and none of its 3"),
        ({"length": 1}, "length must be a whole number of tokens of at least 2"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"validation": 1.5}, "validation must be a number from 0.0 to 1.0"),
        ({"length": 500, "validation": 0.1}, "at least 2 samples, and there is 1"),
        ({"tokenizer": "no/such-folder/anywhere"}, "No tokenizer can be loaded from"),
    ],
)
def test_text_that_cannot_be_used_is_refused(change: Any, message: str, letters: str, texts: Path) -> None:
    """Otherwise the run begins without data, or scores what it learnt."""
    plan = {"path": str(texts), "tokenizer": letters, "length": 10, "validation": "1920*"}
    with pytest.raises(ConfigError, match=message):
        text_files(**{**plan, **change})


def test_files_that_are_no_text_are_refused(letters: str, tmp_path: Path) -> None:
    """Otherwise a picture in the folder is learnt as text."""
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"a\.txt must be a text file in UTF-8"):
        text_files(path=str(tmp_path), tokenizer=letters)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ConfigError, match="at least 2 tokens, and hold 0"):
        text_files(path=str(tmp_path), tokenizer=letters)


def test_a_tokenizer_without_an_end_is_refused(tmp_path: Path, texts: Path) -> None:
    """Otherwise texts run into each other, and the student never stops."""
    tokenizer = tiny.letters()
    tokenizer.eos_token = None
    place = tiny.saved(tmp_path / "endless", tokenizer=tokenizer)
    with pytest.raises(ConfigError, match="must have an eos_token"):
        text_files(path=str(texts), tokenizer=place)


def test_running_text_takes_no_foreign_tokenizer(letters: str, texts: Path, tmp_path: Path) -> None:
    """Otherwise the rows of teacher and student hold other text."""
    foreign = tiny.saved(tmp_path / "pieces", tokenizer=tiny.pieces(["the cat sat on the mat"] * 3))
    with pytest.raises(ConfigError, match=r"different ways.*Use the data set 'jsonl'"):
        text_files(path=str(texts), tokenizer=letters, teacher_tokenizer=foreign)


# -- records -----------------------------------------------------------------------------------------------------------


def test_only_completions_are_learnt_and_the_end_of_each(letters: str, records: Path) -> None:
    """Otherwise the student learns to ask the questions, or never to stop answering."""
    data = jsonl(path=str(records), tokenizer=letters, validation=0.2, batch_size=8)
    batch = next(iter(data.train))
    tokenizer = tiny.letters()
    for row in range(len(batch["labels"])):
        whole, learnt = written(tokenizer, batch, row), written(tokenizer, batch, row, learnt=True)
        prompt, _, answer = whole.partition("=")
        assert learnt == answer
        assert answer == f"{2 * int(prompt.split('+')[0])}<end>"
    assert (batch["attention_mask"].sum(dim=1) == (batch["labels"] != IGNORED).sum(dim=1)
            + torch.tensor([written(tokenizer, batch, row).index("=") + 1 for row in range(8)])).all()  # fmt: skip


def test_padding_is_told_by_length_though_pad_is_eos() -> None:
    """Otherwise the end of every answer is masked as if it were padding, and the student never stops."""
    rows = [
        encoded(tiny.letters(), [("a", False), ("bcd", True)], 20),
        encoded(tiny.letters(), [("a", False), ("b", True)], 20),
    ]
    batch = padded([row for row in rows if row is not None])
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
    assert batch["labels"][1].tolist()[2:] == [END, IGNORED, IGNORED]


def test_a_chat_teaches_what_the_assistant_says_alone() -> None:
    """Otherwise the student learns to be the user as well."""
    tokenizer = tiny.letters()
    turns = [("system", "be kind"), ("user", "hi"), ("assistant", "yo"), ("user", "bye"), ("assistant", "so long")]
    messages = [{"role": role, "content": content} for role, content in turns]
    found = chat_pieces(tokenizer, messages)
    assert "".join(text for text, _ in found) == tokenizer.apply_chat_template(messages, tokenize=False)
    assert [text for text, learnt in found if learnt] == ["yo<end>", "so long<end>"]
    row = encoded(tokenizer, found, 200, whole=True)
    assert row is not None
    assert tokenizer.decode(row["input_ids"][row["labels"] != IGNORED]) == "yo<end>so long<end>"
    assert tokenizer.decode(row["input_ids"]) == tokenizer.apply_chat_template(messages, tokenize=False)


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    """Otherwise tokens of the user are learnt as the assistant's."""
    tokenizer = tiny.letters()
    tokenizer.chat_template = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    with pytest.raises(ConfigError, match="changes earlier turns"):
        chat_pieces(tokenizer, messages)
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="chat template must take the messages"):
        chat_pieces(tokenizer, messages)


def test_empty_and_crowded_out_completions_are_left_out_with_a_word(
    letters: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise rows without anything to learn make batches whose loss is 0, and nobody knows how many."""
    fine = [{"prompt": "a", "completion": "bc"}] * 3
    odd = [{"prompt": "a", "completion": ""}, {"prompt": "a" * 50, "completion": "bc"}]
    other = lines(tmp_path / "other.jsonl", fine)
    with caplog.at_level(logging.WARNING):
        data = jsonl(path=lines(tmp_path / "a.jsonl", [*fine, *odd]), tokenizer=letters, validation=other, length=20)
    assert len(data.train.dataset) == 3
    assert "2 of 5 records are left out" in caplog.text
    with pytest.raises(ConfigError, match="Of 2 records none has a token to learn"):
        jsonl(path=lines(tmp_path / "b.jsonl", odd), tokenizer=letters, validation=other, length=20)


def test_longer_records_are_cut_at_their_end(letters: str, tmp_path: Path) -> None:
    """Otherwise one long record fills the memory, or is lost without a word."""
    path = lines(tmp_path / "a.jsonl", [{"prompt": "ab", "completion": "c" * 90}] * 2)
    data = jsonl(path=path, tokenizer=letters, validation=0.5, length=10)
    assert written(tiny.letters(), next(iter(data.train)), 0) == "ab" + "c" * 8


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"line 2: each line must be one JSON object"),
        ("[1]", r"line 2: a record must have 'text', or .*; this is a list"),
        ('{"prompt": "a"}', r"line 2: .*'completion' is NoneType, no text"),
        ('{"text": 3}', r"line 2: .*'text' is int, no text"),
        ('{"messages": ["a"]}', r"line 2: .*its messages are no list of"),
    ],
)
def test_a_line_that_is_no_record_is_named(line: str, message: str, letters: str, tmp_path: Path) -> None:
    """Otherwise the user searches a million lines for the one that is broken."""
    (tmp_path / "a.jsonl").write_text('{"text": "ab"}\n' + line + "\n")
    with pytest.raises(ConfigError, match=message):
        jsonl(path=str(tmp_path / "a.jsonl"), tokenizer=letters)


def test_texts_are_records_too(letters: str, tmp_path: Path) -> None:
    """Otherwise a file of short texts must be turned into prompts first."""
    path = lines(tmp_path / "a.jsonl", [{"text": "abc"}] * 2)
    batch = next(iter(jsonl(path=path, tokenizer=letters, validation=0.5).train))
    assert written(tiny.letters(), batch, 0, learnt=True) == "abc<end>"


def test_a_foreign_teacher_gets_its_own_tokens(letters: str, records: Path, tmp_path: Path) -> None:
    """Otherwise it reads the student's ids, which mean other words to it."""
    theirs = tiny.pieces(["1+1=2 2+2=4"] * 3)
    place = tiny.saved(tmp_path / "pieces", tokenizer=theirs)
    data = jsonl(path=str(records), tokenizer=letters, teacher_tokenizer=place, validation=0.2)
    batch = next(iter(data.train))
    teacher = {name.removeprefix("teacher_"): entry for name, entry in batch.items() if name.startswith("teacher_")}
    for row in range(len(batch["labels"])):
        assert written(theirs, teacher, row) == written(tiny.letters(), batch, row)
        assert written(theirs, teacher, row, learnt=True) == written(tiny.letters(), batch, row, learnt=True)


def test_generated_answers_can_be_the_score(letters: str, records: Path) -> None:
    """Otherwise a recipe can only be scored by perplexity."""
    data = jsonl(path=str(records), tokenizer=letters, score="exact_match")
    assert isinstance(data.pipeline, GenerationPipeline)
    assert data.pipeline.metric == "exact_match"
