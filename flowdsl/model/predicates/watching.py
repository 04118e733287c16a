"""Which functions get hold of a stand-in while a predicate is traced: the predicate, and all that it calls."""

import sys
from collections import deque
from collections.abc import Iterable
from functools import partial
from itertools import islice
from types import CodeType, FrameType, FunctionType, MethodType, ModuleType, TracebackType
from typing import Any, Final

from flowdsl.model.predicates.functions import Traced

_COMPREHENSIONS: Final = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})
_DEPTH: Final = 3
_WIDTH: Final = 1000


class Watch:
    """A context in which calls in this thread are noted: the code, and the names that stand-ins have in it."""

    def __init__(self) -> None:
        self.seen: dict[CodeType, frozenset[str]] = {}
        self._running: dict[FrameType, frozenset[str]] = {}
        self._before: Any = None

    def __enter__(self) -> "Watch":
        self._before = sys.getprofile()
        if self.is_on:
            sys.setprofile(self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.is_on:
            sys.setprofile(self._before)

    @property
    def is_on(self) -> bool:
        """Whether calls can be noted."""
        # cProfile of Python 3.11 is no function that could be set again: only the predicate itself is known then.
        return self._before is None or callable(self._before)

    def _note(self, frame: FrameType, event: str, returned: Any) -> None:
        if event == "call" and not _is_ours(frame) and frame.f_code.co_name not in _COMPREHENSIONS:
            names = frozenset(name for name, value in frame.f_locals.items() if _holds(value))
            if names:
                self._running[frame] = names
        elif event == "return" and self._running:
            known = self._running.pop(frame, None)
            # UUID.__eq__ asks for the type of the other side, and leaves the comparison to a stand-in.
            if known is not None and returned is not NotImplemented:
                self.seen[frame.f_code] = self.seen.get(frame.f_code, frozenset()) | known


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("flowdsl.")


def _holds(value: Any) -> bool:
    """Tell whether a value is a stand-in, or leads to one within a few steps."""
    left, looked_at = deque([(value, 0)]), 0
    while left and looked_at < _WIDTH:
        part, depth = left.popleft()
        looked_at += 1
        if issubclass(type(part), Traced):
            return True
        if depth < _DEPTH:
            left.extend((inner, depth + 1) for inner in islice(_parts(part), _WIDTH))
    return False


def _parts(value: Any) -> Iterable[Any]:
    # By type(), for isinstance would wake up an object that is loaded when somebody looks at it.
    kind = type(value)
    if issubclass(kind, list | tuple | set | frozenset):
        return value  # type: ignore[no-any-return]  # issubclass narrows kind, not value
    if issubclass(kind, dict):
        return value.values()  # type: ignore[no-any-return]  # as above
    if kind is FunctionType:
        return [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
    if kind is MethodType:
        return (value.__self__,)
    if issubclass(kind, partial):
        return (value.func, *value.args, *value.keywords.values())
    if issubclass(kind, type | ModuleType):
        return ()
    try:
        known = object.__getattribute__(value, "__dict__")
    except Exception:  # it has none, or is a proxy of nothing yet
        return ()
    return known.values() if type(known) is dict else ()


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - asks whether it is there
    except ValueError:
        return False
    return True
