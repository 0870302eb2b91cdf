"""`kd cache`: ask a recipe's teacher once and keep what it says; look at a cache."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

LOOKS = ("inspect", "verify")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kd cache`."""
    parser.usage = "kd cache RECIPE [options] | kd cache inspect DIR | kd cache verify DIR"
    parser.add_argument("recipe", help="name of a shipped recipe, path of a .yaml file, 'inspect' or 'verify'")
    parser.add_argument("looked_at", nargs="?", metavar="DIR", help="of the cache to inspect or verify")
    parser.add_argument("--directory", help="where to write the cache; default: the recipe's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=VALUE", help="change one value of the recipe"
    )
    parser.add_argument("--module", help="a Python file with your own models and data sets")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace) -> None:
    """Write, inspect or verify."""
    from knowledge_distillation.errors import ConfigError

    if (options.recipe in LOOKS) != (options.looked_at is not None):
        raise ConfigError(
            f"kd cache {options.recipe} needs the directory of a cache."
            if options.recipe in LOOKS
            else f"Where to write the cache is said by --directory {options.looked_at}."
        )
    if options.recipe == "verify":
        _verify(options)
    elif options.recipe == "inspect":
        _show(options.looked_at, options.json)
    else:
        _show(str(_write(options)), options.json)


def _write(options: argparse.Namespace) -> Path:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from knowledge_distillation.cli.quiet import quiet_lightning
    from knowledge_distillation.recipes.caching import cache_directory
    from knowledge_distillation.recipes.reading import read_recipe
    from knowledge_distillation.recipes.running import cache_recipe, own_names

    named = [f"cache.directory={options.directory}"] if options.directory else []
    recipe = read_recipe(options.recipe, [*options.set, *named])
    home = cache_directory(recipe)
    quiet_lightning()
    columns = (TextColumn("asking the teacher"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        cache_recipe(
            recipe,
            own=own_names(options.module) if options.module else {},
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    return home


def _show(directory: str, as_json: bool) -> None:
    from knowledge_distillation.teachers.cache import described_cache

    facts = described_cache(directory)
    if as_json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        print(f"{name}: {_plain(value)}")


def _verify(options: argparse.Namespace) -> None:
    from knowledge_distillation.errors import CacheError
    from knowledge_distillation.teachers.cache import Cache

    cache = Cache(options.looked_at)
    lines = list(cache.damage())
    if options.json:
        print(json.dumps({"directory": options.looked_at, "bytes": cache.bytes, "damage": lines}))
    for line in [] if options.json else lines:
        print(line)
    if lines:
        raise CacheError(f"{options.looked_at} is damaged in {len(lines)} places.")
    if not options.json:
        print(f"{cache.samples * cache.views} views in {cache.bytes} bytes: every checksum is as written.")


def _plain(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)
