"""The source of a predicate: which construct could not be traced, and the same predicate written in a way that can be."""

import ast
import inspect
import linecache
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache, partial
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

from flowdsl.model.chain import shown_path
from flowdsl.model.predicates.functions import all_, any_, count, in_, is_none, matches, not_, startswith

Position = tuple[int, int, int, int]
"""First line, first column, last line, last column: they sort as they lie in the text."""


class Source:
    """The source of one predicate, as far as it can be found."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        while isinstance(function, partial):
            function = function.func
        function = inspect.unwrap(function)
        code = getattr(function, "__code__", None)
        self.code: CodeType | None = code or getattr(type(function).__call__, "__code__", None)

    @property
    def location(self) -> str:
        """Where the predicate is written, as `file.py:41`."""
        return "?" if self.code is None else f"{shown_path(self.code.co_filename)}:{self.code.co_firstlineno}"

    def mended(
        self, *, renamed: tuple[str, str] | None = None, replaced: tuple[object, object] | None = None
    ) -> str | None:
        """Return a lambda in the form that can be traced, in one line; None if it is no lambda or is that already.

        `renamed` are the wrong and the right name of an attribute or key, `replaced` a wrong and a right constant.
        """
        node = self._node
        if not isinstance(node, ast.Lambda):
            return None
        before = ast.unparse(node)
        after = ast.unparse(_Mended(renamed, replaced).visit(ast.parse(before, mode="eval").body))
        after = ast.unparse(ast.parse(after, mode="eval"))  # a part that is there twice has its parentheses twice
        return None if after == before else after

    def remade(self, text: str) -> Callable[..., Any] | None:
        """Return the function that a lambda would be if it stood in the place of this one; None if it cannot."""
        function = self.function
        if not isinstance(function, FunctionType):
            return None
        written = ast.parse(text, mode="eval").body
        if not isinstance(written, ast.Lambda):
            return None
        # What the defaults were is known, while names in them need not be any more.
        written.args.defaults = [ast.Constant(None) for _ in written.args.defaults]
        written.args.kw_defaults = [default and ast.Constant(None) for default in written.args.kw_defaults]
        names = [ast.arg(name) for name in function.__code__.co_freevars]
        around = ast.Expression(ast.Lambda(ast.arguments([], names, None, [], [], None, []), written))
        code = compile(ast.fix_missing_locations(around), "<mended>", "eval")
        ours = {one.__name__: one for one in (all_, any_, count, in_, is_none, matches, not_, startswith)}
        try:
            cells = [cell.cell_contents for cell in function.__closure__ or ()]
            made = eval(code, {**ours, **function.__globals__})(*cells)  # noqa: S307 - the user's own code
        except ValueError:  # a cell that is empty yet
            return None
        made.__defaults__, made.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
        return made  # type: ignore[no-any-return]

    @cached_property
    def _node(self) -> ast.Lambda | ast.FunctionDef | None:
        return None if self.code is None else function_node(self.code)


def function_node(code: CodeType) -> ast.Lambda | ast.FunctionDef | None:
    """Return the function a code was made of, where its file can be read."""
    if code.co_name != "<lambda>":
        return next(
            (
                node
                for node in _nodes(code.co_filename)
                if isinstance(node, ast.FunctionDef)
                and node.name == code.co_name
                and min([node.lineno, *(one.lineno for one in node.decorator_list)]) == code.co_firstlineno
            ),
            None,
        )
    spans = [span for span in _spans(code) if span[:2] != span[2:]]
    if not spans:
        return None
    first, last = min(span[:2] for span in spans), max(span[2:] for span in spans)
    found = [
        node
        for node in _nodes(code.co_filename)
        if isinstance(node, ast.Lambda) and span_of(node.body)[:2] <= first and last <= span_of(node.body)[2:]
    ]
    return found[-1] if found else None


def construct_at(frame: FrameType | None) -> str | None:
    """Return the construct of Python's that a frame is at and that asks for the truth of a value, as it is written."""
    if frame is None or frame.f_lasti < 0:
        return None
    at = list(_spans_of_all(frame.f_code))[frame.f_lasti // 2]
    if at is None:
        return None
    names = [
        name
        for node in _nodes(frame.f_code.co_filename)
        if isinstance(node, ast.expr | ast.stmt)
        and span_of(node)[:2] <= at[:2]
        and at[2:] <= span_of(node)[2:]
        and (name := _construct(node)) is not None
    ]
    return names[-1] if names else None


def _construct(node: ast.AST) -> str | None:
    match node:
        case ast.BoolOp(op=ast.And()):
            return "and"
        case ast.BoolOp():
            return "or"
        case ast.UnaryOp(op=ast.Not()):
            return "not"
        case ast.Compare(ops=[ast.In() | ast.NotIn()]):
            return "in"
        case ast.Compare(ops=[_, _, *_]):
            return "chain"
        case ast.IfExp() | ast.If():
            return "if"
        case ast.While():
            return "while"
        case ast.Assert():
            return "assert"
        case _:
            return None


def _nodes(filename: str) -> Iterator[ast.AST]:
    """Yield the nodes of a file from outside to inside, nothing if it cannot be read."""
    yield from _nodes_of("".join(linecache.getlines(filename)))


@lru_cache(maxsize=4)
def _nodes_of(text: str) -> tuple[ast.AST, ...]:
    try:
        return tuple(ast.walk(ast.parse(text)))
    except (SyntaxError, ValueError, RecursionError):
        return ()


def _spans_of_all(code: CodeType) -> Iterator[Position | None]:
    for line, last_line, column, last_column in code.co_positions():
        if line is None or last_line is None or column is None or last_column is None:
            yield None
        else:
            yield line, column, last_line, last_column


def _spans(code: CodeType) -> Iterator[Position]:
    return (span for span in _spans_of_all(code) if span is not None)


def span_of(node: ast.expr | ast.stmt) -> Position:
    """Return where a node lies in the text."""
    last_line, last_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
    return node.lineno, node.col_offset, last_line, last_column


# ---- mending --------------------------------------------------------------------------------------------------------

_CALLS: Final = {"len": "count", "any": "any_", "all": "all_"}


class _Mended(ast.NodeTransformer):
    """Writes what cannot be traced in the way that can."""

    def __init__(self, renamed: tuple[str, str] | None, replaced: tuple[object, object] | None) -> None:
        self.renamed = renamed
        self.replaced = replaced

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        old, new = self.replaced or (None, None)
        is_meant = self.replaced is not None and type(node.value) is type(old) and node.value == old
        return ast.Constant(new) if is_meant else node  # type: ignore[arg-type]

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        parts = [self.visit(part) for part in node.values]
        return _folded(ast.BitAnd() if isinstance(node.op, ast.And) else ast.BitOr(), parts)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        inner = self.visit(node.operand)
        return _call("not_", inner) if isinstance(node.op, ast.Not) else ast.UnaryOp(node.op, inner)

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        test, body, other = self.visit(node.test), self.visit(node.body), self.visit(node.orelse)
        match body, other:
            case ast.Constant(value=True | 1), ast.Constant(value=False | 0 | None):
                return test  # type: ignore[no-any-return]
            case ast.Constant(value=False | 0 | None), ast.Constant(value=True | 1):
                return _call("not_", test)
            case ast.Constant(value=True | 1), _:
                return _folded(ast.BitOr(), [test, other])
            case _, ast.Constant(value=False | 0 | None):
                return _folded(ast.BitAnd(), [test, body])
        return _folded(
            ast.BitOr(), [_folded(ast.BitAnd(), [test, body]), _folded(ast.BitAnd(), [_call("not_", test), other])]
        )

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        operands = [self.visit(operand) for operand in (node.left, *node.comparators)]
        # `a < 1 & b > 2` is read as `a < (1 & b) > 2`: what was meant is most likely two comparisons.
        pairs: list[ast.expr] = []
        joints: list[ast.operator] = []
        left = operands[0]
        for place, (operator, right) in enumerate(zip(node.ops, operands[1:], strict=True)):
            is_bit = isinstance(right, ast.BinOp) and isinstance(right.op, ast.BitAnd | ast.BitOr)
            if is_bit and isinstance(node.comparators[place], ast.BinOp):
                pairs.append(_comparison(left, operator, right.left))
                joints.append(right.op)
                left = right.right
                if place == len(node.ops) - 1:
                    pairs.append(left)
            else:
                pairs.append(_comparison(left, operator, right))
                if place < len(node.ops) - 1:
                    joints.append(ast.BitAnd())
                left = right
        whole = pairs[0]
        for joint, pair in zip(joints, pairs[1:], strict=True):
            whole = ast.BinOp(whole, joint, pair)
        return whole

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        old, new = self.renamed or ("", "")
        return ast.Attribute(self.visit(node.value), new if node.attr == old else node.attr, node.ctx)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        old, new = self.renamed or ("", "")
        key = node.slice
        if self.renamed is not None and isinstance(key, ast.Constant) and key.value == old:
            key = ast.Constant(new)
        return ast.Subscript(self.visit(node.value), self.visit(key), node.ctx)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        match node:
            case ast.Call(func=ast.Name(id="len"), args=[of], keywords=[]):
                return _call("count", self.visit(of))
            case ast.Call(func=ast.Name(id="bool"), args=[of], keywords=[]):
                return self.visit(of)  # type: ignore[no-any-return]
            case ast.Call(
                func=ast.Name(id="any" | "all" as name),
                args=[
                    ast.GeneratorExp(elt=test, generators=[ast.comprehension(target=ast.Name(id=each), ifs=[]) as of])
                ],
            ):
                arguments = ast.arguments([], [ast.arg(each)], None, [], [], None, [])
                return _call(_CALLS[name], self.visit(of.iter), ast.Lambda(arguments, self.visit(test)))
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr="search"), args=[pattern, of], keywords=[]):
                return _call("matches", self.visit(of), pattern)
            case _:
                return self.generic_visit(node)  # type: ignore[return-value]


def _comparison(left: ast.expr, operator: ast.cmpop, right: ast.expr) -> ast.expr:
    is_none = isinstance(right, ast.Constant) and right.value is None
    match operator:
        case ast.In():
            return _call("in_", left, right)
        case ast.NotIn():
            return _call("not_", _call("in_", left, right))
        case ast.Is() if is_none:
            return _call("is_none", left)
        case ast.IsNot() if is_none:
            return _call("not_", _call("is_none", left))
        case ast.Is():
            return ast.Compare(left, [ast.Eq()], [right])
        case ast.IsNot():
            return ast.Compare(left, [ast.NotEq()], [right])
        case _:
            return ast.Compare(left, [operator], [right])


def _folded(operator: ast.operator, parts: list[ast.expr]) -> ast.expr:
    whole = parts[0]
    for part in parts[1:]:
        whole = ast.BinOp(whole, operator, part)
    return whole


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name), list(arguments), [])
