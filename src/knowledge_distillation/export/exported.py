"""An export on the disk: its manifest, and the artefact as a module that answers like the student."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.capture.paths import unwrap
from knowledge_distillation.errors import ConfigError, ExportError
from knowledge_distillation.export.answering import Signature
from knowledge_distillation.export.calls import Plain, floats_as
from knowledge_distillation.export.forms import FORMS
from knowledge_distillation.untrusted import check_no_links_out, json_of, within

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Exported:
    """One student in one form.

    Attributes:
        path: the folder with the artefact, manifest.json and README.md.
        manifest: form, files with sha256 and bytes, inputs and outputs, versions, and how it was proven equal.
        structure: where `export` was called in this process, the student that weights alone belong to.
    """

    path: Path
    manifest: Mapping[str, Any]
    structure: Plain | None = field(default=None, repr=False, compare=False)

    @property
    def file(self) -> Path:
        """The artefact."""
        return self.path / str(self.manifest["files"][0]["name"])

    def as_dict(self) -> dict[str, Any]:
        """The manifest as plain data."""
        return dict(self.manifest)

    def load(self, model: nn.Module | None = None) -> Loaded:
        """The artefact, ready to answer on the CPU.

        Args:
            model: a student of the same class, which "safetensors" needs after `load`; it is copied.

        Raises:
            ExportError: if a file is missing or is not the one that was proven.
            ConfigError: if weights alone have no model to go into.
            MissingExtraError: if the form's package is not installed.
        """
        check_files(self.path, self.manifest)
        structure = self.structure if model is None else Plain(unwrap(model), Signature(self.manifest).call())
        names = [entry["name"] for entry in self.manifest["inputs"]]
        answer = FORMS[self.manifest["form"]].open(self.file, structure, names)
        return Loaded(answer, self.manifest)


class Loaded(nn.Module):
    """An artefact that is called as its student, and returns what that returns: a tensor, a tuple or a mapping.

    It computes on the CPU, without gradient; tensors may come from any device and go back there.

    Args:
        answer: tensors in, tensors out.
        manifest: says what goes in and comes out.
    """

    def __init__(self, answer: Callable[..., Sequence[Tensor]], manifest: Mapping[str, Any]) -> None:
        super().__init__()
        self.answer = answer
        self.signature = Signature(manifest)
        self.outputs = [entry["name"] for entry in manifest["outputs"]]
        self.returns = str(manifest["returns"])
        # pipelines ask a model's first parameter for its device
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)
        self.eval()

    def forward(self, *positional: Any, **named: Any) -> Any:
        """What the student returns for these inputs.

        Raises:
            ModelContractError: as of `Signature.tensors`.
        """
        tensors = self.signature.tensors(positional, named)
        device = tensors[0].device
        dtypes = self.signature.dtypes
        given = [floats_as([tensor.cpu()], dtype)[0] for tensor, dtype in zip(tensors, dtypes, strict=True)]
        with torch.no_grad():
            values = [value.to(device) for value in self.answer(*given)]
        if self.returns == "tensor":
            return values[0]
        return tuple(values) if self.returns == "tuple" else Answer(zip(self.outputs, values, strict=True))


class Answer(dict[str, Tensor]):
    """Outputs by name, also as attributes, as Hugging Face's are."""

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"There is no output {name!r}; there are {', '.join(self)}.") from None


def load(directory: str | Path, model: nn.Module | None = None) -> Loaded:
    """The artefact of an export; see `Exported.load`.

    Raises:
        ConfigError: if the directory holds no export.
        ExportError: if a file is missing or is not the one that was proven.
    """
    return read(directory).load(model)


def read(directory: str | Path) -> Exported:
    """The export that lies in a directory.

    Raises:
        ConfigError: if there is none.
    """
    path = Path(directory)
    check_no_links_out(path)
    try:
        manifest = json_of(path / MANIFEST)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} holds no export: {MANIFEST} cannot be read ({error}).") from error
    if not isinstance(manifest, dict) or manifest.get("form") not in tuple(FORMS):
        raise ConfigError(f"{path / MANIFEST} must name a form, one of {', '.join(FORMS)}.")
    try:
        Signature(manifest).call()
        if not manifest["files"] or not {"name", "bytes", "sha256"} <= manifest["files"][0].keys():
            raise ValueError("it names no file")
        if manifest["returns"] not in ("tensor", "tuple", "mapping") or not [
            out["name"] for out in manifest["outputs"]
        ]:
            raise ValueError("it does not say what the student returns")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ConfigError(
            f"{path / MANIFEST} is no manifest of an export ({type(error).__name__}: {error}). Export again."
        ) from error
    return Exported(path, manifest)


def file_facts(file: Path) -> dict[str, Any]:
    """Name, bytes and sha256."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return {"name": file.name, "bytes": file.stat().st_size, "sha256": digest.hexdigest()}


def check_files(path: Path, manifest: Mapping[str, Any]) -> None:
    """Raise ExportError unless every file is the one that the manifest tells of."""
    for entry in manifest["files"]:
        try:
            file = within(path, entry["name"])
        except ValueError as error:
            raise ExportError(
                f"{path / MANIFEST} must tell of the files beside it, and {error}: a file that is not this export's "
                "would be opened. Export again."
            ) from None
        if not file.is_file() or file_facts(file) != entry:
            raise ExportError(
                f"{file} is missing or not the file that was proven equal to the student: its sha256 must be "
                f"{entry['sha256']}. Export again."
            )
