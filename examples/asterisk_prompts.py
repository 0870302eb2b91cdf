"""Tables of real recordings with their transcripts: the telephone prompts of Debian's asterisk-core-sounds-en-wav.

    apt-get install asterisk-core-sounds-en-wav
    python examples/asterisk_prompts.py prompts

writes prompts/train.tsv, validation.tsv and test.tsv: all prompts of letters alone, one speaker, 8 kHz, 15 minutes
(CC-BY-SA 3.0). A text that is spoken twice is in one table only.
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


def spoken() -> dict[str, list[Path]]:
    """Text -> its recordings. Digits, spelled letters and sounds have no text here."""
    lines = gzip.decompress(TRANSCRIPTS.read_bytes()).decode("utf-8", errors="replace").splitlines()
    found: dict[str, list[Path]] = {}
    for line in lines:
        name, colon, text = line.partition(":")
        file = SOUNDS / f"{name.strip()}.wav"
        letters = " ".join(re.sub(r"[^a-z' ]", " ", text.lower()).split())
        if colon and not re.search(r"[\[\]<>0-9]", text) and letters and file.is_file():
            found.setdefault(letters, []).append(file)
    return found


def write_tables(folder: Path) -> dict[str, int]:
    """Write the tables; returns how many prompts each has."""
    texts = spoken()
    order = [list(texts)[place] for place in torch.randperm(len(texts), generator=torch.Generator().manual_seed(0))]
    total = sum(map(len, texts.values()))
    parts: dict[str, list[str]] = {name: [] for name in (*PARTS, "train")}
    for text in order:
        part = next((name for name, share in PARTS.items() if len(parts[name]) < share * total), "train")
        parts[part] += [f"{file}\t{text}" for file in texts[text]]
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        (folder / f"{name}.tsv").write_text("\n".join(["path\ttext", *rows]) + "\n", encoding="utf-8")
    return {name: len(rows) for name, rows in parts.items()}


if __name__ == "__main__":
    print(write_tables(Path(sys.argv[1])))
