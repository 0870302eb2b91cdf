"""What goes wrong for a maintainer when one field of use cannot be taken away without breaking the others.

The rule: inside the package, a module of `domains/X` is named by nothing but `domains/X` itself and, for the demo of
vision, by `cli/demo_command.py`. Everything else finds domains and their recipes by walking the folder, so that a
folder which is not there is not missed. Outside the package a domain is named where it is used: by its own tests,
examples and pages, which go with it, and by tests of the core that take vision's digits for real data, which
`tests/needing.py` lists: they are skipped then, and no other test fails.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.needing import WHOLE_FILES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "knowledge_distillation"
DOMAINS = sorted(path.parent.name for path in (PACKAGE / "domains").glob("*/__init__.py"))
PREFIX = "knowledge_distillation.domains."
USERS = {"vision": {"cli/demo_command.py"}}
"""Domain -> files outside it that are part of it."""
WITHOUT = """
import importlib, importlib.abc, json, pkgutil, sys
import knowledge_distillation as package
from knowledge_distillation import domains

class Hiding(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.startswith(HIDDEN):
            raise ModuleNotFoundError(f"{name} was taken away", name=name)

HIDDEN = tuple(sys.argv[1:])
sys.meta_path.insert(0, Hiding())
walk = pkgutil.iter_modules

def without_domains(path=None, prefix=""):
    return [info for info in walk(path, prefix) if not info.ispkg or path != domains.__path__]

pkgutil.iter_modules = without_domains
names = [info.name for info in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    if not name.startswith(HIDDEN):
        importlib.import_module(name)
from knowledge_distillation.domains import catalogue
print(json.dumps([*catalogue.models(), *catalogue.data_sets(), *catalogue.callbacks()]))
"""


@cache
def imported(file: Path) -> set[str]:
    """Every module that a file imports, wherever in it the statement stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("domain", DOMAINS)
def test_nothing_of_the_package_imports_a_domain_but_itself(domain: str) -> None:
    """Otherwise taking the folder away breaks what has nothing to do with it."""
    home = PACKAGE / "domains" / domain
    own = PREFIX + domain
    users = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        if home not in file.parents and any(name == own or name.startswith(f"{own}.") for name in imported(file))
    }
    assert users == USERS.get(domain, set())


def test_everything_else_is_imported_without_any_domain() -> None:
    """Otherwise an import by a computed name, which the test above cannot see, needs one."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-c", WITHOUT, *(PREFIX + domain for domain in DOMAINS)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == ["from_config"]


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_test_of_another_domain_names_it(domain: str) -> None:
    """Otherwise a domain that is taken away leaves failing tests behind in another's folder."""
    others = [path for name in DOMAINS if name != domain for path in (ROOT / "tests" / "domains" / name).rglob("*.py")]
    own = PREFIX + domain
    assert [str(file) for file in others if any(name.startswith(own) for name in imported(file))] == []


@pytest.mark.slow
@pytest.mark.parametrize("domain", DOMAINS)
def test_without_its_folder_the_other_tests_are_found_and_those_of_recipes_pass(domain: str, tmp_path: Path) -> None:
    """Otherwise a test outside the domain ends at an import of it, or at a recipe that names what is gone."""
    home = tmp_path / "project"
    home.mkdir()
    for part in (".ci", "src", "tests", "benchmarks", "examples", "docs"):
        shutil.copytree(ROOT / part, home / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.glob("*.*"):
        if file.is_file():
            shutil.copy(file, home)
    shutil.copy(ROOT / "Makefile", home)
    shutil.rmtree(home / "src" / "knowledge_distillation" / "domains" / domain)
    shutil.rmtree(home / "tests" / "domains" / domain)
    environment = {**os.environ, "PYTHONPATH": str(home / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    for asked in (["--collect-only", "tests"], ["tests/recipes/test_reading.py", "tests/cli/test_commands.py"]):
        command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", *asked]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home)
        assert done.returncode == 0, done.stdout[-3000:]


def test_the_files_that_need_a_domain_are_there() -> None:
    """Otherwise a list of files that were renamed hides nothing, and nobody sees it before the domain is taken away."""
    listed = [file for files in WHOLE_FILES.values() for file in files]
    assert [file for file in listed if not (ROOT / "tests" / file).is_file()] == []


def test_the_domains_are_found() -> None:
    """Otherwise the tests above look at nothing and pass."""
    assert len(DOMAINS) > 2
    named = imported(PACKAGE / "cli" / "demo_command.py")
    assert all(PREFIX + f"{domain}.demo" in named for domain in USERS if domain in DOMAINS)
