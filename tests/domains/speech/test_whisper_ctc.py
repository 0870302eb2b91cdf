"""What goes wrong for a user who makes a CTC model of Whisper's encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_model

from knowledge_distillation.domains.catalogue import build_model
from knowledge_distillation.domains.speech import CTCSignals, speech_manifest, whisper_ctc
from knowledge_distillation.domains.speech.log_mel import hide_stripes
from knowledge_distillation.domains.speech.utterances import collate
from knowledge_distillation.errors import CheckpointError, ConfigError, ModelContractError
from knowledge_distillation.recipes.students import made_from
from tests.domains.speech import tiny

SIGNALS = CTCSignals(window=160)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.whisper(tmp_path_factory.mktemp("whisper"))


def spoken(*seconds: float) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {"input_values": 0.1 * torch.randn(int(16_000 * length), generator=generator), "labels": torch.tensor([5, 6])}
        for length in seconds
    ]


@torch.no_grad()
def test_the_features_are_transformers(path: str) -> None:
    """Otherwise the encoder hears what it was never trained on."""
    signal = spoken(1.237)[0]["input_values"]
    extractor = tiny.transformers.WhisperFeatureExtractor(feature_size=80, chunk_length=3)
    theirs = torch.tensor(extractor(signal.numpy(), sampling_rate=16_000)["input_features"][0])
    ours = whisper_ctc(path).log_mel(signal[None], torch.tensor([len(signal) // 160]))[0]
    torch.testing.assert_close(ours, theirs[:, : ours.shape[1]], atol=1e-4, rtol=1e-4)
    assert ours.shape == (80, 123)


@torch.no_grad()
def test_a_recording_as_long_as_the_positions_is_heard_as_by_transformers(path: str) -> None:
    """Otherwise layers, positions or norms are put together in another way than in Whisper."""
    model = whisper_ctc(path).eval()
    batch = collate(spoken(3.0))
    whole = tiny.transformers.WhisperModel.from_pretrained(path).eval().encoder
    states = whole(model.log_mel(batch["input_values"], torch.tensor([300]))).last_hidden_state
    torch.testing.assert_close(SIGNALS.teacher(model, batch).logits, model.lm_head(states))


@torch.no_grad()
@pytest.mark.parametrize("shorter", [0.31, 0.5, 0.8], ids=str)
def test_padding_changes_nothing(shorter: float, path: str) -> None:
    """Otherwise what is heard in a recording depends on the longest of its batch."""
    model = whisper_ctc(path).eval()
    alone, other = spoken(shorter, 1.1)
    said = SIGNALS.teacher(model, collate([alone, other]))
    by_itself = SIGNALS.teacher(model, {"input_values": alone["input_values"][None]})
    assert said.mask is not None
    assert by_itself.logits.shape[1] == int(said.mask[0].sum())
    torch.testing.assert_close(said.logits[0][said.mask[0]], by_itself.logits[0], atol=1e-5, rtol=1e-5)


def test_a_student_has_layers_of_the_encoder_and_the_trained_head(path: str, tmp_path: Path) -> None:
    """Otherwise the head is new again, or the layers are others than the run says."""
    teacher = whisper_ctc(path)
    save_model(teacher, str(tmp_path / "student.safetensors"))
    student = whisper_ctc(path, previous=str(tmp_path), layers=2, rule=[0, 2])
    assert torch.equal(student.lm_head.weight, teacher.lm_head.weight)
    for own, theirs in ((0, 0), (1, 2)):
        kept, given = student.encoder.layers[own], teacher.encoder.layers[theirs]
        assert torch.equal(kept.fc1.weight, given.fc1.weight)
    assert student.config.encoder_layers == 2
    assert len(whisper_ctc(path, layers=1).encoder.layers) == 1


def test_only_the_head_is_trained_where_that_is_asked_for(path: str) -> None:
    """Otherwise the first steps of a random head spoil the encoder."""
    trained = [name for name, value in whisper_ctc(path, trained="head").named_parameters() if value.requires_grad]
    assert trained == ["lm_head.weight", "lm_head.bias"]
    whole = [name for name, value in whisper_ctc(path).named_parameters() if not value.requires_grad]
    assert whole == ["encoder.embed_positions.weight"]


def test_the_positions_of_a_student_made_from_a_teacher_stay(path: str) -> None:
    """Otherwise a student drifts from the sines that its layers were trained with."""
    student = made_from(
        {"keep_layers": {"count": 2, "rule": [0, 2], "stack": "encoder.layers"}}, whisper_ctc(path), None
    )  # type: ignore[arg-type]
    fixed = [name for name, value in student.named_parameters() if not value.requires_grad]
    assert fixed == ["encoder.embed_positions.weight"]
    student(spoken(0.5)[0]["input_values"][None])["logits"].sum().backward()
    assert student.get_parameter(fixed[0]).grad is None
    assert all(value.grad is not None for name, value in student.named_parameters() if name not in fixed)


def test_recordings_that_whisper_was_never_trained_on_are_refused(path: str, tmp_path: Path) -> None:
    """Otherwise normalised recordings, the default of the data, go in, and the encoder is worth nothing."""
    table = tiny.table(tmp_path, 3)
    for given, message in (({}, "brought to variance 1"), ({"normalised": False, "rate": 8_000}, "at 8,000 Hz")):
        facts = speech_manifest(path=table, validation=1, window=160, **given).facts  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match=rf"{message}.* Set data\.rate to 16000 and data\.normalised to false"):
            build_model("whisper_ctc", facts, {"path": path}, {})
    facts = speech_manifest(path=table, validation=1, window=160, normalised=False).facts
    build_model("whisper_ctc", facts, {"path": path}, {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "no/such/whisper"}, "No Whisper model can be loaded"),
        ({"trained": "tail"}, "trained must be 'all' or 'head'"),
        ({"layers": 5}, "from 1 to 4"),
    ],
    ids=["path", "trained", "layers"],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str, path: str) -> None:
    """Otherwise an error comes from deep inside Transformers."""
    with pytest.raises(ConfigError, match=message):
        whisper_ctc(**{"path": path, **settings})


def test_another_models_folder_and_an_unfit_student_are_refused(path: str, tmp_path: Path) -> None:
    """Otherwise most of the model is random, and a warning of Transformers' is all that says so."""
    tiny.saved(tmp_path, tiny.model())
    with pytest.raises(ConfigError, match="Whisper"):
        whisper_ctc(str(tmp_path))
    with pytest.raises(CheckpointError, match="earlier student"):
        whisper_ctc(path, previous=str(tmp_path / "nowhere"))


