"""What goes wrong for a user who distils a whole Whisper, decoder and all."""

from __future__ import annotations

import csv
import logging
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import jiwer
import pytest
import torch

from knowledge_distillation.domains.speech import DictationPipeline, dictation, pseudo_labels, whisper
from knowledge_distillation.domains.speech.dictation import Script, dictation_student, dictation_teacher
from knowledge_distillation.domains.speech.listening import compared, plain, written_down
from knowledge_distillation.domains.speech.transcripts import manifest
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.objective import as_objective
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.rebuilding import rebuilt_run
from knowledge_distillation.recipes.running import run_recipe
from tests.domains.speech import tiny
from tests.training.toys import QUIET


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.whisper(tmp_path_factory.mktemp("whisper"))


def settings(path: str, folder: Path, rows: int = 6) -> dict[str, Any]:
    table = tiny.recordings(folder, rows)
    return {"path": table, "validation": table, "model": path, "batch_size": 3, "validation_batch_size": 2}


def test_the_decoder_reads_and_says_what_transformers_makes_of_a_text(path: str, tmp_path: Path) -> None:
    """Otherwise the student learns each word a place too early or too late, or the prompt."""
    model = whisper(path).eval()
    batch = next(iter(dictation(**settings(path, tmp_path)).validation["validation"]))
    with torch.no_grad():
        said = dictation_student(model, batch)
        labels = batch["labels"]
        whole = torch.cat([batch["decoder_input_ids"][:, 1:2], labels[:, 1:]], dim=1)  # theirs begin behind the start
        theirs = model(input_features=batch["input_features"], labels=whole)
        counted = labels != -100
        ours = torch.nn.functional.cross_entropy(said.logits[counted], labels[counted])
        rest = torch.nn.functional.cross_entropy(theirs.logits[:, 0], whole[:, 0], reduction="sum")
        total = int(counted.sum())
        expected = (theirs.loss * (total + len(labels)) - rest) / total  # without the prompt, which is not learnt
    torch.testing.assert_close(ours, expected)
    tokenizer = tiny.letters_tokenizer()
    first = labels[0][counted[0]].tolist()
    assert tokenizer.decode(first) == " " + tiny.texts_of(tmp_path)[0] + "<|endoftext|>"


def test_losses_are_means_over_the_tokens_of_texts(path: str, tmp_path: Path) -> None:
    """Otherwise padding and prompts are most of what is learnt."""
    teacher, student = whisper(path).eval(), whisper(path, decoder_layers=2).eval()
    batch = next(iter(dictation(**settings(path, tmp_path)).validation["validation"]))
    objective = as_objective(dict(read_recipe("distil_whisper").objective))
    with torch.no_grad():
        said, told = dictation_student(student, batch), dictation_teacher(teacher, batch)
        _, values = objective(said, told)
    counted = batch["labels"] != -100
    soft, taught = (one.logits[counted].div(2).log_softmax(-1) for one in (said, told))
    kl = (taught.exp() * (taught - soft)).sum(-1).mean() * 4
    assert float(values["kd"]) == pytest.approx(float(kl), rel=1e-5)
    hard = torch.nn.functional.cross_entropy(said.logits[counted], batch["labels"][counted])
    assert float(values["cross_entropy"]) == pytest.approx(float(hard), rel=1e-5)
    assert {name: term.weight for name, term in objective.terms.items()} == {"cross_entropy": 0.8, "kd": 1.0}


def test_the_student_keeps_the_first_and_last_layer_and_an_encoder_that_stays(path: str) -> None:
    """Otherwise it is not Distil-Whisper's student, and hears something else than its teacher."""
    teacher, student = (whisper(path, **given) for given in ({}, {"decoder_layers": 2, "frozen_encoder": True}))  # type: ignore[arg-type]
    for own, theirs in ((0, 0), (1, 3)):
        kept, given = student.model.decoder.layers[own], teacher.model.decoder.layers[theirs]  # type: ignore[union-attr, index]
        assert torch.equal(kept.fc1.weight, given.fc1.weight)
    trained = [name for name, value in student.named_parameters() if value.requires_grad]
    assert trained
    assert not [name for name in trained if "encoder." in name]
    assert student.config.decoder_layers == 2  # type: ignore[union-attr]


