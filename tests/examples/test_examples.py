"""Examples are the first code that a user changes; each must run as it stands, on real data, without a download."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    WhisperForConditionalGeneration,
)

from knowledge_distillation.export import export
from tests.examples import ctranslate2
from tests.processes import run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_a_language_model_teaches_half_of_itself(tmp_path: Path) -> None:
    """Otherwise the way from text files to a smaller language model ends in a traceback."""
    done = run(ROOT / "examples" / "language_model.py", "--small", directory=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    teacher, student = (float(score) for score in re.findall(r"perplexity ([\d.]+)", done.stdout))
    assert teacher < 512  # what guessing comes to
    assert student < 512


def test_speeches_are_taught_to_the_layers_that_were_found_to_matter(tmp_path: Path) -> None:
    """Hours of training must not end in a traceback; four layers that read letters stand in for SmolLM2."""
    letters = {token: place for place, token in enumerate(["<end>", *map(chr, range(32, 127)), "\n"])}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token=" "))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(tmp_path / "model")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97, hidden_size=16, intermediate_size=32, num_hidden_layers=4, num_attention_heads=2, eos_token_id=0
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    (tmp_path / "sotu").mkdir()
    pages = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    for number, year in enumerate(range(1990, 2002)):
        (tmp_path / "sotu" / f"{year}_somebody.txt").write_text(pages[400 * number :][:800], encoding="utf-8")
    asked = ("--texts", "sotu", "--model", "model", "--layers", "2", "--steps", "2", "--seeds", "2")
    done = run(ROOT / "examples" / "smollm_sotu.py", *asked, directory=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    kept = json.loads(re.findall(r"layers (\[.*\])", done.stdout)[0])
    recipe = yaml.safe_load((tmp_path / "runs" / "smollm_sotu" / "recipe.yaml").read_text())
    assert len(kept) == 2
    assert recipe["student"]["keep_layers"]["rule"] == kept
    verdict = json.loads((tmp_path / "runs" / "smollm_sotu" / "comparison.json").read_text())
    assert verdict["metric"] == "test"
    assert (tmp_path / "runs" / "smollm_sotu" / "report.html").exists()


def test_a_classifier_of_texts_teaches_half_of_itself(tmp_path: Path) -> None:
    """Otherwise the way from labelled texts to a smaller encoder ends in a traceback, or learns nothing."""
    done = run(ROOT / "examples" / "text_classifier.py", "--small", directory=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    scores = [float(score) for score in re.findall(r"(?:layers|them): ([\d.]+)", done.stdout)]
    assert len(scores) == 2
    assert min(scores) > 0.2  # guessing among eight comes to less


def test_an_embedding_model_becomes_smaller_in_three_ways(tmp_path: Path) -> None:
    """Otherwise the way from a text file to smaller embeddings ends in a traceback, or nothing is learnt."""
    done = run(ROOT / "examples" / "embeddings.py", "--small", directory=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.findall(r"(layers|dimensions|static): (-?[\d.]+) (-?[\d.]+)", done.stdout)
    assert [name for name, _, _ in found] == ["layers", "dimensions", "static"]
    scores = [float(score) for _, random, mixed in found for score in (random, mixed)]
    assert min(scores) > 0.3  # chance gives 0.03 on 1,000 pairs


def test_texts_are_cut_and_embeddings_measured(tmp_path: Path) -> None:
    """Hours of training must not end in a traceback; a model of one layer stands in for MiniLM."""
    pages = " ".join((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in ("language", "teachers"))
    words = re.findall(r"[a-z]+", pages.lower())
    for name in ("20newsgroups", "reuters-r8"):
        for part, some in (("train", words[:2000]), ("test", words[2000:3000])):
            rows = [f"topic\t{' '.join(some[begin : begin + 200])}" for begin in range(0, len(some), 200)]
            file = tmp_path / f"{name}-{part}.tab"
            file.write_text("\n".join(["Category\tText", "d\tstring", "class\t", *rows]), encoding="utf-8")
    (tmp_path / "1990_somebody.txt").write_text("It is so that this is a sentence of ten words. " * 3)
    (tmp_path / "2010_somebody.txt").write_text("It is so that this is another sentence of ten words. " * 3)
    asked = ("--newsgroups", ".", "--speeches", ".", "--out", "cut")
    done = run(ROOT / "examples" / "sentence_files.py", *asked, directory=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    files = {path.stem: path.read_text(encoding="utf-8").splitlines() for path in (tmp_path / "cut").iterdir()}
    assert set(files) == {"train", "validation", "test"}
    assert all(8 <= len(text.split()) <= 40 for texts in files.values() for text in texts)
    assert not set(files["train"]) & set(files["test"])
    assert "It is so that this is another sentence of ten words." in files["test"]
    letters = {token: place for place, token in enumerate(["<pad>", *map(chr, range(32, 127))])}
    tokenizer = Tokenizer(models.WordLevel(letters, unk_token=" "))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(tmp_path / "model")
    config = BertConfig(
        vocab_size=96, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "model")
    from knowledge_distillation.domains.embedding import sentence_encoder

    example = {name: torch.ones(2, 8, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    export(sentence_encoder(str(tmp_path / "model")), "torch_export", tmp_path / "shipped", example=example)
    measured = run(
        ROOT / "examples" / "embedding_scores.py", "model", "cut/test.txt", "model", "shipped", "--pairs", "50",
        "--json", "scores.json", directory=tmp_path,
    )  # fmt: skip
    assert measured.returncode == 0, measured.stderr[-2000:]
    lines = [line for line in measured.stdout.splitlines() if "1.000" in line]
    assert [line.split(", ")[0] for line in lines] == ["model", "model", "shipped"]
    assert len({line.split(", ")[1] for line in lines}) == 1
    assert all(line.split(", ")[2:5] == ["1.000", "1.000", "1.000"] for line in lines)
    rows = json.loads((tmp_path / "scores.json").read_text())["rows"]
    assert [f"{row['ms_for_one']:.2f}" for row in rows] == [line.split(", ")[-1] for line in lines]


def test_the_originals_resnet_demo_teaches_its_student(tmp_path: Path) -> None:
    """Otherwise the original's own demo, the reason that many come, ends in a traceback or an untrained student."""
    done = run(ROOT / "examples" / "resnet_mnist.py", "--small", directory=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    teacher = float(re.findall(r"teacher: ([\d.]+)", done.stdout)[0])
    scores = [float(score) for score in re.findall(r"test images :([\d.]+)", done.stdout)]
    assert teacher > 0.9
    assert len(scores) == 5  # once before training, then after each of the four epochs
    assert scores[-1] > 0.9


def test_trees_teach_small_networks_on_tables(tmp_path: Path) -> None:
    """Otherwise the way from a table to a shipped network ends in a traceback."""
    done = run(ROOT / "examples" / "tables.py", "--small", directory=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    forest, student = (
        float(score) for score in re.findall(r"digits: forest ([\d.]+), student ([\d.]+)", done.stdout)[0]
    )
    assert forest > 0.95
    assert student > 0.8  # guessing comes to 0.1
    trees, network = (float(score) for score in re.findall(r"trees ([\d.]+), student ([\d.]+) rmse", done.stdout)[0])
    assert trees < 60
    assert network < 80  # the mean alone comes to about 75


def test_an_encoder_of_speech_teaches_half_of_itself(tmp_path: Path) -> None:
    """Otherwise the way from real recordings to a smaller model ends in a traceback, or nothing is ever heard."""
    done = run(ROOT / "examples" / "speech.py", "--small", directory=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.findall(r"(teacher|student): character error rate ([\d.]+), .*?([\d.]+) M", done.stdout)
    rates = {name: float(rate) for name, rate, _ in found}
    sizes = {name: float(size) for name, _, size in found}
    assert rates["teacher"] < 1.0  # hearing nothing comes to 1
    assert rates["student"] < 1.0
    assert sizes["student"] < sizes["teacher"]


def test_weights_of_another_library_become_those_of_transformers(tmp_path: Path) -> None:
    """Otherwise a Whisper that is at hand cannot be used, or is put together in another order."""
    words = ctranslate2.tokenizer()
    torch.manual_seed(0)
    model = ctranslate2.whisper(len(words)).half().float()  # as the file holds it
    ctranslate2.write(tmp_path / "from", model, words)
    done = run(ROOT / "examples" / "whisper_from_ctranslate2.py", "from", "to", directory=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    back = WhisperForConditionalGeneration.from_pretrained(tmp_path / "to")
    assert back.config.encoder_layers == 2
    features, ids = torch.randn(1, 80, 3000), torch.tensor([[0, 1, 2]])
    with torch.no_grad():
        said, heard = (
            one(input_features=features, decoder_input_ids=ids).logits for one in (model.eval(), back.eval())
        )
    torch.testing.assert_close(heard, said, atol=1e-4, rtol=1e-4)
    whole = (tmp_path / "from" / "model.bin").read_bytes()
    (tmp_path / "from" / "model.bin").write_bytes(whole[: len(whole) // 2])
    done = run(ROOT / "examples" / "whisper_from_ctranslate2.py", "from", "cut", directory=tmp_path)
    assert "it is cut off" in done.stderr


def test_pixels_and_boxes_of_rendered_scenes_are_learnt(tmp_path: Path) -> None:
    """Otherwise the way from masks, or from boxes, to a smaller model ends in a traceback."""
    done = run(ROOT / "examples" / "scenes.py", "--small", directory=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    scores = re.findall(r"(segmentation|detection): teacher ([\d.]+), student ([\d.]+)", done.stdout)
    assert [task for task, _, _ in scores] == ["segmentation", "detection"]
    assert all(0 <= float(score) <= 1 for _, *both in scores for score in both)
    for task in ("segmentation", "detection"):
        assert (tmp_path / "runs" / task / "student.safetensors").is_file()
