"""What Python decides in a function about stand-ins: branches and identity, which need not ask a stand-in for its truth.

`x is None`, `isinstance(x, str)` or `match x` have a verdict at once, and what hangs on it would be gone without a word.
The bytecode tells whether anything is decided at all, the source what it is about; where they do not go together, or there
is no source, every decision is taken for one about the stand-ins.
"""

import ast
import dis
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Final, TypeAlias

from flowdsl.model.predicates.source import Position, function_node, span_of

_TYPES: Final = frozenset({"callable", "hasattr", "id", "isinstance", "issubclass", "type"})
_CHANGES: Final = frozenset({"add", "append", "appendleft", "extend", "insert", "setdefault", "update"})
_COMPREHENSIONS: Final = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})
_LOADS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME"})
_FUNCTIONS: Final = (ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef)
_JUMPS: Final = ("POP_JUMP", "JUMP_IF_", "MATCH_")
_DECIDING: Final = frozenset(number for name, number in dis.opmap.items() if name.startswith(_JUMPS) or name == "IS_OP")
_Whole: TypeAlias = ast.expr | ast.stmt


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision: the construct, what it asks, and the line; nothing is known of the first two without source."""

    construct: str
    asked: str
    line: int


def decision_about(code: CodeType, names: frozenset[str]) -> Decision | None:
    """Return a decision of a function about what some of its names stand for."""
    marks = list(_marks(code)) if _may_decide(code) else []
    if not marks:
        return None
    node = function_node(code)
    if node is None:
        return Decision("", "", code.co_firstlineno)
    found = list(_decisions(node))
    known = _reaching(node, names)
    about = [one for one in found if any(_mentions(part, known) for part in one[2])]
    if about:
        # An identity is the reason for which a branch around it goes wrong without a word.
        construct, whole, asked = min(about, key=lambda one: one[0] not in ("is", "is not", *_TYPES))
        return Decision(construct, " and ".join(ast.unparse(part) for part in asked), whole.lineno)
    spans = [span_of(whole) for _, whole, _ in found]
    is_explained = all(
        mark is not None and any(span[:2] <= mark[:2] and mark[2:] <= span[2:] for span in spans) for mark in marks
    )
    return None if is_explained else Decision("", "", code.co_firstlineno)


def _may_decide(code: CodeType) -> bool:
    """Tell at a glance whether it is worth the time to look at each instruction."""
    return (
        not _DECIDING.isdisjoint(code.co_code[::2])
        or not _TYPES.isdisjoint(code.co_names)
        or "__class__" in code.co_names
        or any(_may_decide(inner) for inner in _comprehensions(code))
    )


def _comprehensions(code: CodeType) -> Iterator[CodeType]:
    """Yield the comprehensions, which were functions of their own before 3.12."""
    return (inner for inner in code.co_consts if isinstance(inner, CodeType) and inner.co_name in _COMPREHENSIONS)


def _marks(code: CodeType) -> Iterator[Position | None]:
    """Yield the positions of all instructions that decide, None where one is not known."""
    for instruction in dis.get_instructions(code):
        name = instruction.opname
        is_deciding = instruction.opcode in _DECIDING
        is_asked = name in _LOADS and instruction.argval in _TYPES
        is_class = name == "LOAD_ATTR" and instruction.argval == "__class__"
        if is_deciding or is_asked or is_class:
            position = instruction.positions
            line, last_line, column, last_column = position or (None, None, None, None)
            if line is None or last_line is None or column is None or last_column is None:
                yield None
            else:
                yield line, column, last_line, last_column
    for inner in _comprehensions(code):
        yield from _marks(inner)


def _decisions(function: ast.AST) -> Iterator[tuple[str, _Whole, list[ast.expr]]]:
    """Yield each construct that decides, the whole of it, and what it asks; nothing where any answer is fine."""
    for node in _inside(function):
        match node:
            case ast.Compare(ops=operators) if any(isinstance(one, ast.Is | ast.IsNot) for one in operators):
                negated = any(isinstance(one, ast.IsNot) for one in operators)
                yield "is not" if negated else "is", node, [node]
            case ast.Compare(ops=[_, _, *_]):
                yield "chain", node, [node]
            case ast.Call(func=ast.Name(id=name)) if name in _TYPES:
                yield name, node, [node]
            case ast.Attribute(attr="__class__"):
                yield "type", node, [node]
            case ast.BoolOp():
                yield "and" if isinstance(node.op, ast.And) else "or", node, node.values[:-1]
            case ast.IfExp() | ast.If():
                yield "if", node, [node.test]
            case ast.While():
                yield "while", node, [node.test]
            case ast.Assert():
                yield "assert", node, [node.test]
            case ast.Match():
                yield "match", node, [node.subject, *(case.guard for case in node.cases if case.guard is not None)]
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                yield "if", node, [test for part in node.generators for test in part.ifs]
            case ast.Try() | ast.TryStar() | ast.With():
                yield "try", node, []
            case _:
                pass


def _inside(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function's body, but for those of functions in it, which are calls of their own."""
    body = function.body if isinstance(function, _FUNCTIONS) else []
    left: list[ast.AST] = list(body) if isinstance(body, list) else [body]
    while left:
        node = left.pop()
        yield node
        if not isinstance(node, _FUNCTIONS):
            left.extend(ast.iter_child_nodes(node))


def _reaching(function: ast.AST, names: frozenset[str]) -> frozenset[str]:
    """Return the names with all that what they stand for is assigned to."""
    known = names
    while True:
        reached = known | frozenset(
            name
            for node in ast.walk(function)
            for target, value in _assignments(node, is_whole=node is function)
            if _mentions(value, known)
            for name in _bases(target)
        )
        if reached == known:
            return known
        known = reached


def _assignments(node: ast.AST, *, is_whole: bool) -> Iterator[tuple[ast.expr, ast.AST]]:
    match node:
        case ast.Assign():
            yield from ((target, node.value) for target in node.targets)
        case ast.AnnAssign(value=ast.expr() as value) | ast.AugAssign(value=value) | ast.NamedExpr(value=value):
            yield node.target, value
        case ast.For() | ast.comprehension():
            yield node.target, node.iter
        case ast.withitem(optional_vars=ast.expr() as target):
            yield target, node.context_expr
        case ast.FunctionDef() if not is_whole:
            yield ast.Name(node.name), node
        case ast.Call(func=ast.Attribute(attr=name) as method) if name in _CHANGES:
            yield from ((method.value, argument) for argument in node.args)
        case _:
            pass


def _bases(target: ast.AST) -> Iterator[str]:
    match target:
        case ast.Name():
            yield target.id
        case ast.Attribute() | ast.Subscript() | ast.Starred():
            yield from _bases(target.value)
        case ast.Tuple() | ast.List():
            for element in target.elts:
                yield from _bases(element)
        case _:
            pass


def _mentions(node: ast.AST, names: frozenset[str]) -> bool:
    return any(isinstance(part, ast.Name) and part.id in names for part in ast.walk(node))
