"""The changes: each operator looks at one expression and offers wrong ones that resemble it.

They are the mistakes that people make in distillation losses: a forgotten squared temperature, the sides swapped,
the wrong axis, sum for mean, a mask or a detach left out. Changes that cannot alter a result are not offered:
error checks, messages, shapes, fillings of hidden items, and swaps inside symmetric functions.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator

Offer = tuple[str, ast.expr]
Operator = Callable[[ast.expr, frozenset[str]], Iterator[Offer]]

AXIS_CALLS = {"sum", "mean", "softmax", "log_softmax", "amax", "amin", "logsumexp", "norm", "vector_norm", "std", "var"}
AXIS_CALLS |= {"argmax", "argsort", "sort", "cumsum", "normalize", "cosine_similarity", "gather", "topk"}
UNWRAPPED = {"abs", "sqrt", "log", "exp", "square", "sigmoid", "relu", "log_softmax", "softmax", "normalize", "tanh"}
OPPOSITES = {"amax": "amin", "max": "min", "maximum": "minimum", "argmax": "argmin"}
OPPOSITES |= {low: high for high, low in OPPOSITES.items()}
SYMMETRIC = {"mse_loss", "l1_loss", "smooth_l1_loss", "cosine_similarity", "cdist", "maximum", "minimum"}
FILLING = {"masked_fill", "where", "reshape", "view", "expand", "flatten", "unsqueeze", "range", "size", "permute"}
FILLING |= {"transpose", "unflatten", "finfo", "isinstance", "len", "zeros", "new_zeros", "arange", "nan_to_num"}
COMPLEMENT: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
TINY = 1e-3


def called(node: ast.AST) -> str:
    """The last name of what a call calls; empty for anything else."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def number(node: ast.AST) -> float | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return float(node.value)
    return None


def receiver(node: ast.Call) -> ast.expr | None:
    """What a one-argument function or a method works on."""
    if isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") not in ("torch", "F", "math"):
        return node.func.value
    return node.args[0] if node.args else None


def power(node: ast.expr, names: frozenset[str]) -> Iterator[Offer]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        yield "power dropped", node.left
    if isinstance(node, ast.Call) and called(node) == "pow":
        inner = receiver(node)
        if inner is not None:
            yield "power dropped", inner


def factor(node: ast.expr, names: frozenset[str]) -> Iterator[Offer]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        yield "factor dropped", node.left
        yield "factor dropped", node.right


def divisor(node: ast.expr, names: frozenset[str]) -> Iterator[Offer]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        yield "divisor dropped", node.left
        yield "multiplied instead of divided", ast.BinOp(node.left, ast.Mult(), node.right)


def sign(node: ast.expr, names: frozenset[str]) -> Iterator[Offer]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        yield "sign flipped", ast.BinOp(node.left, other, node.right)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and number(node) is None:
        yield "minus dropped", node.operand


def term(node: ast.expr, names: frozenset[str]) -> Iterator[Offer]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        yield "term dropped", node.left
        if isinstance(node.op, ast.Add):
            yield "term dropped", node.right


def axis(node: ast.expr, names: frozenset[str]) -> Iterator[Offer]:
    if not isinstance(node, ast.Call) or called(node) not in AXIS_CALLS:
        return
    method = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") not in ("torch", "F")
    for place, keyword in enumerate(node.keywords):
        if keyword.arg == "dim" and number(keyword.value) is not None:
            changed = copy.deepcopy(node)
            changed.keywords[place].value = ast.Constant(1 if number(keyword.value) == 0 else 0)
            yield "wrong axis", changed
    place = 0 if method else 1
    if (
        len(node.args) > place
        and number(node.args[place]) is not None
        and called(node) in AXIS_CALLS - {"topk", "norm"}
    ):
        changed = copy.deepcopy(node)
        changed.args[place] = ast.Constant(1 if number(node.args[place]) == 0 else 0)
        yield "wrong axis", changed


