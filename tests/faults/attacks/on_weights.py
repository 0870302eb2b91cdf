"""Weights of a stranger: safetensors files with lying headers, and pickles under that name."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_model

from knowledge_distillation.recipes.rebuilding import rebuilt, rebuilt_run
from knowledge_distillation.recipes.running import own_names, run_recipe
from tests.faults.attacks.attack import MARK, Attack, Place, Shell, importing
from tests.faults.attacks.material import copied
from tests.recipes.test_running import recipe


def file(place: Place) -> Path:
    return place.given / "weights.safetensors"


def written(place: Place, header: Any, size: int, length: int | None = None) -> None:
    """A safetensors file.

    Args:
        header: as data, or as bytes.
        size: bytes of what follows it, all 0 and none of them on the disk.
        length: what the file says of its header's length; None says the truth.
    """
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    with file(place).open("wb") as target:
        target.write((len(text) if length is None else length).to_bytes(8, "little") + text)
        target.truncate(8 + len(text) + size)


def entry(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def as_the_student(place: Place) -> None:
    run(place, student={"name": "net", "weights": str(file(place))})


def as_the_teacher(place: Place) -> None:
    run(place, teacher={"name": "net", "weights": str(file(place))})


def run(place: Place, **sections: Any) -> None:
    run_recipe(recipe(**sections), directory=place.folder / "run", own=own_names(place.material / "mine.py"))


def in_a_run(name: str) -> Callable[[Place], None]:
    def make(place: Place) -> None:
        copied("run", place.given, place.material)
        (place.given / name).write_bytes(pickle.dumps(Shell(place)))

    return make


def made_again(place: Place) -> None:
    rebuilt(place.given, own_names(place.material / "mine.py"))


def with_its_control(place: Place) -> None:
    rebuilt_run(place.given, own_names(place.material / "mine.py"))


HEADERS: dict[str, Callable[[Place], None]] = {
    "a header of 101 MB": lambda place: written(place, b" " * (101 * 10**6), 0),
    "a header beyond the file": lambda place: written(place, {}, 0, 2**62),
    "tensors that overlap": lambda place: written(place, {"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, 12),
    "a hole between tensors": lambda place: written(place, {"a": entry(0, 4, [1]), "b": entry(8, 12, [1])}, 12),
    "a hole at the end": lambda place: written(place, {"a": entry(0, 4, [1])}, 4096),
    "a negative offset": lambda place: written(place, {"a": entry(-4, 4, [2])}, 4),
    "an end before its start": lambda place: written(place, {"a": entry(8, 4, [1])}, 8),
    "a shape beyond 64 bits": lambda place: written(place, {"a": entry(0, 16, [2**62, 2**62])}, 16),
    "a shape larger than its bytes": lambda place: written(place, {"a": entry(0, 16, [2**40])}, 16),
    "a type that is none": lambda place: written(place, {"a": entry(0, 4, [1], f"{MARK}_module.fire")}, 4),
    "a type of four bits": lambda place: written(place, {"hidden.weight": entry(0, 20, [8, 5], "F4")}, 20),
    "a header nested without end": lambda place: written(place, b'{"a":' + b"[" * 10**6, 0),
    "metadata that are no texts": lambda place: written(place, {"__metadata__": {"a": {"b": 1}}}, 0),
    "no header": lambda place: file(place).write_bytes(b""),
    "a pickle that imports a module": lambda place: file(place).write_bytes(importing()),
    "another model's weights": lambda place: save_model(
        own_names(place.material / "mine.py")["net"](2, 2), str(file(place))
    ),
}


def a_device(place: Place) -> None:
    file(place).symlink_to("/dev/zero")


ATTACKS = (
    *(Attack(f"{name}, as the student's weights", make, as_the_student) for name, make in HEADERS.items()),
    Attack("a pickle, as the teacher's weights", lambda place: file(place).write_bytes(pickle.dumps(Shell(place))),
           as_the_teacher),
    Attack("a device, as the student's weights", a_device, as_the_student),
    Attack("a pickle as a run's student", in_a_run("student.safetensors"), made_again),
    Attack("a pickle as a run's control", in_a_run("control.safetensors"), with_its_control),
)  # fmt: skip
