"""What goes wrong for a user whose texts and pairs lie in files, or who trusts a score of embeddings."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from knowledge_distillation.domains.embedding import (
    PairPipeline,
    embedded,
    neighbour_overlap,
    sentence_encoder,
    sentences,
)
from knowledge_distillation.domains.embedding.agreement import mixed_pairs, nearest, random_pairs
from knowledge_distillation.errors import ConfigError, ModelContractError


def written(folder: Path, name: str, content: str | bytes) -> str:
    content = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(content)
    return str(folder / name)


def read(tokenizer: Any, data: Any) -> list[str]:
    rows = data.train.dataset
    return [tokenizer.decode(rows[at]["input_ids"], skip_special_tokens=True) for at in range(len(rows))]


def said(tokenizer: Any, text: str) -> str:
    return str(tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True))


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        ("a.txt", "the cache\n\nthe teacher\n", {}),
        ("a.jsonl", '{"text": "the cache"}\n{"text": "the teacher"}\n', {}),
        ("a.tsv", "id\tq\n1\tthe cache\n2\tthe teacher\n", {"text": "q"}),
        ("a.csv", '1,"the cache"\n2,the teacher\n', {"text": 1}),
    ],
    ids=["lines", "jsonl", "tsv", "csv without a header"],
)
def test_each_kind_of_file_says_the_same(
    name: str, content: str, settings: Any, model: str, tokenizer: Any, tmp_path: Path
) -> None:
    """Otherwise columns move between texts, and the student learns on ids and names."""
    held = written(tmp_path, f"held-{name}", content)
    data = sentences(
        path=written(tmp_path, name, content), tokenizer=model, validation=held, pairs=4, length=48, **settings
    )
    assert read(tokenizer, data) == [said(tokenizer, "the cache"), said(tokenizer, "the teacher")]


def test_empty_and_broken_lines_are_left_out_with_a_count_and_a_list(
    model: str, tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a bad line among thousands ends the run, or becomes a text of padding."""
    good = "".join(f'{{"text": "the cache {number}"}}\n' for number in range(8))
    file = written(tmp_path, "a.jsonl", good.encode() + b'{"text": "  "}\n{"text": 3}\nno json\n{"text": "\xff"}\n')
    data = sentences(path=file, tokenizer=model, validation=0.3, pairs=4, length=48)
    assert len(read(tokenizer, data)) == 6
    assert "4 of 12 lines" in caplog.text
    assert "line 9: its 'text' is no text; line 10: its 'text' is no text; line 11: it is no JSON object" in caplog.text
    with pytest.raises(ConfigError, match="must hold texts"):
        sentences(path=written(tmp_path, "empty.txt", "\n \n"), tokenizer=model, length=48)


