"""Finds every place in a source file where an operator has something to offer, and makes the broken sources."""

from __future__ import annotations

import ast
import copy
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.mutation.operators import FILLING, OPERATORS, called
from knowledge_distillation.losses import catalogue

LOSSES = frozenset(catalogue())
# functions that look at the shape of what they get
SHAPES_ONLY = re.compile(r"count|mask|shape|_like$|_as$|^new_|^isinstance$|^len$|^range$")
ASKS_WHAT_IT_IS = re.compile(r" is (not )?None|\.device\b|\.dtype\b")
QUIET_ATTRIBUTES = {
    "shape",
    "dtype",
    "device",
    "dim",
    "ndim",
    "size",
    "numel",
    "requires_grad",
    "new_zeros",
    "is_floating_point",
}


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One wrong version of one source file."""

    file: Path
    function: str
    """Qualified name of the function that is broken, such as "KD.forward"."""
    line: int
    operator: str
    description: str
    source: str = field(repr=False)
    """The whole mutated file."""

    @property
    def name(self) -> str:
        folder = self.file.parent.name
        return f"{folder}/{self.file.name}:{self.line} {self.function}: {self.description}"


def mutants_of(file: Path) -> list[Mutant]:
    """Every mutant of a file, in the order of the source."""
    tree = ast.parse(file.read_text())
    return [mutant for name, function in functions(tree) for mutant in mutants_in(file, tree, name, function)]


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef):
                    yield f"{node.name}.{member.name}", member


def mutants_in(file: Path, tree: ast.Module, name: str, function: ast.FunctionDef) -> Iterator[Mutant]:
    if function.name.startswith("check"):
        return
    arguments = function.args
    names = frozenset(
        [argument.arg for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]]
        + [node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    )
    unhidden = nothing_hidden(function)
    hides = ast.dump(unhidden) != ast.dump(function)
    for parent, slot, place, node in sites(function):
        for operator, offers in OPERATORS.items():
            if operator == "constant" and quiet_constant(parent):
                continue
            if operator == "mask" and hides and called(node) != "reduce":
                continue
            for description, replacement in offers(node, names):
                put(parent, slot, place, ast.copy_location(replacement, node))
                source = ast.unparse(ast.fix_missing_locations(tree))
                put(parent, slot, place, node)
                before, after = ast.unparse(node), ast.unparse(replacement)
                yield Mutant(
                    file=file,
                    function=name,
                    line=node.lineno,
                    operator=operator,
                    description=f"{description} ({shorten(before)} -> {shorten(after)})",
                    source=source,
                )
    if hides:
        body, function.body = function.body, unhidden.body
        source = ast.unparse(ast.fix_missing_locations(tree))
        function.body = body
        what = "masked items are not hidden before the reduction"
        yield Mutant(file=file, function=name, line=function.lineno, operator="mask", description=what, source=source)


def nothing_hidden(function: ast.FunctionDef) -> ast.FunctionDef:
    """The function without `hide_masked`, and with the mask for `reduce` only.

    Inputs are often hidden twice over, so that leaving out one of the two need not matter; leaving out all must.
    """

    class Reveal(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            if called(node) == "hide_masked":
                return node.args[0]
            if called(node) != "reduce":
                hidden = [getattr(argument, "id", "") == "mask" for argument in node.args]
                node.args = [ast.Constant(None) if here else one for one, here in zip(node.args, hidden, strict=True)]
                node.keywords = [keyword for keyword in node.keywords if keyword.arg != "mask"]
            return node

    revealed: ast.FunctionDef = Reveal().visit(copy.deepcopy(function))
    return revealed


def sites(root: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.expr]]:
    """Every expression that takes part in the result, with the slot of its parent that holds it."""
    for slot, value in ast.iter_fields(root):
        if isinstance(root, ast.FunctionDef) and slot != "body":
            continue
        if slot in ("annotation", "returns", "decorator_list", "slice", "ctx"):
            continue
        for place, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or silent(root, node):
                continue
            if isinstance(node, ast.expr):
                yield root, slot, place, node
            if called(node) in LOSSES:
                # a loss detaches its teacher and hides its masked items itself: doing so before changes nothing
                yield from (site for site in sites(node) if called(site[3]) != "detach" and not passes_mask(site[3]))
            else:
                yield from sites(node)


def passes_mask(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and any(keyword.arg == "mask" for keyword in node.keywords)


def silent(parent: ast.AST, node: ast.AST) -> bool:
    """What never changes a result: checks, messages, docstrings, questions about shape and type."""
    if isinstance(node, (ast.Raise, ast.Assert)) or called(node).startswith("check"):
        return True
    if isinstance(node, ast.If) and all(isinstance(step, ast.Raise) for step in node.body):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Attribute) and (node.attr in QUIET_ATTRIBUTES or node.attr.startswith("new_")):
        return True
    if isinstance(node, ast.Compare) and ASKS_WHAT_IT_IS.search(ast.unparse(node)):
        return True
    return isinstance(parent, ast.Call) and bool(SHAPES_ONLY.search(called(parent))) and node is not parent.func


def quiet_constant(parent: ast.AST) -> bool:
    """Numbers that name axes or fill what is hidden anyway."""
    if called(parent) in FILLING or isinstance(parent, (ast.Subscript, ast.Slice, ast.Tuple, ast.List, ast.Return)):
        return True
    if isinstance(parent, ast.keyword):
        return parent.arg in ("dim", "keepdim", "start_dim", "end_dim", "axis", "ord", "diagonal", "kernel_size")
    if isinstance(parent, ast.UnaryOp):
        return True
    return isinstance(parent, ast.Call)


def put(parent: ast.AST, slot: str, place: int | None, node: ast.AST) -> None:
    if place is None:
        setattr(parent, slot, node)
    else:
        getattr(parent, slot)[place] = node


def shorten(text: str, length: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 3] + "..."


def sample(mutants: list[Mutant], count: int) -> list[Mutant]:
    """The same choice every time: one mutant of each operator in turn, in an order given by a digest."""
    queues: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in sorted(mutants, key=lambda mutant: hashlib.sha256(mutant.name.encode()).digest()):
        queues[mutant.operator].append(mutant)
    order = sorted(queues, key=lambda name: hashlib.sha256((mutants[0].file.name + name).encode()).digest())
    chosen: list[Mutant] = []
    while len(chosen) < count and any(queues.values()):
        chosen += [queues[name].pop(0) for name in order if queues[name]]
    return chosen[:count]
