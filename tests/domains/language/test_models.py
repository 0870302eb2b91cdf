"""What goes wrong for a user who names a language model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from knowledge_distillation.domains.catalogue import build_model, comes_with_weights
from knowledge_distillation.domains.language import causal_lm, jsonl, rouge
from knowledge_distillation.domains.tokenizers import load_tokenizer
from knowledge_distillation.errors import ConfigError, MissingExtraError
from tests.domains.language import tiny


def test_the_model_has_its_weights_in_the_precision_that_was_asked_for(teacher: str) -> None:
    """Otherwise a random model teaches, or a large teacher takes twice the memory."""
    model = causal_lm(teacher, dtype="bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    weight = tiny.llama(100, layers=4).model.layers[3].mlp.up_proj.weight
    assert torch.equal(model.state_dict()["model.layers.3.mlp.up_proj.weight"], weight.bfloat16())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "no/such-model/here"}, "No causal language model can be loaded from 'no/such-model/here'"),
        ({"vocabulary": 200}, r"must know the 200 tokens of the data's tokenizer, and has 100"),
        ({"length": 129}, r"at most 128 tokens.*and have 129"),
        ({"gguf_file": "none.gguf"}, "No causal language model can be loaded"),
        ({"lora": {"rank": 3}}, "settings of peft's LoraConfig"),
        ({"lora": {"target_modules": ["nowhere"]}}, "settings of peft's LoraConfig"),
        ({"dtype": "int8"}, "dtype must be one of 'float32', 'bfloat16', 'float16'"),
    ],
    ids=["path", "vocabulary", "length", "gguf", "lora setting", "lora target", "dtype"],
)
def test_a_model_that_does_not_fit_is_refused(settings: dict[str, Any], message: str, teacher: str) -> None:
    """Otherwise ids mean other words, positions are made up, or the error is one of another library."""
    if "lora" in settings:
        pytest.importorskip("peft")
    if "gguf_file" in settings:
        pytest.importorskip("gguf")
    with pytest.raises(ConfigError, match=message):
        build_model("causal_lm", {}, {"path": teacher, **settings}, {})


def test_a_tokenizer_that_is_not_the_models_is_told(
    teacher: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise every id means another word to the teacher, and sizes that happen to fit hide it."""
    other = tiny.letters(tiny.LETTERS[::-1])
    place = tiny.saved(tmp_path / "other", tokenizer=other)
    (tmp_path / "a.jsonl").write_text('{"text": "abc"}\n' * 4)

    def warnings(**tokenizers: str) -> list[str]:
        caplog.clear()
        data = jsonl(path=str(tmp_path / "a.jsonl"), validation=0.5, length=9, **tokenizers)  # type: ignore[arg-type]
        build_model("causal_lm", data.facts, {"path": teacher}, {})
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    assert warnings(tokenizer=teacher) == []
    assert warnings(tokenizer=place, teacher_tokenizer=teacher) == []
    assert "mean other words" in warnings(tokenizer=place)[0]


def test_a_model_that_comes_with_weights_is_known_as_such() -> None:
    """Otherwise the log warns that a pretrained teacher is untrained, and a report leaves it out."""
    assert comes_with_weights("causal_lm", {})
    assert not comes_with_weights("digits_cnn", {})
    assert not comes_with_weights("causal_lm", {"causal_lm": tiny.llama})


@pytest.mark.parametrize(
    ("package", "use", "extra"),
    [
        ("transformers", lambda folder: causal_lm(folder), "text"),
        ("transformers", lambda folder: load_tokenizer(folder), "text"),
        ("peft", lambda folder: causal_lm(folder, lora={}), "lora"),
        ("rouge_score.rouge_scorer", lambda folder: rouge(), "rouge"),
    ],
    ids=["model", "tokenizer", "lora", "rouge"],
)
def test_a_missing_package_is_named_with_its_extra(
    package: str, use: Any, extra: str, teacher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the user must find out which of a hundred packages to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"\[{extra}\]"):
        use(teacher)


def test_weights_that_could_hold_code_are_not_read(teacher: str, tmp_path: Path) -> None:
    """Otherwise a model from a hub can run what it likes."""
    model = tiny.llama(100)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="No causal language model can be loaded"):
        causal_lm(str(tmp_path))
