"""What goes wrong for a user when a CTC model's frames, padding or losses are misread."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from knowledge_distillation.domains.speech import CTCSignals, load_characters
from knowledge_distillation.domains.speech.utterances import collate
from knowledge_distillation.errors import ModelContractError
from knowledge_distillation.objective import as_objective
from tests.domains.speech import tiny

ctc_student, ctc_teacher = CTCSignals(window=tiny.WINDOW).adapters
SECONDS = (0.5, 0.8, 0.65)
TEXTS = ("HELLO", "GOOD DAY", "ONE")


def batch_of(places: Any = (0, 1, 2)) -> dict[str, torch.Tensor]:
    characters = load_characters()
    samples = []
    for place in places:
        values = torch.from_numpy(tiny.tone(250 + 90 * place, SECONDS[place])).float()
        samples.append({"input_values": values / values.std(), "labels": torch.tensor(characters.encode(TEXTS[place]))})
    return collate(samples)


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # Transformers' WavLM
@pytest.mark.parametrize("kind", tiny.KINDS)
def test_the_ctc_loss_is_the_one_that_transformers_computes(kind: str) -> None:
    """Otherwise the student learns from texts that are shifted, padded or too long."""
    model = tiny.model(kind, ctc_loss_reduction="sum")
    batch = batch_of()
    with torch.no_grad():
        said = ctc_student(model, batch)
        theirs = model(**batch).loss / sum(map(len, TEXTS))
    assert float(said.loss_terms["student_loss"]) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # Transformers' WavLM
@pytest.mark.parametrize("kind", tiny.KINDS)
def test_padding_changes_nothing(kind: str) -> None:
    """Otherwise what a recording teaches depends on the longest of its batch."""
    model = tiny.model(kind)
    terms = {"kd": {"loss": "kd", "temperature": 2}, "cosine": 1.0, "pen": {"loss": "own", "student": "features_pen"}}
    objective, other = as_objective(terms), tiny.model(kind, seed=1)
    with torch.no_grad():
        together = ctc_student(model, batch_of())
        _, values = objective(together, ctc_teacher(other, batch_of()))
        alone = [batch_of([place]) for place in range(3)]
        said = [ctc_student(model, one) for one in alone]
        parts = [objective(mine, ctc_teacher(other, one))[1] for mine, one in zip(said, alone, strict=True)]
    frames = [mine.logits.shape[1] for mine in said]
    assert together.mask is not None
    assert together.mask.sum(dim=1).tolist() == frames
    for place, mine in enumerate(said):
        torch.testing.assert_close(together.logits[place, : frames[place]], mine.logits[0], rtol=1e-3, atol=1e-4)
    for name in ("kd", "cosine", "pen"):
        mean = sum(float(part[name]) * count for part, count in zip(parts, frames, strict=True)) / sum(frames)
        assert float(values[name]) == pytest.approx(mean, rel=1e-3), name


def test_padding_changes_what_a_model_with_a_group_norm_says_and_equal_lengths_do_not() -> None:
    """Otherwise the warning and the page of speech tell of a harm that is not there, or leave out a way around it."""
    model = tiny.model(feat_extract_norm="group", do_stable_layer_norm=False)
    with torch.no_grad():
        alone = ctc_teacher(model, batch_of([0])).logits[0]
        padded, equal = (ctc_teacher(model, batch_of(places)).logits[0] for places in ([0, 1], [0, 0]))
    torch.testing.assert_close(equal, alone, rtol=1e-3, atol=1e-4)
    assert float((padded[: len(alone)] - alone).abs().max()) > 1e-2


def test_the_penalty_is_the_mean_square_of_what_the_convolutions_give() -> None:
    """Otherwise its weight means something else than in the original's settings."""
    model, batch = tiny.model(), batch_of([1])
    with torch.no_grad():
        features = model.wav2vec2.feature_extractor(batch["input_values"])
        found = ctc_student(model, batch).loss_terms["features_pen"]
    assert float(found) == pytest.approx(float((features**2).mean()))


def test_the_losses_reach_the_students_parameters_and_the_teachers_answers_carry_none() -> None:
    """Otherwise a term is shown and nothing learns from it."""
    model = tiny.model().train()
    said = ctc_student(model, batch_of())
    said.loss_terms["features_pen"].backward(retain_graph=True)
    assert float(model.wav2vec2.feature_extractor.conv_layers[0].conv.weight.grad.abs().sum()) > 0
    assert model.lm_head.weight.grad is None
    said.loss_terms["student_loss"].backward()
    assert float(model.lm_head.weight.grad.abs().sum()) > 0
    assert dict(ctc_teacher(model, batch_of()).loss_terms) == {}


def test_a_text_too_long_for_its_frames_is_seen() -> None:
    """Otherwise such a recording teaches nothing and nobody is told."""
    batch = batch_of([0])
    batch["labels"] = torch.full((1, 60), 5)
    assert ctc_student(tiny.model(), batch).loss_terms["student_loss"].isinf()


@pytest.mark.parametrize("batch", [torch.zeros(1, 8000), {"input_features": torch.zeros(1, 80, 10)}])
def test_a_batch_that_is_no_speech_is_refused(batch: Any) -> None:
    """Otherwise the error comes from inside Transformers."""
    with pytest.raises(ModelContractError, match="must be a mapping with 'input_values'"):
        ctc_teacher(tiny.model(), batch)


def test_a_model_of_other_frames_is_refused() -> None:
    """Otherwise padding counts as speech."""
    with pytest.raises(ModelContractError, match="Set window and hop"):
        CTCSignals(hop=160).teacher(tiny.model(), batch_of())


def test_the_frames_are_those_of_wav2vec2() -> None:
    """Otherwise the usual models are refused, or their last frame is taken for padding."""
    model = tiny.model(conv_dim=(8,) * 7, conv_kernel=(10, 3, 3, 3, 3, 2, 2), conv_stride=(5, 2, 2, 2, 2, 2, 2))
    for length in (400, 719, 720, 16_000, 16_079, 16_080, 52_345):
        assert CTCSignals().frames_of(length) == int(model._get_feat_extract_output_lengths(length))


def test_batches_without_a_mask_have_no_padding() -> None:
    """Otherwise a loader of one recording at a time must make a mask of ones."""
    model, batch = tiny.model(), batch_of([2])
    bare = {"input_values": pad_sequence([batch["input_values"][0]], batch_first=True)}
    said = ctc_teacher(model, bare)
    assert said.mask is not None
    assert bool(said.mask.all())
    torch.testing.assert_close(said.logits, ctc_teacher(model, batch).logits)
