import doctest
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NewType, Optional, TypeVar

import pytest

from flowdsl.model import typenames
from flowdsl.model.typenames import type_name

from .handlers_for_tests import Page

Id = NewType("Id", int)
T = TypeVar("T")


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (int, "int"),
        (None, "None"),
        (Any, "Any"),
        (Page, "Page"),
        (list[Page], "list[Page]"),
        (dict[str, list[int]], "dict[str, list[int]]"),
        (Optional[Page], "Page | None"),  # noqa: UP045 - the older spelling is another object
        (Page | None, "Page | None"),
        (Literal["a", 1], "Literal['a', 1]"),
        (Annotated[Page, "unit"], "Page"),
        (Sequence[Page], "Sequence[Page]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (tuple[()], "tuple[]"),
        (Callable[[int], str], "Callable[[int], str]"),
        (Id, "Id"),
        (T, "T"),
        ("Later", "Later"),
        (3, "3"),
    ],
)
def test_types_are_written_as_in_source(declared: Any, text: str) -> None:
    assert type_name(declared).replace("~", "") == text


def test_examples_hold() -> None:
    assert doctest.testmod(typenames).failed == 0