def test_a_stray_quote_takes_no_rows_along(model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise thousands of texts behind it become one, cut to its first words, and the log tells of one long text."""
    rows = [f"{number},the cache {number}" for number in range(40)]
    unclosed = written(tmp_path, "a.csv", "\n".join(["id,text", *rows[:20], '20,"the cache', *rows[21:]]) + "\n")
    settings: Any = {"tokenizer": model, "validation": 0.3, "pairs": 4, "length": 48}
    with pytest.raises(ConfigError, match=r"a\.csv: a quote .* begins in line 22 is never closed"):
        sentences(path=unclosed, **settings)
    closed = [*rows[:20], '20,"the cache', *rows[21:23], '23,the" cache', *rows[24:30], '30,"two\nlines"', *rows[31:]]
    data = sentences(path=written(tmp_path, "b.csv", "\n".join(["id,text", *closed]) + "\n"), **settings)
    assert len(data.facts["training_rows"]) == 25  # of 36, and 11 are held out
    assert "4 of 40 lines" in caplog.text
    assert all(f"line {line}: ',' expected after" in caplog.text for line in (22, 23, 24, 25))


def test_pairs_without_a_score_are_left_out_and_a_file_of_them_is_refused(
    model: str, lines: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a missing score counts as 0, and the correlation is that of another file."""
    head = "sentence1\tsentence2\tscore\n"
    good = "the cache\tthe teacher\t1.5\nis kept\tis read\t4\nno\tyes\t0\n"
    file = written(tmp_path, "sts.tsv", head + good + "a\tb\t\nc\td\tnan\n")
    data = sentences(path=lines, tokenizer=model, pairs=0, scored={"sts": file}, length=48)
    assert data.validation["sts"].dataset.scores.tolist() == [1.5, 4.0, 0.0]  # type: ignore[attr-defined]
    assert "line 5: it has no 'score'; line 6: its 'score' is no number" in caplog.text
    lacking = written(tmp_path, "none.tsv", "sentence1\tsentence2\na\tb\n")
    with pytest.raises(ConfigError, match="has no column 'score'"):
        sentences(path=lines, tokenizer=model, pairs=0, scored={"sts": lacking}, length=48)
    bad = written(tmp_path, "bad.tsv", head + "a\tb\t\nc\td\t\n")
    with pytest.raises(ConfigError, match="a number that says how alike they are, and 2 of its 2 lines have none"):
        sentences(path=lines, tokenizer=model, pairs=0, scored={"sts": bad}, length=48)


def test_long_texts_are_cut_with_a_count_or_refused(
    model: str, lines: str, tokenizer: Any, texts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise the end of a text is not read, and nobody is told."""
    data = sentences(path=lines, tokenizer=model, validation=lines, pairs=4, length=16)
    longer = sum(len(row.ids) > 16 for row in tokenizer(texts).encodings)
    assert f"{longer} of {len(texts)} texts of train have more than 16 tokens and are cut" in caplog.text
    assert max(len(row) for row in data.facts["training_rows"]) == 16
    with pytest.raises(ConfigError, match="must have at most 16 tokens"):
        sentences(path=lines, tokenizer=model, pairs=4, length=16, too_long="refuse")


def test_random_and_mixed_pairs_are_of_different_texts_and_half_of_the_mixed_are_near() -> None:
    """Otherwise a text is compared with itself, or the harder half is missing."""
    vectors = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    for pairs in (random_pairs(300, 2000), mixed_pairs(vectors, 2000)):
        assert pairs.shape == (2000, 2)
        assert bool((pairs[:, 0] != pairs[:, 1]).all())
        assert {*pairs.flatten().tolist()} == set(range(300))
    far, near = mixed_pairs(vectors, 2000).split(1000)
    units = nn.functional.normalize(vectors, dim=-1)
    cosines = units @ units.T
    ranks = torch.tensor([int((cosines[a] > cosines[a, b]).sum()) for a, b in near.tolist()])
    assert 1 <= int(ranks.min()) <= int(ranks.max()) <= 50
    assert int(torch.tensor([int((cosines[a] > cosines[a, b]).sum()) for a, b in far.tolist()]).max()) > 250


def test_the_scores_are_scipys_correlation_with_the_teachers_cosines(model: str, lines: str) -> None:
    """Otherwise a student is chosen by another agreement than the one that is reported."""
    data = sentences(path=lines, tokenizer=model, validation=0.5, pairs=200, length=48)
    torch.manual_seed(3)

    class Student(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(400, 5)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return (self.table(input_ids) * attention_mask[..., None]).sum(dim=1)

    student, pipeline = Student(), data.pipeline
    assert pipeline is not None
    teacher = sentence_encoder(model)
    for loader in data.validation.values():
        rows: Any = loader.dataset
        ours, theirs = embedded(student, rows.rows).double(), embedded(teacher, rows.rows).double()
        cosine = nn.functional.cosine_similarity
        first, second = rows.pairs.T
        wanted = spearmanr(cosine(ours[first], ours[second]), cosine(theirs[first], theirs[second])).statistic
        said = pipeline.run_inference_pipeline(student, loader)
        assert said["inference_result"] == pytest.approx(wanted, abs=1e-4)
        assert said["count"] == 200
        parts = [pipeline.measure_part(student, [batch]) for batch in loader]  # type: ignore[attr-defined]
        assert pipeline.combine(parts)["inference_result"] == pytest.approx(said["inference_result"])  # type: ignore[attr-defined]
        assert pipeline.run_inference_pipeline(teacher, loader)["inference_result"] == pytest.approx(1, abs=1e-5)


def test_recall_counts_questions_whose_answer_is_among_the_nearest(model: str, lines: str, tmp_path: Path) -> None:
    """Otherwise retrieval looks good because every text finds itself, or bad because the answers lie elsewhere."""
    pairs = [(f"the cache {number}", f"the teacher {number} keeps") for number in range(30)]
    rows = [json.dumps({"sentence1": a, "sentence2": b}) for a, b in pairs]
    file = written(tmp_path, "asked.jsonl", "\n".join(rows))
    data = sentences(path=lines, tokenizer=model, pairs=0, retrieval={"asked": file}, length=48, batch_size=8)
    teacher = sentence_encoder(model)
    held: Any = data.validation["asked"].dataset
    vectors = embedded(teacher, held.rows)
    found = 0
    for at in range(30):
        products = [float(vectors[2 * at] @ vectors[2 * other + 1]) for other in range(30)]
        found += sorted(products, reverse=True).index(products[at]) < 3
    said = PairPipeline(k=3).run_inference_pipeline(teacher, data.validation["asked"])
    assert said["inference_result"] == pytest.approx(found / 30)
    assert 0 < found < 30


class Told(nn.Module):
    """Gives each text the vector that it was told for its first token."""

    def __init__(self, vectors: torch.Tensor) -> None:
        super().__init__()
        self.vectors = vectors

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.vectors[input_ids[:, 0]]


def batches(pairs: list[tuple[int, int]], size: int = 3) -> list[dict[str, torch.Tensor]]:
    """Pairs of texts of one token each; every second batch is padded."""
    found = []
    for begin in range(0, len(pairs), size):
        ids = torch.tensor(pairs[begin : begin + size]).reshape(-1, 1)
        behind = torch.zeros(len(ids), begin % 2, dtype=torch.int64)
        found.append(
            {"input_ids": torch.cat([ids, behind], 1), "attention_mask": torch.cat([ids * 0 + 1, behind], dim=1)}
        )
    return found


@pytest.mark.parametrize("kind", ["constant", "zero"])
@pytest.mark.parametrize("width", [1, 33, 384])
def test_a_model_that_says_the_same_of_all_texts_finds_none(kind: str, width: int) -> None:
    """Otherwise a student that collapsed has a recall of 1, and is kept as the best."""
    one = torch.randn(width, generator=torch.Generator().manual_seed(width))
    told = Told(one.expand(30, width).contiguous() if kind == "constant" else torch.zeros(30, width))
    asked = batches([(place, place + 7) for place in range(14)])
    assert PairPipeline(k=10).run_inference_pipeline(told, asked) == {"inference_result": 0.0, "count": 14}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("scored", [True, False])
def test_vectors_that_are_no_numbers_have_no_score(value: float, scored: bool) -> None:
    """Otherwise NaN is nearer than anything: a student that diverged finds every answer, or correlates."""
    vectors = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    vectors[9, 2] = value
    asked = batches([(place, place + 7) for place in range(14)])
    if scored:
        asked = [{**batch, "labels": torch.arange(float(len(batch["input_ids"])))} for batch in asked]
    result = PairPipeline(k=3).run_inference_pipeline(Told(vectors), asked)["inference_result"]
    assert result != result


def test_an_answer_of_several_questions_counts_once() -> None:
    """Otherwise a question loses to copies of its own answer, or to one wrong answer that stands there ten times."""
    vectors = nn.functional.normalize(torch.tensor([[0.0, 0], [1, 0], [1, 0.1], [1, 0.2], [0, 1]]), dim=1)
    pairs = [(1, 3), (1, 3), (1, 2), (1, 2), (1, 2), (4, 4)]
    asked = batches(pairs)
    share = {k: PairPipeline(k=k).run_inference_pipeline(Told(vectors), asked)["inference_result"] for k in (1, 2)}
    distinct = sorted({second for _, second in pairs})
    for k, found in share.items():
        hits = 0
        for first, second in pairs:
            products = {text: float(vectors[first] @ vectors[text]) for text in distinct}
            hits += sum(value >= products[second] for value in products.values()) <= k
        assert found == pytest.approx(hits / len(pairs))
    assert share == {1: pytest.approx(4 / 6), 2: 1.0}


def test_shared_neighbours_are_counted_without_the_text_itself() -> None:
    """Otherwise every model shares a tenth with every other, for free."""
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(200, 16, generator=generator), torch.randn(200, 16, generator=generator)
    assert neighbour_overlap(one, one) == 1.0
    assert neighbour_overlap(one, other) == pytest.approx(10 / 199, abs=0.02)
    assert not bool((nearest(one, torch.arange(200), 10) == torch.arange(200)[:, None]).any())


def test_a_score_of_nothing_is_refused(model: str, lines: str) -> None:
    """Otherwise a run without pairs reports nan, or a classifier's logits are taken for vectors."""
    with pytest.raises(ConfigError, match="There must be pairs to validate on"):
        sentences(path=lines, tokenizer=model, pairs=0, length=48)
    with pytest.raises(ModelContractError, match="at least two, and the loader gave 0"):
        PairPipeline().run_inference_pipeline(nn.Identity(), [])
    with pytest.raises(ModelContractError, match=r"gave \(2, 3, 4\)"):
        PairPipeline().run_inference_pipeline(nn.Identity(), [torch.zeros(2, 3, 4)])
    with pytest.raises(ModelContractError, match="a batch is a Tensor without"):
        PairPipeline().run_inference_pipeline(nn.Identity(), [torch.zeros(4, 3)])


def test_a_length_beyond_the_teachers_positions_is_refused_before_it_is_asked(model: str, lines: str) -> None:
    """Otherwise the data ends in an IndexError of the depths, or only texts that are long enough tell."""
    with pytest.raises(ConfigError, match="must have at most 64 tokens, the positions of"):
        sentences(path=lines, tokenizer=model, validation=0.3, pairs=4, length=65)


def test_the_teacher_is_asked_quietly(model: str, lines: str, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise nobody knows why the data takes long."""
    with caplog.at_level(logging.INFO):
        sentences(path=lines, tokenizer=model, validation=0.3, pairs=4, length=48)
    assert "held-out texts" in caplog.text
