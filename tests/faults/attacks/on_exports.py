"""Exports of a stranger: manifests that lead elsewhere, programs with more than operators, ONNX that reads files."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import onnx

import knowledge_distillation as kd
from knowledge_distillation.export.exported import file_facts
from tests.export import students
from tests.faults.attacks.attack import MARK, Attack, Place, Shell, importing
from tests.faults.attacks.material import copied
from tests.faults.attacks.on_checkpoints import saved

Change = Callable[[Place], Any]
FILES = {"safetensors": "student.safetensors", "onnx": "student.onnx", "torch_export": "student.pt2"}


def asked(place: Place) -> None:
    kd.export.load(place.given, students.mlp())(students.points())


def listed(place: Place, form: str, changed: dict[str, Any]) -> None:
    """The manifest anew, to fit the file that lies there, with other entries."""
    path = place.given / "manifest.json"
    manifest = {**json.loads(path.read_text()), "files": [file_facts(place.given / FILES[form])], **changed}
    path.write_text(json.dumps(manifest))


def manifest_with(**changed: Any) -> Change:
    def make(place: Place) -> None:
        copied("exports/onnx", place.given, place.material)
        listed(place, "onnx", {name: value(place) if callable(value) else value for name, value in changed.items()})

    return make


def named(name: Callable[[Place], str]) -> Change:
    """A manifest that tells of a file elsewhere, with that file's digest."""
    return manifest_with(files=lambda place: [{**file_facts(place.secret), "name": name(place)}])


def file_of(form: str, content: Callable[[Place], bytes]) -> Change:
    def make(place: Place) -> None:
        copied(f"exports/{form}", place.given, place.material)
        (place.given / FILES[form]).write_bytes(content(place))
        listed(place, form, {})

    return make


def linked(place: Place) -> None:
    copied("exports/onnx", place.given, place.material)
    elsewhere = copied("exports/onnx", place.folder / "elsewhere", place.material)
    (place.given / FILES["onnx"]).unlink()
    (place.given / FILES["onnx"]).symlink_to(elsewhere / FILES["onnx"])


def weights_outside(place: Place) -> None:
    copied("exports/onnx", place.given, place.material)
    path = place.given / FILES["onnx"]
    model = onnx.load(str(path))
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "../outside/secret.txt"), ("offset", "0"), ("length", "16")):
        weight.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    listed(place, "onnx", {})


def program(
    change: Callable[[str, bytes, Place], bytes], added: dict[str, Change] | None = None, **settings: Any
) -> Change:
    """A program whose parts were changed, or to which parts were added; settings of the zip file."""

    def make(place: Place) -> None:
        copied("exports/torch_export", place.given, place.material)
        path = place.given / FILES["torch_export"]
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        root = next(iter(parts)).partition("/")[0]
        with zipfile.ZipFile(path, "w", **settings) as archive:
            for name, part in parts.items():
                archive.writestr(name, change(name, part, place))
            for name, content in (added or {}).items():
                archive.writestr(f"{root}/{name}", content(place))
        listed(place, "torch_export", {})

    return make


def graph(change: Callable[[dict[str, Any], Place], Any]) -> Change:
    """A program with a changed graph."""

    def changed(name: str, part: bytes, place: Place) -> bytes:
        if not name.endswith("models/model.json"):
            return part
        content = json.loads(part)
        change(content, place)
        return json.dumps(content).encode()

    return program(changed)


