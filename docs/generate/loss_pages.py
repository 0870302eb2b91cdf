"""One page per loss, all from one template, and the index of all losses."""

from __future__ import annotations

import ast
import doctest
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import get_args

import jinja2

from docs.generate import docstrings
from docs.generate.markdown import code, escaped, table
from docs.generate.signatures import signature
from docs.generate.usage import usage
from knowledge_distillation import losses
from knowledge_distillation.losses import catalogue
from knowledge_distillation.losses.catalogue import Entry
from knowledge_distillation.losses.facts import LAWS, LOGIT_LAWS, Facts, Family, Paper
from tests.laws.tolerance import EXACT, PRECISION

FAMILIES: Mapping[str, str] = {
    "logits": "Logits of classifiers",
    "sequences": "Sequences and language models",
    "features": "Feature maps",
    "relations": "Relations between samples",
    "embeddings": "Embeddings and retrieval",
    "transformers": "Inside transformers",
    "dense": "Detection and segmentation",
    "regression": "Regression and independent labels",
}
NOTHING = "Nothing."


def pages() -> dict[str, str]:
    """File name under losses/ -> Markdown: the index and a page for each loss."""
    return {"index.md": index(), **{f"{name}.md": loss_page(entry) for name, entry in catalogue().items()}}


def by_family() -> dict[str, list[Entry]]:
    """Every loss under its first family."""
    if set(get_args(Family)) != FAMILIES.keys():
        raise ValueError(f"FAMILIES must have a title for each of {get_args(Family)}.")
    entries = catalogue().values()
    return {family: [entry for entry in entries if entry.facts.families[0] == family] for family in FAMILIES}


@cache
def page_names() -> dict[str, str]:
    """Function and module names -> the page, for links from inside losses/."""
    names = {entry.module.__name__: f"{name}.md" for name, entry in catalogue().items()}
    return names | {name: f"{name}.md" for name in catalogue()}


def index() -> str:
    """Every loss by family: name, paper, needs, learns."""
    parts = [
        "# Losses",
        f"{len(catalogue())} losses. Each is a pure function on tensors, `kd.losses.kd(...)`, and a module of the same "
        "name, `kd.losses.KD(...)`: student first, teacher second, the rest by keyword. `reduction` is `mean`, `sum` "
        "or `none`, and `none` gives one value per item. The same table on the command line: `kd list losses`. If you "
        "do not know which one you need, [choose by what you have](../choose.md).",
    ]
    for family, entries in by_family().items():
        also = [e for e in catalogue().values() if family in e.facts.families[1:]]
        parts.append(f"## {FAMILIES[family]}")
        parts.append(table(("Loss", "Paper", "Needs", "Learns"), map(_index_row, entries)))
        if also:
            parts.append("Also of this family: " + ", ".join(f"[`{e.name}`]({e.name}.md)" for e in also) + ".")
    parts += [
        "## Precision",
        "How near a loss is to the same loss in float64, on the same rounded inputs: the error of the value and of the "
        "student's gradient, each over the largest entry expected. Half precision is computed in float32; a gradient "
        "is stored in the type of its input. A loss with the law `precision` is tested to be this near.",
        table(("Inputs", "Value", "Gradient"), _precision_rows()),
    ]
    return "\n\n".join(parts) + "\n"


def _precision_rows() -> list[tuple[str, str, str]]:
    return [
        (code(str(dtype).removeprefix("torch.")), f"{near.value:.0e}", f"{near.gradient:.0e}")
        for dtype, near in PRECISION.items()
        if near is not EXACT
    ]


def _index_row(entry: Entry) -> tuple[str, str, str, str]:
    facts = entry.facts
    needs = ", ".join([escaped(facts.signal), *(f"`{need}`" for need in facts.needs)])
    return f"[`{entry.name}`]({entry.name}.md)", short_paper(facts.paper), needs, escaped(facts.learns) or "-"


def loss_page(entry: Entry) -> str:
    """The page of one loss."""
    doc = docstrings.read(entry.function)
    facts = entry.facts
    links = {name: page for name, page in page_names().items() if page != f"{entry.name}.md"}
    module = docstrings.read(entry.module)
    use = usage(entry)
    return _template().render(
        name=entry.name,
        module=entry.module.__name__,
        summary=escaped(doc.summary, links),
        families=", ".join(FAMILIES[family].lower() for family in facts.families),
        paper=_paper(facts.paper),
        signal=escaped(facts.signal),
        needs=_needs(facts),
        same_classes="yes" if facts.same_classes else "no",
        learns=escaped(facts.learns) or "nothing",
        when=escaped(_sentence(doc.text("When")), links),
        formula="\n\n".join(escaped(paragraph, links) for paragraph in doc.description),
        signature=signature(f"kd.losses.{entry.name}", entry.function),
        constructor=signature(f"kd.losses.{entry.module.__name__}", entry.module, returns=False),
        arguments=_arguments(entry, doc, module, links),
        returns=escaped(doc.text("Returns"), links),
        raises=table(
            ("Error", "When"), [(code(name), escaped(text, links)) for name, text in doc.entries("Raises").items()]
        ),
        learned=_learned(facts, module, links),
        laws=table(("Law", "What it says"), [(code(law), escaped(LAWS[law])) for law in facts.laws()]),
        exceptions=_exceptions(facts),
        differs=escaped(_sentence(doc.text("Differs")), links) or "None is recorded.",
        reference=escaped(doc.text("Reference"), links),
        example=example(entry),
        plain="\n".join(filter(None, (use.make, use.call))),
        recipe=_recipe(use.recipe, use.notes),
    )


