"""Deep Mutual Learning: several students learn together, each taught by its peers as they are at that moment."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from safetensors.torch import save_model
from torch import nn

from knowledge_distillation.capture.adapters import Adapter, adapter_pair
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses import KD, CrossEntropy
from knowledge_distillation.objective import Term, as_objective
from knowledge_distillation.objective.term import OWN, Unbuilt, named_loss
from knowledge_distillation.run import Run, distill
from knowledge_distillation.signals import Signals
from knowledge_distillation.teachers import SelfTeacher
from knowledge_distillation.training.pipelines import AccuracyPipeline, InferencePipeline
from knowledge_distillation.training.planning import check_arguments
from knowledge_distillation.ways.parts import PartLoader, PartPipeline


class Cohort(nn.Module):
    """Students that learn together, as one module.

    Args:
        students: name -> student; names are Python identifiers.

    Raises:
        ConfigError: if there are fewer than two, one stands twice, or a name cannot be used.
    """

    def __init__(self, students: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if len({id(student) for student in students.values()}) < max(2, len(students)):
            raise ConfigError(f"Mutual learning needs at least two different students, got {list(students)}.")
        for name in students:
            if not name.isidentifier() or hasattr(nn.ModuleDict, name):
                raise ConfigError(f"A student's name must be a plain word such as 'student' or 'peer_1', got {name!r}.")
        self.members = nn.ModuleDict(students)

    def forward(self, *inputs: Any, **named: Any) -> dict[str, Any]:
        """What every student says, by name."""
        return {name: member(*inputs, **named) for name, member in self.members.items()}


def mutual(
    students: Mapping[str, nn.Module] | Sequence[nn.Module],
    train_loader: Iterable[Any],
    val_loaders: Mapping[str, Any] | None = None,
    *,
    objective: Any = None,
    pipeline: InferencePipeline | None = None,
    adapter: str | Adapter | tuple[Adapter, Adapter] = "auto",
    **settings: Any,
) -> dict[str, Run]:
    """Train several students together; none needs a finished teacher.

    Every term with a teacher is computed between each student and each of its peers, with the weight divided by the
    number of peers; every other term once for each student. Peers' outputs are detached: a term moves one student.

    Args:
        students: name -> student, or a sequence, named "student", "peer_1", ... The first is the one that the run
            directory is about. They may differ in architecture, not in classes.
        train_loader: yields batches that every student understands.
        val_loaders: name -> loader; logged as <loader>_<student>.
        objective: terms on logits, as for `distill`; None is the paper's: KL to the peers at temperature 1 plus
            cross-entropy.
        pipeline: scores one student on a loader; default: accuracy.
        adapter: how to call every student.
        settings: any further argument of `distill`.

    Returns:
        Student's name -> `Run` with its model and scores. All share the directory, where the first is
        student.safetensors and every other is peer-<name>.safetensors; checkpoints hold the whole cohort.

    Raises:
        ConfigError: if there are fewer than two students, or a term reads anything but logits.

    Reference: Zhang, Xiang, Hospedales, Lu (2018), Deep Mutual Learning, arXiv:1706.00384. With more than two
        students it is their DML: the divergences from the peers are averaged (DML_e averages the peers' outputs).

    Differs: the paper updates one student after another and computes the peers' outputs anew in between; here all
        students take one step on the same outputs.
    """
    check_arguments(train_loader, val_loaders, settings.get("max_epochs", 10), settings.get("seed", 0))
    if not isinstance(students, Mapping):
        students = {f"peer_{place}" if place else "student": student for place, student in enumerate(students)}
    names = list(students)
    read = adapter_pair(adapter)[0]
    loaders = {
        f"{loader}_{name}": PartLoader(batches, f"members.{name}")
        for name in names
        for loader, batches in (val_loaders or {}).items()
    }
    whole = distill(
        SelfTeacher(),
        Cohort(students),
        train_loader,
        loaders,
        objective=peer_terms(paper_objective() if objective is None else objective, names),
        pipeline=PartPipeline(pipeline or AccuracyPipeline(read)),
        adapter=cohort_adapter(read),
        **settings,
    )
    runs = {}
    for place, (name, student) in enumerate(students.items()):
        if whole.module.trainer.is_global_zero:
            file = f"peer-{name}.safetensors" if place else "student.safetensors"
            save_model(student, str(whole.directory / file))
        scores = {loader: whole.scores[f"{loader}_{name}"] for loader in val_loaders or {}}
        runs[name] = replace(whole, student=student, scores=scores)
    return runs


def paper_objective() -> dict[str, Term]:
    """The paper's: cross-entropy plus the KL divergence from the peer, both with weight 1."""
    return {"kd": Term(KD(1.0)), "cross_entropy": Term(CrossEntropy())}


def peer_terms(objective: Any, names: Sequence[str]) -> dict[str, Term]:
    """One objective for the whole cohort out of that for one student and its teacher.

    Args:
        objective: anything that `distill` takes; its terms read "logits".
        names: of at least two students.

    Returns:
        Terms named <student>_<term> and <student>_<term>_from_<peer>; each has a loss of its own.

    Raises:
        ConfigError: if a term reads another signal than logits, needs sizes of the models, or has a projector.
    """
    single = as_objective(objective)
    terms: dict[str, Term] = {}
    for name, term in single.terms.items():
        loss = named_loss(term.loss, {}) if isinstance(term.loss, str) and term.loss != OWN else term.loss
        simple = term.student == term.teacher == "logits" and term.projector is None
        if not simple or loss == OWN or isinstance(loss, Unbuilt) or single.balance is not None:
            raise ConfigError(
                f"Term {name!r} cannot be used among peers: students that learn together compare their logits, without "
                "projectors or balancing. Use terms such as {'kd': 1.0, 'cross_entropy': 1.0}."
            )
        facts = getattr(loss, "facts", None)
        for student in names:
            if facts is not None and not facts.uses_teacher:
                terms[f"{student}_{name}"] = replace(term, loss=copy.deepcopy(loss), student=student)
                continue
            for peer in names:
                if peer != student:
                    terms[f"{student}_{name}_from_{peer}"] = replace(
                        term,
                        loss=copy.deepcopy(loss),
                        student=student,
                        teacher=peer,
                        weight=term.weight / (len(names) - 1),
                    )
    return terms


def cohort_adapter(adapter: Adapter) -> Adapter:
    """Call every student by the same adapter; each one's logits become a feature of its name."""

    def read(model: nn.Module, batch: Any, temperature: float) -> Signals:
        members = model.get_submodule("members")
        said = {name: adapter(member, batch, temperature) for name, member in members.named_children()}
        first = next(iter(said.values()))
        features = {name: signals.named("logits", whose=name) for name, signals in said.items()}
        return Signals(features=features, mask=first.mask, labels=first.labels, extras=first.extras)

    return read
