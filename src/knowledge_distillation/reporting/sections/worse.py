"""The items that got worse, to be looked at, read or listened to."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from knowledge_distillation.reporting.blocks import Block, Said, Sample, Samples, Section
from knowledge_distillation.reporting.figures import number, short
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.evaluated import entries, part

TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
    ".wav": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg", ".ogg": "audio/ogg",
}  # fmt: skip
LARGEST_SAMPLE = 2 * 2**20
LARGEST_PAGE = 24 * 2**20
LONGEST_TEXT = 1500
MOST = 60


def worse_section(files: RunFiles) -> Section | None:
    """A card for each item that the teacher had right and the student has wrong."""
    found = entries(part(files.evaluation, "regressions").get("worse"))
    if not found:
        return None
    samples: list[Sample] = []
    room = LARGEST_PAGE
    for entry in found[:MOST]:
        sample = _sample(files.directory, entry, room)
        room -= len(sample.content)
        samples.append(sample)
    blocks: list[Block] = [Samples(samples)]
    if len(found) > MOST:
        blocks.append(Said(f"The first {MOST} of {len(found)}; the others are in evaluation.json.", note=True))
    return Section("worse", "Samples that got worse", blocks)


def _sample(home: Path, entry: Mapping[str, Any], room: int) -> Sample:
    names = part(entry, "names")
    facts = [
        (who, short(entry[who] if names.get(who) is None else names[who], 120))
        for who in ("label", "teacher", "student")
        if entry.get(who) is not None
    ]
    sure = number(entry.get("confidence"))
    if sure is not None:
        facts.append(("confidence", f"{100 * sure:.0f}%" if 0 <= sure <= 1 else f"{sure:.3g}"))
    index = entry.get("index")
    title = f"Item {short(index, 30)}" if index is not None else "Item"
    if number(entry.get("position")):
        title += f", position {short(entry['position'], 30)}"
    given = entry.get("sample")
    if not isinstance(given, str) or not given:
        return Sample(title, "text", "", "", facts)
    file = _inside(home, given)
    if file is None:
        return Sample(title, "text", given if len(given) <= LONGEST_TEXT else given[:LONGEST_TEXT] + "…", "", facts)
    size = file.stat().st_size
    if size > LARGEST_SAMPLE or size * 4 / 3 > room:
        return Sample(title, "text", f"{given} ({size:,} bytes) is too large to be shown here.", "", facts)
    mime = TYPES[file.suffix.lower()]
    content = f"data:{mime};base64,{base64.b64encode(file.read_bytes()).decode('ascii')}"
    return Sample(title, "audio" if mime.startswith("audio") else "image", content, given, facts)


def _inside(home: Path, name: str) -> Path | None:
    """The file, if it is a picture or a sound within the run's samples: a run may come from anywhere, and must not show
    other files of this computer."""
    if Path(name).suffix.lower() not in TYPES or "\0" in name:
        return None
    folder = (home / "samples").resolve()
    file = (home / name).resolve()
    # os.path: a text that is no name of a file, because it is too long for one, is a text
    return file if folder in file.parents and os.path.isfile(file) else None
