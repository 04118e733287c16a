"""What a stand-in refuses: everything that Python would decide on the spot, while the database decides later."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Never

from flowdsl.model.chain import calling_frame, location_of
from flowdsl.model.predicates.decisions import Decision
from flowdsl.model.predicates.expressions import RUN_ROOT
from flowdsl.model.predicates.functions import Traced
from flowdsl.model.predicates.mistakes import NEVER, PredicateError, untraceable
from flowdsl.model.predicates.source import Source, construct_at

_REPLACEMENTS: Final = {
    "and": "Write & for 'and', with parentheses around each side",
    "or": "Write | for 'or', with parentheses around each side",
    "not": "Write not_(…) for 'not'",
    "in": "Write in_(value, choices) for 'in'",
    "chain": "Write (a < b) & (b < c) for a < b < c, and parentheses around each comparison beside & and |",
    "if": "Write (a & b) | (not_(a) & c) for 'b if a else c'",
    "is": "Write is_none(x) for 'x is None', and == where another value is meant",
    "is not": "Write not_(is_none(x)) for 'x is not None', and != where another value is meant",
    "match": "Write a comparison for each case, with & and |",
    "assert": "Leave it out, or join it with &",
    **dict.fromkeys(
        ("callable", "hasattr", "id", "isinstance", "issubclass", "type"),
        "A stand-in has another type than the value: write is_none(x), or compare a field that tells the types apart",
    ),
}
_NAMES: Final = {"chain": "a chained comparison"}
_ANY_CONSTRUCT: Final = (
    "Write & for 'and', | for 'or', not_(…) for 'not', in_(a, b) for 'a in b', (a < b) & (b < c) for a < b < c,"
    " is_none(x) for 'x is None'"
)


@dataclass(slots=True)
class Tracing:
    """One predicate while it is traced: the option it is for, its source, and how many lists it looked into."""

    option: str
    source: Source
    can_be_traced: Callable[[Callable[..., Any]], bool]
    roots: int = field(default=RUN_ROOT)
    is_running: bool = False
    first_error: PredicateError | None = None

    def refuse(self, what: str, fix: str, *, renamed: tuple[str, str] | None = None) -> Never:
        """Raise the error about what the predicate does at this moment, with its place and the mended line."""
        raise self.placed(untraceable(f"{what}.", fix), renamed=renamed)

    def placed(self, error: PredicateError, *, renamed: tuple[str, str] | None = None) -> PredicateError:
        """Return an error that says for which option it is and where, and how the predicate should be written."""
        start = "" if error.what.startswith((f"{self.option} ", NEVER[self.option])) else f"{self.option}: "
        error.what = f"{start}{error.what.removesuffix('.')} ({location_of(calling_frame())})."
        return self.mended(error, renamed=renamed)

    def mended(self, error: PredicateError, *, renamed: tuple[str, str] | None = None) -> PredicateError:
        """Return an error with the predicate as it should be written, where that is known."""
        self.first_error = self.first_error or error
        error.mended = self._mended(renamed=renamed, replaced=error.replaced)
        if error.mended is not None:
            error.fix = f"{error.fix}\nWrite {self.option}={error.mended}."
        return error

    def _mended(self, *, renamed: tuple[str, str] | None, replaced: tuple[object, object] | None) -> str | None:
        text = self.source.mended(renamed=renamed, replaced=replaced)
        # There may be another mistake in it, or one that is not mended by its form: then words have to do.
        made = None if text is None else self.source.remade(text)
        return text if made is not None and self.can_be_traced(made) else None

    def refuse_decision(self, decision: Decision, file: str) -> Never:
        """Raise the error about what Python has decided without asking a stand-in."""
        name = _NAMES.get(decision.construct, f"'{decision.construct}'")
        by = f"by {name} ('{decision.asked}')" if decision.construct else "by 'is', 'if', 'and', 'or' or 'match'"
        what = f"{self.option} decides {by} before there are any values: the database decides later"
        error = untraceable(
            f"{what} ({file}:{decision.line}).", f"{_REPLACEMENTS.get(decision.construct, _ANY_CONSTRUCT)}."
        )
        raise self.mended(error)

    def refuse_truth(self, of: str) -> Never:
        """Raise the error about the truth of a stand-in: `and`, `or`, `not`, `if` and others ask for it."""
        construct = construct_at(calling_frame())
        name = _NAMES.get(construct or "", f"'{construct}'")
        what = f"{self.option} asks whether {of} is true"
        what = f"{what} by {name}" if construct else f"{what} ('and', 'or', 'not', 'if', 'in' or a chained comparison)"
        fix = f"{_REPLACEMENTS.get(construct or '', _ANY_CONSTRUCT)}."
        self.refuse(f"{what}, but the database decides later", fix)


def refusal(symbol: str) -> Callable[..., Never]:
    """Return a method that refuses an operation."""

    def refuse(self: "StandIn", *_: Any) -> Never:
        self._pf_refuse(symbol)

    return refuse


class StandIn(Traced):
    """What all stand-ins refuse."""

    __slots__ = ("_pf_tracing",)

    _pf_tracing: Tracing

    @property
    def _pf_shown(self) -> str:
        raise NotImplementedError

    def _pf_refuse(self, symbol: str) -> Never:
        fix = FIXES.get(symbol, "Compute it in a step before this one, and compare its output.")
        self._pf_tracing.refuse(
            f"{self._pf_tracing.option} uses {symbol} on {self._pf_shown}, which the database cannot evaluate", fix
        )

    def __bool__(self) -> Never:
        self._pf_tracing.refuse_truth(self._pf_shown)

    def __repr__(self) -> str:
        caller = sys._getframe(1)  # noqa: SLF001 - the documented way to the calling frame
        if self._pf_tracing.is_running and not str(caller.f_globals.get("__name__", "")).startswith("flowdsl."):
            self._pf_refuse("repr()")
        return f"<{self._pf_shown}>"


FIXES: Final = {
    "len()": "Write count(…) for len(…).",
    "iteration": "Write any_(items, lambda item: …) or all_(items, lambda item: …).",
    "'in'": "Write in_(value, choices) for 'value in choices'.",
    "a call": "Only startswith is a method here; there are count, in_, is_none, matches, any_ and all_.",
    "hash()": "Write in_(value, [choices]) to look a value up.",
}
_ARITHMETIC: Final = {
    **{f"__{name}__": symbol for name, symbol in [("add", "+"), ("sub", "-"), ("mul", "*"), ("truediv", "/")]},
    **{f"__{name}__": symbol for name, symbol in [("floordiv", "//"), ("mod", "%"), ("pow", "**"), ("xor", "^")]},
    **{f"__{name}__": symbol for name, symbol in [("lshift", "<<"), ("rshift", ">>"), ("matmul", "@")]},
}
_UNARY: Final = {"__neg__": "-", "__pos__": "+", "__abs__": "abs()", "__round__": "round()", "__int__": "int()"}
_OTHERS: Final = {
    "__float__": "float()",
    "__index__": "it as an index",
    "__complex__": "complex()",
    "__len__": "len()",
    "__iter__": "iteration",
    "__contains__": "'in'",
    "__call__": "a call",
    "__hash__": "hash()",
    "__str__": "str()",
    "__format__": "format()",
    "__bytes__": "bytes()",
    "__reversed__": "reversed()",
    "__trunc__": "int()",
    "__floor__": "floor()",
    "__ceil__": "ceil()",
    "__divmod__": "divmod()",
    "__rdivmod__": "divmod()",
}
for _name, _symbol in {**_ARITHMETIC, **_UNARY, **_OTHERS}.items():
    setattr(StandIn, _name, refusal(_symbol))
for _name, _symbol in _ARITHMETIC.items():
    setattr(StandIn, f"__r{_name.removeprefix('__')}", refusal(_symbol))
