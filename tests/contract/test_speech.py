"""The original's contract, section J: the wav2vec 2.0 student and its demos, statements 58 to 66."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.kd_training import KnowledgeDistillationTraining
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.students import kept_indices
from tests.domains.speech import tiny  # skips where the extra is missing

jiwer = pytest.importorskip("jiwer")
speech = pytest.importorskip("knowledge_distillation.domains.speech")
original = pytest.importorskip("knowledge_distillation.domains.speech.original")
SIGNALS = speech.CTCSignals(window=tiny.WINDOW)
Maker = dict[str, Any]


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    """What the original's maker of students is called with."""
    path = tiny.saved(tmp_path / "model", tiny.model())
    return {"fairseq_pretrained_model_path": path, "num_trans_layer_student_model": 2, "signals": SIGNALS}


def test_58_the_student_is_the_pretrained_model_with_fewer_layers(maker: Maker) -> None:
    whole, student = tiny.model(), speech.create_student_model(**maker)
    assert isinstance(student, speech.OriginalForm)
    shapes = {name: value.shape for name, value in student.model.state_dict().items()}
    assert shapes.items() <= {name: value.shape for name, value in whole.state_dict().items()}.items()
    assert len(student.model.wav2vec2.encoder.layers) == 2


@pytest.mark.parametrize(
    "wrong", [{"student_init_model_type": "fairseq"}, {"student_trans_layer_init_method": "spread"}], ids=str
)
def test_59_other_types_and_methods_raise(wrong: Maker, maker: Maker) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        speech.create_student_model(**maker, **wrong)


def test_59_an_earlier_student_is_begun_from(maker: Maker, tmp_path: Path) -> None:
    from safetensors.torch import save_model

    middle = speech.create_student_model(**{**maker, "num_trans_layer_student_model": 3}).model
    with torch.no_grad():
        middle.lm_head.weight += 1
    save_model(middle, str(tmp_path / "student.safetensors"))
    given = {"student_init_model_type": "previous_kd_ckpt", "student_init_model_path": str(tmp_path)}
    assert torch.equal(speech.create_student_model(**maker, **given).model.lm_head.weight, middle.lm_head.weight)
    with pytest.raises(ConfigError, match="must name the earlier run"):
        speech.create_student_model(**maker, student_init_model_type="previous_kd_ckpt")


