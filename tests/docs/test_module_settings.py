"""Every setting of a loss module is described, and its page shows the description."""

from __future__ import annotations

import inspect
import re

import pytest

from docs.generate import docstrings
from docs.generate.loss_pages import loss_page
from knowledge_distillation.losses import catalogue


@pytest.mark.parametrize("name", catalogue())
def test_settings_are_described(name: str) -> None:
    """A setting without a line, say a number of channels, is one whose meaning and range the reader must guess."""
    entry = catalogue()[name]
    described = {**docstrings.read(entry.function).entries("Args"), **docstrings.read(entry.module).entries("Args")}
    settings = inspect.signature(entry.module).parameters
    assert [setting for setting in settings if not described.get(setting)] == []


@pytest.mark.parametrize("name", catalogue())
def test_described_settings_exist(name: str) -> None:
    """A line for a setting that is gone, or in another order than the constructor's, misleads."""
    module = catalogue()[name].module
    described = docstrings.read(module).entries("Args")
    assert [*described] == [setting for setting in inspect.signature(module).parameters if setting in described]


@pytest.mark.parametrize("name", catalogue())
def test_page_shows_every_setting(name: str) -> None:
    """What stands in the source alone is not found by a reader of the page."""
    entry = catalogue()[name]
    arguments = loss_page(entry).partition("\n## Arguments\n")[2].partition("\n## ")[0]
    above, _, below = arguments.partition("\n### Settings of the module")
    own = [*docstrings.read(entry.module).entries("Args")]
    assert re.findall(r"^\| `(\w+)` \| \S", below, flags=re.M) == own
    shown = {*own, *re.findall(r"^\| `(\w+)` \| \S", above, flags=re.M)}
    assert [setting for setting in inspect.signature(entry.module).parameters if setting not in shown] == []
