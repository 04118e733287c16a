"""The parts of `jsonb` that the reference model needs: SQL NULL, equality, containment (`@>`), a kind of jsonpath predicate.

JSON values are Python values, JSON null is None. Python says 1 == True, JSON does not; so compare with `same`.
"""

import enum
import json
from dataclasses import dataclass
from typing import Any, Final

Json = Any


class _Nothing(enum.Enum):
    NOTHING = "SQL NULL"

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING: Final = _Nothing.NOTHING
"""SQL NULL, where JSON null is possible, too."""


def same(left: Json, right: Json) -> bool:
    if not isinstance(left, list | dict):
        return type(left) is type(right) and bool(left == right)
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def contains(whole: Json, pattern: Json) -> bool:
    """`whole @> pattern` for a pattern that is an object, as all of ours are, or a part of one.

    An object contains one whose every key it has, with a value that contains the pattern's. An array contains one whose
    every element it has: scalars equal, arrays and objects contained. Scalars contain their equals.
    """
    if isinstance(pattern, dict):
        return isinstance(whole, dict) and all(key in whole and contains(whole[key], pattern[key]) for key in pattern)
    if isinstance(pattern, list):
        return isinstance(whole, list) and all(any(contains(each, wanted) for each in whole) for wanted in pattern)
    return not isinstance(whole, dict | list) and same(whole, pattern)


@dataclass(frozen=True)
class MoreThan:
    """The jsonpath `$.a.b > limit`: is something there a number beyond the limit?"""

    path: tuple[str, ...]
    limit: int

    def __str__(self) -> str:
        return "$" + "".join(f'."{key}"' for key in self.path) + f" > {self.limit}"

    def holds(self, value: Json) -> bool:
        found = [value]
        for key in self.path:
            found = [each[key] for each in _unwrapped(found) if isinstance(each, dict) and key in each]
        return any(type(each) is int and each > self.limit for each in _unwrapped(found))


def _unwrapped(values: list[Json]) -> list[Json]:
    """Arrays stand for their elements: jsonpath is lax."""
    return [each for value in values for each in (value if isinstance(value, list) else [value])]
