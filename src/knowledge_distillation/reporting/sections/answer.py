"""The one-page answer: is the student better than plain training, how much smaller and faster, can it be deployed?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from knowledge_distillation.reporting.blocks import Fact, Verdict
from knowledge_distillation.reporting.figures import count, milliseconds, number, ratio, score, size, times
from knowledge_distillation.reporting.reading import RunFiles
from knowledge_distillation.reporting.sections.commands import command
from knowledge_distillation.reporting.sections.evaluated import latency_of, models_of, part, quality_of, size_of
from knowledge_distillation.reporting.sections.exports import proven, shown_form

QUESTION = "Is the student better than plain training, how much smaller and faster is it, and can I deploy it?"


def answer_of(files: RunFiles, verdict: Verdict) -> tuple[str, list[Fact]]:
    """The answer in words, and the large figures beside it."""
    models = models_of(files)
    student, teacher = part(models, "student"), part(models, "teacher")
    facts = [
        _kept(student, teacher, part(models, "control")),
        _smaller(student, teacher),
        _faster(student, teacher),
        _deployable(files),
    ]
    missing = command(files, "report")
    shown = [fact if fact.answer else Fact(fact.question, "not measured", missing) for fact in facts]
    return _words(verdict, student, teacher, facts), shown


def _kept(student: Mapping[str, Any], teacher: Mapping[str, Any], control: Mapping[str, Any]) -> Fact:
    metric, reached = quality_of(student)
    best = quality_of(teacher)[1]
    question = "How good is it?"
    if reached is None:
        return Fact(question, "", "")
    against = f" The teacher: {score(metric, best)}." if best is not None else ""
    kept = ratio(reached, best)
    share = f" It keeps {100 * kept:.1f}% of that." if kept is not None and kept < 1 and 0 <= reached <= 1 else ""
    plain = quality_of(control)[1]
    alone = f" Without the teacher: {score(metric, plain)}." if plain is not None else ""
    return Fact(question, score(metric, reached), f"{metric} of the student.{against}{share}{alone}")


def _smaller(student: Mapping[str, Any], teacher: Mapping[str, Any]) -> Fact:
    question = "How much smaller?"
    factor = ratio(size_of(teacher), size_of(student))
    if factor is None:
        own = size_of(student)
        return Fact(question, size(own) if number(own) else "", "The teacher's size is not known.")
    parameters = [count(part(entry, "cost").get("parameters")) for entry in (student, teacher)]
    sizes = f"{size(size_of(student))} against {size(size_of(teacher))}"
    detail = f"{sizes}; {parameters[0]} parameters against {parameters[1]}."
    return Fact(question, times(factor) if factor >= 1 else f"{times(1 / factor)} larger", detail)


def _faster(student: Mapping[str, Any], teacher: Mapping[str, Any]) -> Fact:
    question = "How much faster?"
    factor = ratio(latency_of(teacher), latency_of(student))
    if factor is None:
        own = latency_of(student)
        return Fact(question, milliseconds(own) if number(own) else "", "The teacher's latency is not known.")
    detail = f"{milliseconds(latency_of(student))} against {milliseconds(latency_of(teacher))}, median for one item."
    return Fact(question, times(factor) if factor >= 1 else f"{times(1 / factor)} slower", detail)


def _deployable(files: RunFiles) -> Fact:
    question = "Can I deploy it?"
    good = [shown_form(form) for form in files.exports if proven(files, form)]
    bad = [shown_form(form) for form in files.exports if proven(files, form) is False]
    if good:
        besides = f" Not: {', '.join(bad)}." if bad else ""
        return Fact(question, "Yes", f"{', '.join(good)}: reloaded and compared with the student.{besides}", "good")
    if bad:
        return Fact(
            question, "Not yet", f"{', '.join(bad)}: the file is not the one that was compared with the student.", "bad"
        )
    return Fact(question, "Not exported", command(files, "export"))


def _words(verdict: Verdict, student: Mapping[str, Any], teacher: Mapping[str, Any], facts: list[Fact]) -> str:
    better = {
        "good": "Yes, the student is better than the same student trained without the teacher.",
        "bad": "No, the same student is better off without the teacher.",
        "unsure": "It cannot be told from this comparison whether the student is better than without the teacher.",
        "none": "Whether the student is better than plain training was not asked.",
    }[verdict.tone]
    small, fast = ratio(size_of(teacher), size_of(student)), ratio(latency_of(teacher), latency_of(student))
    parts = []
    if small is not None:
        parts.append(f"{times(small)} smaller" if small >= 1 else f"{times(1 / small)} larger")
    if fast is not None:
        parts.append(f"{times(fast)} faster" if fast >= 1 else f"{times(1 / fast)} slower")
    cost = f" It is {' and '.join(parts)} than the teacher." if parts else ""
    shipped = {
        "Yes": f" It can be deployed as {' or '.join(facts[3].detail.split(':')[0].rsplit(', ', 1))}.",
        "Not yet": " No exported file of it equals it yet.",
    }.get(facts[3].answer, " It has not been exported yet.")
    return better + cost + shipped
