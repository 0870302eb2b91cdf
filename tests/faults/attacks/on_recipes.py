"""Recipes of a stranger: what YAML can do besides data, names of code, bombs, paths to what is no file."""

from __future__ import annotations

import os
from collections.abc import Callable

from knowledge_distillation.cli import main
from tests.faults.attacks.attack import MARK, Attack, Place
from tests.recipes.test_running import MODULE

SECTIONS = "student: net\ndata: points\nteacher: net\n"
MINE = f"import os, subprocess\nfrom os import system\nfrom shutil import rmtree\nfrom subprocess import run\n{MODULE}"
"""A user's own file, which needs for itself what a recipe must not have."""


def file(place: Place) -> str:
    return str(place.given / "recipe.yaml")


def trained(place: Place) -> None:
    """`kd train` with the user's own file."""
    (place.folder / "mine.py").write_text(MINE)
    raise SystemExit(main(["train", file(place), "--module", "mine.py", "--directory", "run"]))


def text(content: str | bytes) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        with open(file(place), "wb") as target:
            target.write(content if isinstance(content, bytes) else content.encode())

    return make


def told(content: Callable[[Place], str]) -> Callable[[Place], None]:
    return lambda place: text(content(place))(place)


def laughs() -> str:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join(f'*a{n - 1}' for _ in range(10))}]" for n in range(1, 12)]
    return "\n".join(lines) + f"\n{SECTIONS}"


def a_pipe(place: Place) -> None:
    os.mkfifo(file(place))


def a_device(place: Place) -> None:
    os.symlink("/dev/zero", file(place))


def training(line: str) -> str:
    return f"{SECTIONS}training: {{max_epochs: 1, {line}}}\n"


NAME = f"{MARK}_module.fire"
RECIPES: dict[str, Callable[[Place], None]] = {
    "a tag that runs a command": told(
        lambda place: f"{SECTIONS}description: !!python/object/apply:os.system ['{place.command}']\n"
    ),
    "a tag that makes an object": text(f"{SECTIONS}description: !!python/object/new:{NAME} [1]\n"),
    "a tag that names a function": text(f"{SECTIONS}description: !!python/name:{NAME}\n"),
    "a tag that imports a module": text(f"{SECTIONS}description: !!python/module:{MARK}_module\n"),
    "a tag with a state": text(f"{SECTIONS}description: !!python/object:{NAME} {{a: 1}}\n"),
    "a tag of its own": text(f"%TAG ! tag:yaml.org,2002:python/\n---\n{SECTIONS}description: !name:{NAME}\n"),
    "a bomb of aliases": text(laughs()),
    "an alias that holds itself": text(f"{SECTIONS}objective: &a [*a]\n"),
    "merged keys": text("base: &b {name: net}\nstudent: {<<: *b}\ndata: points\n"),
    "a key twice": text(f"{SECTIONS}student: points\n"),
    "lists nested without end": text(f"{SECTIONS}description: {'[' * 100_000}"),
    "mappings nested without end": text("student:\n" + "".join(f"{' ' * n}a:\n" for n in range(1, 1200))),
    "a million and one bytes": text(f"{SECTIONS}# {'x' * 1_000_001}"),
    "a hundred thousand keys": text(SECTIONS + "".join(f"k{n}: 1\n" for n in range(80_000))),
    "a number of 5,000 digits": text(training(f"seed: {'9' * 5000}")),
    "a number of 20,000 binary digits": text(training(f"seed: 0b{'1' * 20_000}")),
    "a number of epochs of 20,000 binary digits": text(
        training(f"max_epochs: 0x{'f' * 5000}").replace("max_epochs: 1, ", "")
    ),
    "a name of 900,000 letters": text(f"student: {'x' * 900_000}\ndata: points\n"),
    "a byte 0": text(f"{SECTIONS}description: \0\n"),
    "bytes that are no UTF-8": text(SECTIONS.encode() + b"description: \xff\xfe\n"),
    "UTF-16": text(SECTIONS.encode("utf-16")),
    "a second document": text(f"{SECTIONS}---\n{SECTIONS}"),
    "a pipe": a_pipe,
    "a device": a_device,
    "an imported function for a student": told(
        lambda place: f"student: {{name: rmtree, path: {place.outside}}}\ndata: points\n"
    ),
    "an imported function for data": told(
        lambda place: f"student: net\ndata: {{name: system, command: {place.command}}}\n"
    ),
    "an imported function that starts a program": told(
        lambda place: f"student: {{name: run, args: [touch, {place.canary}]}}\ndata: points\n"
    ),
    "an import path for a student": text(f"student: {NAME}\ndata: points\n"),
    "an import path for an optimizer": text(training(f"optimizer: {NAME}")),
    "an import path for a schedule": text(training(f"schedule: {NAME}")),
    "an import path for an adapter": text(training(f"adapter: {NAME}")),
    "an import path for a tracker": text(training(f"track: [{NAME}]")),
    "an import path for a loss": text(f"{SECTIONS}objective: {{a: {{loss: {NAME}}}}}\n"),
    "an import path for a strategy": text(training(f"strategy: {NAME}")),
    "an import path for a callback": text(training(f"trainer: {{callbacks: {NAME}}}")),
    "an import path for a plugin": text(training(f"trainer: {{plugins: {NAME}}}")),
    "an import path for a logger": text(training(f"trainer: {{logger: {NAME}}}")),
    "an import path for a profiler": text(training(f"trainer: {{profiler: {NAME}}}")),
    "code of a repository for a layer": text(
        "student: {name: from_config, library: transformers, model: BertForSequenceClassification, "
        f"settings: {{attn_implementation: {MARK}/kernel}}}}\ndata: points\n"
    ),
    "weights of the machine": text("student: {name: net, weights: /etc/passwd}\ndata: points\n"),
    "weights that never end": text("student: {name: net, weights: /dev/zero}\ndata: points\n"),
    "a server that is a file": text(
        "student: net\ndata: points\nteacher: {name: served, url: 'file:///etc/passwd', model: a, vocabulary: 3}\n"
    ),
}

ATTACKS = tuple(Attack(f"a recipe: {name}", make, trained) for name, make in RECIPES.items())
