"""What goes wrong for a user when the first thing they copy does not run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.processes import run

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = BLOCK.findall(README.read_text(encoding="utf-8"))


def test_blocks_are_found_in_markdown() -> None:
    """Otherwise the test below runs nothing and passes."""
    assert BLOCK.findall("a\n```python\nx = 1\n```\n```bash\nls\n```\n```python title='b'\ny\n```") == [
        "x = 1\n",
        "y\n",
    ]


@pytest.mark.slow
def test_the_readmes_python_runs_from_top_to_bottom(tmp_path: Path) -> None:
    """Otherwise a reader's first contact with the project is a traceback."""
    assert BLOCKS
    script = tmp_path / "readme.py"
    script.write_text("\n".join(BLOCKS), encoding="utf-8")
    done = run(script, directory=tmp_path)
    assert done.returncode == 0, done.stderr
