"""What goes wrong for a user whose texts, labels or tags lie in files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn
from transformers import PreTrainedTokenizerFast, RobertaTokenizer

from knowledge_distillation.domains.text import (
    MacroF1Pipeline,
    SpanF1Pipeline,
    labelled_texts,
    masked_text,
    tagged_words,
)
from knowledge_distillation.domains.text.spans import are_span_tags, spans_of
from knowledge_distillation.domains.text.tagged import read_tagged
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.signals import Signals
from tests.domains.text import tiny


def glue(folder: Path, *lines: str, name: str = "train.tsv") -> str:
    (folder / name).write_text("\n".join(("sentence\tlabel", *lines)), encoding="utf-8")
    return str(folder / name)


def decoded(tokenizer: Any, data: Any) -> list[tuple[str, str]]:
    """Every training text as the model reads it, with the name of its class."""
    rows = [data.train.dataset[at] for at in range(len(data.train.dataset))]
    return [
        (tokenizer.decode(row["input_ids"], skip_special_tokens=True), data.class_names[row["labels"]]) for row in rows
    ]


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        ("a.tsv", 'q\tlabel\tid\nthe "cache\t1\t7\na doctor\t0\t8\n', {"text": "q"}),
        ("a.csv", 'label,q\n1,"the ""cache"\n0,a doctor\n', {"text": "q"}),
        ("a.jsonl", '{"q": "the \\"cache", "label": 1}\n\n{"q": "a doctor", "label": "0"}\n', {"text": "q"}),
        ("a.tsv", 'x\t1\t*\tthe "cache\nx\t0\t*\ta doctor\n', {"text": 3, "label": 1}),
    ],
    ids=["tsv", "csv", "jsonl", "no header"],
)
def test_each_kind_of_file_says_the_same(
    name: str, content: str, settings: Any, tokenizer: Any, encoder: str, tmp_path: Path
) -> None:
    """Otherwise quotes, columns or labels move between texts, and the student learns other labels."""
    for file in (name, f"val-{name}"):
        (tmp_path / file).write_text(content, encoding="utf-8")
    data = labelled_texts(
        path=str(tmp_path / name), tokenizer=encoder, validation=str(tmp_path / f"val-{name}"), **settings
    )
    assert decoded(tokenizer, data) == [
        (tokenizer.decode(tokenizer('the "cache')["input_ids"], skip_special_tokens=True), "1"),
        ("a doctor", "0"),
    ]
    assert list(data.class_names) == ["0", "1"]


def test_bad_lines_are_left_out_with_a_count_and_a_list(
    encoder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise one bad line of thousands ends the run, or goes in as an empty text, and nobody knows."""
    good = [f"text {number}\t{number % 2}" for number in range(8)]
    path = glue(
        tmp_path, *good[:2], "no label", "   \t1", *good[2:], "odd \udcff byte\t1".encode(errors="replace").decode()
    )
    raw = Path(path).read_bytes() + b"\n\xff\xfe bytes\t1\n"
    Path(path).write_bytes(raw)
    data = labelled_texts(path=path, tokenizer=encoder, text="sentence", validation=0.2)
    assert len(data.train.dataset) + len(data.validation["validation"].dataset) == 9
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("3 of 12 lines")
    assert "line 4: it has 1 columns of 2; line 5: its 'sentence' is no text; line 13:" in message


@pytest.mark.parametrize(
    ("lines", "settings", "message"),
    [
        (["a\t0", "b\t1"], {"text": "sentnce"}, r"no column 'sentnce'.*Did you mean 'sentence'"),
        (["a\t0", "b\t0"], {}, "two classes or more"),
        (["a", "b", "c\t1"], {}, "2 of its 3 lines have none"),
        ([], {}, "must hold labelled text"),
        (["a\t0", "b\t1"], {"length": 2}, "length must be above 2"),
        (["a b c d e f\t0", "b\t1"], {"length": 5, "too_long": "refuse"}, "at most 5 tokens, and text 1 has"),
        (["a\t0", "b\t1"], {"validation": {"train": "x"}}, "validation must be a share"),
        (["a\t0", "b\t1"], {"classes": ["0", "2"]}, r"has \['1'\]: no answer"),
    ],
    ids=["column", "one class", "mostly bad", "empty", "no room", "too long", "validation", "classes"],
)
def test_files_that_cannot_be_learnt_from_are_refused(
    lines: list[str], settings: Any, message: str, encoder: str, tmp_path: Path
) -> None:
    """Otherwise training begins on nothing, or on something else than the user thinks."""
    path = glue(tmp_path, *lines)
    with pytest.raises(ConfigError, match=message):
        labelled_texts(path=path, tokenizer=encoder, **{"text": "sentence", "validation": path, **settings})