def node(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["graph_module"]["graph"]["nodes"][0]
    return found


def calling(target: str) -> Change:
    """A program whose first operator is another function, called with a command."""

    def change(content: dict[str, Any], place: Place) -> None:
        node(content)["target"] = target
        node(content)["inputs"] = [{"name": "command", "arg": {"as_string": place.command}, "kind": 1}]

    return graph(change)


def renamed(new: Callable[[Place], str]) -> Change:
    """A program with source for the name of its input."""

    def changed(name: str, part: bytes, place: Place) -> bytes:
        return part.replace(b'"tensors_0"', json.dumps(new(place)).encode()) if name.endswith("model.json") else part

    return program(changed)


def formula(text: Callable[[Place], str]) -> Change:
    def change(content: dict[str, Any], place: Place) -> None:
        for value in content["graph_module"]["graph"]["tensor_values"].values():
            for size in value["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = text(place)

    return graph(change)


def guarded(content: dict[str, Any], place: Place) -> None:
    content["guards_code"] = [f"__import__('os').system({place.command!r}) == 0"]


def tree(content: dict[str, Any], place: Place) -> None:
    called = content["graph_module"]["module_call_graph"][0]["signature"]
    called["in_spec"] = called["in_spec"].replace("builtins.tuple", f"{MARK}_module.fire")


def part_of(place: str, content: Change) -> Change:
    return program(lambda name, part, at: content(at) if name.endswith(place) else part)


def pickled_weights(name: str, part: bytes, place: Place) -> bytes:
    if name.endswith("weights/weight_0"):
        return saved({"x": Shell(place)})
    return part.replace(b'"use_pickle": false', b'"use_pickle": true') if name.endswith("weights_config.json") else part


def pickled_constant(name: str, part: bytes, place: Place) -> bytes:
    constant = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    return json.dumps({"config": {"c": constant}}).encode() if name.endswith("constants_config.json") else part


def unchanged(name: str, part: bytes, place: Place) -> bytes:
    return part


def bomb(name: str, part: bytes, place: Place) -> bytes:
    return bytes(2**30) if name.endswith("weight_0") else part


PROGRAMS: dict[str, Change] = {
    "a pickle for a program": file_of("torch_export", lambda place: pickle.dumps(Shell(place))),
    "a pickle for its inputs": part_of("sample_inputs/model.pt", lambda place: saved((Shell(place),))),
    "a plain pickle for its inputs": part_of("sample_inputs/model.pt", lambda place: importing()),
    "pickles for its weights": program(pickled_weights),
    "a pickle for a constant": program(
        pickled_constant, {"data/constants/opaque_obj_0": lambda place: pickle.dumps(Shell(place))}
    ),
    "a compiled library": program(unchanged, {"data/aotinductor/model/model.so": lambda place: MARK.encode()}),
    "a function of Python's": calling("torch.serialization.os.system"),
    "a function of the operating system": calling("_operator.methodcaller"),
    "an operator that writes a file": calling("torch.ops.aten.save.default"),
    "an operator that reads a file": calling("torch.ops.aten.from_file.default"),
    "source for a size": formula(lambda place: f"__import__('os').system({place.command!r})"),
    "a method for a size": formula(lambda place: "Integer(1).__class__.__mro__[1].__subclasses__()"),
    "a number without end for a size": formula(lambda place: "Pow(Integer(10), Pow(Integer(10), Integer(10)))"),
    "source for a guard": graph(guarded),
    "source for a name": renamed(lambda place: f"a=__import__('os').system({place.command!r})"),
    "a container by its import path": graph(tree),
    "a bomb": program(bomb, compression=zipfile.ZIP_DEFLATED),
}
OTHERS: dict[str, Change] = {
    "a file outside": named(lambda place: "../outside/secret.txt"),
    "a file by its absolute path": named(lambda place: str(place.secret)),
    "a link for the file": linked,
    "weights of an ONNX file that lie outside": weights_outside,
    "a pickle for an ONNX file": file_of("onnx", lambda place: pickle.dumps(Shell(place))),
    "a pickle for weights": file_of("safetensors", lambda place: pickle.dumps(Shell(place))),
    "a manifest nested without end": lambda place: (place.given / "manifest.json").write_text("[" * 10**6),
    "a form by its import path": manifest_with(form=f"{MARK}_module.fire"),
    "a type by its import path": manifest_with(
        inputs=[{"name": "x", "parameter": "x", "inside": [], "dtype": f"serialization.{MARK}", "shape": [1]}]
    ),
    "an input at place 10^12": manifest_with(
        inputs=[{"name": "x", "parameter": "x", "inside": [10**12], "dtype": "float32", "shape": [1]}]
    ),
    "no files": manifest_with(files=[]),
    "files as a text": manifest_with(files=MARK),
}

ATTACKS = tuple(Attack(f"an export: {name}", make, asked) for name, make in {**PROGRAMS, **OTHERS}.items())