def test_longer_than_the_positions_is_refused(path: str) -> None:
    """Otherwise a recording of a minute fails inside an addition."""
    with pytest.raises(ModelContractError, match=r"data\.longest to 3"):
        whisper_ctc(path)(torch.zeros(1, 16_000 * 4))


def test_stripes_are_hidden_in_training_alone(path: str) -> None:
    """Otherwise a score is of half a recording, or nothing is hidden at all."""
    model, batch = whisper_ctc(path, spec_augment=True), collate(spoken(1.0))
    heard = [model.eval()(**{name: batch[name] for name in ("input_values",)})["logits"] for _ in range(2)]
    assert torch.equal(*heard)
    assert not torch.equal(model.train()(batch["input_values"])["logits"], heard[0])


def test_stripes_are_narrow_and_within_the_recording() -> None:
    """Otherwise a short recording in a long batch is hidden whole."""
    torch.manual_seed(0)
    features = torch.ones(50, 80, 200)
    hidden = hide_stripes(features, torch.tensor([40] * 25 + [200] * 25)) == 0
    times, bins = hidden.all(dim=1).sum(dim=1), hidden.all(dim=2).sum(dim=1)
    assert int(times[:25].max()) <= 2 * 5
    assert 20 < int(times[25:].max()) <= 2 * 21
    assert 0 < int(bins.max()) <= 2 * 11
    assert not hidden[:25, :, 40:].all(dim=1).any()


def test_speeds_change_what_is_trained_on_and_nothing_else(tmp_path: Path) -> None:
    """Otherwise validation is of recordings that nobody spoke."""
    table = tiny.table(tmp_path, 6)
    data = speech_manifest(path=table, validation=2, speeds=[0.5, 2.0], alike=True, batch_size=2)
    torch.manual_seed(0)
    lengths = {len(data.train.dataset[0]["input_values"]) for _ in range(20)}
    assert len(lengths) == 2
    assert max(lengths) / min(lengths) == pytest.approx(4, rel=0.01)
    held = data.validation["validation"].dataset
    assert len({len(held[0]["input_values"]) for _ in range(10)}) == 1
    with pytest.raises(ConfigError, match=r"speeds must be a list of numbers from 0\.5 to 2"):
        speech_manifest(path=table, speeds=[3.0])