def test_a_label_that_training_never_saw_is_refused(encoder: str, tmp_path: Path) -> None:
    """Otherwise it counts as some class, or as an error that no model could avoid."""
    train, val = glue(tmp_path, "a\tyes", "b\tno"), glue(tmp_path, "a\tyes", "b\tnope", name="val.tsv")
    with pytest.raises(ConfigError, match=r"2 classes of the training part, \['no', 'yes'\], and dev has \['nope'\]"):
        labelled_texts(path=train, tokenizer=encoder, text="sentence", validation={"dev": val})


def test_long_texts_are_cut_and_counted(encoder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a model reads half of a text and nobody is told, or reads beyond its positions."""
    path = glue(tmp_path, "cache " * 30 + "\t0", "doctor\t1", "cache " * 40 + "\t1")
    data = labelled_texts(path=path, tokenizer=encoder, text="sentence", validation=path, length=16)
    assert [len(data.train.dataset[at]["input_ids"]) for at in range(3)] == [16, 3, 16]
    assert "2 of 3 texts of train have more than 16 tokens and are cut" in caplog.text
    assert data.train.dataset[0]["input_ids"][-1] == data.train.dataset[1]["input_ids"][-1]  # [SEP] stays


def test_long_sentences_are_cut_with_their_tags_and_counted(
    encoder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the tags of words that are not read count, or a sentence ends and nobody is told."""
    lines = [{"tokens": ["cache"] * count, "tags": ["O", "CAPITAL"] * (count // 2)} for count in (40, 4)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    path = str(tmp_path / "a.jsonl")
    data = tagged_words(path=path, tokenizer=encoder, validation=path, length=16)
    assert [len(data.train.dataset[at]["input_ids"]) for at in range(2)] == [16, 6]
    assert [int((data.train.dataset[at]["labels"] >= 0).sum()) for at in range(2)] == [14, 4]
    assert "1 of 2" in caplog.text
    assert "have more than 16 tokens and are cut" in caplog.text


def test_what_is_not_shown_of_many_bad_lines_is_listed_at_level_info(
    encoder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the page promises a list, and the twenty-first line is found by nobody."""
    rows = [f"cache\t{number % 2}" for number in range(40)] + ["no label"] * 23
    path = glue(tmp_path, *rows)
    with caplog.at_level(logging.INFO):
        labelled_texts(path=path, tokenizer=encoder, text="sentence")
    assert "23 of 63" in caplog.text
    assert "and 3 more, listed at level INFO" in caplog.text
    assert all(f"line {line}:" in caplog.text for line in range(42, 65))


def test_pairs_have_segments_and_batches_are_as_long_as_their_longest_row(
    tokenizer: Any, encoder: str, tmp_path: Path
) -> None:
    """Otherwise the model cannot tell the two texts apart, or attends to padding."""
    (tmp_path / "a.jsonl").write_text(
        '{"a": "cache", "b": "the doctor", "label": 0}\n{"a": "the", "b": "a", "label": 1}\n'
    )
    path = str(tmp_path / "a.jsonl")
    data = labelled_texts(path=path, tokenizer=encoder, text="a", second="b", validation=path)
    (batch,) = data.validation["validation"]
    expected = tokenizer(
        ["cache", "the"], ["the doctor", "a"], padding=True, return_tensors="pt", return_token_type_ids=True
    )
    for name in ("input_ids", "token_type_ids", "attention_mask"):
        assert torch.equal(batch[name], expected[name]), name
    assert batch["labels"].tolist() == [0, 1]


def test_few_labels_leave_the_texts_to_the_teacher(encoder: str, topics: str) -> None:
    """Otherwise a comparison with few labels also has few texts, and the teacher gets no chance."""
    whole = labelled_texts(path=topics, tokenizer=encoder, text="sentence", validation=0.2)
    few = labelled_texts(path=topics, tokenizer=encoder, text="sentence", validation=0.2, labelled=4)
    labels = [int(few.train.dataset[at]["labels"]) for at in range(len(few.train.dataset))]
    assert len(labels) == len(whole.train.dataset)
    assert sorted(label for label in labels if label >= 0) == [0, 0, 1, 1]


def test_grouped_texts_train_as_others_do(encoder: str, topics: str) -> None:
    """Otherwise the setting changes which texts are seen, or validation moves with it."""
    plain, grouped = (
        labelled_texts(path=topics, tokenizer=encoder, text="sentence", validation=0.2, batch_size=4, **settings)
        for settings in ({}, {"group_by_length": True})
    )
    seen = [sorted(row.tolist()[1] for batch in data.train for row in batch["input_ids"]) for data in (plain, grouped)]
    assert seen[0] == seen[1]
    width = [sum(batch["input_ids"].numel() for batch in data.train) for data in (plain, grouped)]
    assert width[1] < width[0]
    for one, other in zip(plain.validation["validation"], grouped.validation["validation"], strict=True):
        assert torch.equal(one["input_ids"], other["input_ids"])


CONLL = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n# id 2\nlonely\nPeter NNP B-PER\n\nBrussels NNP B-LOC\n"


def test_columns_and_json_give_the_same_tags(encoder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a tag stands at another word, or a broken sentence goes in without a word."""
    (tmp_path / "a.conll").write_text(CONLL)
    lines = [{"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}, {"tokens": ["Brussels"], "tags": ["B-LOC"]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    columns, records = (
        tagged_words(path=str(tmp_path / name), tokenizer=encoder, validation=str(tmp_path / name))
        for name in ("a.conll", "a.jsonl")
    )
    assert list(columns.class_names) == list(records.class_names) == ["B-LOC", "B-ORG", "O"]
    for at in range(2):
        for name, column in columns.train.dataset[at].items():
            assert torch.equal(column, records.train.dataset[at][name]), name
    assert "1 of 3 sentences" in caplog.text
    assert "line 7: its word at line 7 has no tag" in caplog.text


def test_the_first_token_of_a_word_bears_its_tag(tokenizer: Any, encoder: str, tagged: str) -> None:
    """Otherwise tags slip by the number of pieces that words before are cut into."""
    data = tagged_words(path=tagged, tokenizer=encoder, validation=0.2, length=64)
    for at in range(len(data.train.dataset)):
        row = data.train.dataset[at]
        tokens = tokenizer.convert_ids_to_tokens(row["input_ids"])
        for token, label in zip(tokens, row["labels"].tolist(), strict=True):
            if token in ("[CLS]", "[SEP]") or token.startswith("##"):
                assert label == -100
    (record,) = [json.loads(Path(tagged).read_text().split("\n")[0])]
    (first,) = [tagged_words(path=tagged, tokenizer=encoder, validation=tagged, length=64).train.dataset[0]]
    told = [data.class_names[label] for label in first["labels"].tolist() if label >= 0]
    assert told == record["tags"]


@pytest.mark.parametrize("kind", ["RoBERTa", "RoBERTa, told to", "GPT-2"])
def test_words_of_a_list_are_read_as_in_a_sentence(kind: str, tmp_path: Path) -> None:
    """Otherwise a RoBERTa reads "EUrejectsGerman" and tags what it never saw, and nobody is told."""
    if kind == "GPT-2":
        tokenizer: Any = tiny.bytes_tokenizer(PreTrainedTokenizerFast)
    else:
        tokenizer = tiny.bytes_tokenizer(RobertaTokenizer, add_prefix_space=kind != "RoBERTa")
    place = tiny.saved(tmp_path, tokenizer=tokenizer)
    rows = [{"tokens": ["EU", "rejects", "it"], "tags": ["B-ORG", "O", "O"]}] * 2
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = str(tmp_path / "a.jsonl")
    row = tagged_words(path=path, tokenizer=place, validation=path).train.dataset[0]
    assert tokenizer.decode(row["input_ids"], skip_special_tokens=True) == " EU rejects it"
    signs = [
        tokenizer.decode([number]) for number, label in zip(row["input_ids"], row["labels"], strict=True) if label >= 0
    ]
    assert signs == [" ", " ", " "]  # a token a byte


def test_a_word_that_is_a_hash_is_no_comment(encoder: str, tmp_path: Path) -> None:
    """Otherwise words are missing from sentences, and nobody is told."""
    (tmp_path / "a.conll").write_text("# id 1\nwe O\n# O\nEU B-ORG\n\n# id 2\n-DOCSTART- O\n\nPeter B-PER\n")
    path = str(tmp_path / "a.conll")
    rows = read_tagged(Path(path), words="", tags="", columns=(0, -1))
    assert [row.words for row in rows] == [("we", "#", "EU"), ("Peter",)]


@pytest.mark.parametrize("numbers", [["1", "0", "1"], ["1", "1", "1"]], ids=["both", "one"])
def test_numbers_count_as_the_named_classes_in_their_order(
    numbers: list[str], encoder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise SST-2 with its 0 and 1 cannot be had with a model of named classes, whichever of both is set."""
    path = glue(tmp_path, *(f"text\t{number}" for number in numbers))
    names = ["negative", "positive"]
    data = labelled_texts(path=path, tokenizer=encoder, text="sentence", validation=path, classes=names)
    assert [int(data.train.dataset[at]["labels"]) for at in range(3)] == [int(number) for number in numbers]
    assert list(data.class_names) == names
    assert "The labels of train are numbers: they are taken for the places of ['negative', 'positive']" in caplog.text


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(["0", "2"], ["a", "b"]), (["0", "a"], ["a", "b"]), (["0", "1"], ["1", "2"])],
    ids=["beyond", "mixed", "names that are numbers"],
)
def test_numbers_that_could_mean_something_else_are_refused(
    labels: list[str], classes: list[str], encoder: str, tmp_path: Path
) -> None:
    """Otherwise a class is taken for its neighbour."""
    path = glue(tmp_path, *(f"text\t{label}" for label in labels))
    with pytest.raises(ConfigError, match="Every label must be one of the 2 classes"):
        labelled_texts(path=path, tokenizer=encoder, text="sentence", validation=path, classes=classes)


def test_numbers_of_tags_are_read_over_all_sentences(encoder: str, tmp_path: Path) -> None:
    """Otherwise CoNLL as the hub gives it, tags as numbers, cannot be read with the names of a trained tagger."""
    rows = [{"tokens": ["EU", "rejects"], "tags": [1, 0]}, {"tokens": ["it"], "tags": [0]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path, names = str(tmp_path / "a.jsonl"), ["O", "B-ORG"]
    data = tagged_words(path=path, tokenizer=encoder, validation=path, classes=names)
    told = [[names[label] for label in row["labels"].tolist() if label >= 0] for row in data.train.dataset]
    assert told == [["B-ORG", "O"], ["O"]]
    assert isinstance(data.pipeline, SpanF1Pipeline)


def test_masking_is_the_same_every_time_and_as_frequent_as_berts(encoder: str, tokenizer: Any) -> None:
    """Otherwise a resumed run or a cached teacher sees other words hidden than those it answers to."""

    def data(**settings: Any) -> Any:
        return masked_text(
            path=str(tiny.PAGES), train="cache.md", tokenizer=encoder, length=32, **settings
        ).train.dataset

    one, other, often = data(), data(), data(copies=3)
    assert len(often) == 3 * len(one)
    hidden = total = masks = 0
    for at in range(len(one)):
        row = one[at]
        assert torch.equal(row["input_ids"], other[at]["input_ids"])
        chosen = row["labels"] != -100
        original = torch.where(chosen, row["labels"], row["input_ids"])
        again = often[at + len(one)]
        assert torch.equal(torch.where(again["labels"] != -100, again["labels"], again["input_ids"]), original)
        assert not chosen[0]
        assert not chosen[-1]
        hidden, total = hidden + int(chosen.sum()), total + len(chosen) - 2
        masks += int((row["input_ids"][chosen] == tokenizer.mask_token_id).sum())
    assert 0.1 < hidden / total < 0.2
    assert 0.65 < masks / hidden < 0.95


def test_a_file_that_is_no_text_is_left_out_of_a_folder(
    encoder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise one picture among thousands of files ends the run, or is learnt as text."""
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("the cache and the doctor " * 9)
    (tmp_path / "odd.txt").write_bytes(b"the \xff\xfe\x00")
    settings: dict[str, Any] = {"path": str(tmp_path), "tokenizer": encoder, "length": 16}
    with_it = masked_text(validation=0.2, **settings)
    assert "1 of 4 files of train are left out" in caplog.text
    assert "odd.txt must be a text file in UTF-8" in caplog.text
    (tmp_path / "odd.txt").unlink()
    without = masked_text(validation=0.2, **settings)
    assert [row["input_ids"].tolist() for row in with_it.train.dataset] == [
        row["input_ids"].tolist() for row in without.train.dataset
    ]
    (tmp_path / "val.md").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"val\.md must be a text file"):
        masked_text(validation="*.md", **settings)


def test_text_without_a_mask_token_is_refused(tmp_path: Path) -> None:
    """Otherwise None is an id."""
    place = tiny.saved(tmp_path, tokenizer=tiny.pieces(["a b"], special=tiny.SPECIAL[:-1]))
    with pytest.raises(ConfigError, match="has no mask_token"):
        masked_text(path=str(tiny.PAGES), train="cache.md", tokenizer=place)


def test_macro_f1_is_scikit_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise taggers are chosen by a number that nobody else gets."""
    generator = torch.Generator().manual_seed(0)
    batches = [
        {
            "logits": torch.randn(4, 6, 5, generator=generator),
            "labels": torch.randint(-1, 4, (4, 6), generator=generator),
        }
        for _ in range(3)
    ]
    for batch in batches:
        batch["labels"][batch["labels"] < 0] = -100
        batch["logits"][..., 4] -= 100.0  # neither told nor answered
    pipeline = MacroF1Pipeline(lambda _, batch, __: Signals(logits=batch["logits"], labels=batch["labels"]))
    parts = [pipeline.measure_part(nn.Identity(), [batch]) for batch in batches]
    found = pipeline.combine([*parts, pipeline.measure_part(nn.Identity(), [])])
    labels = torch.cat([batch["labels"].flatten() for batch in batches])
    answers = torch.cat([batch["logits"].argmax(-1).flatten() for batch in batches])
    kept = labels != -100
    assert found["inference_result"] == pytest.approx(f1_score(labels[kept], answers[kept], average="macro"))
    assert found["count"] == int(kept.sum())


BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O O O B-MISC I-MISC I-MISC O", "MISC 3 6"),
        ("B-PER I-PER O", "PER 0 2"),
        ("B-PER B-PER I-PER", "PER 0 1, PER 1 3"),
        ("I-PER I-PER O I-LOC I-PER", "PER 0 2, LOC 3 4, PER 4 5"),
        ("B-PER I-LOC", "PER 0 1, LOC 1 2"),
        ("S-PER B-LOC I-LOC E-LOC E-LOC O I-LOC E-LOC", "PER 0 1, LOC 1 4, LOC 4 5, LOC 6 8"),
        ("U-PER B-LOC L-LOC U-LOC I-LOC", "PER 0 1, LOC 1 3, LOC 3 4, LOC 4 5"),
        ("O O", ""),
    ],
    ids=["seqeval's", "BIO", "neighbours", "IOB1", "other type", "IOBES", "BILOU", "none"],
)
def test_spans_are_those_that_conlleval_reads(tags: str, spans: str) -> None:
    """Otherwise a tagger's score is one that no paper can be compared with."""
    named = (span.split() for span in spans.split(", ") if span)
    assert spans_of(tags.split()) == {(kind, int(first), int(behind)) for kind, first, behind in named}


def said_by(labels: list[str], answers: list[str], tags: list[str]) -> Any:
    """A pipeline on sentences of words between special tokens and padding, for answers that are given."""
    width = max(len(line.split()) for line in labels) + 3
    told, logits = torch.full((len(labels), width), -100), torch.zeros(len(labels), width, len(tags))
    logits[..., 1] = 1.0  # B-PER at every special token and padding
    for row, (label, answer) in enumerate(zip(labels, answers, strict=True)):
        for place, (own, given) in enumerate(zip(label.split(), answer.split(), strict=True), 1):
            told[row, place] = tags.index(own)
            logits[row, place, tags.index(given)] += 9.0
    pipeline = SpanF1Pipeline(tags, lambda _, batch, __: Signals(logits=batch["logits"], labels=batch["labels"]))
    batches = [{"logits": logits[at : at + 1], "labels": told[at : at + 1]} for at in range(len(labels))]
    parts = [pipeline.measure_part(nn.Identity(), [batch]) for batch in batches]
    together = pipeline.combine([*parts, pipeline.measure_part(nn.Identity(), [])])
    assert together == pipeline.run_inference_pipeline(nn.Identity(), batches)
    return together


def test_span_f1_is_the_one_that_seqeval_prints() -> None:
    """Otherwise a name that is found in part counts as found, and taggers look better than they are."""
    labels = ["O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O"]  # the example of seqeval's own page, which says 0.50
    answers = ["O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O"]
    found = said_by(labels, answers, ["O", "B-PER", "I-PER", "B-MISC", "I-MISC"])
    assert found["inference_result"] == found["precision"] == found["recall"] == 0.5
    assert found["f1"] == {"MISC": 0.0, "PER": 1.0}
    assert (found["count"], found["words"]) == (2, 10)
    assert found["accuracy"] == pytest.approx(0.8)


def test_nothing_found_scores_zero_and_no_span_at_all_is_an_error() -> None:
    """Otherwise an untrained tagger ends training in a division by zero, or a file without names scores 1."""
    assert said_by(["B-PER O"], ["O O"], BIO)["inference_result"] == 0.0
    with pytest.raises(ModelContractError, match="name a span"):
        said_by(["O O"], ["O O"], BIO)
    with pytest.raises(ConfigError, match="BIO, IOBES or BILOU"):
        SpanF1Pipeline(["NOUN", "VERB"])


def test_tags_decide_how_a_tagger_is_scored(encoder: str, tagged: str, tmp_path: Path) -> None:
    """Otherwise parts of speech are read as spans, or names are scored word by word."""
    (tmp_path / "a.conll").write_text(CONLL)
    names = tagged_words(path=str(tmp_path / "a.conll"), tokenizer=encoder, validation=str(tmp_path / "a.conll"))
    assert isinstance(names.pipeline, SpanF1Pipeline)
    assert names.pipeline.tags == list(names.class_names)
    words = tagged_words(path=tagged, tokenizer=encoder, validation=0.2)
    assert isinstance(words.pipeline, MacroF1Pipeline)
    assert not any(are_span_tags(tags) for tags in (["O"], ["NNP", "IN"], ["O", "B-"], ["O", "B-PER", "CAPITAL"]))


def test_a_text_that_got_worse_is_shown_in_words(tokenizer: Any, encoder: str, tmp_path: Path) -> None:
    """Otherwise the report lists numbers of tokens, which nobody reads."""
    file = glue(tmp_path, "the cache\t1", "a doctor of the cache\t0", "a doctor\t0")
    data = labelled_texts(path=file, tokenizer=encoder, validation=file, text="sentence")
    batch = next(iter(next(iter(data.validation.values()))))
    at = int(batch["attention_mask"].sum(dim=1).argmin())
    shown = data.show(batch, at)
    assert "[PAD]" not in shown
    assert shown == tokenizer.decode(batch["input_ids"][at][batch["attention_mask"][at].bool()])
