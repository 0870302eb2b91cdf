"""Read what a run's directory holds. Where a file is absent or damaged, the report says so and goes on."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from knowledge_distillation.errors import ConfigError
from knowledge_distillation.untrusted import LARGEST_YAML, check_no_links_out, json_of, text_of, yaml_of

Curve = list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The plain data of one run; None where a file is not there.

    Attributes:
        directory: of the run, as it was named.
        recipe: recipe.yaml as data.
        recipe_text: recipe.yaml as it stands.
        environment, comparison, evaluation, doctor: the JSON files.
        exports: name of the form -> its manifest.
        altered: forms whose files are not those that the manifest tells of.
        curves: column of metrics.csv -> (step, value) in the order of the steps.
        fingerprints: file -> SHA-256.
        damaged: file -> why it could not be read.
    """

    directory: Path
    recipe: Mapping[str, Any] = field(default_factory=dict)
    recipe_text: str = ""
    environment: Mapping[str, Any] | None = None
    comparison: Mapping[str, Any] | None = None
    evaluation: Mapping[str, Any] | None = None
    doctor: Mapping[str, Any] | None = None
    exports: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    altered: frozenset[str] = frozenset()
    curves: Mapping[str, Curve] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)

    @property
    def from_recipe(self) -> bool:
        """Whether recipe.yaml can be run again by the command line: a run from Python writes its settings only."""
        return "data" in self.recipe and "student" in self.recipe


def read_run(directory: str | Path) -> RunFiles:
    """Read a run.

    Raises:
        ConfigError: if the directory is not there, holds nothing of a run, or a link in it leads out of it.
    """
    home = Path(directory)
    if not home.is_dir():
        raise ConfigError(f"There is no directory {home}. A report is written about the directory of a run.")
    check_no_links_out(home, but="samples")
    damaged: dict[str, str] = {}
    names = ("environment", "comparison", "evaluation", "doctor")
    found = {name: _json(home / f"{name}.json", damaged) for name in names}
    recipe_text, recipe = _recipe(home / "recipe.yaml", damaged)
    exports = {
        path.parent.name: manifest
        for path in sorted(home.glob("exports/*/manifest.json"))
        if (manifest := _json(path, damaged)) is not None
    }
    curves = _curves(home, damaged)
    if not (any(found.values()) or recipe_text or exports or curves or damaged):
        raise ConfigError(
            f"{home} holds no file of a run (recipe.yaml, metrics.csv, environment.json, evaluation.json, ...), so "
            "there is nothing to report. Name the directory that `kd train` or kd.distill wrote."
        )
    student = home / "student.safetensors"
    return RunFiles(
        directory=home,
        recipe=recipe,
        recipe_text=recipe_text,
        exports=exports,
        altered=frozenset(form for form, manifest in exports.items() if _is_altered(home / "exports" / form, manifest)),
        curves=curves,
        fingerprints={student.name: _digest(student)} if student.is_file() else {},
        damaged=damaged,
        **found,
    )


def _json(path: Path, damaged: dict[str, str]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json_of(path)
    except (OSError, ValueError) as error:
        damaged[_name(path)] = f"{type(error).__name__}: {error}"
        return None
    if not isinstance(content, dict):
        damaged[_name(path)] = f"it must hold a JSON object, and holds {type(content).__name__}"
        return None
    return content


def _recipe(path: Path, damaged: dict[str, str]) -> tuple[str, dict[str, Any]]:
    if not path.is_file():
        return "", {}
    try:
        text = text_of(path, LARGEST_YAML)
        content = yaml_of(text)
    except (OSError, ValueError) as error:
        damaged[path.name] = f"{type(error).__name__}: {error}"
        return "", {}
    return text, content if isinstance(content, dict) else {}


def _curves(home: Path, damaged: dict[str, str]) -> dict[str, Curve]:
    """All columns but step and epoch; the parts of a run that was continued follow each other."""
    earlier = sorted(home.glob("metrics.*.csv"), key=lambda path: (len(path.name), path.name))
    curves: dict[str, dict[float, float]] = {}
    for path in (*earlier, home / "metrics.csv"):
        if not path.is_file():
            continue
        try:
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    _take(row, curves)
        except (OSError, ValueError, csv.Error) as error:
            damaged[path.name] = f"{type(error).__name__}: {error}"
    return {name: sorted(points.items()) for name, points in sorted(curves.items())}


def _take(row: Mapping[Any, Any], curves: dict[str, dict[float, float]]) -> None:
    step = _finite(row.get("step"))
    for name, text in row.items():
        value = _finite(text)
        if isinstance(name, str) and name not in ("step", "epoch", "") and step is not None and value is not None:
            curves.setdefault(name, {})[step] = value


def _finite(text: Any) -> float | None:
    """The number in a cell; a cell cut off by a crash holds none."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _is_altered(folder: Path, manifest: Mapping[str, Any]) -> bool:
    listed = manifest.get("files")
    for entry in listed if isinstance(listed, list) else []:
        name = str(entry.get("name")) if isinstance(entry, Mapping) else ""
        file = folder / Path(name).name
        if not file.is_file() or _digest(file) != entry.get("sha256"):
            return True
    return False


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _name(path: Path) -> str:
    return f"exports/{path.parent.name}/{path.name}" if path.name == "manifest.json" else path.name