def test_what_is_written_down_is_what_transformers_generates(path: str, tmp_path: Path) -> None:
    """Otherwise the word error rate is of another decoding than users will have."""
    model = whisper(path).eval()
    script = Script.of(tiny.letters_tokenizer(), 24)
    features = next(iter(dictation(**settings(path, tmp_path)).validation["validation"]))["input_features"]
    ours = written_down(model, features, script)
    config = tiny.transformers.GenerationConfig(
        max_length=24, do_sample=False, eos_token_id=script.end, pad_token_id=script.end,
        decoder_start_token_id=script.prompt[0],
    )  # fmt: skip
    prompt = torch.tensor([script.prompt] * len(features))
    plainly = tiny.transformers.generation.GenerationMixin.generate
    theirs = plainly(model, features, decoder_input_ids=prompt, generation_config=config)
    for row, whole in zip(ours, theirs.tolist(), strict=True):
        said = whole[len(script.prompt) :]
        assert row == (said[: said.index(script.end)] if script.end in said else said)


def test_errors_are_counted_without_case_and_punctuation() -> None:
    """Otherwise a comma is an error."""
    assert plain("  Don\u2019t press 1, PLEASE! ") == "don't press 1 please"
    assert plain("'Hello', said the dogs' man: \u2018$5 + 1_000\u2019.") == "hello said the dogs man 5 1 000"
    pipeline = DictationPipeline(tiny.letters_tokenizer(), Script.of(tiny.letters_tokenizer(), 24))
    assert pipeline.higher_is_better is False
    with pytest.raises(ModelContractError, match="no word to compare"):
        pipeline.combine([{}])


@pytest.mark.parametrize(
    "text",
    ["नमस्ते दुनिया", "ภาษาไทย", "cafe\u0301 naïve", "Việt Nam", "مُحَمَّد", "שָׁלוֹם"],
    ids=["Hindi", "Thai", "NFD", "Vietnamese", "Arabic", "Hebrew"],
)
def test_marks_of_letters_are_no_punctuation(text: str) -> None:
    """Otherwise words fall into pieces, other vowels are no errors, and a word error rate is of another language."""
    assert plain(f"«{text}!»") == unicodedata.normalize("NFKC", text.lower())
    assert plain(unicodedata.normalize("NFD", text)) == plain(unicodedata.normalize("NFC", text))


def test_languages_without_spaces_are_scored_by_characters(path: str, tmp_path: Path) -> None:
    """Otherwise one wrong character is a wrong sentence, and a comma that nobody speaks an error."""
    pairs = [("今日は、いい天気です。", "今日はいい天気でした"), ("你好", "你好!")]
    counts = compared(pairs, "character")
    assert (counts["character_errors"], counts["characters"]) == (2, 11)  # す is heard as した
    assert compared(pairs, "word")["word_errors"] > 0
    data = dictation(**settings(path, tmp_path), unit="character")
    assert data.pipeline.metric == "cer"  # type: ignore[union-attr]
    for wrong in (
        lambda: dictation(**settings(path, tmp_path), unit="letter"),
        lambda: pseudo_labels(tiny.table(tmp_path, 1), tmp_path / "p.tsv", model=path, unit="letter"),
    ):  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="unit must be 'word' or 'character'"):
            wrong()


def test_the_recipe_trains_scores_and_is_rebuilt(path: str, tmp_path: Path) -> None:
    """Otherwise Distil-Whisper cannot be had by a command."""
    recipe = read_recipe("distil_whisper")
    recipe = replace(
        recipe,
        teacher={**(recipe.teacher or {}), "path": path},
        student={**recipe.student, "path": path},
        data={"name": "dictation", **settings(path, tmp_path)},
        training={**recipe.training, "max_epochs": 1, "warm_up_epochs": 0, "doctor": False, "trainer": QUIET},
    )
    run = run_recipe(recipe, directory=tmp_path / "run")
    back = rebuilt_run(tmp_path / "run")
    pairs = back.data.pipeline.transcripts(back.student, back.data.validation["validation"])  # type: ignore[union-attr]
    rate = jiwer.wer([plain(said) for said, _ in pairs], [plain(heard) for _, heard in pairs])
    assert run.scores["validation"] == pytest.approx(rate)
    given, own = whisper(path).state_dict(), run.student.state_dict()
    same = {name for name, value in own.items() if name in given and torch.equal(value, given[name])}
    assert {name for name in own if "encoder." in name and "encoder_attn" not in name} <= same
    assert "model.decoder.layers.0.fc1.weight" not in same
    shipped = run.export("safetensors")
    assert shipped.manifest["equality"]["score"]["artefact"] == pytest.approx(rate)