def averaging(node: ast.expr, names: frozenset[str]) -> Iterator[Offer]:
    other = {"sum": "mean", "mean": "sum"}.get(called(node))
    if other and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield f"{other} for {node.func.attr}", renamed(node, other)


def extreme(node: ast.expr, names: frozenset[str]) -> Iterator[Offer]:
    other = OPPOSITES.get(called(node))
    if other and isinstance(node, ast.Call):
        yield f"{other} for {called(node)}", renamed(node, other)
    if isinstance(node, ast.Call) and called(node) == "clamp":
        changed = copy.deepcopy(node)
        for keyword in changed.keywords:
            keyword.arg = {"min": "max", "max": "min"}.get(keyword.arg or "", keyword.arg)
        if len(changed.keywords) == 1:
            yield "clamped on the other side", changed


def renamed(node: ast.Call, name: str) -> ast.expr:
    changed = copy.deepcopy(node)
    if isinstance(changed.func, ast.Attribute):
        changed.func.attr = name
    elif isinstance(changed.func, ast.Name):
        changed.func.id = name
    return changed


def unwrapped(node: ast.expr, names: frozenset[str]) -> Iterator[Offer]:
    if isinstance(node, ast.Call) and called(node) in UNWRAPPED:
        inner = receiver(node)
        if inner is not None:
            yield f"{called(node)} dropped", inner


def mask(node: ast.expr, names: frozenset[str]) -> Iterator[Offer]:
    if not isinstance(node, ast.Call):
        return
    for place, keyword in enumerate(node.keywords):
        if keyword.arg == "mask" and isinstance(keyword.value, ast.Name):
            changed = copy.deepcopy(node)
            changed.keywords[place].value = ast.Constant(None)
            yield f"mask not passed to {called(node)}", changed


def detach(node: ast.expr, names: frozenset[str]) -> Iterator[Offer]:
    if isinstance(node, ast.Call) and called(node) == "detach" and isinstance(node.func, ast.Attribute):
        yield "detach dropped", node.func.value
    if isinstance(node, ast.Name) and node.id.startswith("student") and isinstance(node.ctx, ast.Load):
        yield "student detached", ast.Call(ast.Attribute(node, "detach", ast.Load()), [], [])


def sides(node: ast.expr, names: frozenset[str]) -> Iterator[Offer]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        other = node.id.replace("student", "teacher") if "student" in node.id else node.id.replace("teacher", "student")
        if other != node.id and other in names:
            yield f"{other} for {node.id}", ast.Name(other, ast.Load())
    if isinstance(node, ast.Call) and called(node) not in SYMMETRIC and len(node.args) >= 2:
        who = [argument.id.partition("_")[0] for argument in node.args[:2] if isinstance(argument, ast.Name)]
        if sorted(who) == ["student", "teacher"]:
            changed = copy.deepcopy(node)
            changed.args[:2] = changed.args[1::-1]
            yield "student and teacher swapped", changed


def constant(node: ast.expr, names: frozenset[str]) -> Iterator[Offer]:
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
        return
    value = node.value
    if 0 < abs(value) < TINY:
        yield f"{value} -> 0.1", ast.Constant(0.1)
    else:
        yield f"{value} -> {value * 2 or 1}", ast.Constant(value * 2 or type(value)(1))


def comparison(node: ast.expr, names: frozenset[str]) -> Iterator[Offer]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPLEMENT:
        yield "comparison flipped", ast.Compare(node.left, [COMPLEMENT[type(node.ops[0])]()], node.comparators)


OPERATORS: dict[str, Operator] = {
    "power": power,
    "factor": factor,
    "divisor": divisor,
    "sign": sign,
    "term": term,
    "axis": axis,
    "averaging": averaging,
    "extreme": extreme,
    "unwrapped": unwrapped,
    "mask": mask,
    "detach": detach,
    "sides": sides,
    "constant": constant,
    "comparison": comparison,
}
