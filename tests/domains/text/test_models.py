"""What goes wrong for a user who names an encoder, or whose two encoders are not alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from knowledge_distillation.domains.catalogue import build_model, comes_with_weights
from knowledge_distillation.domains.rows import Padded
from knowledge_distillation.domains.text import encoder as encode
from knowledge_distillation.domains.text import labelled_texts, text_classifier, token_classifier
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.objective import as_objective
from knowledge_distillation.signals import Signals
from knowledge_distillation.students import keep_layers
from tests.domains.text import tiny


def test_an_encoder_keeps_its_weights_and_gets_a_new_head(
    encoder: str, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a random encoder teaches, or nobody is told that the head knows nothing."""
    model: Any = text_classifier(encoder, classes=3)
    theirs = tiny.bert(len(tokenizer)).state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in model.bert.state_dict().items())
    assert model.classifier.out_features == 3
    assert "is new: 3 classes" in caplog.text
    assert token_classifier(encoder, classes=5).classifier.out_features == 5  # type: ignore[union-attr]
    assert comes_with_weights("text_classifier", {})


def test_a_mean_pooled_head_reads_every_word_and_no_padding(encoder: str, tokenizer: Any) -> None:
    """Otherwise answers move with the length of the other texts of a batch."""
    model: Any = text_classifier(encoder, pooling="mean", classes=3).eval()
    theirs = tiny.bert(len(tokenizer))
    given = batch(tokenizer)
    inputs = {name: given[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    with torch.no_grad():
        states = theirs(**inputs).last_hidden_state
        means = torch.stack(
            [row[kept.bool()].mean(0) for row, kept in zip(states, given["attention_mask"], strict=True)]
        )
        expected = means @ model.classifier.weight.T + model.classifier.bias
        torch.testing.assert_close(model(**inputs).logits, expected)
        torch.testing.assert_close(
            model(given["input_ids"][:1]).logits, model(given["input_ids"][:1], given["attention_mask"][:1]).logits
        )
    assert not [name for name, _ in model.named_parameters() if "pooler" in name]


def test_a_mean_pooled_classifier_is_saved_cut_and_found_again(encoder: str, tokenizer: Any, tmp_path: Path) -> None:
    """Otherwise the folder of a trained one is read with a new head, or its student with the teacher's layers."""
    model: Any = text_classifier(encoder, pooling="mean", classes=2, inside=True)
    student: Any = keep_layers(model, 2, "every_k").eval()
    student.save_pretrained(tmp_path)
    back: Any = text_classifier(str(tmp_path), classes=2, inside=True).eval()
    given = {name: entry for name, entry in batch(tokenizer).items() if name != "labels"}
    with torch.no_grad():
        one, other = student(**given), back(**given)
    torch.testing.assert_close(one.logits, other.logits)
    assert len(other.hidden_states) == 3
    assert len(other.attentions) == 2
    with pytest.raises(ConfigError, match="trained for the 2 classes"):
        text_classifier(str(tmp_path), classes=3)


def test_a_trained_head_stays_whatever_a_new_one_would_read(
    tokenizer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise what the head has learnt is lost, and the teacher guesses."""
    trained = tiny.bert(len(tokenizer), tiny.CLASSIFIER)
    model: Any = text_classifier(tiny.saved(tmp_path, trained, tokenizer), pooling="mean")
    assert torch.equal(model.classifier.weight, trained.classifier.weight)
    assert "is trained and stays" in caplog.text


def test_a_tokenizer_of_another_model_is_refused(encoder: str, topics: str, tokenizer: Any, tmp_path: Path) -> None:
    """Otherwise the same ids mean other words to the model, and nothing shows it but the score."""
    other = tiny.pieces(tiny.paragraphs("speed"), size=len(tokenizer))
    place = tiny.saved(tmp_path, tiny.bert(len(tokenizer), tiny.CLASSIFIER), other)
    data = labelled_texts(path=topics, tokenizer=encoder, text="sentence", length=32)
    with pytest.raises(ConfigError, match="is another one than the data's"):
        build_model("text_classifier", data.facts, {"path": place}, {})


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        (["cache", "doctor", "other"], {}, r"3 classes \['cache', 'doctor', 'other'\], and the data has 2"),
        (["doctor", "cache"], {}, "in this order, and the data has others or another order"),
        (["cache", "doctor"], {"length": 65}, "at most 64 tokens"),
        (["cache", "doctor"], {"vocabulary": 4000}, "must know the 4,000 tokens"),
        (["cache", "doctor"], {"tokenizer_mark": 5}, "is another one than the data's"),
        (["cache", "doctor"], {}, ""),
        (["LABEL_0", "LABEL_1"], {}, ""),
    ],
    ids=["count", "order", "length", "vocabulary", "tokenizer", "fits", "unnamed"],
)
def test_a_model_that_the_data_does_not_fit_is_refused(
    labels: list[str], settings: Any, message: str, encoder: str, topics: str, tokenizer: Any, tmp_path: Path
) -> None:
    """Otherwise every answer is taken for that of another class or word, and the student learns it."""
    data = labelled_texts(path=topics, tokenizer=encoder, text="sentence", length=32)
    model = tiny.bert(len(tokenizer), tiny.CLASSIFIER, id2label=dict(enumerate(labels)))
    place = tiny.saved(tmp_path, model, tokenizer)
    if not message:
        build_model("text_classifier", data.facts, {"path": place, **settings}, {})
        return
    with pytest.raises(ConfigError, match=message):
        build_model("text_classifier", data.facts, {"path": place, **settings}, {})


@pytest.mark.parametrize("pooling", ["own", "mean"])
def test_a_head_that_is_trained_here_is_saved_with_its_classes(
    pooling: Any, encoder: str, topics: str, tokenizer: Any, tmp_path: Path
) -> None:
    """Otherwise the next stage takes every answer for that of another class, where its data has another order."""
    settings: dict[str, Any] = {"path": topics, "tokenizer": encoder, "text": "sentence", "length": 32}
    data = labelled_texts(**settings)
    model: Any = build_model("text_classifier", data.facts, {"path": encoder, "pooling": pooling}, {})
    tiny.saved(tmp_path, keep_layers(model, 2, "every_k"), tokenizer)
    back: Any = build_model("text_classifier", data.facts, {"path": str(tmp_path)}, {})
    assert back.config.id2label == {0: "cache", 1: "doctor"}
    assert back.config.label2id == {"cache": 0, "doctor": 1}
    other = labelled_texts(**settings, classes=["doctor", "cache"])
    with pytest.raises(ConfigError, match=r"another order, \['doctor', 'cache'\]"):
        build_model("text_classifier", other.facts, {"path": str(tmp_path)}, {})


def test_weights_that_could_hold_code_are_not_read(encoder: str, tokenizer: Any, tmp_path: Path) -> None:
    """Otherwise a model from a hub can run what it likes."""
    model = tiny.bert(len(tokenizer), tiny.CLASSIFIER)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="No text classifier can be loaded"):
        text_classifier(str(tmp_path))


def test_robertas_positions_begin_behind_its_padding(tokenizer: Any, tmp_path: Path) -> None:
    """Otherwise rows of 64 tokens pass, and the first long one ends training in an index error."""
    place = tiny.saved(tmp_path, tiny.roberta(len(tokenizer)))
    text_classifier(place, length=62)
    with pytest.raises(ConfigError, match="at most 62 tokens"):
        text_classifier(place, length=63)


def batch(tokenizer: Any) -> dict[str, torch.Tensor]:
    pairs = tokenizer(["the cache", "a doctor says"], ["is kept", "no"], return_token_type_ids=True)
    rows = [
        {"input_ids": torch.tensor(ids), "token_type_ids": torch.tensor(kinds), "labels": torch.tensor(at)}
        for at, (ids, kinds) in enumerate(zip(pairs["input_ids"], pairs["token_type_ids"], strict=True))
    ]
    return Padded(0)(rows)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_segments_reach_only_a_model_that_has_them(kind: str, tokenizer: Any) -> None:
    """Otherwise a teacher with segments cannot teach a student without, or loses what tells two texts apart."""
    makers: dict[str, Any] = {
        "bert": lambda size: tiny.bert(size, tiny.CLASSIFIER), "distilbert": tiny.distilbert, "roberta": tiny.roberta
    }  # fmt: skip
    model, given = makers[kind](len(tokenizer)), batch(tokenizer)
    inputs = {name: given[name] for name in ("input_ids", "attention_mask")}
    segments = {"token_type_ids": given["token_type_ids"]} if kind == "bert" else {}
    with torch.no_grad():
        said = encode(model, given, 1.0)
        assert torch.equal(said.logits, model(**inputs, **segments).logits)
    assert torch.equal(said.labels, torch.tensor([0, 1]))


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_segments_reach_the_encoder_below_a_mean_only_if_it_has_them(kind: str, tokenizer: Any, tmp_path: Path) -> None:
    """Otherwise the head, which hands on what it is given, passes a DistilBERT what it does not know."""
    whole = tiny.bert(len(tokenizer)) if kind == "bert" else tiny.distilbert(len(tokenizer)).distilbert
    model: Any = text_classifier(tiny.saved(tmp_path, whole, tokenizer), pooling="mean").eval()
    given = batch(tokenizer)
    inputs = {name: given[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        said, without = encode(model, given, 1.0).logits, model(**inputs).logits
    assert torch.equal(said, without) is (kind == "distilbert")


@pytest.mark.parametrize("loss", ["cosine", "hidden_mse"])
def test_padding_does_not_count_where_hidden_states_of_a_classifier_are_compared(loss: str) -> None:
    """Otherwise a student of one answer a text learns the states of padding, more the shorter a text is."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    ours, theirs = (torch.randn(2, 5, 8, generator=generator) for _ in range(2))
    objective = as_objective({"hidden": {"loss": loss, "student": "layer", "teacher": "layer"}})

    def value(student: torch.Tensor) -> float:
        said = Signals(logits=torch.zeros(2, 3), features={"layer": student}, feature_mask=mask)
        return float(objective(said, Signals(features={"layer": theirs}))[0])

    changed = ours.masked_fill(~mask[..., None], 7.0)
    assert value(ours) == pytest.approx(value(changed), rel=1e-6)
    kept, told = ours[mask].double(), theirs[mask].double()
    expected = {
        "cosine": lambda: 1 - torch.nn.functional.cosine_similarity(kept, told, dim=-1).mean(),
        "hidden_mse": lambda: (kept - told).square().mean(),
    }[loss]()
    assert value(ours) == pytest.approx(float(expected), rel=1e-5)
