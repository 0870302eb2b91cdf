"""The model card: README.md beside the artefact, as the Hugging Face hub reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from knowledge_distillation.accepted import check_accepted
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.untrusted import json_of

HUB_TASKS = ("accuracy", "f1", "wer", "perplexity")
LIBRARIES = {
    "safetensors": "pytorch", "torch_export": "pytorch", "int8_torch": "pytorch", "onnx": "onnx", "int8": "onnx",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a model card tells and the files do not.

    Attributes:
        name: of the student.
        license: of the weights, as the hub writes it ("apache-2.0"); without it the card says that none was given.
        data, teacher: what the student learned on and from.
        scored_on: the name of the data that file and student were scored on.
        language: "en", or several.
        tags: for the hub's search.
        text: what else a user must know: intended use, limits.
        evaluation: `Evaluation.as_dict()`.
        comparison: `Comparison.as_dict()`.
    """

    name: str = ""
    license: str = ""
    data: str = ""
    teacher: str = ""
    scored_on: str = ""
    language: str | list[str] = ""
    tags: tuple[str, ...] | list[str] = ()
    text: str = ""
    evaluation: Mapping[str, Any] | None = None
    comparison: Mapping[str, Any] | None = None

    @classmethod
    def checked(cls, given: Mapping[str, Any]) -> Card:
        """From a mapping.

        Raises:
            ConfigError: if a field is unknown, or its value has another form.
        """
        known = [entry.name for entry in fields(cls)]
        for key in given:
            if key not in known:
                raise ConfigError(f"A model card has no field {key!r}. {nearest(str(key), known)}")
        check_accepted("card", cls, given)
        return cls(**given)


def known_of(run_directory: Path) -> dict[str, Any]:
    """What a run wrote that its card tells: its evaluation and its comparison with the control.

    Raises:
        ConfigError: if one of the files is damaged.
    """
    found = {}
    for name in ("evaluation", "comparison"):
        file = run_directory / f"{name}.json"
        if file.is_file():
            try:
                found[name] = json_of(file)
            except (OSError, ValueError) as error:
                raise ConfigError(f"{file} cannot be read: {error}. Measure it again, or remove it.") from error
    return found


def write_card(folder: Path, manifest: Mapping[str, Any], card: Card) -> None:
    """Write README.md."""
    (folder / "README.md").write_text(card_text(manifest, card), encoding="utf-8")


def card_text(manifest: Mapping[str, Any], card: Card) -> str:
    """The card: YAML front matter, what it is, its scores, how it was proven, how to load it."""
    student = manifest["student"]
    title = card.name or f"{student['class']} ({manifest['form']})"
    score = manifest["equality"]["score"]
    metrics = _metrics(card, score)
    front: dict[str, Any] = {"library_name": LIBRARIES[manifest["form"]]}
    front |= {"license": card.license} if card.license else {}
    front |= {"language": card.language} if card.language else {}
    front["tags"] = ["knowledge-distillation", manifest["form"].replace("_", "-"), *card.tags]
    names = [name for name in dict.fromkeys(name for name, _, _ in metrics) if name in HUB_TASKS]
    front |= {"metrics": names} if names else {}
    rows = [
        ("License", card.license or "none was given; ask before you use it"),
        ("Data", card.data or "not told"),
        ("Teacher", card.teacher or "not told"),
        ("Scored on", card.scored_on or "not told"),
        ("Parameters", f"{student['parameters']:,}"),
        ("File", ", ".join(f"`{file['name']}`, {file['bytes']:,} bytes" for file in manifest["files"])),
        ("Student's fingerprint", f"`{student['fingerprint'][:16]}`"),
    ]
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {title}",
        f"A {student['class']} taught by knowledge distillation, shipped as {manifest['form']}.",
        *([card.text] if card.text else []),
        _table(("", ""), rows),
        "## Scores",
        _table(("metric", "of", "value"), [(name, of, f"{value:.4f}") for name, of, value in metrics])
        if metrics
        else "None was measured.",
        *_verdict(card.comparison),
        "## Is the file the student?",
        _equality(manifest),
        "## How to load it",
        _loading(manifest),
    ]
    return "\n\n".join(parts) + "\n"


def _metrics(card: Card, score: Mapping[str, Any] | None) -> list[tuple[str, str, float]]:
    found = []
    for name, model in ((card.evaluation or {}).get("models") or {}).items():
        quality = model.get("quality") or {}
        if quality.get("value") is not None:
            found.append((str(quality.get("metric", "score")), str(name), float(quality["value"])))
    if score is not None:
        metric = "accuracy" if score["pipeline"] == "AccuracyPipeline" else score["pipeline"]
        found += [(metric, "this file", score["artefact"]), (metric, "the student it was made of", score["student"])]
    return found


def _verdict(comparison: Mapping[str, Any] | None) -> list[str]:
    if not comparison or comparison.get("verdict") is None:
        return []
    return [
        f"Against the same student without its teacher ({comparison.get('metric', 'score')}, "
        f"{len(comparison.get('seeds', ()))} seeds): {comparison['verdict']}, difference "
        f"{comparison.get('difference', 0):+.4f}, 95% interval {comparison.get('low', 0):+.4f} to "
        f"{comparison.get('high', 0):+.4f}."
    ]


def _equality(manifest: Mapping[str, Any]) -> str:
    numbers = manifest["equality"]
    rows = [
        ("largest difference", f"{numbers['max_abs']:.3g}"),
        ("over the largest output", f"{numbers['max_relative']:.3g}"),
        ("mean difference", f"{numbers['mean_abs']:.3g}"),
    ]
    if numbers["agreement"] is not None:
        rows.append(("same highest class", f"{numbers['agreement']:.2%} of {numbers['items']:,} items"))
    notes = "".join(f"\n- {note}" for note in manifest["notes"])
    return f"{numbers['how']}\n\n{_table(('', ''), rows)}{notes and chr(10) + notes}"


def _loading(manifest: Mapping[str, Any]) -> str:
    shapes = ", ".join(f"`{entry['name']}` {entry['dtype']} {_shape(entry['shape'])}" for entry in manifest["inputs"])
    file = manifest["files"][0]["name"]
    program = f'student = torch.export.load("{file}").module()  # takes tensors in this order'
    own = {
        "safetensors": f'from safetensors.torch import load_model\n\nload_model(student, "{file}")  # of its class',
        "torch_export": f"import torch\n\n{program}",
        "int8_torch": f"import torch\nimport torchao.quantization\n\n{program}",
    }.get(manifest["form"], _onnx_code(file, [entry["name"] for entry in manifest["inputs"]]))
    returned = ", ".join(f"`{entry['name']}` {_shape(entry['shape'])}" for entry in manifest["outputs"])
    return (
        f"Takes {shapes}; gives {returned}.\n\n```python\n{own}\n```\n\n"
        "With the toolkit, checked against manifest.json and called as the student was:\n\n"
        '```python\nimport knowledge_distillation as kd\n\nstudent = kd.export.load("this folder"'
        f"{', model=student' if manifest['form'] == 'safetensors' else ''})\n```"
    )


def _onnx_code(file: str, names: list[str]) -> str:
    given = ", ".join(f'"{name}": ...' for name in names)
    return (
        f'import onnxruntime\n\nsession = onnxruntime.InferenceSession("{file}")\n'
        f"outputs = session.run(None, {{{given}}})  # NumPy arrays"
    )


def _shape(shape: list[Any]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
