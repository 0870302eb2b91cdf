"""The student as one ONNX file."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.errors import ExportError, MissingExtraError
from knowledge_distillation.export.calls import Plain
from knowledge_distillation.export.job import Job
from knowledge_distillation.export.pooling import with_matrices
from knowledge_distillation.export.tracing import named_module, quiet, traced

LARGEST_FILE = 2**31 - 1
"""Bytes that one protobuf file can hold."""


def write_onnx(job: Job, folder: Path) -> dict[str, Any]:
    """Write student.onnx: torch's graph exporter, or the older one where that has no translation for an operator.

    Raises:
        ExportError: if the student is too large, or has an operator that ONNX cannot express; names its module.
        MissingExtraError: if the extra "onnx" is not installed.
    """
    onnx, _ = packages()
    size = sum(entry.numel() * entry.element_size() for entry in job.plain.state_dict().values())
    if size > LARGEST_FILE:
        raise ExportError(
            f"One ONNX file holds at most 2 GB and the student has {size / 1e9:.1f} GB of weights. Ship it as "
            "'safetensors' or 'torch_export'."
        )
    program = traced(with_matrices(job.plain), job.tensors, job.axes)
    model, exporter = _converted(program, job)
    _strip(model)
    _name_axes(model, job.axes)
    file = folder / "student.onnx"
    onnx.save(model, str(file))
    onnx.checker.check_model(str(file), full_check=True)
    if exporter != "torch.export":
        job.notes.append(
            "torch's graph exporter has no translation for an operator of this student; the older exporter was used, "
            "which follows one example."
        )
    return {"file": file.name, "opset": model.opset_import[0].version, "exporter": exporter}


def open_onnx(file: Path, structure: Plain | None = None) -> Callable[..., Sequence[Tensor]]:
    """A callable on tensors that runs the file with onnxruntime on the CPU."""
    _, onnxruntime = packages()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]

    def answer(*tensors: Tensor) -> list[Tensor]:
        values = {name: tensor.detach().contiguous().numpy() for name, tensor in zip(names, tensors, strict=True)}
        return [torch.from_numpy(value) for value in session.run(None, values)]

    return answer


def packages() -> tuple[Any, Any]:
    """onnx and onnxruntime.

    Raises:
        MissingExtraError: if they are not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise MissingExtraError(
            f"ONNX files need onnx, onnxscript and onnxruntime ({error}): "
            "pip install 'knowledge-distillation-toolkit[onnx]'"
        ) from error
    return onnx, onnxruntime


def _converted(program: Any, job: Job) -> tuple[Any, str]:
    named = {"input_names": [entry.name for entry in job.inputs], "output_names": list(job.outputs)}
    if job.opset is not None:
        named["opset_version"] = job.opset  # type: ignore[assignment]
    try:
        with quiet(), torch.no_grad():
            return torch.onnx.export(program, dynamo=True, verbose=False, **named).model_proto, "torch.export"
    except Exception as error:
        first = error
    try:
        return _by_example(job, named), "torchscript"
    except Exception:
        raise ExportError(_unknown_operator(first)) from first


def _by_example(job: Job, named: Any) -> Any:
    """torch's older exporter, which runs the student once and writes down what it did."""
    onnx, _ = packages()
    buffer = io.BytesIO()
    axes = {entry.name: dict(vary) for entry, vary in zip(job.inputs, job.axes, strict=True)}
    with quiet(), torch.no_grad():
        torch.onnx.export(job.plain, tuple(job.tensors), buffer, dynamo=False, dynamic_axes=axes | _rows(job), **named)
    return onnx.load_from_string(buffer.getvalue())


def _rows(job: Job) -> dict[str, dict[int, str]]:
    rows = {tensor.shape[0] for tensor, vary in zip(job.tensors, job.axes, strict=True) if 0 in vary}
    return {name: {0: "batch"} for name, tensor in job.outputs.items() if tensor.dim() and tensor.shape[0] in rows}


def _unknown_operator(error: BaseException) -> str:
    """The operator that has no translation and the module whose forward calls it."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    found = re.search(r"No ONNX function found for <OpOverload\(op='([\w.:]+)'", "\n".join(map(str, chain)))
    lines = str(chain[-1]).strip().splitlines()
    name = found[1] if found else f"an operator ({lines[-1] if lines else type(chain[-1]).__name__})"
    places = [place for link in chain if (place := _module_of(link.__traceback__))]
    return (
        f"ONNX cannot express {name}, which {places[-1] if places else 'the student'} uses. Replace that part of the "
        "student, or ship it as 'torch_export' or 'safetensors'."
    )


def _module_of(traceback: TracebackType | None) -> str | None:
    """The module of the graph's node that was being translated, from the exporter's own frames."""
    place = None
    while traceback is not None:
        for value in traceback.tb_frame.f_locals.values():
            if isinstance(value, torch.fx.Node) and value.meta.get("nn_module_stack"):
                path, kind = list(value.meta["nn_module_stack"].values())[-1]
                place = f"the module {named_module(path, kind if isinstance(kind, str) else kind.__name__)}"
        traceback = traceback.tb_next
    return place


def _strip(model: Any) -> None:
    """Take out what the exporter notes about itself: it outweighs a small student, and shows paths of this machine."""
    graph = model.graph
    for entry in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del entry.metadata_props[:]
        entry.doc_string = ""
    for message in (graph, model):
        del message.metadata_props[:]
        message.doc_string = ""
    del graph.value_info[:]


def _name_axes(model: Any, axes: Sequence[Any]) -> None:
    """Varying axes are called by their names instead of s31."""
    names = {}
    for entry, vary in zip(model.graph.input, axes, strict=True):
        for axis, name in vary.items():
            symbol = entry.type.tensor_type.shape.dim[axis].dim_param
            if symbol:
                names[symbol] = name
    for entry in (*model.graph.input, *model.graph.output):
        for dimension in entry.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = re.sub(
                    r"[A-Za-z_]\w*", lambda found: names.get(found[0], found[0]), dimension.dim_param
                )
