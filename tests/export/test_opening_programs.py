"""What goes wrong for a user when a program of a stranger is more than tensor operators."""

from __future__ import annotations

import pytest

from knowledge_distillation.export.opening_programs import OPERATORS, PARTS, _is_formula, _is_tree


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s95', positive=True, integer=True)",
        "Mul(Integer(2), Max(Integer(1), Add(Symbol('s43', integer=True), Integer(-2))))",
        "((-2) + size) != 1",
        "Pow(Symbol('u0'), Integer(2))",
        "FloorDiv(Symbol('s1'), Integer(16))",
        "size * 2 <= 4096 and not size == 3",
    ],
)
def test_arithmetic_on_sizes_is_taken(text: str) -> None:
    """Otherwise students with varying axes cannot be loaded again."""
    assert _is_formula(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "Integer(1).__class__",
        "().__class__",
        "exec('1')",
        "Symbol('a b')",
        "Symbol('__import__')",
        "[x for x in y]",
        "lambda: 1",
        "f'{1}'",
        "Pow(Integer(10), Integer(5000))",
        "10 ** 9999999",
        "Pow(" * 6 + "Integer(9)" + ", Integer(9))" * 6,
        "Pow(Integer(10), Pow(Integer(10), Integer(10)))",
        "10 ** 10 ** 10",
        "LShift(Integer(1), Integer(9999999))",
        "1 << 9999999",
        "Integer(99999999999999999999)",
        "'a b'",
        "a[0]",
        "(a := 1)",
    ],
)
def test_anything_else_for_a_size_is_refused(text: str) -> None:
    """Otherwise torch's reader evaluates it as Python, or works out a number without end."""
    assert not _is_formula(text)


@pytest.mark.parametrize(
    ("target", "taken"),
    [
        ("torch.ops.aten.linear.default", True),
        ("torch.ops.torchao.quantize_affine.default", True),
        ("_operator.getitem", True),
        ("torch.sym_max", True),
        ("torch.ops.aten.from_file.default", False),
        ("torch.ops.aten.save.default", False),
        ("torch.load", False),
        ("torch.serialization.os.system", False),
        ("_operator.attrgetter", False),
        ("math.gamma", False),
        ("torch.ops.aten.linear.default.__globals__", False),
        ("torch.ops.mine.op.default", False),
    ],
)
def test_only_tensor_operators_are_called(target: str, taken: bool) -> None:
    """Otherwise a program's first node is os.system."""
    assert bool(OPERATORS.fullmatch(target)) == taken


def test_no_operator_that_takes_a_file_is_among_them() -> None:
    """Otherwise a program reads or writes files of this machine."""
    import torch

    takes_files = [
        schema.name
        for schema in torch._C._jit_get_all_schemas()
        if any("file" in argument.name for argument in schema.arguments)
    ]
    assert takes_files
    named = [f"torch.ops.{name.replace('::', '.')}.default" for name in takes_files]
    assert [name for name in named if OPERATORS.fullmatch(name)] == []


@pytest.mark.parametrize(
    ("part", "taken"),
    [
        ("student/models/model.json", True),
        ("student/data/weights/weight_10", True),
        ("student/.data/version", True),
        ("student/data/aotinductor/model/a.so", False),
        ("student/data/constants/opaque_obj_0", False),
        ("student/data/constants/custom_obj_0", False),
        ("student/../../models/model.json", False),
        ("student/extra/a.py", False),
    ],
)
def test_only_parts_of_a_plain_model_are_taken(part: str, taken: bool) -> None:
    """Otherwise a compiled library is loaded, or an object unpickled."""
    assert bool(PARTS.fullmatch(part)) == taken


def test_containers_are_pythons_own() -> None:
    """Otherwise a name in the file decides what is imported."""
    leaf = {"type": None, "context": None, "children_spec": []}
    keys = {"type": "builtins.dict", "context": '["a"]', "children_spec": [leaf]}
    assert _is_tree([1, {"type": "builtins.tuple", "context": "null", "children_spec": [leaf, keys]}])
    assert not _is_tree([1, {**keys, "type": "os.system"}])
    assert not _is_tree([1, {**keys, "context": '["a=__import__(1)"]'}])
    assert not _is_tree("os.system")
