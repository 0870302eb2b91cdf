"""`export`: a student goes in; a folder comes out whose file was reloaded and found to be that student."""

from __future__ import annotations

import copy
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.accepted import check_accepted
from knowledge_distillation.capture.adapters import Adapter, adapter_pair
from knowledge_distillation.capture.calls import undisturbed
from knowledge_distillation.capture.paths import unwrap
from knowledge_distillation.errors import ConfigError, ExportError, ModelContractError, nearest
from knowledge_distillation.export.calls import Plain, by_name, inputs_of, outputs_of, recorded, tensors_of
from knowledge_distillation.export.card import Card, write_card
from knowledge_distillation.export.equality import as_tolerance, faults
from knowledge_distillation.export.exported import MANIFEST, Exported, Loaded
from knowledge_distillation.export.forms import FORMS, Form
from knowledge_distillation.export.job import Job, Shipped
from knowledge_distillation.export.manifest import described, dtype_name, measured
from knowledge_distillation.export.prepared import floating_dtype, prepared
from knowledge_distillation.export.proving import Proof, check_faithful, in_dtype, scores
from knowledge_distillation.export.qat import rounds_inputs
from knowledge_distillation.export.tracing import FIXED_LENGTH, SEQUENCE, Axes, answered_axes, dynamic_axes
from knowledge_distillation.training.pipelines import InferencePipeline, answers_classes, check_pipeline, to_device

COMPARED, CALIBRATING = 16, 16
"""Batches of a loader whose outputs are compared one by one, and that ranges are taken from. All are scored."""
QUANTISATIONS = ("auto", "static", "dynamic")


