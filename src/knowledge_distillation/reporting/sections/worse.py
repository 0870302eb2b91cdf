"""The items that got worse, to be looked at, read or listened to."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from knowledge_distillation.reporting.blocks import Block, Said, Sample, Samples, Section
from knowledge_distillation.reporting.figures import number, short
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.classes import class_names
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
    names = class_names(files)
    samples: list[Sample] = []
    room = LARGEST_PAGE
    for entry in found[:MOST]:
        sample = _sample(files.directory, entry, names, room)
        room -= len(sample.content)
        samples.append(sample)
    blocks: list[Block] = [Samples(samples)]
    if len(found) > MOST:
        blocks.append(Said(f"The first {MOST} of {len(found)}; the others are in evaluation.json.", note=True))
    return Section("worse", "Samples that got worse", blocks)


def _sample(home: Path, entry: Mapping[str, Any], names: Mapping[str, str], room: int) -> Sample:
    facts = [
        (said, names.get(str(entry[key]), short(entry[key], 120)))
        for key, said in (("label", "label"), ("teacher", "teacher"), ("student", "student"))
        if entry.get(key) is not None
    ]
    sure = number(entry.get("confidence"))
    if sure is not None:
        facts.append(("confidence", f"{100 * sure:.0f}%" if 0 <= sure <= 1 else f"{sure:.3g}"))
    index = entry.get("index")
    title = f"Item {short(index, 30)}" if index is not None else "Item"
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
    if len(name) > 300 or "\n" in name or "\0" in name:
        return None
    folder = (home / "samples").resolve()
    file = (home / name).resolve()
    return file if file.is_file() and folder in file.parents and file.suffix.lower() in TYPES else None