def test_pseudo_labels_are_filtered_by_their_error_rate(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Otherwise the student learns what its teacher made up, or a broken file ends the work of a night."""
    heard = ["Good  day.", "Hello there", "", "anything"]
    tokenizer = tiny.letters_tokenizer()
    monkeypatch.setattr(
        "knowledge_distillation.domains.speech.pseudo_labelling.written_down",
        lambda model, features, script: [tokenizer(heard.pop(0))["input_ids"] for _ in features],
    )
    files = [tiny.write(tmp_path / f"{name}.wav", tiny.tone(300, 1.0)) for name in "abcd"]
    long = tiny.write(tmp_path / "long.wav", tiny.tone(300, 4.0))
    rows = [*zip(files, ("good day", "GOOD DAY", "hello", ""), strict=True), (tmp_path / "none.wav", "x"), (long, "x")]
    source = tmp_path / "source.tsv"
    source.write_text("path\ttext\n" + "".join(f"{file}\t{text}\n" for file, text in rows))
    with caplog.at_level(logging.WARNING):
        found = pseudo_labels(source, tmp_path / "pseudo.tsv", model=path, batch_size=3)
    assert found == {"kept": 2, "unreadable": 1, "too long": 1, "nothing heard": 1, "too many errors": 1}
    assert "none.wav is left out: no such file" in caplog.text
    with (tmp_path / "pseudo.tsv").open(encoding="utf-8", newline="") as file:
        written = list(csv.reader(file, delimiter="\t"))
    assert written == [["path", "text"], [str(files[0]), "Good day."], [str(files[3]), "anything"]]


def test_work_that_was_broken_off_goes_on(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise what was heard in a night is lost when the machine goes away in the morning."""
    tokenizer, batches = tiny.letters_tokenizer(), []

    def hear(model: Any, features: torch.Tensor, script: Script) -> list[list[int]]:
        batches.append(len(features))
        if len(batches) == 2:
            raise KeyboardInterrupt
        return [tokenizer('"so\nit is')["input_ids"] for _ in features]

    monkeypatch.setattr("knowledge_distillation.domains.speech.pseudo_labelling.written_down", hear)
    files = [tiny.write(tmp_path / f"{number}.wav", tiny.tone(300, 1.0)) for number in range(5)]
    source, target = tmp_path / "source.tsv", tmp_path / "pseudo.tsv"
    source.write_text("path\ttext\n" + "".join(f"{file}\t\n" for file in [tmp_path / "none.wav", *files]))
    with pytest.raises(KeyboardInterrupt):
        pseudo_labels(source, target, model=path, batch_size=2)
    assert not target.exists()
    with (tmp_path / "pseudo.tsv.heard").open("a") as file:
        file.write('[3, "broken o')
    with pytest.raises(ConfigError, match=r"texts of two teachers or tables would stand in one"):
        pseudo_labels(tiny.table(tmp_path, 2), target, model=path)
    found = pseudo_labels(source, target, model=path, batch_size=2)
    assert batches == [2, 2, 2, 1]
    assert found == {"kept": 5, "unreadable": 1, "too long": 0, "nothing heard": 0, "too many errors": 0}
    assert not (tmp_path / "pseudo.tsv.heard").exists()
    assert [(entry.file, entry.text) for entry in manifest(target)] == [(file, '"so it is') for file in files]


def test_a_teacher_that_is_asked_again_for_less_is_not_asked_again(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a limit that was too low costs the night once more."""
    table, target, place = tiny.table(tmp_path, 3), tmp_path / "pseudo.tsv", "knowledge_distillation.domains.speech."
    said = tiny.letters_tokenizer()("good morning")["input_ids"]
    monkeypatch.setattr(f"{place}pseudo_labelling.written_down", lambda model, features, script: [said] * len(features))
    with pytest.raises(ConfigError, match="raise most_errors"):
        pseudo_labels(table, target, model=path)
    monkeypatch.delattr(f"{place}pseudo_labelling.written_down")
    assert pseudo_labels(table, target, model=path, most_errors=0.5)["kept"] == 1  # "good day"


def test_a_table_of_which_nothing_is_kept_is_refused(path: str, tmp_path: Path) -> None:
    """Otherwise training begins with an empty table. A random model hears nothing right."""
    table = tiny.table(tmp_path, 2)
    with pytest.raises(ConfigError, match=r"none: .*too many errors"):
        pseudo_labels(table, tmp_path / "pseudo.tsv", model=path)


def test_texts_longer_than_the_decoder_are_left_out_and_counted(path: str, tmp_path: Path, caplog: Any) -> None:
    """Otherwise one long text ends the training inside an embedding."""
    file = tiny.write(tmp_path / "a.wav", tiny.tone(300, 1.0))
    (tmp_path / "t.tsv").write_text(f"path\ttext\n{file}\t{'long ' * 9}\n{file}\tshort\n")
    with caplog.at_level(logging.WARNING):
        data = dictation(path=str(tmp_path / "t.tsv"), validation=str(tmp_path / "t.tsv"), model=path)
    assert "1 of 2 texts have more than the 24 tokens" in caplog.text
    assert len(data.train.dataset) == 1  # type: ignore[arg-type]


def test_a_language_has_its_tokens_in_front_and_an_unknown_one_is_refused() -> None:
    """Otherwise a model of many languages guesses which one it hears."""
    tokenizer = tiny.letters_tokenizer()
    ids = Script.of(tokenizer, 24, "en").prompt
    assert tokenizer.decode(ids) == "<|startoftranscript|><|en|><|transcribe|><|notimestamps|>"
    with pytest.raises(ConfigError, match=r"lacks \['<\|xx\|>'\]"):
        Script.of(tokenizer, 24, "xx")


@pytest.mark.parametrize(
    ("says", "language", "message"),
    [
        (True, None, "knows many languages, so that one must be named"),
        (False, "en", "knows English alone, so that no language can be named, and 'en' is"),
        (None, "en", "knows English alone"),
        (True, "en", ""),
        (None, None, ""),
    ],
    ids=["none named", "one named", "by its size", "many", "English"],
)
def test_a_prompt_that_the_model_never_had_is_refused(
    says: bool | None, language: str | None, message: str, tmp_path: Path
) -> None:
    """Otherwise a model of many languages writes down a translation, or one of English alone learns to read tags."""
    model, given = tiny.whisper(tmp_path / "model"), settings("", tmp_path)
    config = tiny.transformers.GenerationConfig()
    if says is not None:
        config.is_multilingual = says
    config.save_pretrained(model)
    given = {**given, "model": model, "language": language}
    if not message:
        assert len(dictation(**given).pipeline.script.prompt) == (4 if language else 2)  # type: ignore[union-attr]
        return
    with pytest.raises(ConfigError, match=message):
        dictation(**given)
    with pytest.raises(ConfigError, match=message):
        pseudo_labels(given["path"], tmp_path / "pseudo.tsv", model=model, language=language)


def test_a_model_that_is_no_whisper_is_refused(path: str, tmp_path: Path) -> None:
    """Otherwise its features are made for another model."""
    other = tiny.saved(tmp_path / "other", tiny.model())
    given = settings(path, tmp_path)
    with pytest.raises(ConfigError, match="must be a Whisper model"):
        dictation(**{**given, "model": other})
    with pytest.raises(ConfigError, match="tokenizer must be that of"):
        whisper(path, tokens_mark=1)
    with pytest.raises(ModelContractError, match="must be a mapping with 'input_features'"):
        dictation_teacher(whisper(path), {"input_values": torch.zeros(1, 8)})
