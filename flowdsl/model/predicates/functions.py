# ruff: noqa: SLF001 - the functions and what is traced are parts of one thing
"""What predicates are written with beside comparisons, &, | and attributes.

Each of these functions works on plain values too, so that a predicate can be called like any function; the database's verdict
is the same. None is in no order, begins with nothing, matches nothing, has no elements and counts 0.
"""

import re
from collections.abc import Callable, Collection
from typing import Any, TypeVar

T = TypeVar("T")


class Traced:
    """What stands for a value while a predicate is traced; the functions hand it what they cannot decide."""

    __slots__ = ()

    def _pf_call(self, function: str, *arguments: Any) -> bool:
        """Return another stand-in, of what the function says; typed as what the function returns on plain values."""
        raise NotImplementedError


def any_(items: Collection[T] | None, predicate: Callable[[T], bool | int], /) -> bool:
    """Tell whether the predicate is true of an element at least; False for None.

    >>> any_([1, 5], lambda number: number > 4)
    True
    """
    if (stand_in := _stand_in(items)) is not None:
        return stand_in._pf_call("any_", predicate)
    return any(_is_true(predicate(item)) for item in items or ())


def all_(items: Collection[T] | None, predicate: Callable[[T], bool | int], /) -> bool:
    """Tell whether the predicate is true of every element; True for None and where there is none.

    >>> all_([1, 5], lambda number: number > 4)
    False
    """
    if (stand_in := _stand_in(items)) is not None:
        return stand_in._pf_call("all_", predicate)
    return all(_is_true(predicate(item)) for item in items or ())


def count(items: Collection[Any] | None, /) -> int:
    """Return the number of elements; 0 for None.

    >>> count(["a", "b"]), count(None)
    (2, 0)
    """
    if (stand_in := _stand_in(items)) is not None:
        return stand_in._pf_call("count")
    return 0 if items is None else len(items)


def in_(value: T, options: Collection[T], /) -> bool:
    """Tell whether a value is one of several: constants, or the elements of a list in the inputs.

    >>> in_("b", ["a", "b"])
    True
    """
    if (stand_in := _stand_in(value)) is not None:
        return stand_in._pf_call("in_", options)
    if (stand_in := _stand_in(options)) is not None:
        return stand_in._pf_call("contains", value)
    return value in (options or ())


def is_none(value: object, /) -> bool:
    """Tell whether a value is None, which it also is where its key is absent or its step was skipped.

    >>> is_none(None), is_none(0)
    (True, False)
    """
    if (stand_in := _stand_in(value)) is not None:
        return stand_in._pf_call("is_none")
    return value is None


def matches(value: str | None, pattern: str, /) -> bool:
    r"""Tell whether a regular expression is found in a text, as by `re.search` with `re.ASCII`.

    >>> matches("v1.2", r"\d+\.\d+")
    True
    """
    if (stand_in := _stand_in(value)) is not None:
        return stand_in._pf_call("matches", pattern)
    return value is not None and re.search(pattern, value, re.ASCII) is not None


def startswith(value: str | None, prefix: str, /) -> bool:
    """Tell whether a text begins so.

    >>> startswith("https://x", "https:")
    True
    """
    if (stand_in := _stand_in(value)) is not None:
        return stand_in._pf_call("startswith", prefix)
    return value is not None and value.startswith(prefix)


def not_(condition: bool | int, /) -> bool:
    """Return the opposite of a condition; type checkers take it where they warn of `~`.

    >>> not_(True), not_(~True)
    (False, True)
    """
    if (stand_in := _stand_in(condition)) is not None:
        return stand_in._pf_call("not_")
    return not _is_true(condition)


def _stand_in(value: object) -> Traced | None:
    return value if isinstance(value, Traced) else None


def _is_true(verdict: bool | int) -> bool:
    # `~True` is -2: what & | ~ make of bools is told by the last bit.
    return bool(verdict & 1)