@pytest.mark.parametrize("sizes", [(24, 12), (12, 4), (24, 4)])
def test_60_every_k_takes_the_originals_layers_where_the_numbers_divide(sizes: tuple[int, int]) -> None:
    total, count = sizes
    assert kept_indices(total, count, "every_k") == list(range(0, total, total // count))[:count]


@pytest.mark.parametrize("sizes", [(12, 5), (24, 5)])
def test_60_elsewhere_every_k_reaches_further_than_the_original_which_leaves_out_the_last(
    sizes: tuple[int, int],
) -> None:
    """B19: the original takes 0, 2, 4, 6, 8 of twelve. Its own numbers can be given as the rule."""
    total, count = sizes
    theirs = list(range(0, total, total // count))[:count]
    ours = kept_indices(total, count, "every_k")
    assert (ours[0], len(ours)) == (0, count)
    assert all(mine >= other for mine, other in zip(ours, theirs, strict=True))
    assert ours[-1] > theirs[-1]
    assert kept_indices(total, count, theirs) == theirs


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [((24, 12), [*range(0, 24, 2)]), ((12, 4), [0, 3, 6, 9]), ((12, 5), [0, 2, 4, 6, 8]), ((24, 5), [0, 4, 8, 12, 16])],
)
def test_60_the_originals_maker_takes_the_originals_layers_everywhere(sizes: tuple[int, int], kept: list[int]) -> None:
    """Who calls it by its old name expects the student of old runs."""
    assert original.every_kth(*sizes) == kept


def test_60_they_are_in_the_student(tmp_path: Path) -> None:
    whole = tiny.model(layers=7)
    given = {"fairseq_pretrained_model_path": tiny.saved(tmp_path, whole), "num_trans_layer_student_model": 4}
    student = speech.create_student_model(**given, signals=SIGNALS).model
    assert kept_indices(7, 4, "every_k") == [0, 1, 3, 5]
    for place, number in enumerate((0, 1, 2, 3)):
        own, theirs = student.wav2vec2.encoder.layers[place], whole.wav2vec2.encoder.layers[number]
        assert torch.equal(own.attention.k_proj.weight, theirs.attention.k_proj.weight)
    with pytest.raises(ConfigError, match="cannot take layers"):
        speech.create_student_model(**{**given, "num_trans_layer_student_model": 8})


def test_60_more_layers_than_there_are_raise() -> None:
    with pytest.raises(ConfigError, match="cannot take layers"):
        kept_indices(4, 12, "every_k")


def test_61_all_of_a_layer_and_all_outside_the_layers_is_copied(maker: Maker) -> None:
    """B15: the original leaves the positions and the last norm of the encoder at random."""
    whole, student = tiny.model().state_dict(), speech.create_student_model(**maker).model.state_dict()
    moved = {0: 0, 1: 2}
    for name, value in student.items():
        place = name
        for own, theirs in moved.items():
            place = place.replace(f".layers.{own}.", f".layers.#{theirs}.")
        assert torch.equal(value, whole[place.replace("#", "")]), name
    assert sum(".layers.0." in name for name in student) == 16
    assert any("pos_conv_embed" in name for name in student)
    assert "wav2vec2.encoder.layer_norm.weight" in student


def test_62_the_head_has_the_same_values_and_its_own_storage(maker: Maker) -> None:
    """B16: in the original both models share it on a CPU, so training edits the teacher."""
    teacher = speech.ctc(maker["fairseq_pretrained_model_path"])
    student = speech.create_student_model(**maker).model
    assert torch.equal(student.lm_head.weight, teacher.lm_head.weight)
    assert student.lm_head.weight.data_ptr() != teacher.lm_head.weight.data_ptr()
    assert student.lm_head.out_features == 32


def batch() -> tuple[Any, ...]:
    signals = [torch.from_numpy(tiny.tone(300, seconds)).float() for seconds in (0.5, 0.7)]
    labels = torch.tensor(speech.load_characters().encode("HELLO"))
    return speech.original_batches([{"input_values": signal, "labels": labels} for signal in signals])


@torch.no_grad()
def test_63_the_student_returns_what_the_toolkit_asks_for(maker: Maker) -> None:
    student = speech.create_student_model(**maker)
    said = student(*batch(), temperature=2)
    assert torch.allclose(said["prob"], (said["logits"] / 2).softmax(dim=-1))
    assert torch.allclose(said["log_prob"].exp(), said["prob"], atol=1e-6)
    assert said["padding_mask"].shape == said["logits"].shape[:2]
    assert said["padding_mask"].sum(dim=1).tolist() == [10, 0]  # 0.2 s, of 20 ms each
    assert said["loss"]["student_loss"] == 0
    alone = batch()[0][1:]
    features = student.model.wav2vec2.feature_extractor(alone)
    assert float(student(alone)["loss"]["features_pen"]) == pytest.approx(float((features**2).mean()))
    with pytest.raises(ConfigError, match="mask=False and features_only=True"):
        student(alone, mask=True)


def test_64_batches_have_the_originals_form() -> None:
    features, padding, mask, features_only = batch()
    assert (mask, features_only) == (False, True)
    assert padding.dtype == torch.bool
    assert padding.sum(dim=1).tolist() == [3_200, 0]
    assert bool((features[padding] == 0).all())


def test_64_recordings_are_normalised_each_by_itself(tmp_path: Path) -> None:
    data = speech.librispeech(path=tiny.librispeech(tmp_path), train=["train-clean-100"], window=tiny.WINDOW)
    for sample in data.train.dataset:
        values = sample["input_values"]
        assert torch.allclose(values, F.layer_norm(values, values.shape), atol=1e-3)


def test_64_dev_clean_is_split_as_in_the_original(tmp_path: Path) -> None:
    """2203 to 500 there; here 7 to 3, by the same generator."""
    root = tiny.librispeech(tmp_path, validation=10)
    data = speech.librispeech(path=root, train=["dev-clean"], validation=3)
    order = torch.randperm(10, generator=torch.Generator().manual_seed(42)).tolist()
    assert list(data.train.dataset.indices) == order[:7]
    assert list(data.validation["validation"].dataset.indices) == order[7:]


def test_65_decoding_collapses_and_drops_blanks_and_the_rate_is_over_the_whole_set() -> None:
    characters = speech.load_characters()
    frames = [characters.ids[sign] for sign in "HHEEL"] + [0, characters.ids["L"], 0, 0, characters.ids["O"], 4, 4, 5]
    assert characters.decode(frames) == "HELLO E"
    pipeline = speech.ErrorRatePipeline(characters)
    said, heard = ["HELLO E", "ONE TWO THREE"], ["HELLO", "ONE TOO THREE"]
    counts = {"utterances": 1, "character_errors": 0, "characters": 1}
    parts = [{**counts, "word_errors": 1, "words": 2}, {**counts, "word_errors": 1, "words": 3}]  # one each, by hand
    assert pipeline.combine(parts)["inference_result"] == pytest.approx(jiwer.wer(said, heard))


def test_65_validation_is_one_utterance_at_a_time(tmp_path: Path) -> None:
    data = speech.librispeech(path=tiny.librispeech(tmp_path), train=["train-clean-100"], window=tiny.WINDOW)
    assert data.validation["dev-clean"].batch_size == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_66_the_student_hears_in_eight_bits_too(maker: Maker, tmp_path: Path) -> None:
    student = speech.create_student_model(**maker).model.eval()
    small = torch.ao.quantization.quantize_dynamic(student, {torch.nn.Linear}, dtype=torch.qint8)
    data = speech.librispeech(path=tiny.librispeech(tmp_path), train=["train-clean-100"], window=tiny.WINDOW)
    loader = data.validation["dev-clean"]
    found = [data.pipeline.run_inference_pipeline(model, loader) for model in (student, small)]
    assert found[0]["count"] == found[1]["count"] == 3
    assert any("quantized" in type(module).__module__ for module in small.modules())


def test_the_original_entry_trains_the_student(maker: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = speech.librispeech(path=tiny.librispeech(tmp_path / "data"), train=["train-clean-100"], window=tiny.WINDOW)
    student = speech.create_student_model(**maker)
    teacher = speech.OriginalForm(speech.ctc(maker["fairseq_pretrained_model_path"]), SIGNALS)
    before = student.model.lm_head.weight.clone()
    KnowledgeDistillationTraining(
        train_data_loader=DataLoader(data.train.dataset, batch_size=2, collate_fn=speech.original_batches),
        student_model=student,
        teacher_model=teacher,
        optimize_method="adamW_distilBert",
        scheduler_method="linear_decay_with_warm_up",
        num_lr_warm_up_epoch=1,
        final_loss_coeff_dict={"kd_loss": 1, "features_pen": 1, "cos_embed_loss": 0, "student_loss": 0},
        max_epoch=1,
        precision=32,
    ).start_kd_training()
    assert not torch.equal(before, student.model.lm_head.weight)


@pytest.mark.parametrize("name", ["wav2vec2_librispeech", "wav2vec2_librispeech_4"])
def test_the_recipes_carry_the_originals_settings(name: str) -> None:
    recipe = read_recipe(name)
    expected = {
        "max_epochs": 60, "optimizer": "adamW_distilBert", "learning_rate": 5e-5, "warm_up_epochs": 2, "seed": 42,
        "schedule": "linear_decay_with_warm_up", "precision": "16-mixed",
    }  # fmt: skip
    assert expected.items() <= dict(recipe.training).items()
    weights = {term: spec["weight"] for term, spec in recipe.objective.items()}
    assert weights == {"kd_loss": 1, "cos_embed_loss": 0, "features_pen": 1, "student_loss": 0}
    assert recipe.data["train"] == ["train-clean-100", "train-clean-360", "train-other-500"]
    assert recipe.data["batch_size"] == 1
