"""What goes wrong for a user who names a CTC model, or makes a smaller one of it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_model

from knowledge_distillation.domains.catalogue import build_model, comes_with_weights
from knowledge_distillation.domains.speech import ErrorRatePipeline, ctc, librispeech, load_characters
from knowledge_distillation.domains.speech.utterances import Utterances
from knowledge_distillation.errors import CheckpointError, ConfigError, MissingExtraError
from knowledge_distillation.signals import Signals
from tests.domains.speech import tiny

FACTS = {"characters": 32, "blank": 0, "characters_mark": load_characters().mark}
HEARD = {"rate": 16_000, "normalised": True}


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_a_student_has_the_teachers_layers_and_all_that_lies_outside_them(kind: str, tmp_path: Path) -> None:
    """Otherwise positions and norms begin at random (the original's B15), or the head is the teacher's own (B16)."""
    teacher = tiny.model(kind)
    path = tiny.saved(tmp_path / "model", teacher)
    student = build_model("ctc", FACTS, {"path": path, "layers": 2, "rule": "first_k"}, {})
    own, theirs = student.state_dict(), teacher.state_dict()
    assert set(own) == {name for name in theirs if ".layers.2." not in name and ".layers.3." not in name}
    assert all(torch.equal(value, theirs[name]) for name, value in own.items())
    storages = {value.untyped_storage().data_ptr() for value in theirs.values()}
    assert not storages & {value.untyped_storage().data_ptr() for value in own.values()}
    assert any("pos_conv_embed" in name for name in own)
    assert comes_with_weights("ctc", {})


@pytest.mark.parametrize(
    ("rule", "kept"), [("first_k", [0, 1]), ("last_k", [2, 3]), ("every_k", [0, 2]), ([1, 3], [1, 3])]
)
def test_the_rule_says_which_layers(rule: Any, kept: list[int], tmp_path: Path) -> None:
    """Otherwise a student is made of other layers than the run says."""
    teacher = tiny.model()
    student: Any = ctc(tiny.saved(tmp_path, teacher), layers=2, rule=rule)
    for place, number in enumerate(kept):
        own = student.wav2vec2.encoder.layers[place].state_dict()
        theirs = teacher.wav2vec2.encoder.layers[number].state_dict()
        assert all(torch.equal(value, theirs[name]) for name, value in own.items())
    assert student.config.num_hidden_layers == 2


def test_wavlms_first_layer_stays(tmp_path: Path) -> None:
    """Otherwise the student fails at its first recording, deep inside Transformers."""
    path = tiny.saved(tmp_path, tiny.model("wavlm"))
    with pytest.raises(ConfigError, match=r"first layer must be kept.*rel_attn_embed"):
        ctc(path, layers=2, rule="last_k")
    ctc(path, layers=2, rule=[0, 3])(torch.ones(1, 8_000))


def test_a_student_of_a_student_takes_that_ones_layers(tmp_path: Path) -> None:
    """Otherwise 24 to 12 to 4 layers throws the first step's training away."""
    teacher = tiny.model()
    path = tiny.saved(tmp_path / "model", teacher)
    middle: Any = ctc(path, layers=3, rule=[0, 1, 3])
    with torch.no_grad():
        for parameter in middle.parameters():
            parameter += 1
    save_model(middle, str(tmp_path / "student.safetensors"))
    small: Any = ctc(path, previous=str(tmp_path), layers=1, rule="last_k")
    last = middle.wav2vec2.encoder.layers[2].state_dict()
    assert all(torch.equal(last[name], own) for name, own in small.wav2vec2.encoder.layers[0].state_dict().items())
    assert torch.equal(small.lm_head.weight, middle.lm_head.weight)
    assert len(ctc(path, previous=str(tmp_path)).wav2vec2.encoder.layers) == 3  # type: ignore[union-attr, arg-type]


def test_what_is_heard_is_not_hidden_unless_it_is_asked_for(tmp_path: Path) -> None:
    """Otherwise student and teacher hear different things, and short recordings are refused by Transformers."""
    path = tiny.saved(tmp_path, tiny.model(mask_time_prob=0.5, layerdrop=0.5, apply_spec_augment=True))
    heard = [ctc(path).train()(torch.ones(1, 8_000)).logits for _ in range(2)]
    assert torch.equal(*heard)
    assert ctc(path, spec_augment=True, layerdrop=0.5).config.layerdrop == 0.5  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "no/such-model/here"}, "No CTC model can be loaded from 'no/such-model/here'"),
        ({"characters": 40}, "must tell the data's 40 characters apart, and tells 32: some letters have no place"),
        ({"blank": 3}, "must have the data's blank, 3, as its pad_token_id, and has 0"),
        ({"characters_mark": 1}, r"must be those in .*vocab\.json"),
        ({"layers": 5}, "from 1 to 4"),
        ({"layers": 2, "rule": "evry_k"}, "Did you mean 'every_k'"),
    ],
    ids=["path", "characters", "blank", "mark", "layers", "rule"],
)
def test_a_model_that_does_not_fit_is_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Otherwise letters get other meanings, or an error comes from deep inside."""
    given = {"path": tiny.saved(tmp_path, tiny.model()), **settings}
    with pytest.raises(ConfigError, match=message):
        build_model("ctc", FACTS, given, {})


def test_an_earlier_student_of_another_model_is_refused(tmp_path: Path) -> None:
    """Otherwise half of the layers stay those of the model."""
    path = tiny.saved(tmp_path / "model", tiny.model(layers=2))
    save_model(tiny.model(layers=3), str(tmp_path / "student.safetensors"))
    with pytest.raises(CheckpointError, match=r"1 to 2 layers .* it has 3"):
        ctc(path, previous=str(tmp_path))
    with pytest.raises(CheckpointError, match="must hold the weights of an earlier student"):
        ctc(path, previous=str(tmp_path / "nowhere"))


def test_a_model_without_a_head_is_named(tmp_path: Path, caplog: Any) -> None:
    """Otherwise a model that was only pretrained teaches its student noise."""
    bare = tiny.model()
    bare.wav2vec2.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING):
        ctc(str(tmp_path))
    assert "has no CTC head" in caplog.text


def test_the_datas_facts_reach_the_model(tmp_path: Path) -> None:
    """Otherwise nobody looks whether their characters are the same."""
    data = librispeech(path=tiny.librispeech(tmp_path), train=["train-clean-100"])
    assert dict(data.facts) == {**FACTS, **HEARD}


def test_a_head_wider_than_its_characters_is_taken(tmp_path: Path) -> None:
    """Otherwise what Hugging Face's own script makes, two wider than its vocab.json, is refused as another's."""
    data = librispeech(path=tiny.librispeech(tmp_path / "speech"), train=["train-clean-100"], window=tiny.WINDOW)
    model = build_model("ctc", data.facts, {"path": tiny.saved(tmp_path / "model", tiny.model(vocab_size=34))}, {})
    said = data.adapter[0](model, next(iter(data.train)), 1.0)  # type: ignore[index, operator]
    assert said.logits.shape[-1] == 34
    assert bool(said.loss_terms["student_loss"].isfinite())
    score = data.pipeline.run_inference_pipeline(model, data.validation["dev-clean"])  # type: ignore[union-attr]
    assert score["count"] == 3


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_model_that_hears_padding_is_named(norm: str, tmp_path: Path, caplog: Any) -> None:
    """Otherwise its cached answers depend on the company of each recording, and nobody knows."""
    path = tiny.saved(tmp_path, tiny.model(feat_extract_norm=norm, do_stable_layer_norm=False))
    with caplog.at_level(logging.WARNING):
        ctc(path)
    assert ("Set data.batch_size to 1" in caplog.text) is (norm == "group")


def _read(folder: Path) -> Any:
    return librispeech(path=tiny.librispeech(folder), train=["train-clean-100"])


NEEDING: dict[str, Callable[[Path], Any]] = {
    "soundfile": _read,
    "jiwer": lambda folder: ErrorRatePipeline(load_characters(), adapter=says_nothing).run_inference_pipeline(
        torch.nn.Linear(1, 1), [{"labels": torch.tensor([[5, 6]])}]
    ),
    "scipy": lambda folder: Utterances([], 16_000, speeds=[0.9, 1.0]),
    "transformers": lambda folder: ctc(str(folder)),
}


def says_nothing(model: Any, batch: Any, temperature: float) -> Signals:
    return Signals(logits=torch.zeros(1, 3, 32), mask=torch.ones(1, 3, dtype=torch.bool))


@pytest.mark.parametrize("module", NEEDING)
def test_a_missing_package_is_named_with_its_extra(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a user without the extra reads of a module that they never asked for."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"toolkit\[speech\]"):
        NEEDING[module](tmp_path)
