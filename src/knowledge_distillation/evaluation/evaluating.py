"""`evaluate`: one call that scores teacher, student, control and exported files on the same data in the same way."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.capture.adapters import Adapter
from knowledge_distillation.errors import ConfigError, nearest
from knowledge_distillation.evaluation.cost import cost_of
from knowledge_distillation.evaluation.layer_similarity import BATCHES, Layers, layer_similarity
from knowledge_distillation.evaluation.result import Evaluation, without_nan
from knowledge_distillation.evaluation.robustness import SEVERITIES, Corruption, corruption_table
from knowledge_distillation.evaluation.samples import Show
from knowledge_distillation.evaluation.scoring import qualities_on, quality_of, robustness_of
from knowledge_distillation.evaluation.slices import Slicer, class_rows
from knowledge_distillation.evaluation.subjects import Subject, at_rest, subjects_of, without_the_silent
from knowledge_distillation.evaluation.tasks import TASKS, Task
from knowledge_distillation.evaluation.walking import Walk
from knowledge_distillation.evaluation.worse import WorseItem
from knowledge_distillation.training.pipelines import InferencePipeline, answers_classes, check_pipeline

MOST_CONFUSION = 100
"""Classes up to which the confusion matrix is given."""


def evaluate(
    models: Mapping[str, Any],
    loader: Iterable[Any],
    *,
    teacher: str | None = "teacher",
    student: str | None = "student",
    adapter: str | Adapter | tuple[Adapter, Adapter] = "auto",
    task: Task | None = None,
    pipeline: InferencePipeline | None = None,
    loader_name: str = "validation",
    loaders: Mapping[str, Iterable[Any]] | None = None,
    class_names: Sequence[str] | None = None,
    slices: Mapping[str, Slicer] | None = None,
    corruptions: Sequence[str | Corruption] = (),
    severities: Sequence[int] = SEVERITIES,
    layers: Layers = "auto",
    worse: int = 12,
    show: Show | None = None,
    cost: bool = True,
    batch_sizes: Sequence[int] = (1, 32),
    rounds: int = 50,
    warm_up: int = 10,
    threads: int | None = 1,
    files: Mapping[str, str | Path] | None = None,
    energy: bool = False,
) -> Evaluation:
    """Measure quality, fidelity to the teacher, calibration, regressions, robustness and cost.

    Every model answers each batch in turn, in eval mode without gradient, and is left as it was. Sums are kept instead
    of outputs, so memory does not grow with the data. Two calls give the same numbers, but for times and energy.

    Args:
        models: name -> nn.Module; `Teacher`; or a callable that takes the same inputs as a module, such as a loaded
            export. Each on its own device; callables get inputs on the CPU.
        loader: gives batches as for training; items with label -100 or outside the attention mask do not count.
        teacher: name of the teacher among the models; without one there is no fidelity.
        student: name of the student, whose regressions against the teacher are listed; without a teacher, against
            "control".
        adapter: how to call the models; of two the second is for the teacher. See `capture.adapters`.
        task: "classification", "multilabel", "regression" or "language"; None finds out from the first batch. Labels of
            a language model stand where their token is predicted, as everywhere in this toolkit.
        pipeline: scores each model in place of the task's own metric, which moves to "also".
        loader_name: of the loader, for the result.
        loaders: further data, name -> loader; only quality is measured there.
        class_names: one for each class.
        slices: name -> callable, batch -> a bool or a group name for every sample.
        corruptions: of pictures: names of `robustness.CORRUPTIONS`, or callables.
        severities: of each corruption, 1 to 5.
        layers: pairs for CKA, model's path -> teacher's path; "auto" finds them; None leaves CKA out.
        worse: how many items that got worse to keep.
        show: (batch, place) -> a text, a picture or (waveform, rate), or a function of the position that returns one:
            how a sample is shown; see `samples.look_at`.
        cost: measure size, FLOPs, memory and latency.
        batch_sizes: samples a call, for the latency.
        rounds: timed calls for each size.
        warm_up: calls before, not timed.
        threads: CPU threads while timing, so that figures can be compared; None leaves the setting.
        files: name -> what is shipped of that model, for "file_bytes"; else its safetensors file is reckoned.
        energy: estimate joules an item, with the extra `energy`.

    Returns:
        The `Evaluation`.

    Raises:
        ConfigError: if an argument is wrong, the loader is empty, or a label names no class.
        ModelContractError: if a model's output or the labels cannot be understood.
        MissingExtraError: if energy is asked for and codecarbon is not installed.
    """
    _check(models, loader, task, pipeline, (teacher, student), loaders, corruptions, files)
    _check_sizes(batch_sizes, severities)
    table = corruption_table(corruptions)
    notes: list[str] = []
    with torch.random.fork_rng(devices=[]):  # loaders draw random numbers, even those that do not shuffle
        iterator = iter(loader)
        head = list(itertools.islice(iterator, BATCHES if layers is not None else 1))
        if not head:
            raise ConfigError(f"The loader {loader_name!r} is empty: 0 batches, so nothing can be measured.")
        asked = without_the_silent(subjects_of(models, adapter, teacher), head[0], notes)
        if not asked:
            raise ConfigError(f"None of the models can answer this data: {' '.join(notes)}")
        names = [subject.name for subject in asked]
        teacher = teacher if teacher in names else None
        against = teacher or ("control" if "control" in names and student != "control" else None)
        pair = (against, student) if against and student and student in names and against != student else None

        with at_rest(asked):
            classes = answers_classes(pipeline)
            walk = Walk(asked, task, notes, tolerant=pipeline is not None, classes=classes).in_full(
                teacher=teacher, pair=pair, slicers=slices or {}, most_worse=worse, show=show
            )
            walk.go(itertools.chain(head, iterator))
            if walk.items == 0 and walk.subjects:
                raise ConfigError(
                    f"No item of the loader {loader_name!r} counts: labels or masks leave all of them out."
                )
            if not walk.labelled:
                notes.append(
                    "No labels came with the data: fidelity and agreement only, no quality, calibration or regressions."
                )
            if teacher is None:
                notes.append("No teacher among the models: no fidelity.")
            for name, count in walk.not_numbers.items():
                if count:
                    notes.append(f"{name}: {count} items were answered with NaN.")
            further = {
                name: qualities_on(asked, given, walk.task, pipeline, name) for name, given in (loaders or {}).items()
            }
            robust = robustness_of(asked, loader, walk, pipeline, table, severities, loader_name, notes)
            found = {
                subject.name: {
                    **quality_of(subject, walk, loader, pipeline, loader_name),
                    "cost": cost_of(
                        subject,
                        head[0],
                        batch_sizes=batch_sizes,
                        rounds=rounds,
                        warm_up=warm_up,
                        threads=threads,
                        file=(files or {}).get(subject.name),
                        energy=energy,
                        notes=notes,
                    )
                    if cost
                    else None,
                    "calibration": calibration.result()
                    if (calibration := walk.calibrations.get(subject.name)) is not None
                    else None,
                    **_by_class(walk, subject.name, class_names),
                    "robustness": robust.get(subject.name),
                    "loaders": {name: qualities[subject.name] for name, qualities in further.items()} or None,
                }
                for subject in asked
            }
            cka = _cka(asked, teacher, head, layers, notes)

    data = {
        "items": walk.items,
        "samples": walk.samples,
        "labelled": walk.labelled,
        "loader": loader_name,
        "task": walk.task,
    }
    fidelity = {name: {**sums.result(), "cka": cka.get(name)} for name, sums in walk.fidelities.items()}
    regressions = _regressions(walk, pair, class_names) if walk.labelled else None
    return Evaluation(
        data=data,
        models=without_nan(found, "", notes),
        fidelity=without_nan(fidelity, "fidelity", notes),
        regressions=without_nan(regressions, "regressions", notes),
        notes=tuple(notes),
        samples=tuple(item.sample for item in walk.worse.items) if walk.worse is not None and regressions else (),
    )


def _check(
    models: Mapping[str, Any],
    loader: Any,
    task: Any,
    pipeline: Any,
    roles: tuple[str | None, str | None],
    loaders: Mapping[str, Any] | None,
    corruptions: Sequence[Any],
    files: Mapping[str, Any] | None,
) -> None:
    if task is not None and task not in TASKS:
        raise ConfigError(f"There is no task named {task!r}. {nearest(str(task), TASKS)}")
    if pipeline is not None:
        check_pipeline(pipeline)
    if (pipeline is not None or corruptions) and iter(loader) is loader:
        raise ConfigError(
            "A pipeline and corruptions walk through the loader once more, and this one can be walked through only "
            "once: they would see nothing. Pass a DataLoader or a list of batches."
        )
    unknown = [name for name in files or {} if name not in models]
    if unknown:
        raise ConfigError(f"files names {unknown[0]!r}, which is no model. {nearest(unknown[0], models)}")
    for role, name in zip(("teacher", "student"), roles, strict=True):
        if name not in (None, role, *models):
            raise ConfigError(f"There is no model named {name!r} to be the {role}. {nearest(str(name), models)}")
    for name, given in (loaders or {}).items():
        if not isinstance(given, Iterable):
            raise ConfigError(f"The loader {name!r} must be iterable, got {type(given).__name__}.")


def _check_sizes(batch_sizes: Sequence[int], severities: Sequence[int]) -> None:
    for size in batch_sizes:
        check_whole("A batch size", size)
    for severity in severities:
        if severity not in range(1, 6):
            raise ConfigError(f"A severity must be a whole number from 1 to 5, got {severity!r}.")


def _by_class(walk: Walk, name: str, class_names: Sequence[str] | None) -> dict[str, Any]:
    sums = walk.qualities.get(name)
    shares = sums.per_class() if sums is not None else None
    counts = sums.confusion() if sums is not None else None
    name_of = _naming(class_names)
    return {
        "per_class": [
            {"class": number, "name": name_of(number), "items": items, "accuracy": share if items else None}
            for number, (items, share) in enumerate(shares)
        ]
        if shares is not None
        else None,
        "confusion": counts if counts is not None and len(counts) <= MOST_CONFUSION else None,
    }


def _naming(class_names: Sequence[str] | None) -> Callable[[int], str | None]:
    names = class_names or ()
    return lambda number: names[number] if number < len(names) else None


def _cka(
    asked: Sequence[Subject], teacher: str | None, head: Sequence[Any], layers: Layers, notes: list[str]
) -> dict[str, dict[str, float] | None]:
    told = next((subject for subject in asked if subject.name == teacher), None)
    found: dict[str, dict[str, float] | None] = {}
    for subject in asked:
        if told is None or subject is told:
            continue
        try:
            found[subject.name] = layer_similarity(subject, told, head, layers)
        except Exception as error:  # a model that only its adapter can call raises whatever it likes
            if layers != "auto":
                raise
            notes.append(f"{subject.name}: no CKA of layers. {type(error).__name__}: {error}")
    return found


def _regressions(walk: Walk, pair: tuple[str, str] | None, class_names: Sequence[str] | None) -> dict[str, Any] | None:
    if pair is None or walk.worse is None or walk.slices is None:
        return None
    against, student = pair
    before, after = (sums.per_class() if (sums := walk.qualities.get(name)) else None for name in pair)
    return {
        "against": against,
        "student": student,
        "metric": "mean absolute error" if walk.task == "regression" else "share right",
        "per_class": class_rows(before, after, _naming(class_names)),
        "per_slice": walk.slices.rows(against, student),
        "worse": [
            {
                "index": item.index,
                "position": item.position,
                "label": item.label,
                "teacher": item.teacher,
                "student": item.student,
                "names": _names_of(item, _naming(class_names)),
                "confidence": item.confidence,
                "sample": None,
            }
            for item in walk.worse.items
        ],
        "counts": walk.worse.counts(),
    }


def _names_of(item: WorseItem, name_of: Callable[[int], str | None]) -> dict[str, str | None]:
    """What the classes of an item are called; empty where the answers are no classes."""
    answers = {"label": item.label, "teacher": item.teacher, "student": item.student}
    return {who: name_of(answer) for who, answer in answers.items() if isinstance(answer, int)}