def export(
    model: nn.Module,
    form: str,
    directory: str | Path,
    *,
    example: Any = None,
    loader: Iterable[Any] | None = None,
    pipeline: InferencePipeline | None = None,
    adapter: str | Adapter | tuple[Adapter, Adapter] = "auto",
    tolerance: Any = None,
    dynamic: Mapping[str, Axes] | None = None,
    quantisation: str = "auto",
    calibration: Iterable[Any] | None = None,
    opset: int | None = None,
    card: Mapping[str, Any] | None = None,
) -> Exported:
    """Write a student in one form, load the file again, and prove that it answers as the student does.

    The student alone is written: a copy on the CPU in eval mode, without hooks, teacher or projectors. The model and
    torch's random state stay as they are. The folder appears only when the proof holds.

    Args:
        model: the student, on any device, wrapped or not, in any precision. Lower precision is written as float32, but
            by "safetensors".
        form: "safetensors", "onnx", "torch_export", "int8" (ONNX) or "int8_torch"; see `kd list exports`.
        directory: the folder to write; an export that lies there is replaced.
        example: a batch as the loader yields it, or just its inputs; default: the loader's first.
        loader: real batches, labelled or not: the first 16 are compared, all are scored.
        pipeline: scores student and artefact on the loader; default: accuracy where there are labels.
        adapter: how the student is called; as of `distill`.
        tolerance: None for the form's own, a number (largest difference over largest output), or a mapping with
            "relative", "agreement", "score_drop", "mean_relative"; see `Tolerance`.
        dynamic: input's name -> {axis: name} of the axes that may vary; default: the batch, and the length of token
            inputs. {} fixes all axes of an input.
        quantisation: of "int8": "static", "dynamic" or "auto".
        calibration: batches that "static" takes its ranges from; default: the loader. Best from training data.
        opset: of ONNX; default: the exporter's own.
        card: fields of the model card README.md: name, license, data, teacher, scored_on, language, tags, text,
            evaluation, comparison.

    Returns:
        The `Exported`.

    Raises:
        ConfigError: if an argument is wrong.
        ModelContractError: if the student cannot be called on the batch, or returns no tensor.
        ExportError: if the form cannot express the student, naming the module; or the artefact differs from it beyond
            the tolerance.
        MissingExtraError: if the form's package is not installed.
    """
    chosen = _checked(form, quantisation, pipeline)
    given = {
        "model": model, "directory": directory, "loader": loader, "dynamic": dynamic, "calibration": calibration,
        "opset": opset, "card": card,
    }  # fmt: skip
    check_accepted("export", export, given)
    allowed = as_tolerance(tolerance, chosen.tolerance)
    facts = Card.checked(card or {})
    target = _free(Path(directory))
    reads = adapter_pair(adapter)[0]
    notes: list[str] = []
    with undisturbed(model):
        batches, whole = _batches(unwrap(model), example, loader, reads)
        example = batches[0] if example is None else by_name(unwrap(model), example, reads)
        student = _copied(model, None if chosen.keeps_dtype else torch.float32, example, reads, notes)
        ranges = _calibrating(student, whole if calibration is None else calibration, reads, form)
        job = _job(student, dynamic, quantisation, opset, notes, ranges)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-unproven-", dir=target.parent))
        try:
            job, details = _written(chosen, job, folder)
            manifest = described(form, job, student, unwrap(model), details, folder)
            answer = chosen.open(folder / details["file"], student.plain, [entry.name for entry in job.inputs])
            proof = Proof(
                student.plain, reads, batches, job.tensors, job.axes, student.dtype, answers_classes(pipeline)
            )
            found = proof.differences(answer)
            numbers = found.as_dict()
            loaded = Loaded(answer, manifest)
            _same_calls(loaded, proof)
            numbers["score"] = None
            if whole is not None:
                numbers["score"] = scores(student.plain.student, loaded, whole, pipeline, reads, notes)
            else:
                notes.append("No loader was given: compared on the example, not scored.")
            wrong = [*found.odd, *faults(numbers, allowed)]
            if wrong:
                raise ExportError(
                    f"The {form} file must answer as the student does, and {'; '.join(wrong)}. Shipped, it would be "
                    "another model than the one that was measured; nothing was written. "
                    + ("Calibrate on more data, teach a quantisation_aware student, or " if "int8" in form else "")
                    + "pass a tolerance if this is good enough."
                )
            manifest |= {"equality": measured(numbers, allowed, len(batches), student.dtype), "notes": notes}
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, allow_nan=False), encoding="utf-8")
            write_card(folder, manifest, facts)
            _put(folder, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return Exported(target, manifest, student.plain if chosen.keeps_dtype else None)


def _checked(form: str, quantisation: str, pipeline: Any) -> Form:
    if not isinstance(form, str) or form not in FORMS:
        raise ConfigError(f"There is no form {form!r} to export to. {nearest(str(form), FORMS)}")
    if quantisation not in QUANTISATIONS:
        raise ConfigError(f"There is no quantisation {quantisation!r}. {nearest(str(quantisation), QUANTISATIONS)}")
    if pipeline is not None:
        check_pipeline(pipeline)
    return FORMS[form]


def _free(target: Path) -> Path:
    try:
        with suppress(FileNotFoundError):
            os.lstat(target)  # says whether there can be such a path; Path.exists does not
        own = not target.exists() or (target / MANIFEST).is_file() or (target.is_dir() and not any(target.iterdir()))
        if own:
            target.parent.mkdir(parents=True, exist_ok=True)
            return target
    except (OSError, ValueError) as error:  # ValueError: letters that no path has
        raise ConfigError(f"directory: the folder {str(target)!r} cannot be made: {error}") from error
    raise ConfigError(f"{target} holds something that is no export and would be overwritten. Name another folder.")


def _batches(
    model: nn.Module, example: Any, loader: Iterable[Any] | None, adapter: Adapter
) -> tuple[list[Any], Iterable[Any] | None]:
    """Batches to compare on, on the CPU, and the whole loader."""
    cpu = torch.device("cpu")
    if loader is None:
        if example is None:
            raise ConfigError("export needs an example batch or a loader: nothing is traced or proven without inputs.")
        return [to_device(by_name(model, example, adapter), cpu)], None
    whole = list(loader) if iter(loader) is loader else loader
    found = [by_name(model, to_device(batch, cpu), adapter) for batch in itertools.islice(whole, COMPARED)]
    if not found:
        raise ConfigError("The loader gave no batch, so there is nothing to compare the artefact on.")
    return found, whole


def _copied(model: nn.Module, dtype: torch.dtype | None, example: Any, adapter: Adapter, notes: list[str]) -> Shipped:
    bare = unwrap(model)
    twin, dropped = prepared(bare, dtype)
    own = floating_dtype(bare)
    if dropped:
        notes.append(f"{dropped} hooks of the student were left out.")
    if dtype is not None and own != dtype:
        notes.append(f"The student's weights are {dtype_name(own)} and were written as {dtype_name(dtype)}.")
    batch = to_device(example, torch.device("cpu"))
    try:
        call = recorded(twin, in_dtype(batch, dtype or own), adapter)
    except RuntimeError as error:  # torch, of inputs of another size
        raise ModelContractError(
            f"{type(bare).__name__} cannot be called on the example: {error}. Pass a batch as in training."
        ) from error
    plain = Plain(twin, call)
    if rounds_inputs(bare):
        notes.append("The student is quantisation-aware: the weights of the file are the rounded ones.")
    else:
        check_faithful(bare, plain, batch, adapter, dtype or own)
    return Shipped(plain, call, dtype or own)


def _job(
    student: Shipped,
    dynamic: Mapping[str, Axes] | None,
    quantisation: str,
    opset: int | None,
    notes: list[str],
    calibration: Sequence[Sequence[Tensor]],
) -> Job:
    inputs = inputs_of(student.plain.student, student.call)
    tensors = tensors_of(student.call)
    axes = dynamic_axes(inputs, tensors, dynamic)
    # a varying axis of size 1 would be traced as one that is always 1
    tensors = [
        torch.cat([tensor, tensor]) if 0 in vary and tensor.shape[0] == 1 else tensor
        for tensor, vary in zip(tensors, axes, strict=True)
    ]
    plain = student.plain
    axes = answered_axes(plain, tensors, axes, notes)
    with torch.no_grad():
        values = plain(*tensors)
    names = outputs_of(student.call.output, type(plain.student).__name__)
    outputs = dict(zip(names, values, strict=True))
    return Job(plain, inputs, tensors, axes, outputs, calibration, quantisation, opset, notes)


def _calibrating(student: Shipped, batches: Iterable[Any] | None, adapter: Adapter, form: str) -> list[list[Tensor]]:
    """Inputs of the first batches; none for forms that take no ranges."""
    if form != "int8" or batches is None:
        return []
    cpu = torch.device("cpu")
    model = student.plain.student
    some = [by_name(model, to_device(batch, cpu), adapter) for batch in itertools.islice(batches, CALIBRATING)]
    with torch.no_grad():
        return [tensors_of(recorded(model, in_dtype(batch, student.dtype), adapter)) for batch in some]


def _written(form: Form, job: Job, folder: Path) -> tuple[Job, dict[str, Any]]:
    """Write with every axis that may vary; where a varying length is refused, with a fixed one."""
    own = replace(job, plain=copy.deepcopy(job.plain))
    try:
        return job, form.write(own, folder)
    except ExportError:
        if not any(SEQUENCE in vary.values() for vary in job.axes):
            raise
        fixed = [{axis: name for axis, name in vary.items() if name != SEQUENCE} for vary in job.axes]
        try:
            details = form.write(replace(job, plain=copy.deepcopy(job.plain), axes=fixed), folder)
        except ExportError:
            pass
        else:
            job.notes.append(FIXED_LENGTH)
            return replace(job, axes=fixed), details
        raise


def _same_calls(loaded: Loaded, proof: Proof) -> None:
    """The loaded artefact must take the student's own call, and not only its tensors."""
    with torch.no_grad():
        recorded(loaded, in_dtype(proof.batches[0], proof.dtype), proof.adapter)


def _put(folder: Path, target: Path) -> None:
    """Move the proven folder to its place; an export that lies there goes when the new one stands."""
    folder.chmod(0o755)
    old = None
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
        os.replace(target, old)
    os.replace(folder, target)
    if old is not None:
        shutil.rmtree(old)