def example(entry: Entry) -> str:
    """The docstring's example in a form that runs from nothing: what it uses is imported first."""
    block = docstrings.read(entry.function).block("Example")
    names = _free_names(block)
    from_losses = sorted((name for name in names if hasattr(losses, name)), key=str.lower)
    home = sys.modules[entry.function.__module__]
    others = sorted(name for name in names if not hasattr(losses, name) and hasattr(home, name))
    imports = [f">>> from knowledge_distillation.losses import {', '.join(from_losses)}"] if from_losses else []
    if others:
        imports.append(f">>> from {home.__name__} import {', '.join(others)}")
    return "\n".join([*imports, block])


def _free_names(block: str) -> set[str]:
    tree = ast.parse("".join(step.source for step in doctest.DocTestParser().get_examples(block)))
    loaded: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (loaded if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            bound.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        if isinstance(node, ast.arg):
            bound.add(node.arg)
    return loaded - bound


def _arguments(entry: Entry, doc: docstrings.Docstring, module: docstrings.Docstring, links: Mapping[str, str]) -> str:
    head = ("Argument", "Meaning")
    text = table(head, [(code(name), escaped(meaning, links)) for name, meaning in doc.entries("Args").items()])
    own = module.entries("Args")
    if own:
        rows = [(code(name), escaped(meaning, links)) for name, meaning in own.items()]
        title = f"### Settings of the module `{entry.module.__name__}`"
        note = "Those that the function has not, or that mean something else here; the others are as above."
        text += f"\n\n{title}\n\n{note}\n\n{table(('Setting', 'Meaning'), rows)}"
    return text


def _learned(facts: Facts, module: docstrings.Docstring, links: Mapping[str, str]) -> str:
    notes = "\n\n".join(escaped(paragraph, links) for paragraph in module.description)
    if not facts.learns:
        return "\n\n".join(filter(None, (NOTHING, notes)))
    advice = (
        "In an `Objective` these parameters train with the student and are saved with it. In a loop of your own, build "
        "the module once and give `criterion.parameters()` to the optimiser as well."
    )
    return f"{notes or escaped(_sentence(facts.learns))}\n\n{advice}"


def _exceptions(facts: Facts) -> str:
    reasons = facts.reasons()
    foreign = [law for law in LOGIT_LAWS if law in reasons and law not in facts.exceptions]
    rows = [(code(law), escaped(reason)) for law, reason in facts.exceptions.items()]
    if foreign:
        rows.append((", ".join(map(code, foreign)), escaped(reasons[foreign[0]])))
    if not rows:
        return "No law is excepted."
    return "Laws that do not apply, and why:\n\n" + table(("Law", "Reason"), rows)


def _needs(facts: Facts) -> str:
    needs = ", ".join(f"`{need}`" for need in facts.needs) or "nothing"
    return needs + "".join(f"; takes `{name}` where the signals have it" for name in facts.takes)


def short_paper(paper: Paper | None) -> str:
    """First author, year and link of a paper; "-" for none."""
    if paper is None:
        return "-"
    authors = paper.authors.removesuffix(" et al.").split(", ")
    many = len(authors) > 2 or paper.authors.endswith("et al.")
    shown = f"{authors[0]} et al." if many else ", ".join(authors)
    return f"{escaped(f'{shown} ({paper.year})')} {_arxiv(paper)}".strip()


def _paper(paper: Paper | None) -> str:
    if paper is None:
        return "none"
    parts = (
        escaped(f"{paper.authors} ({paper.year})"),
        f"*{escaped(paper.title)}*",
        escaped(paper.venue or ""),
        _arxiv(paper) or "not on arXiv",
    )
    return ", ".join(filter(None, parts))


def _arxiv(paper: Paper) -> str:
    return f"[arXiv:{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})" if paper.arxiv else ""


def _recipe(line: str, notes: tuple[str, ...]) -> str:
    return "\n\n".join([f"In a recipe:\n\n```yaml\n{line}\n```", *notes])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if not text or text.endswith((".", "!", "?")) else ".")


@cache
def _template() -> jinja2.Template:
    source = Path(__file__).with_name("loss_page.md.jinja").read_text(encoding="utf-8")
    return jinja2.Environment(
        autoescape=False,  # the result is Markdown, and `escaped` has seen to the text
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    ).from_string(source)
