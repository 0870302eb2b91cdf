"""The student in eight bits: the ONNX file quantised by onnxruntime, or the linear layers by torchao."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from knowledge_distillation.errors import ConfigError, ExportError, MissingExtraError
from knowledge_distillation.export.calls import Plain
from knowledge_distillation.export.job import Job
from knowledge_distillation.export.onnx_form import packages, write_onnx
from knowledge_distillation.export.torch_export_form import open_torch_export
from knowledge_distillation.export.tracing import quiet, traced

SMALLEST_WEIGHT = 256
"""Values of a weight below which quantising saves less than its scales take."""
QUANTISED = ("Conv", "ConvTranspose", "MatMul", "Gemm")
DYNAMIC = (*QUANTISED, "LSTM", "Gather")
STATIC = (*QUANTISED, "Relu", "Clip", "MaxPool")
"""The activations besides, because a range that is taken behind them wastes no step on values below 0."""


def write_int8(job: Job, folder: Path) -> dict[str, Any]:
    """Write student.int8.onnx: weights of eight bits, one scale for each output.

    "static" also fixes the ranges of what flows between the layers, from calibration batches: whole layers compute in
    integers. "dynamic" finds the ranges anew for each batch. "auto" takes static for students with convolutions and no
    attention where there is something to calibrate on, else dynamic: a few tokens' activations are many times the
    others', and one range for all would leave the others no steps (Bondarenko et al. 2021, arXiv:2109.12948).

    Raises:
        ExportError: as `write_onnx`, or if nothing can be quantised.
        ConfigError: if "static" has nothing to calibrate on.
        MissingExtraError: if the extra "onnx" is not installed.
    """
    onnx, _ = packages()
    from onnxruntime import quantization

    details = write_onnx(job, folder)
    exact, file = folder / details["file"], folder / "student.int8.onnx"
    model = onnx.load(str(exact))
    kinds = {node.op_type for node in model.graph.node}
    batches = list(job.calibration)
    way = job.quantisation
    if way == "auto":
        convolves, attends = kinds & {"Conv", "ConvTranspose"}, "Softmax" in kinds
        way = "static" if batches and convolves and not attends else "dynamic"
    if way == "static" and not batches:
        raise ConfigError("Static quantisation needs a loader to calibrate on: pass loader= or calibration=.")
    left_out = _small(model)
    settings = {"weight_type": quantization.QuantType.QInt8, "per_channel": True, "nodes_to_exclude": left_out}
    with quiet():
        if way == "static":
            quantization.quantize_static(
                str(exact),
                str(file),
                _Batches([entry.name for entry in job.inputs], batches),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QInt8,
                op_types_to_quantize=list(STATIC),
                # what a linear layer gives is an answer, or is rounded where the next layer reads it
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
                **settings,
            )
        else:
            quantization.quantize_dynamic(str(exact), str(file), op_types_to_quantize=list(DYNAMIC), **settings)
    before = exact.stat().st_size
    exact.unlink()
    if not any("int8" in entry for entry in _integer_weights(onnx, file)):
        raise ExportError(
            "No weight of the student could be quantised: none belongs to a convolution, a linear layer, an embedding "
            f"or an LSTM and has {SMALLEST_WEIGHT} values. Ship it as 'onnx'."
        )
    _without_names(onnx, file)
    calibrated = {"calibration_batches": len(batches)} if way == "static" else {}
    return {
        **details,
        "file": file.name,
        "quantisation": {"way": way, "weights": "int8 by output", "in_float": left_out, **calibrated},
        "bytes_before": before,
    }


def write_int8_torch(job: Job, folder: Path) -> dict[str, Any]:
    """Write student.int8.pt2: linear layers with weights and inputs of eight bits by torchao; the others as they are.

    Raises:
        ExportError: if the student has no linear layer, or torch.export refuses.
        MissingExtraError: if the extra "quantize" is not installed.
    """
    torchao = _torchao()
    if not any(isinstance(module, nn.Linear) for module in job.plain.modules()):
        raise ExportError("torchao quantises linear layers and the student has none. Take 'int8', by onnxruntime.")
    with quiet():
        torchao.quantize_(job.plain, torchao.Int8DynamicActivationInt8WeightConfig())
    program = traced(job.plain, job.tensors, job.axes)
    file = folder / "student.int8.pt2"
    with quiet():
        torch.export.save(program, file)
    quantisation = {"way": "dynamic", "weights": "int8 by output, linear layers only"}
    return {"file": file.name, "exporter": "torch.export", "quantisation": quantisation}


def open_int8_torch(file: Path, structure: Plain | None, names: Sequence[str]) -> Callable[..., Sequence[Tensor]]:
    """A callable on tensors that runs the program; torchao brings its operators."""
    _torchao()
    return open_torch_export(file, structure, names)


class _Batches:
    """Calibration batches as onnxruntime asks for them."""

    def __init__(self, names: Sequence[str], batches: Sequence[Sequence[Tensor]]) -> None:
        self.names = names
        self.batches: Iterator[Sequence[Tensor]] = iter(batches)

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        batch = next(self.batches, None)
        if batch is None:
            return None
        return {name: tensor.contiguous().numpy() for name, tensor in zip(self.names, batch, strict=True)}


def _torchao() -> Any:
    try:
        with quiet():
            return importlib.import_module("torchao.quantization")
    except ImportError as error:
        raise MissingExtraError(
            f"'int8_torch' needs torchao ({error}): pip install 'knowledge-distillation-toolkit[quantize]'"
        ) from error


def _small(model: Any) -> list[str]:
    """Nodes whose weight is too small to be worth its scales."""
    values = {entry.name: int(np.prod(entry.dims)) for entry in model.graph.initializer}
    found = []
    for node in model.graph.node:
        sizes = [values[name] for name in node.input if name in values]
        if node.op_type in DYNAMIC and sizes and max(sizes) < SMALLEST_WEIGHT:
            found += [node.name, f"{node.name}_MatMul"] if node.op_type == "Gemm" else [node.name]  # onnxruntime's name
    return found


def _integer_weights(onnx: Any, file: Path) -> list[str]:
    integer = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    graph = onnx.load(str(file)).graph
    return ["int8" for entry in graph.initializer if entry.data_type in integer and np.prod(entry.dims) > 1]


def _without_names(onnx: Any, file: Path) -> None:
    """Take out what onnxruntime notes about itself, and number what only the graph itself names.

    The names of scales and zero points weigh as much as a tenth of a student of 20,000 parameters.
    """
    model = onnx.load(str(file))
    graph = model.graph
    del graph.value_info[:]
    del model.metadata_props[:]
    kept = {entry.name: entry.name for entry in (*graph.input, *graph.output)}
    _rename(graph, _Numbered({**kept, "": ""}))  # "" stands for an input that is not given
    onnx.save(model, str(file))
    onnx.checker.check_model(str(file), full_check=True)


class _Numbered(dict[str, str]):
    """New names by old ones."""

    def __missing__(self, name: str) -> str:
        self[name] = f"{len(self):x}"
        return self[name]


def _rename(graph: Any, names: _Numbered) -> None:
    """Rename all tensors of a graph, and of the branches and loops in it, which see those around them."""
    for entry in (*graph.input, *graph.initializer, *graph.output):
        entry.name = names[entry.name]
    for node in graph.node:
        node.name = ""
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                _rename(inner, names)
