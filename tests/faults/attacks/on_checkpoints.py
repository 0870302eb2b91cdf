"""Checkpoints of a stranger: pickles in every way to open one, names of code, bombs, tensors that reach too far."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import knowledge_distillation as kd
from knowledge_distillation.kd_training import KnowledgeDistillationTraining, KnowledgeDistillModel
from knowledge_distillation.training.durable_files import MARK as SEAL
from tests.faults.attacks.attack import MARK, Attack, Place, Shell, Source, importing
from tests.training.toys import QUIET, loader, mlp


def file(place: Place) -> Path:
    return place.given / "checkpoints" / "last.ckpt"


def written(place: Place, content: bytes) -> None:
    file(place).parent.mkdir()
    file(place).write_bytes(content)


def saved(content: Any, **settings: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **settings)
    return buffer.getvalue()


def student_weights() -> dict[str, Any]:
    return {f"student_model.{name}": tensor for name, tensor in mlp().state_dict().items()}


def into_the_original(place: Place) -> None:
    KnowledgeDistillModel.load_from_checkpoint(file(place), student_model=mlp(), teacher_model=mlp(9))


def into_a_module(place: Place) -> None:
    kd.DistillationModule.load_from_checkpoint(file(place), student=mlp(), teacher=mlp(2))


def resumed(place: Place, resume: str | Path) -> None:
    kd.distill(mlp(9), mlp(), loader(), max_epochs=1, directory=place.given, resume=resume, trainer=QUIET)


def by_path(place: Place) -> None:
    resumed(place, file(place))


def by_auto(place: Place) -> None:
    resumed(place, "auto")


def by_the_front_door(place: Place) -> None:
    KnowledgeDistillationTraining(
        resume_from_checkpoint=file(place), train_data_loader=loader(), student_model=mlp(), teacher_model=mlp(9)
    ).start_kd_training()


WAYS: dict[str, Callable[[Place], None]] = {
    "the original's load_from_checkpoint": into_the_original,
    "load_from_checkpoint": into_a_module,
    "resume=path": by_path,
    "resume='auto'": by_auto,
    "resume_from_checkpoint": by_the_front_door,
}


def sealed(place: Place) -> bytes:
    content = saved({"state_dict": student_weights(), "more": Shell(place), "kd_sealed": True})
    return content + SEAL + hashlib.sha256(content).hexdigest().encode()


def in_an_old_archive(place: Place) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            content = pickle.dumps(Shell(place))
            part = tarfile.TarInfo(name)
            part.size = len(content)
            archive.addfile(part, io.BytesIO(content))
    return buffer.getvalue()


def compiled(place: Place) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def repacked(change: Callable[[str, bytes], bytes], **settings: Any) -> bytes:
    """A checkpoint whose parts were changed; settings of the zip file."""
    buffer = io.BytesIO()
    before = zipfile.ZipFile(io.BytesIO(saved({"state_dict": student_weights()})))
    with zipfile.ZipFile(buffer, "w", **settings) as after:
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))
    return buffer.getvalue()


def bomb(place: Place) -> bytes:
    return repacked(
        lambda name, part: bytes(2**30) if name.endswith("data/0") else part, compression=zipfile.ZIP_DEFLATED
    )


def too_far(place: Place) -> bytes:
    """A tensor that claims to be larger than what stands in the file."""
    return repacked(
        lambda name, part: part.replace(b"K\x08K\x05\x86", b"M\xff\x7fK\x05\x86") if "pkl" in name else part
    )


def hyperparameters(place: Place) -> bytes:
    names = {"_instantiator": f"{MARK}_module.fire", "_class_path": f"{MARK}_module.fire"}
    return saved(
        {"state_dict": student_weights(), "hyper_parameters": names, "hparams_name": f"{MARK}_module.fire", "epoch": 0}
    )


PICKLES: dict[str, Callable[[Place], bytes]] = {
    "a pickle that runs a command": lambda place: pickle.dumps(Shell(place)),
    "a pickle that runs source": lambda place: pickle.dumps({"state_dict": Source(place)}),
    "a pickle that imports a module": lambda place: importing(),
    "a command among the weights": lambda place: saved({"state_dict": {**student_weights(), "x": Shell(place)}}),
    "a command in the old form": lambda place: saved(
        {"state_dict": student_weights(), "x": Shell(place)}, _use_new_zipfile_serialization=False
    ),
    "a command in the oldest form": in_an_old_archive,
    "a command with a digest that fits": sealed,
    "a compiled program": compiled,
    "a zip bomb": bomb,
    "a tensor beyond its storage": too_far,
    "a text for a weight": lambda place: saved({"state_dict": dict.fromkeys(student_weights(), MARK)}),
    "code as a weight's name": lambda place: saved(
        {"state_dict": {f"student_model.__import__('{MARK}_module').fire()": torch.zeros(1)}}
    ),
    "a list for a checkpoint": lambda place: saved([MARK]),
    "code where the training stood": lambda place: saved(
        {"state_dict": student_weights(), "distillation": f"{MARK}()"}
    ),
}
EVERYWHERE = next(iter(PICKLES))

ATTACKS = (
    *(Attack(f"{EVERYWHERE}, by {way}", lambda place: written(place, PICKLES[EVERYWHERE](place)), use)
      for way, use in WAYS.items()),
    *(Attack(f"{name}, resumed", lambda place, make=make: written(place, make(place)), by_path)
      for name, make in PICKLES.items()),
    Attack(
        "names of classes to make, by load_from_checkpoint",
        lambda place: written(place, hyperparameters(place)),
        into_a_module,
        ignored=True,
    ),
)  # fmt: skip
