"""Mutants: small defects that can be put into a source file, one at a time.

The operators are those that matter in this code: swapped comparisons and arithmetic, negated conditions, moved
constants, statements and results left out. Defects that a type checker would find are not tried.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
}


@dataclass(frozen=True)
class Mutant:
    """One defect: where, what was done, and how to make the file's text with it from the original.

    lines: those of the statement it stands in, without a block's body: a test that takes none of them cannot notice.
    """

    file: str
    line: int
    what: str
    change: Callable[[str], str]
    lines: range

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.what}"


def mutants_of(file: str, text: str) -> list[Mutant]:
    """Every mutant of a source text, in the order of its lines."""
    found = []
    lines = range(0)
    for place, node in enumerate(_spots(ast.parse(text))):
        if isinstance(node, ast.stmt):
            lines = _lines(node)
        for operator in _OPERATORS:
            what = operator(copy.deepcopy(node))
            if what:
                change = partial(_changed, place, operator)
                found.append(Mutant(file, getattr(node, "lineno", 0), what, change, lines))
    return sorted(found, key=lambda mutant: mutant.line)


def _lines(statement: ast.stmt) -> range:
    body = getattr(statement, "body", None)
    last = max(statement.lineno, body[0].lineno - 1) if body else statement.end_lineno or statement.lineno
    return range(statement.lineno, last + 1)


def _spots(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes inside functions, in a fixed order: what runs at import would only break the import."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in function.body:
                yield from _walk(statement)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """The node and what is in it, without functions inside (they are walked for themselves), types and messages."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Assert | ast.Raise):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child)


def _changed(place: int, operator: Callable[[ast.AST], str], text: str) -> str:
    """The text with the operator applied at the place-th spot."""
    tree = ast.parse(text)
    operator(next(islice(_spots(tree), place, None)))
    return ast.unparse(ast.fix_missing_locations(tree))


def _swap_comparison(node: ast.AST) -> str:
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        old, new = type(node.ops[0]), _COMPARISONS[type(node.ops[0])]
        node.ops[0] = new()
        return f"{old.__name__} -> {new.__name__}"
    return ""


def _swap_arithmetic(node: ast.AST) -> str:
    if isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        if isinstance(node, ast.BinOp) and any(_is_text(side) for side in (node.left, node.right)):
            return ""
        old, new = type(node.op), _ARITHMETIC[type(node.op)]
        node.op = new()
        return f"{old.__name__} -> {new.__name__}"
    return ""


def _swap_boolean(node: ast.AST) -> str:
    if isinstance(node, ast.BoolOp):
        old = type(node.op)
        node.op = ast.Or() if old is ast.And else ast.And()
        return f"{old.__name__} -> {type(node.op).__name__}"
    return ""


def _negate_condition(node: ast.AST) -> str:
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(node.test, ast.Constant):
        node.test = ast.UnaryOp(ast.Not(), node.test)
        return "condition negated"
    return ""


def _move_constant(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        node.value = not node.value
        return f"{not node.value} -> {node.value}"
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        old, node.value = node.value, node.value + 1
        return f"{old} -> {node.value}"
    return ""


def _leave_out(node: ast.AST) -> str:
    """Only what is run for its effect: a missing assignment would be a name that does not exist."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        text = ast.unparse(node)
        if text.startswith("log."):
            return ""
        node.value = ast.Constant(None)
        return f"left out: {text.splitlines()[0][:60]}"
    return ""


def _return_nothing(node: ast.AST) -> str:
    if isinstance(node, ast.Return) and node.value is not None:
        if isinstance(node.value, ast.Constant) and node.value.value is None:
            return ""
        node.value = ast.Constant(None)
        return "returns None"
    return ""


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


_OPERATORS = (
    _swap_comparison,
    _swap_arithmetic,
    _swap_boolean,
    _negate_condition,
    _move_constant,
    _leave_out,
    _return_nothing,
)
