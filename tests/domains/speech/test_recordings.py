"""What goes wrong for a user whose recordings are not all what a speech model wants."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from scipy import signal as scipy_signal

from knowledge_distillation.domains.speech import librispeech, speech_manifest
from knowledge_distillation.domains.speech.resampling import resample
from knowledge_distillation.domains.speech.transcripts import manifest
from knowledge_distillation.domains.speech.utterances import Utterances
from knowledge_distillation.errors import ConfigError
from tests.domains.speech import tiny


@pytest.mark.parametrize(("given", "wanted"), [(8_000, 16_000), (44_100, 16_000), (48_000, 16_000), (16_000, 11_000)])
def test_a_tone_keeps_its_pitch_and_loudness_at_another_rate(given: int, wanted: int) -> None:
    """Otherwise the model hears other voices than those that were recorded."""
    found = resample(torch.from_numpy(tiny.tone(440, 0.5, given)), given, wanted).numpy()
    assert len(found) == -(-round(0.5 * given) * wanted // given)
    inside = slice(wanted // 20, -wanted // 20)  # edges have no neighbours
    assert np.abs(found - tiny.tone(440, 0.5, wanted)[: len(found)])[inside].max() < 2e-3


def test_what_the_new_rate_cannot_hold_is_filtered_out() -> None:
    """Otherwise hiss above 8 kHz comes back as a tone amid the speech."""
    found = resample(torch.from_numpy(tiny.tone(11_000, 0.5, 44_100)), 44_100, 16_000)
    assert found[800:-800].abs().max() < 3e-3


def test_noise_is_converted_as_its_spectrum_says() -> None:
    """Otherwise tones are right and speech is not."""
    noise = np.random.default_rng(0).standard_normal(8_000)
    noise = scipy_signal.sosfiltfilt(scipy_signal.butter(8, 2_500, fs=8_000, output="sos"), noise)
    found = resample(torch.from_numpy(noise.copy()), 8_000, 16_000).numpy()
    assert np.abs(found - scipy_signal.resample(noise, 16_000))[200:-200].max() < 2e-3


def test_a_recording_at_another_rate_is_the_same_however_many_threads_read_it() -> None:
    """Otherwise a teacher cache written by `kd cache` is refused where workers load the data, one thread each."""
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal(20_000).astype("float32"))
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append([resample(noise, given, 16_000) for given in (8_000, 14_400, 44_100)])
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(mine, first) for mine, first in zip(other, found[0], strict=True))


def test_a_table_that_is_mostly_unusable_is_refused(tmp_path: Path) -> None:
    """Otherwise a wrong folder in the paths leaves a hundredth of the data, which is learnt from as if it were all."""
    rows = "".join(f"{tiny.write(tmp_path / f'{number}.wav', tiny.tone(300, 1.0))}\thello\n" for number in range(4))
    absent = "".join(f"{tmp_path}/elsewhere/{number}.wav\thello\n" for number in range(4))
    (tmp_path / "t.tsv").write_text(f"path\ttext\n{rows}{absent}")
    with pytest.raises(ConfigError, match=r"4 of its 8 cannot: .*0\.wav: no such file.*the right ones"):
        speech_manifest(path=str(tmp_path / "t.tsv"), validation=1)


def test_many_that_are_left_out_are_all_listed_at_level_info(tmp_path: Path, caplog: Any) -> None:
    """Otherwise the eleventh bad file is found by nobody."""
    good = tiny.write(tmp_path / "good.wav", tiny.tone(300, 1.0))
    absent = "".join(f"absent-{number}.wav\thello\n" for number in range(13))
    (tmp_path / "t.tsv").write_text("path\ttext\n" + f"{good}\thello\n" * 20 + absent)
    with caplog.at_level(logging.INFO):
        speech_manifest(path=str(tmp_path / "t.tsv"), validation=1)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("13 of 33 recordings are left out: 13 no such file." in told and "and 3 more" in told for told in warned)
    assert all(f"absent-{number}.wav: no such file" in caplog.text for number in range(13))


def test_a_recording_that_cannot_be_heard_as_it_says_is_left_out(tmp_path: Path, caplog: Any) -> None:
    """Otherwise half a sentence is scored as a whole one, or one number that is none makes every weight none."""
    good = tiny.tone(300, 1.0)
    tiny.write(tmp_path / "good.wav", good)
    broken = good.astype("float32").copy()
    broken[100] = np.nan
    soundfile.write(tmp_path / "numbers.wav", broken, 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "rate.wav", good, 96_001)
    content = (tmp_path / "good.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[: len(content) // 2])
    unknown = content[:40] + b"\xff\xff\xff\xff" + content[44:]
    (tmp_path / "streamed.wav").write_bytes(unknown)
    rows = "".join(f"{name}.wav\thello\n" for name in ("good",) * 5 + ("streamed", "numbers", "rate", "cut"))
    (tmp_path / "t.tsv").write_text(f"path\ttext\n{rows}")
    with caplog.at_level(logging.WARNING):
        data = speech_manifest(path=str(tmp_path / "t.tsv"), validation=str(tmp_path / "t.tsv"))
    held = data.validation["validation"].dataset
    assert {sample.file.name for sample in held.samples} == {"good.wav", "streamed.wav"}  # type: ignore[attr-defined]
    assert "numbers.wav: unreadable (samples that are no numbers)" in caplog.text
    assert "rate.wav: odd sampling rate (96001 Hz cannot be converted to 16000 Hz)" in caplog.text
    assert "cut.wav: cut off (15978 of 32000 bytes)" in caplog.text


def odd_table(folder: Path) -> Path:
    """Ten good recordings and seven that are not."""
    good = tiny.tone(300, 1.0)
    tiny.write(folder / "good.wav", good)
    tiny.write(folder / "stereo.wav", np.stack([good, 0.5 * good], axis=1)[::2], 8_000)
    tiny.write(folder / "silent.wav", np.zeros(16_000))
    tiny.write(folder / "empty.wav", np.zeros(0))
    tiny.write(folder / "short.wav", good[:1_000])
    tiny.write(folder / "strange.wav", good)
    tiny.write(folder / "quiet.wav", good)
    (folder / "broken.wav").write_bytes(b"RIFF no recording")
    rows = {
        "good": "Hello", "stereo": "good  day", "silent": "hello", "empty": "hello", "short": "hello",
        "strange": "7 cafés", "quiet": "", "broken": "hello", "absent": "hello",
    }  # fmt: skip
    for number in range(8):
        tiny.write(folder / f"more-{number}.wav", good)
        rows[f"more-{number}"] = "hello"
    file = folder / "table.csv"
    file.write_text("path,text\n" + "".join(f"{name}.wav,{text}\n" for name, text in rows.items()))
    return file


def test_unfit_recordings_are_left_out_counted_and_named(tmp_path: Path, caplog: Any) -> None:
    """Otherwise one bad file among thousands ends the training, or is learnt from, and nobody knows."""
    with caplog.at_level(logging.WARNING):
        data = speech_manifest(path=str(odd_table(tmp_path)), validation=9)
    told = caplog.text
    assert "train: 7 of 17 recordings are left out" in told
    for name, reason in {
        "silent.wav": "silent", "empty.wav": "empty", "short.wav": "too short (0.062 s", "broken.wav": "unreadable",
        "strange.wav": "unknown characters (7É)", "quiet.wav": "no transcript", "absent.wav": "no such file",
    }.items():  # fmt: skip
        assert f"{name}: {reason}" in told
    assert "1 of 17 recordings have 8000 Hz and are converted to 16000 Hz" in told
    assert "1 of 17 recordings have 2 channels and are mixed to their mean" in told
    held = data.validation["validation"].dataset
    texts = {sample.text for sample in held.dataset.samples}  # type: ignore[attr-defined]
    assert texts == {"HELLO", "GOOD DAY"}
    stereo = next(entry for entry in held.dataset if len(entry["labels"]) == 8)  # type: ignore[attr-defined]
    values = stereo["input_values"]
    assert len(values) == 16_000
    assert float(values.mean()) == pytest.approx(0, abs=1e-5)
    assert float(values.std(correction=0)) == pytest.approx(1, abs=1e-3)


def test_strange_characters_can_be_left_out_instead(tmp_path: Path) -> None:
    """Otherwise one comma costs a recording."""
    tiny.write(tmp_path / "a.wav", tiny.tone(300, 1.0))
    (tmp_path / "t.tsv").write_text("audio\tsentence\na.wav\tWell, 7 dogs!\na.wav\tdogs\n")
    data = speech_manifest(path=str(tmp_path / "t.tsv"), validation=1, unknown="remove")
    assert {sample.text for sample in data.train.dataset.dataset.samples} == {"WELL DOGS", "DOGS"}


def test_a_recording_that_turns_out_silent_is_replaced_and_named(tmp_path: Path, caplog: Any) -> None:
    """Otherwise hours of training end at one file whose header was fine."""
    root = tiny.librispeech(tmp_path)
    victim = tmp_path / "train-clean-100" / "19" / "1" / "19-1-0001.flac"
    tiny.write(victim, np.zeros(16_000))
    data = librispeech(path=root, train=["train-clean-100"])
    samples: Utterances = data.train.dataset  # type: ignore[assignment]
    with caplog.at_level(logging.WARNING):
        twice = [samples[1], samples[1]]
    assert torch.equal(twice[0]["input_values"], samples[2]["input_values"])
    assert torch.equal(twice[0]["labels"], samples[2]["labels"])
    assert caplog.text.count("19-1-0001.flac is left out: silent") == 1


def test_a_folder_of_librispeech_is_read_whole_and_in_order(tmp_path: Path) -> None:
    """Otherwise texts meet other recordings."""
    root = tiny.librispeech(tmp_path)
    data = librispeech(path=root, train=["train-clean-100"], batch_size=4)
    samples = data.train.dataset.samples  # type: ignore[attr-defined]
    assert [(sample.file.name, sample.text) for sample in samples[:2]] == [
        ("19-1-0000.flac", "GOOD DAY"),
        ("19-1-0001.flac", "HELLO"),
    ]
    assert len(data.validation["dev-clean"].dataset) == 3  # type: ignore[arg-type]
    batch = next(iter(data.train))
    lengths = batch["attention_mask"].sum(dim=1)
    assert bool((batch["input_values"][batch["attention_mask"] == 0] == 0).all())
    assert batch["input_values"].shape == batch["attention_mask"].shape == (4, int(lengths.max()))


def test_a_recording_without_a_line_in_the_transcripts_is_left_out(tmp_path: Path, caplog: Any) -> None:
    """Otherwise it is learnt as silence, or takes its neighbour's text."""
    root = tiny.librispeech(tmp_path)
    (file,) = (tmp_path / "train-clean-100").rglob("*.trans.txt")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2] + lines[3:]))
    with caplog.at_level(logging.WARNING):
        data = librispeech(path=root, train=["train-clean-100"])
    names = [sample.file.stem for sample in data.train.dataset.samples]  # type: ignore[attr-defined]
    assert names == [f"19-1-{number:04d}" for number in (0, 1, 3, 4, 5)]
    assert "19-1-0002.flac: no transcript" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": ["train-clean-10"]}, "no folder .*train-clean-10 .*Did you mean 'train-clean-100'"),
        ({"train": ["dev-clean"]}, "must not be trained on and validated"),
        ({"train": ["dev-clean"], "validation": 3}, "holds out 3 of 3"),
        ({"train": []}, "must be a list of splits"),
        ({"longest": 0.01}, "6 of its 6 cannot: .*too long"),
        ({"characters": "."}, "vocab.json must hold the characters"),
        ({"path": "nowhere"}, "no folder nowhere"),
    ],
    ids=["split", "both", "all held", "no split", "longest", "characters", "path"],
)
def test_data_that_cannot_be_made_is_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Otherwise training begins with nothing, or with what it is scored on."""
    with pytest.raises(ConfigError, match=message):
        librispeech(**{"path": tiny.librispeech(tmp_path), "train": ["train-clean-100"], **settings})


def test_several_tables_are_scored_by_name_and_by_the_unit_that_is_named(tmp_path: Path) -> None:
    """Otherwise the best student is chosen on the test, or by words where characters were meant."""
    train, near, far = (tiny.table(tmp_path, rows, name) for rows, name in ((4, "train"), (2, "near"), (3, "far")))
    data = speech_manifest(path=train, validation={"near": near, "far": far}, unit="character")
    assert {name: len(loader.dataset) for name, loader in data.validation.items()} == {"near": 2, "far": 3}  # type: ignore[arg-type]
    assert data.pipeline.metric == "cer"  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="unit must be"):
        speech_manifest(path=train, unit="letter")  # type: ignore[arg-type]


def test_a_text_that_is_too_long_at_the_fastest_speed_is_left_out(tmp_path: Path, caplog: Any) -> None:
    """Otherwise its loss is infinite in one epoch of three, and nobody knows why."""
    file = tiny.write(tmp_path / "a.wav", tiny.tone(300, 1.0))
    rows = "".join(f"{file}\t{'AB' * count}\n" for count in (10, 10, 20))
    (tmp_path / "t.tsv").write_text("path\ttext\n" + rows)
    with caplog.at_level(logging.WARNING):
        data = speech_manifest(path=str(tmp_path / "t.tsv"), validation=str(tmp_path / "t.tsv"), speeds=[1.0, 1.5])
    assert len(data.train.dataset) == 2  # type: ignore[arg-type]
    assert len(data.validation["validation"].dataset) == 3  # type: ignore[arg-type]
    slow = {"speeds": [0.5], "longest": 1.5}  # heard for two seconds
    with pytest.raises(ConfigError, match=r"3 of its 3 cannot.*too long"):
        speech_manifest(path=str(tmp_path / "t.tsv"), validation=str(tmp_path / "t.tsv"), **slow)  # type: ignore[arg-type]


SAID = ['"Hello," he said', "good day", 'she said "no"']


def texts_in(table: Path) -> list[str | None]:
    found = manifest(table)
    assert [utterance.file.name for utterance in found] == [f"{number}.wav" for number in range(len(found))]
    return [utterance.text for utterance in found]


def test_a_quotation_mark_swallows_no_rows(tmp_path: Path) -> None:
    """Otherwise a transcript that begins with one takes the recordings behind it into its text, and nobody knows."""
    rows = [f"{number}.wav\t{text}\n" for number, text in enumerate(SAID)]
    (tmp_path / "t.tsv").write_text("path\ttext\n" + "\n".join(rows))
    assert texts_in(tmp_path / "t.tsv") == SAID
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "text"), *((f"{n}.wav", text) for n, text in enumerate(SAID))])
    assert texts_in(tmp_path / "t.csv") == SAID


def test_a_quoted_text_of_several_lines_is_one_text(tmp_path: Path) -> None:
    """Otherwise its second line is taken for a recording."""
    (tmp_path / "t.csv").write_text('path,text\n0.wav,"good\n\nday"\n1.wav,hello\n')
    assert [str(text).split() for text in texts_in(tmp_path / "t.csv")] == [["good", "day"], ["hello"]]


@pytest.mark.parametrize(
    ("content", "line"),
    [('0.wav,"Hello\n1.wav,hello\n', 3), ('0.wav,"Hello," he said\n1.wav,hello\n', 2)],
    ids=["never closed", "closed within"],
)
def test_a_quote_that_does_not_close_is_refused(content: str, line: int, tmp_path: Path) -> None:
    """Otherwise the rest of the table is one transcript."""
    (tmp_path / "t.csv").write_text("path,text\n" + content)
    with pytest.raises(ConfigError, match=rf"must quote a cell whole .*does not at line {line}"):
        manifest(tmp_path / "t.csv")


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "path,text\n", ""], ids=["columns", "rows", "nothing"])
def test_a_table_without_recordings_is_refused(content: str, tmp_path: Path) -> None:
    """Otherwise the first line is taken for a recording, or nothing is learnt."""
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ConfigError, match="columns 'path' and 'text'"):
        speech_manifest(path=str(tmp_path / "t.csv"))
