"""Run directories and data of a stranger: links that lead out, files that nest or unpack without end."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Callable
from typing import Any

import knowledge_distillation as kd
from knowledge_distillation.domains.vision import fashion_mnist
from knowledge_distillation.recipes.rebuilding import rebuilt
from knowledge_distillation.recipes.running import own_names
from knowledge_distillation.recipes.sweeping import sweep_recipe
from knowledge_distillation.reporting import write_report
from knowledge_distillation.ways import teach_in_turn
from tests.faults.attacks.attack import SECRET, Attack, Place, Shell
from tests.faults.attacks.material import copied
from tests.recipes.test_running import recipe
from tests.training.toys import QUIET, loader, mlp

Change = Callable[[Place], Any]
DEEP = "[" * 10**6


def linked(name: str) -> Change:
    """A run with a file that is a link to a secret."""

    def make(place: Place) -> None:
        copied("run", place.given, place.material)
        (place.given / name).unlink(missing_ok=True)
        (place.given / name).symlink_to(place.secret)

    return make


def gone_on_with(place: Place) -> None:
    kd.distill(mlp(9), mlp(), loader(), max_epochs=1, directory=place.given, resume="auto", trainer=QUIET)


def reported(place: Place) -> None:
    page = write_report(place.given)
    shown = [file.read_text() for file in place.given.glob("report.*")]
    assert page.is_file()
    assert not any(SECRET in text or "c2VjcmV0" in text for text in shown)  # nor in base64


def made_again(place: Place) -> None:
    rebuilt(place.given, own_names(place.material / "mine.py"))


def holding(name: str, content: Callable[[Place], bytes]) -> Change:
    def make(place: Place) -> None:
        copied("run", place.given, place.material)
        (place.given / name).write_bytes(content(place))

    return make


def a_sample_outside(place: Place) -> None:
    copied("run", place.given, place.material)
    worse = [{"index": 0, "sample": name} for name in ("../outside/secret.txt", str(place.secret), "samples/../secret")]
    (place.given / "evaluation.json").write_text(json.dumps({"models": {}, "regressions": {"worse": worse}}))


def an_assistant(content: str) -> Change:
    def make(place: Place) -> None:
        copied("run", place.given / "assistant-1", place.material)
        (place.given / "assistant-1" / "environment.json").write_text(content)

    return make


def taught_in_turn(place: Place) -> None:
    teach_in_turn(mlp(9), [mlp(), mlp(2)], loader(), directory=place.given, resume="auto", max_epochs=1, trainer=QUIET)


def sweep_of(content: Callable[[Place], bytes]) -> Change:
    return lambda place: (place.given / "sweep.json").write_bytes(content(place))


def swept(place: Place) -> None:
    own = own_names(place.material / "mine.py")
    sweep_recipe(
        recipe(), ["training.learning_rate=[1e-3, 1e-2]"], trials=1, directory=place.given, resume=True, own=own
    )


def packed_images(place: Place) -> None:
    """A file of one megabyte that unpacks to more than one gigabyte."""
    for part in ("train", "t10k"):
        for name, head in (("images-idx3", [0x803, 2**20, 32, 34]), ("labels-idx1", [0x801, 2**20])):
            with gzip.open(place.given / f"{part}-{name}-ubyte.gz", "wb", compresslevel=1) as file:
                file.write(b"".join(number.to_bytes(4, "big") for number in head))
                for _ in range(1088 if name == "images-idx3" and part == "train" else 1):
                    file.write(bytes(2**20))


def read_images(place: Place) -> None:
    fashion_mnist(folder=str(place.given))


TAGS = b"student: !!python/object/apply:os.system ['touch kd_canary_sang']\ndata: points\n"

ATTACKS = (
    *(Attack(f"a run gone on with whose {name} is a link", linked(name), gone_on_with)
      for name in (".lock", "recipe.yaml", "metrics.csv", "student.safetensors", "environment.json")),
    *(Attack(f"a report of a run whose {name} is a link", linked(name), reported)
      for name in ("report.html", ".report.html.part", "evaluation.json")),
    Attack("a student made again in a run with a link", linked("student.safetensors"), made_again),
    Attack("a report that shows a file outside", a_sample_outside, reported, ignored=True),
    Attack("a report of a recipe with tags", holding("recipe.yaml", lambda place: TAGS), reported, ignored=True),
    Attack("a report of files nested without end", holding("doctor.json", lambda place: DEEP.encode()), reported,
           ignored=True),
    Attack("a student made again from a recipe with tags", holding("recipe.yaml", lambda place: TAGS), made_again),
    Attack("an assistant's scores nested without end", an_assistant(DEEP), taught_in_turn),
    Attack("an assistant's scores that are none", an_assistant('{"scores": 1, "interrupted": false}'), taught_in_turn),
    Attack("a sweep nested without end", sweep_of(lambda place: DEEP.encode()), swept),
    Attack("a pickle for a sweep", sweep_of(lambda place: pickle.dumps(Shell(place))), swept),
    Attack("a sweep that is a list", sweep_of(lambda place: b"[]"), swept),
    Attack("a small file of images that fills the memory", packed_images, read_images),
)  # fmt: skip
