"""SmolLM2-135M is cut to half its layers, and the cut is taught the State-of-the-Union speeches with and without it.

Which layers to keep is tried before any training; the teacher is asked once, into a cache; then each seed's student is
trained twice, from the cache and from the text alone, for as many steps.

    python examples/smollm_sotu.py --texts sotu [--model FOLDER_OR_HUB_ID] [--gguf FILE]
        [--layers 15] [--steps 31] [--seeds 3]

`--texts` is a folder with one file a speech, its name beginning with the year: 1980 to 1996 are learnt, 1997 to 1999
choose the layers, and the perplexities printed are those of 2000, 2010 and 2020.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import knowledge_distillation as kd
from knowledge_distillation.domains.language import causal_lm, text_files
from knowledge_distillation.recipes.reading import read_recipe
from knowledge_distillation.recipes.running import run_recipe
from knowledge_distillation.reporting import write_report

ROWS, TOKENS = 2, 128
"""Of each batch that the cuts are tried on: there are some 350 cuts."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("--gguf", help="a GGUF file in that folder")
    parser.add_argument("--layers", type=int, default=15, help="that are kept")
    parser.add_argument("--steps", type=int, default=31, help="160 seconds on two cores")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--directory", default="runs/smollm_sotu")
    return parser.parse_args()


def searched(given: argparse.Namespace) -> list[int]:
    """The layers without which the answers to a piece of 1997 change least."""
    data = text_files(
        path=given.texts, tokenizer=given.model, gguf_file=given.gguf, train="199[0-6]_*.txt",
        validation={"val": "199[7-9]_*.txt"}, length=256, batch_size=ROWS,
    )  # fmt: skip
    piece = {name: entry[:, :TOKENS] for name, entry in next(iter(data.validation["val"])).items()}
    teacher = causal_lm(given.model, gguf_file=given.gguf).eval()
    return list(kd.students.search_layers(teacher, given.layers, [piece], adapter=data.adapter).kept)


def main() -> None:
    given = arguments()
    kept = searched(given)
    print(f"layers {kept}")
    gguf = [f"{place}.gguf_file={given.gguf}" for place in ("teacher", "data") if given.gguf]
    recipe = read_recipe(
        "smollm_sotu",
        [
            f"teacher.path={given.model}",
            f"data.tokenizer={given.model}",
            f"data.path={given.texts}",
            f"student.keep_layers={{count: {given.layers}, rule: {kept}}}",
            f"cache.directory={Path(given.directory).parent / 'smollm_sotu-teacher'}",
            f"training.trainer={{max_steps: {given.steps}}}",
            *gguf,
        ],
    )
    run = run_recipe(recipe, directory=given.directory)
    found = run.compare(given.seeds, metric="test", progress=print)
    print(found.sentence)
    print(found.at_equal_time.sentence if found.at_equal_time else "")
    print(write_report(run.directory))


if __name__ == "__main__":
    main()
