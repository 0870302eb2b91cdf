"""`kd export RUN`: write the student of a run in one form or several, each proven equal to it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kd export`."""
    parser.add_argument("run", help="directory of a run that `kd train` wrote")
    parser.add_argument(
        "--to",
        action="append",
        metavar="FORM",
        help="safetensors, onnx, torch_export, int8 or int8_torch; give it several times for several; default: onnx",
    )
    parser.add_argument("--module", help="the Python file with your own models and data sets")
    parser.add_argument("--directory", help="where to write; each form gets a folder in it; default: RUN/exports")
    parser.add_argument("--tolerance", type=float, help="largest difference over the largest output")
    parser.add_argument("--quantisation", default="auto", help="of int8: static, dynamic or auto")
    parser.add_argument("--metric", help="the validation loader to compare and score on; default: the first")
    parser.add_argument("--license", default="", help="of the weights, for the model card, such as apache-2.0")
    parser.add_argument("--push", metavar="NAME/MODEL", help="upload the export to the Hugging Face hub")
    parser.add_argument("--public", action="store_true", help="let a repository that --push makes be public")
    parser.add_argument("--json", action="store_true", help="print the manifests as JSON")


def run(options: argparse.Namespace) -> None:
    """Export and print how equal each file is to the student."""
    from knowledge_distillation.errors import ConfigError
    from knowledge_distillation.export import export, push
    from knowledge_distillation.export.card import known_of
    from knowledge_distillation.recipes.caching import adapter_of
    from knowledge_distillation.recipes.rebuilding import rebuilt
    from knowledge_distillation.recipes.running import own_names
    from knowledge_distillation.training.loaders import loader_name

    forms = list(dict.fromkeys(options.to or ["onnx"]))
    if options.push and len(forms) > 1:
        raise ConfigError("--push uploads one form, and several were named with --to.")
    own = own_names(options.module) if options.module else {}
    student, data, recipe = rebuilt(options.run, own)
    loaders = dict(data.validation) or {"train": data.train}
    metric = loader_name(options.metric, loaders)
    home = Path(options.run)
    card = {
        "license": options.license,
        "data": str(recipe.data["name"]),
        "teacher": str((recipe.teacher or {}).get("name", "")),
        "scored_on": metric,
        **known_of(home),
    }
    manifests = []
    for form in forms:
        done = export(
            student,
            form,
            Path(options.directory or home / "exports") / form,
            loader=loaders[metric],
            calibration=data.train,
            adapter=adapter_of(recipe, data),
            pipeline=data.pipeline,
            tolerance=options.tolerance,
            quantisation=options.quantisation,
            card=card,
        )
        manifests.append(done.as_dict())
        if not options.json:
            print(_line(done.file, done.manifest, metric))
        if options.push:
            address = push(done.path, options.push, private=not options.public)
            if not options.json:
                print(f"Uploaded to {address}")
    if options.json:
        print(json.dumps({"exports": manifests}, indent=2))


def _line(file: Path, manifest: Any, metric: str) -> str:
    numbers = manifest["equality"]
    parts = [
        f"{manifest['files'][0]['bytes']:,} bytes",
        f"largest difference {numbers['max_relative']:.2g} of the output",
    ]
    if numbers["agreement"] is not None:
        parts.append(f"same class {numbers['agreement']:.2%}")
    if numbers["score"] is not None:
        parts.append(f"score on {metric} {numbers['score']['student']:.4f} -> {numbers['score']['artefact']:.4f}")
    return f"{manifest['form']}: {', '.join(parts)}\n  {file}"
