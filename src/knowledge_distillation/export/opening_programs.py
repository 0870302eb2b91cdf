"""Open a torch.export program without running anything but tensor operators.

torch's own reader unpickles what it cannot read otherwise, loads compiled libraries, evaluates the sizes' formulas and
writes names into Python source: it is for trusted files only. So everything that it would interpret is looked at first,
and only what torch itself writes for a plain model passes.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from knowledge_distillation.errors import ExportError
from knowledge_distillation.export.tracing import quiet

PARTS = re.compile(
    r"[^/]+/(models/model\.json|data/(weights|constants)/(model_\w+_config\.json|(weight|tensor)_\d+)"
    r"|data/sample_inputs/model\.pt|data/(weights|constants)/model\.pt"
    r"|archive_(format|version)|\.data/\w+|byteorder|\.format_version|\.storage_alignment|version)"
)
"""What torch 2.7 and later put into the archive of a plain model; no compiled libraries and no pickled objects."""
OPERATORS = re.compile(
    r"torch\.ops\.(aten|torchvision|torchao|quantized_decomposed|export|higher_order)\.(?!\w*(file|save|load))\w+(\.\w+)?"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|torch\.sym_(float|int|ite|max|min|not|sqrt|sum)|math\.(ceil|floor|trunc)"
)
NAME = re.compile(r"[\w.]*")
"""Names become Python source, so they hold nothing but letters, digits, "_" and "."."""
FORMULA = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Name, ast.Load, ast.Constant, ast.operator,
    ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
FUNCTIONS = (
    "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "Abs", "Eq", "Ne", "Equality",
    "Unequality", "LessThan", "StrictLessThan", "GreaterThan", "StrictGreaterThan", "And", "Or", "Not", "Piecewise",
    "FloorDiv", "ModularIndexing", "Where", "PythonMod", "CleanDiv", "CeilToInt", "FloorToInt", "CeilDiv",
    "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv", "TruncToFloat", "TruncToInt", "RoundToInt",
    "RoundDecimal", "ToFloat", "Identity",
)  # fmt: skip
POWERS = ("Pow", "PowByNatural", "FloatPow")
LARGEST_POWER, MOST_POWERS, LARGEST_NUMBER = 16, 4, 2**63
"""Powers and shifts are worked out while a file is read: to small numbers, and few of them, but no tower."""
FREE = ("metadata", "as_string", "as_strings", "torch_version")
"""Entries whose texts are only shown, or handed to an operator."""


def open_program(file: Path) -> nn.Module:
    """The program of a .pt2 file as a module.

    Raises:
        ExportError: if the file is no program, or holds anything besides tensor operators and tensors.
    """
    try:
        checked = checked_program(file)
        with quiet(), _weights_only():
            return torch.export.load(checked).module()
    except Exception as error:  # the reader fails in as many ways as a file can be wrong
        raise ExportError(
            f"{file} must be a program of tensor operators, as torch.export writes it, and is not "
            f"({type(error).__name__}: {str(error)[:500]}). It was not run. Export again."
        ) from error


def checked_program(file: Path) -> io.BytesIO:
    """A .pt2 file that holds tensors and tensor operators alone.

    Returns:
        Its parts in an archive made anew, so that torch's reader cannot see others than were looked at.

    Raises:
        ValueError, or what reading raises, if it holds anything else.
    """
    made = io.BytesIO()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(made, "w") as anew:
        parts = archive.infolist()
        if sum(part.file_size for part in parts) > file.stat().st_size:
            raise ValueError("it unpacks to more than its size")
        for part in parts:
            if not PARTS.fullmatch(part.filename):
                raise ValueError(f"it holds {part.filename!r}")
        for part in parts:
            content = archive.read(part)
            if part.filename.endswith(".json"):
                _check(json.loads(content), "")
            anew.writestr(part.filename, content)
    made.seek(0)
    return made


def _check(value: Any, key: str) -> None:
    """Look at all texts under a key of the program."""
    if isinstance(value, dict):
        for name, entry in value.items():
            if not NAME.fullmatch(name):
                raise ValueError(f"it names something {name[:100]!r}")
            if name not in FREE:
                _check(entry, name)
    elif isinstance(value, list):
        for entry in value:
            _check(entry, key)
    elif isinstance(value, str):
        _check_text(value, key)


def _check_text(text: str, key: str) -> None:
    if key in ("target", "as_operator"):
        right = OPERATORS.fullmatch(text) is not None
    elif key in ("in_spec", "out_spec"):
        right = _is_tree(json.loads(text))
    elif key == "expr_str":
        right = _is_formula(text)
    elif key == "guards_code":
        right = _is_formula(re.sub(r"L(\['\w+'\]|\[\d+\])+\.size\(\)\[\d+\]", "size", text))
    else:
        right = NAME.fullmatch(text) is not None
    if not right:
        raise ValueError(f"its {key} is {text[:200]!r}")


def _is_formula(text: str) -> bool:
    """Whether a text is arithmetic on numbers and symbols: nothing with a dot, and only known functions are called."""
    powers = []
    for node in ast.walk(ast.parse(text, mode="eval")):
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
                return False
            powers += node.args[-1:] if node.func.id in POWERS else []
        elif isinstance(node, ast.Constant):
            if not _is_small(node.value):
                return False
        elif isinstance(node, ast.Name):
            if "__" in node.id:
                return False
        elif not isinstance(node, (*FORMULA, ast.keyword)) or isinstance(node, ast.LShift):
            return False
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            powers.append(node.right)
    return len(powers) <= MOST_POWERS and all(map(_is_small_power, powers))


def _is_small(value: Any) -> bool:
    """Whether a constant is a number of 64 bits, or the name of a symbol."""
    if isinstance(value, str):
        return re.fullmatch(r"[a-z]+\d+", value) is not None
    return isinstance(value, (int, float)) and abs(value) <= LARGEST_NUMBER


def _is_small_power(node: ast.expr) -> bool:
    if isinstance(node, ast.Call) and len(node.args) == 1:
        node = node.args[0]
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and abs(node.value) <= LARGEST_POWER


def _is_tree(value: Any) -> bool:
    """Whether a description of nested inputs names containers of Python's own alone."""
    if isinstance(value, dict):
        kind = value.get("type")
        known = kind is None or kind in ("builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")
        keys = value.get("context") in (None, "null") or all(map(NAME.fullmatch, json.loads(value["context"])))
        return known and keys and all(map(_is_tree, value.get("children_spec", ())))
    return isinstance(value, int) or (isinstance(value, list) and all(map(_is_tree, value)))


@contextmanager
def _weights_only() -> Iterator[None]:
    """Inside the block torch unpickles tensors and plain data alone, even where its reader asks for more."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
