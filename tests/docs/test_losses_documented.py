"""Every loss has a page with all its sections filled, and what the page shows runs."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
from functools import partial
from types import SimpleNamespace

import pytest
import torch

import knowledge_distillation as kd
from docs.generate import choosing, docstrings
from docs.generate.loss_pages import example, pages
from docs.generate.usage import example_settings, usage
from knowledge_distillation.losses import catalogue
from knowledge_distillation.objective import Objective
from knowledge_distillation.untrusted import yaml_of
from tests.docs.blocks import ROOT
from tests.laws.collect import cases_of

PAGES = pages()
SECTIONS = (
    "When to use it", "Formula", "Signature", "Arguments", "Returns", "Raises", "Learned parts", "Laws",
    "Differences from the paper and the authors' code", "Example", "In your code",
)  # fmt: skip


@pytest.mark.parametrize("name", catalogue())
def test_page_is_complete(name: str) -> None:
    """A page without its formula or arguments sends the reader to the source."""
    page = PAGES[f"{name}.md"]
    found = dict(zip(*[iter(re.split(r"^## (.+)$", page, flags=re.M)[1:])] * 2, strict=True))
    assert tuple(found) == SECTIONS
    assert [head for head, body in found.items() if len(body.strip()) < 4] == []
    assert "`kd.losses." in page
    assert "\n\n\n\n" not in page


@pytest.mark.parametrize("name", catalogue())
def test_arguments_are_described(name: str) -> None:
    """An argument without a line is one whose shape and range the reader must guess."""
    function = catalogue()[name].function
    parameters = inspect.signature(function).parameters
    described = docstrings.read(function).entries("Args")
    assert [key for key, value in parameters.items() if value.kind is not value.VAR_KEYWORD or key in described] == [
        *described
    ]
    assert all(described.values())


@pytest.mark.parametrize("name", catalogue())
def test_example_runs_as_shown(name: str) -> None:
    """The example prints what it says it prints, from an empty namespace."""
    shown = doctest.DocTestParser().get_doctest(example(catalogue()[name]), {}, name, None, 0)
    assert shown.examples[-1].want, "the example shows no result"
    torch.manual_seed(0)
    report: list[str] = []
    failed, _ = doctest.DocTestRunner(verbose=False).run(shown, out=report.append)
    assert failed == 0, "".join(report)


@pytest.mark.parametrize("name", catalogue())
def test_plain_line_runs(name: str) -> None:
    """The line for a plain loop computes a number."""
    entry, case = catalogue()[name], cases_of(name)[0]
    lines = usage(entry)
    inputs = case.inputs(torch.Generator().manual_seed(0), max(4, case.minimum_batch))
    call = ast.parse(lines.call).body[0]
    assert isinstance(call, ast.Assign)
    assert isinstance(call.value, ast.Call)
    names = [argument.id for argument in call.value.args if isinstance(argument, ast.Name)]
    sized = SimpleNamespace(losses=SimpleNamespace(**{name: partial(getattr(kd.losses, name), **case.settings)}))
    namespace = {"kd": sized, **dict(zip(names, (inputs.student, inputs.teacher), strict=False)), **inputs.needs}
    if lines.make:
        namespace["criterion"] = case.build().double()
    exec(lines.call, namespace)
    assert torch.isfinite(namespace["loss"])


@pytest.mark.parametrize("name", [name for name, entry in catalogue().items() if usage(entry).make])
def test_module_line_is_a_constructor(name: str) -> None:
    """The settings in the line that builds the module are settings that it has."""
    entry = catalogue()[name]
    ast.parse(usage(entry).make)
    if entry.name not in ("hybrid_uld", "projection_kl"):  # whose ids are the user's
        assert entry.module(**example_settings(entry))


@pytest.mark.parametrize("name", catalogue())
def test_recipe_line_is_accepted(name: str) -> None:
    """The line for a recipe is one that a recipe takes."""
    content = yaml_of(usage(catalogue()[name]).recipe)
    assert Objective(content["objective"]).terms[name].weight == 1


def test_index_holds_every_loss() -> None:
    """A loss that the index leaves out is not found."""
    assert all(f"[`{name}`]({name}.md)" in PAGES["index.md"] for name in catalogue())


def test_the_promise_of_precision_is_stated() -> None:
    """A law that speaks of a table which no page shows promises nothing."""
    table = PAGES["index.md"].partition("## Precision")[2]
    assert re.findall(r"^\| `(\w+)` \| (\S+) \| (\S+) \|$", table, flags=re.M) == [
        ("float32", "1e-05", "1e-04"),
        ("float16", "1e-04", "2e-03"),
        ("bfloat16", "1e-04", "1e-02"),
    ]


def test_choose_page_holds_every_loss() -> None:
    """A loss that no situation leads to is never chosen; a name that is no loss leads nowhere."""
    assert choosing.faults((ROOT / "docs" / "choose.md").read_text(encoding="utf-8")) == []


def test_choose_check_finds_faults() -> None:
    """The build stops when a loss is missing from the page or misspelt on it."""
    wrong = choosing.faults("| You have | Start with |\n| --- | --- |\n| logits | `kdd` |")
    assert "kdd is no loss of the catalogue" in wrong
    assert any(line.startswith("kd stands in no table") for line in wrong)
