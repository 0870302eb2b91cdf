"""The student as one ONNX file."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from knowledge_distillation.errors import ExportError, MissingExtraError
from knowledge_distillation.export.calls import Plain
from knowledge_distillation.export.job import Job
from knowledge_distillation.export.pooling import with_matrices
from knowledge_distillation.export.tracing import (
    FixedAxisError,
    named_module,
    other_sizes,
    output_axes,
    quiet,
    traced,
)

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
    model, exporter = _exported(job)
    _strip(model)
    _name_axes(model, job)
    file = folder / "student.onnx"
    onnx.save(model, str(file))
    onnx.checker.check_model(str(file), full_check=True)
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    return {"file": file.name, "opset": opset, "exporter": exporter}


def open_onnx(file: Path, structure: Plain | None, names: Sequence[str]) -> Callable[..., Sequence[Tensor]]:
    """A callable on tensors, in the order of the names, that runs the file with onnxruntime on the CPU.

    Raises:
        ExportError: if it is no ONNX file that onnxruntime takes, or it keeps weights in other files, as ours never do.
        MissingExtraError: if the extra "onnx" is not installed.
    """
    onnx, _ = packages()
    try:
        model = onnx.load(str(file), load_external_data=False)
        graphs = [model.graph, *model.functions]
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for graph in graphs for tensor in _weights(graph)):
            raise ValueError("it names other files as its weights")
        return _session(str(file), names)
    except Exception as error:  # protobuf and onnxruntime have errors of their own for every fault
        raise ExportError(
            f"{file} must be an ONNX file with all its weights, and is not ({type(error).__name__}: "
            f"{str(error)[:500]}). It was not run. Export again."
        ) from error


def _weights(graph: Any) -> Iterator[Any]:
    """The tensors that stand in a graph, and in the branches and loops in it."""
    yield from getattr(graph, "initializer", ())
    for sparse in getattr(graph, "sparse_initializer", ()):
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _weights(inner)


def _session(source: str | bytes, names: Sequence[str]) -> Callable[..., Sequence[Tensor]]:
    _, onnxruntime = packages()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    used = {entry.name for entry in session.get_inputs()}

    def answer(*tensors: Tensor) -> list[Tensor]:
        given = {name: tensor for name, tensor in zip(names, tensors, strict=True) if name in used}
        values = {name: tensor.detach().contiguous().numpy() for name, tensor in given.items()}
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
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise MissingExtraError(
            f"ONNX files need onnx, onnxscript and onnxruntime ({error}): "
            "pip install 'knowledge-distillation-toolkit[onnx]'"
        ) from error
    return onnx, onnxruntime


def _exported(job: Job) -> tuple[Any, str]:
    """The ONNX model and the exporter's name: the older one for loops over time, and for what the newer lacks.

    Control flow that depends on values is never given to the older one: it would write down one branch.
    """
    named: dict[str, Any] = {"input_names": [entry.name for entry in job.inputs], "output_names": list(job.outputs)}
    if job.opset is not None:
        named["opset_version"] = job.opset
    try:
        program = traced(with_matrices(job.plain), job.tensors, job.axes)
    except FixedAxisError as error:
        return _by_example(job, named, error), "torchscript"
    try:
        with quiet(), torch.no_grad():
            written: Any = torch.onnx.export(program, dynamo=True, verbose=False, **named)
            return written.model_proto, "torch.export"
    except Exception as error:
        refusal = ExportError(_unknown_operator(error))
        refusal.__cause__ = error
    return _by_example(job, named, refusal), "torchscript"


def _by_example(job: Job, named: Mapping[str, Any], refusal: ExportError) -> Any:
    """torch's older exporter, which runs the student once and writes down what it did.

    Raises:
        ExportError: the newer exporter's refusal, if this one fails too or fixes an axis that must vary.
    """
    onnx, _ = packages()
    buffer: Any = io.BytesIO()  # torch takes it and does not say so
    axes = {entry.name: dict(vary) for entry, vary in zip(job.inputs, job.axes, strict=True)}
    axes |= dict(zip(job.outputs, output_axes(job.plain, job.tensors, job.axes), strict=True))
    try:
        with quiet(), _silent(), torch.no_grad():
            torch.onnx.export(
                job.plain, tuple(job.tensors), buffer, dynamo=False, verbose=False, dynamic_axes=axes, **named
            )
        answer = _session(buffer.getvalue(), named["input_names"])
        for tensors in other_sizes(job.tensors, job.axes):
            answer(*tensors)
    except Exception:
        raise refusal from refusal.__cause__
    job.notes.append("torch's newer exporter refused the student; its older one was used, which follows one example.")
    return onnx.load_from_string(buffer.getvalue())


@contextmanager
def _silent() -> Iterator[None]:
    """Keep back what torch's older exporter prints from C++ where it fails."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


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


def _name_axes(model: Any, job: Job) -> None:
    """Varying axes are called by their names instead of s31."""
    axes = {entry.name: vary for entry, vary in zip(job.inputs, job.axes, strict=True)}
    names = {}
    for entry in model.graph.input:
        for axis, name in axes[entry.name].items():
            symbol = entry.type.tensor_type.shape.dim[axis].dim_param
            if symbol:
                names[symbol] = name
    for entry in (*model.graph.input, *model.graph.output):
        for dimension in entry.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = re.sub(
                    r"[A-Za-z_]\w*", lambda found: names.get(found[0], found[0]), dimension.dim_param
                )
