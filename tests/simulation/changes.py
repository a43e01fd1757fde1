"""Every way to take one condition of a module away."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

#: A bound moves by one.
_BOUNDS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}


@dataclass(frozen=True, slots=True)
class Change:
    """A condition of a file, and what happens to it. `number` is its place among the file's changes."""

    path: str
    number: int
    line: int
    function: str
    condition: str
    how: str

    @property
    def key(self) -> str:
        """The change's name. It has no line number, because lines move."""
        return f"{self.path} {self.function}: {self.condition}: {self.how}"


def changes(path: str, source: str) -> list[Change]:
    """All changes of a module.

    Each condition becomes always true, and always false. It is still evaluated, because evaluating it
    may have an effect. Each operand of `and` and `or` is left out, and `<` becomes `<=`, `>` becomes
    `>=`, and so on. An `assert` is not a condition: it tells mypy what is known.

    Example: `if a < 1 and b:` has five changes: always true, always false, without `a < 1`, without
    `b`, and `a <= 1`.
    """
    made = enumerate(_made(ast.parse(source)))
    return [Change(path, number, *what) for number, what in made]


def changed(source: str, number: int) -> str:
    """The module's source with the change of this number. Raises IndexError if there is none."""
    tree = ast.parse(source)
    for at, _ in enumerate(_made(tree)):
        if at == number:
            return ast.unparse(tree)
    raise IndexError(f"the module has no change {number}")


def _made(tree: ast.Module) -> Iterator[tuple[int, str, str, str]]:
    """The line, function, condition and change. While each is yielded, the tree has that change."""
    for node, name, at, function in _expressions(tree, "module"):
        condition = _get(node, name, at)
        text = ast.unparse(condition)
        for how, replacement in list(_replacements(node, name, condition)):
            _set(node, name, at, replacement)
            yield condition.lineno, function, text, how
            _set(node, name, at, condition)


def _expressions(node: ast.AST, function: str) -> Iterator[tuple[ast.AST, str, int | None, str]]:
    """Every place of an expression: its parent, the parent's field, and the index in that field."""
    if isinstance(node, ast.Assert):
        return
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        function = node.name if function == "module" else f"{function}.{node.name}"
    for name, value in ast.iter_fields(node):
        for at, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.expr):
                yield node, name, at, function
            if isinstance(child, ast.AST):
                yield from _expressions(child, function)


def _replacements(parent: ast.AST, name: str, node: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """How the expression can be changed, and the expression that takes its place."""
    is_test = name in ("test", "ifs")
    is_truth = isinstance(node, ast.Compare | ast.BoolOp) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )
    if is_test or (is_truth and not isinstance(parent, ast.BoolOp)):
        yield "always true", ast.BoolOp(ast.Or(), [node, ast.Constant(True)])
        yield "always false", ast.BoolOp(ast.And(), [node, ast.Constant(False)])
    if isinstance(node, ast.BoolOp):
        for at in range(len(node.values)):
            left = node.values[:at] + node.values[at + 1 :]
            without = left[0] if len(left) == 1 else ast.BoolOp(node.op, left)
            yield f"without {ast.unparse(node.values[at])}", without
    if isinstance(node, ast.Compare):
        for at, op in enumerate(node.ops):
            if type(op) in _BOUNDS:
                ops = [*node.ops[:at], _BOUNDS[type(op)](), *node.ops[at + 1 :]]
                moved = ast.Compare(node.left, ops, node.comparators)
                yield ast.unparse(moved), moved


def _get(node: ast.AST, name: str, at: int | None) -> Any:
    value = getattr(node, name)
    return value if at is None else value[at]


def _set(node: ast.AST, name: str, at: int | None, to: ast.expr) -> None:
    if at is None:
        setattr(node, name, to)
    else:
        getattr(node, name)[at] = to
