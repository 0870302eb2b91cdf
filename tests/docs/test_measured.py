"""What goes wrong for a reader of the results page when a table or a plot no longer fits the file it is made from."""

from __future__ import annotations

import pytest

from docs.generate import measured, plots


@pytest.mark.parametrize("name", sorted(measured.TABLES))
def test_every_table_is_made_from_the_files_as_they_are(name: str) -> None:
    """Otherwise the page cannot be built after the next measurement."""
    said = measured.TABLES[name]()
    assert "| --- |" in said or said.startswith("*No figures here:")


@pytest.mark.parametrize("name", sorted(plots.PLOTS))
def test_the_plots_are_those_of_the_files(name: str) -> None:
    """Otherwise picture and table beside each other show two measurements."""
    drawn = plots.PLOTS[name](measured.result(name))
    assert (plots.IMAGES / f"{name}.svg").read_text(encoding="utf-8") == drawn


def test_a_benchmark_that_did_not_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise an empty section passes for a good result."""
    monkeypatch.setattr(measured, "result", lambda name: {"skipped": "no CUDA device"})
    assert measured.vision_gpu() == "*No figures here: no CUDA device.*"
