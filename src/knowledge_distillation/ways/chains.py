"""One student after another: each is taught by the one before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from knowledge_distillation.accepted import check_whole
from knowledge_distillation.capture.adapters import adapter_pair
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.run import Run, distill
from knowledge_distillation.teachers import LiveTeacher, Teacher
from knowledge_distillation.training.module import DistillationModule
from knowledge_distillation.training.weights import load_weights
from knowledge_distillation.ways.stages import finished, how_to_continue

logger = logging.getLogger(__name__)


def teach_in_turn(
    teacher: Teacher | nn.Module,
    students: Sequence[nn.Module],
    train_loader: Iterable[Any],
    val_loaders: Mapping[str, Any] | None = None,
    *,
    directory: str | Path,
    resume: str | Path | None = None,
    seed: int = 0,
    stage: str = "assistant",
    **settings: Any,
) -> list[Run]:
    """Teach the first student by the teacher, the second by the first, and so on; the last is what it is for.

    With students that shrink step by step these are teacher assistants: a small student learns more from a middle-sized
    assistant than from a teacher that is far above it.

    Args:
        teacher: of the first student.
        students: in the order in which they are taught; each is trained in place, then teaches frozen.
        train_loader: for all of them; see `distill`.
        val_loaders: name -> loader, for all of them.
        directory: the run directory of the last student; the others are written to <stage>-1, <stage>-2, ... in it.
        resume: None, or "auto": finished students are read back, a broken-off one is continued; a checkpoint's path
            is that of the last student.
        seed: of the first training; each later one takes the next number.
        stage: names the directories of the students before the last.
        settings: any further argument of `distill`, the same for all.

    Returns:
        One `Run` for each student, in order.

    Raises:
        ConfigError: if there is no student, one stands twice, or the directory holds another run.

    Reference: Mirzadeh, Farajtabar, Li, Levine, Matsukawa, Ghasemzadeh (2020), teacher assistants, arXiv:1902.03393.
    """
    if not students or len({id(model) for model in (teacher, *students)}) != len(students) + 1:
        raise ConfigError("A chain needs at least one student, and teacher and students must all be different objects.")
    home = Path(directory)
    places = [home / f"{stage}-{number}" for number in range(1, len(students))] + [home]
    occupied = [place for place in places if resume is None and (place / "metrics.csv").exists()]
    if occupied:
        raise ConfigError(
            f"{occupied[0]} already holds a run, which would be overwritten. Choose another directory, or continue it "
            "with resume='auto'."
        )
    runs: list[Run] = []
    for number, (student, place) in enumerate(zip(students, places, strict=True)):
        scores = finished(place) if resume is not None and place != home else None
        if scores is not None:
            load_weights(student, place / "student.safetensors")
            module = DistillationModule(student, teacher, settings.get("objective", "kd"))
            runs.append(Run(student=student, scores=scores, directory=place, module=module))
        else:
            logger.info("teaching student %d of %d", number + 1, len(students))
            named = resume is None or (place == home and resume != "auto")
            runs.append(
                distill(
                    teacher,
                    student,
                    train_loader,
                    val_loaders,
                    directory=place,
                    resume=resume if named else how_to_continue(place),
                    seed=seed + number,
                    **settings,
                )
            )
        # the next teacher was a student a moment ago, so it is called as students are
        adapter = adapter_pair(settings.get("adapter", "auto"))[0]
        teacher = LiveTeacher(runs[-1].student, adapter=adapter, temperature=settings.get("temperature", 1.0))
    return runs


def born_again(
    teacher: Teacher | nn.Module,
    make_student: Callable[[], nn.Module],
    generations: int,
    train_loader: Iterable[Any],
    val_loaders: Mapping[str, Any] | None = None,
    *,
    directory: str | Path,
    resume: str | Path | None = None,
    seed: int = 0,
    **settings: Any,
) -> list[Run]:
    """Teach a fresh student of the same kind again and again, each generation by the one before.

    With a student as large as its teacher, generations often surpass the teacher; their ensemble
    (`EnsembleTeacher`) is stronger still, and may teach in its turn.

    Args:
        teacher: of the first generation.
        make_student: gives a new, untrained student; called once a generation under a seed of its own.
        generations: how many, >= 1.
        train_loader: for all of them.
        val_loaders: name -> loader, for all of them.
        directory: the run directory of the last generation; the others are written to generation-1, ... in it.
        resume: None or "auto", as for `teach_in_turn`.
        seed: of the first generation; each later one takes the next number.
        settings: any further argument of `distill`.

    Returns:
        One `Run` for each generation, in order.

    Raises:
        ConfigError: if generations is not a whole number of at least 1, or a student is made twice.

    Reference: Furlanello, Lipton, Tschannen, Itti, Anandkumar (2018), Born-Again Neural Networks, arXiv:1805.04770.
    """
    students = []
    for generation in range(check_whole("generations", generations)):
        torch.manual_seed(seed + generation)
        students.append(make_student())
    return teach_in_turn(
        teacher,
        students,
        train_loader,
        val_loaders,
        directory=directory,
        resume=resume,
        seed=seed,
        stage="generation",
        **settings,
    )
