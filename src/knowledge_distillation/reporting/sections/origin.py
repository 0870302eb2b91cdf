"""Where the figures come from: recipe, environment, fingerprints, files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from knowledge_distillation.reporting.blocks import Absent, Block, Cell, Code, Listed, Section, Table
from knowledge_distillation.reporting.figures import short
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.evaluated import entries, part

APART = ("scores", "teacher")


def origin_section(files: RunFiles) -> Section:
    """The recipe word for word, the environment as a table, and what identifies teacher and student."""
    blocks: list[Block] = []
    marks = dict(files.fingerprints)
    teacher = part(files.environment).get("teacher")
    if teacher is not None:
        marks["teacher"] = str(teacher)
    for form, manifest in files.exports.items():
        for file in entries(manifest.get("files")):
            marks[f"exports/{form}/{short(file.get('name'))}"] = str(file.get("sha256"))
    if marks:
        rows = [[Cell(name, name), Cell(mark, mark)] for name, mark in sorted(marks.items())]
        blocks.append(Table("Fingerprints (SHA-256)", ["of", "fingerprint"], rows, words=(1,)))
    if files.environment is None:
        blocks.append(Absent("There is no environment.json: the training did not end, or it ran elsewhere."))
    else:
        facts = {key: value for key, value in files.environment.items() if key not in APART}
        rows = [[Cell(name, name), Cell(value, _shown(value))] for name, value in _flat(facts)]
        blocks.append(Table("Environment", ["", "value"], rows, words=(1,), folded=True))
    if files.recipe_text:
        blocks.append(Code("recipe.yaml", files.recipe_text))
    else:
        blocks.append(Absent("There is no recipe.yaml."))
    if files.damaged:
        said = sorted(files.damaged.items())
        blocks.insert(0, Listed("Files that could not be read, and are missing above", said))
    return Section("origin", "Where this comes from", blocks)


def _flat(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}: ")
        else:
            yield f"{before}{key}", value


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
