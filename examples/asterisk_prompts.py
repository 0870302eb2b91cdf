"""Tables of real recordings with their transcripts: the telephone prompts of Debian's asterisk-core-sounds-en-wav.

    apt-get install asterisk-core-sounds-en-wav
    python examples/asterisk_prompts.py prompts

writes prompts/train.tsv, validation.tsv and test.tsv: one speaker, 8 kHz, 23 minutes (CC-BY-SA 3.0). A text that is
spoken twice is in one table only. Prompts whose single digits are spelled here, or whose notes in brackets are left
out, are in train.tsv: the other tables hold texts as they were written.
"""

from __future__ import annotations

import gzip
import re
import sys
from pathlib import Path

import torch

SOUNDS = Path("/usr/share/asterisk/sounds/en_US_f_Allison")
TRANSCRIPTS = Path("/usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz")
PARTS = {"test": 0.2, "validation": 0.1}
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def spelled(text: str) -> str:
    """Small letters of what is said; nothing of a sound, of longer numbers, and of digits within a word."""
    said = re.sub(r"\[.*?\]|\(.*?\)|<.*?>", " ", text.lower())
    said = re.sub(r"\b[0-9]\b", lambda digit: DIGITS[int(digit[0])], said)
    return "" if re.search("[0-9]", said) else " ".join(re.sub(r"[^a-z' ]", " ", said).split())


def spoken() -> dict[str, tuple[list[Path], bool]]:
    """Text -> its recordings, and whether it was written so."""
    lines = gzip.decompress(TRANSCRIPTS.read_bytes()).decode("utf-8", errors="replace").splitlines()
    found: dict[str, tuple[list[Path], bool]] = {}
    for line in lines:
        name, colon, written = line.partition(":")
        file, text = SOUNDS / f"{name.strip()}.wav", spelled(written)
        if colon and text and file.is_file():
            files, as_written = found.get(text, ([], False))
            found[text] = ([*files, file], as_written or not re.search(r"[\[\]()<>0-9]", written))
    return found


def write_tables(folder: Path) -> dict[str, int]:
    """Write the tables; returns how many prompts each has."""
    texts = spoken()
    order = [list(texts)[place] for place in torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))]
    total = sum(len(files) for files, as_written in texts.values() if as_written)
    parts: dict[str, list[str]] = {name: [] for name in (*PARTS, "train")}
    for text in order:
        files, as_written = texts[text]
        room = (name for name, share in PARTS.items() if as_written and len(parts[name]) < share * total)
        parts[next(room, "train")] += [f"{file}\t{text}" for file in files]
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        (folder / f"{name}.tsv").write_text("\n".join(["path\ttext", *rows]) + "\n", encoding="utf-8")
    return {name: len(rows) for name, rows in parts.items()}


if __name__ == "__main__":
    print(write_tables(Path(sys.argv[1])))
