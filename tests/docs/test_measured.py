"""What goes wrong for a reader of the results page when a table or a plot no longer fits the file it is made from."""

from __future__ import annotations

import pytest

from docs.generate import lm_loss, measured, plots


@pytest.mark.parametrize("name", sorted(measured.TABLES))
def test_every_table_is_made_from_the_files_as_they_are(name: str) -> None:
    """Otherwise the page cannot be built after the next measurement."""
    said = measured.TABLES[name]()
    assert "| --- |" in said or said.startswith("*No figures here:")


def test_the_page_on_the_loss_says_what_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a reader takes figures of a processor for those of a GPU, or an arm that is missing for a slow one."""
    tables = {name: make() for name, make in lm_loss.TABLES.items()}
    assert tables["lm-loss"].count("| variant |") == len({row["shape"] for row in measured.result("lm_loss")["rows"]})
    assert "No figure has been measured on a GPU" in tables["lm-loss-not-measured"]
    on_gpu = {"device": "cuda", "left_out": {"Liger's chunked JSD": "liger-kernel is not installed"}}
    monkeypatch.setattr(lm_loss, "result", lambda name: on_gpu)
    assert lm_loss.not_measured() == "Liger's chunked JSD was left out: liger-kernel is not installed."
    monkeypatch.setattr(lm_loss, "result", lambda name: {"skipped": "not run yet"})
    assert {make() for make in (lm_loss.figures, lm_loss.rows, lm_loss.precision)} == {
        "*No figures here: not run yet.*"
    }


@pytest.mark.parametrize("name", sorted(plots.PLOTS))
def test_the_plots_are_those_of_the_files(name: str) -> None:
    """Otherwise picture and table beside each other show two measurements."""
    drawn = plots.PLOTS[name](measured.result(name))
    assert (plots.IMAGES / f"{name}.svg").read_text(encoding="utf-8") == drawn


def test_a_benchmark_that_did_not_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise an empty section passes for a good result."""
    monkeypatch.setattr(measured, "result", lambda name: {"skipped": "no CUDA device"})
    assert measured.vision_gpu() == "*No figures here: no CUDA device.*"
