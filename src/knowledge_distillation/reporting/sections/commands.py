"""The commands that measure what is not there yet, spelled out for this very run."""

from __future__ import annotations

import shlex

from knowledge_distillation.reporting.reading import RunFiles


def command(files: RunFiles, what: str) -> str:
    """What to run: on the command line for a run of a recipe, in Python for any other.

    Args:
        files: of the run.
        what: "compare", "report", "export" or "doctor".
    """
    run, recipe = shlex.quote(str(files.directory)), shlex.quote(str(files.directory / "recipe.yaml"))
    if files.from_recipe:
        return {
            "compare": f"kd compare {recipe} --seeds 5",
            "report": f"kd report {run} --evaluate",
            "export": f"kd export {run} --to onnx",
            "doctor": f"kd doctor {recipe}",
        }[what]
    return {
        "compare": "run.compare(seeds=5)",
        "report": "run.report()",
        "export": 'run.export("onnx")',
        "doctor": "kd.doctor.diagnose(teacher, student, train_loader)",
    }[what]
