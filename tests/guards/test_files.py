"""What goes wrong for a reader or a user when files grow, hide what they hold, or name one person's machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".txt", ".cfg", ".sh", ".html", ".css", ".js", ""}
ABSOLUTE = re.compile(r"(?<![\w.:/])/(?:home|root|Users|work|mnt|scratch|tmp/\w*venv)/[\w.-]+")
SECRET = re.compile(r"(?i)(api[_-]?key|token|secret)\s*[=:]\s*['\"][A-Za-z0-9_-]{20,}['\"]")


def tracked() -> list[Path]:
    """Every file that belongs to the project: what git tracks or would, or all files outside a checkout."""
    listing = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, capture_output=True, text=True)
    names = done.stdout.splitlines() if done.returncode == 0 else []
    files = [ROOT / name for name in names] or [*(ROOT / "src").rglob("*"), *(ROOT / "tests").rglob("*")]
    return [path for path in files if path.is_file() and path.suffix in TEXT]


def test_no_source_file_is_longer_than_400_lines() -> None:
    """Otherwise one file holds several ideas, and nobody reads it to the end."""
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_no_module_is_called_by_what_it_is_not() -> None:
    """Otherwise things without a place gather in a drawer that everybody imports."""
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "stuff"}
    assert [str(path) for path in SOURCES if drawers & {path.stem, path.parent.name}] == []


def test_every_source_file_says_what_it_is_for() -> None:
    """Otherwise a reader must read all of it to learn that."""
    assert [str(path) for path in SOURCES if not path.read_text().startswith('"""')] == []


def test_the_files_are_found() -> None:
    """Otherwise the tests here look at nothing and pass."""
    names = {path.name for path in tracked()}
    assert {"pyproject.toml", "errors.py", "test_files.py"} <= names
    assert len(SOURCES) > 50


def test_no_text_names_an_absolute_path_of_one_machine() -> None:
    """Otherwise an example works for its author alone."""
    found = {
        f"{path.relative_to(ROOT)}: {match}"
        for path in tracked()
        for match in ABSOLUTE.findall(path.read_text(encoding="utf-8", errors="replace"))
    }
    assert found == set()


@pytest.mark.parametrize("text", ["see {}home/ann/x.py", "'{}Users/bob/run'", "({}root/a)"])
def test_the_pattern_finds_an_absolute_path(text: str) -> None:
    """Otherwise the test above cannot fail."""
    assert ABSOLUTE.search(text.format("/"))
    assert not ABSOLUTE.search(text.format("https://example.org/"))


def test_no_text_holds_a_key() -> None:
    """Otherwise somebody's account is open to everyone."""
    found = [str(path) for path in tracked() if SECRET.search(path.read_text(encoding="utf-8", errors="replace"))]
    assert found == []


def test_every_recipe_and_data_file_is_inside_the_package() -> None:
    """Otherwise they are missing from the wheel, and `kd demo` fails after pip install."""
    package = ROOT / "src" / "knowledge_distillation"
    vision = package / "domains" / "vision"
    assert (vision / "digits.npz").is_file() or not vision.is_dir()
    assert all(list(domain.parent.glob("recipes/*.yaml")) for domain in package.glob("domains/*/__init__.py"))
