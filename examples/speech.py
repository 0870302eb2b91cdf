"""Whisper's encoder learns to spell real telephone prompts by CTC, and teaches two of its four layers.

    python examples/asterisk_prompts.py prompts          # the tables; needs Debian's asterisk-core-sounds-en-wav
    python examples/speech.py --prompts prompts --whisper FOLDER_OR_HUB_ID [--seeds 3]
    python examples/speech.py --small

The teacher is trained here, its new head alone and then all of it, unless --directory holds it already. It is asked
once, into a cache; then each seed's student is trained twice, from the cache and from the transcripts alone, for as
many steps. What breaks off goes on with the same command. `--small` downloads nothing: an encoder that knows nothing
and twelve prompts stand in. It hears a few letters at the end, no word: that every part works is all that it shows.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from knowledge_distillation.recipes.reading import Recipe, read_recipe
from knowledge_distillation.recipes.rebuilding import rebuilt_run
from knowledge_distillation.recipes.running import run_recipe

PARTS = ("validation", "test")
ROUNDS = 7
RECORDINGS = Path(__file__).parents[1] / "tests" / "domains" / "speech" / "recordings"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--prompts", help="folder with train.tsv, validation.tsv and test.tsv")
    parser.add_argument("--whisper", default="openai/whisper-tiny.en")
    parser.add_argument(
        "--epochs", type=int, nargs=3, default=[12, 30, 14], help="of the head, the teacher, the student"
    )
    parser.add_argument("--precision", default="32-true", help="bf16-mixed is faster where the processor has it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--directory", default="runs/speech")
    return parser.parse_args()


def small(folder: Path) -> tuple[str, str]:
    """An encoder that knows nothing, and a table of the recordings that lie beside the tests."""
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=96, encoder_layers=4, encoder_attention_heads=4, encoder_ffn_dim=192, max_source_positions=150,
        decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=96, vocab_size=64, pad_token_id=0, bos_token_id=0,
        eos_token_id=0, decoder_start_token_id=0, suppress_tokens=[], begin_suppress_tokens=[],
    )  # fmt: skip
    WhisperForConditionalGeneration(config).save_pretrained(folder / "whisper")
    texts = [line.split(" ", 1) for line in (RECORDINGS / "transcripts.txt").read_text().splitlines()]
    rows = [f"{(RECORDINGS / name).resolve()}.flac\t{text}" for name, text in texts]
    (folder / "prompts.tsv").write_text("\n".join(["path\ttext", *rows]), encoding="utf-8")
    return str(folder / "whisper"), str(folder / "prompts.tsv")


def trained(recipe: str, directory: Path, settings: dict[str, Any]) -> Path:
    """The weights of a recipe's student, trained unless they lie there already."""
    weights = directory / "student.safetensors"
    if not weights.exists():
        run_recipe(with_settings(recipe, settings), directory=directory)
    return weights


def with_settings(recipe: str, settings: dict[str, Any]) -> Recipe:
    return read_recipe(recipe, [f"{name}={value}" for name, value in settings.items()])


@torch.no_grad()
def report(models: dict[str, Any], data: Any) -> None:
    """Error rates of the test's recordings, heard one at a time, and how long hearing takes, the models by turns."""
    batches = list(torch.utils.data.DataLoader(data.validation["test"].dataset, collate_fn=data.train.collate_fn))
    seconds = sum(batch["input_values"].shape[1] for batch in batches) / 16_000
    taken: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            model.eval()
            begun = time.perf_counter()
            for batch in batches:
                model(batch["input_values"])
            taken[name].append(time.perf_counter() - begun)
    factors = {name: statistics.median(some) / seconds for name, some in taken.items()}
    for name, model in models.items():
        found = data.pipeline.run_inference_pipeline(model, batches)
        parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        print(
            f"{name}: character error rate {found['cer']:.3f}, word error rate {found['wer']:.3f}, {parameters:.2f} M "
            f"parameters, real-time factor {factors[name]:.4f}"
        )
    print(f"the student hears {factors['teacher'] / factors['student']:.2f} times as fast as the teacher")


def main() -> None:
    given = arguments()
    with tempfile.TemporaryDirectory() as place:
        path, home, (head, teacher, student) = given.whisper, Path(given.directory), given.epochs
        tables = {name: str(Path(given.prompts or ".", f"{name}.tsv")) for name in ("train", *PARTS)}
        quiet = {"training.trainer.enable_progress_bar": "false", "training.trainer.precision": given.precision}
        if given.small:
            home, (head, teacher, student) = Path(place), (0, 60, 40)
            path, table = small(home)
            tables = dict.fromkeys(tables, table)
            quiet |= {"training.learning_rate": 3e-3, "training.trainer.check_val_every_n_epoch": 20}
            quiet |= {"data.batch_size": 4}
        data = {"data.path": tables["train"], "data.validation": {name: tables[name] for name in PARTS}}
        plan = {**data, **quiet, "student.path": path}
        if head:
            first = {"student.trained": "head", "student.spec_augment": "false", "training.learning_rate": 5e-3}
            alone = {**plan, **first, "training.max_epochs": head}
            plan["student.weights"] = trained("whisper_ctc_teacher", home / "head", alone)
        weights = trained("whisper_ctc_teacher", home / "teacher", {**plan, "training.max_epochs": teacher})
        taught = {"teacher.path": path, "teacher.weights": weights, "cache.directory": home / "answers"}
        recipe = with_settings("whisper_ctc", {**data, **quiet, **taught, "training.max_epochs": student})
        begun = (home / "student" / "checkpoints").exists()
        run = run_recipe(recipe, directory=home / "student", resume="auto" if begun else None)
        back = rebuilt_run(run.directory)
        report({"teacher": back.teacher, "student": run.student}, back.data)
        if not given.small:
            found = run.compare(given.seeds, metric="test", progress=print)
            print(found.sentence)
            print(found.at_equal_time.sentence if found.at_equal_time else "")


if __name__ == "__main__":
    main()
