"""What is decided without the database: comparisons of constants, and the numbers that stand for a constant.

A float's JSON is its shortest decimal, and the database compares decimals, exactly. So a constant is written such that the
verdict on what the codec writes is Python's, which compares the binary values, exactly too.
"""

import math
import operator as operators
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from flowdsl.model.predicates.expressions import Number, Operator

_COMPARISONS: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    "==": operators.eq,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


def compared(operator: Operator, left: Any, right: Any) -> bool:
    """Compare two JSON values of one type as Python does; None and values of other types are not equal nor in order."""
    if left is None or right is None:
        return False
    numbers = [isinstance(value, (int, float)) and not isinstance(value, bool) for value in (left, right)]
    is_comparable = all(numbers) or type(left) is type(right)
    return is_comparable and _COMPARISONS[operator](left, right)


def found(pattern: str, text: str) -> bool:
    """Tell whether a regular expression is found in a text; its classes are those of ASCII."""
    return re.search(pattern, text, re.ASCII) is not None


def number_comparison(operator: Operator, value: int | float, number: Number) -> tuple[Operator, str] | bool:
    """Return the operator and the literal that stand for a number compared with what is written of `number`.

    >>> number_comparison("<", 2**53 + 1, "float")
    ('<=', '9007199254740992.0')
    >>> number_comparison("==", 1e23, "int")
    ('==', '99999999999999991611392')
    """
    if isinstance(value, float) and not (number != "float" and value.is_integer()):
        # Between two integers, the shortest decimal is as good as the exact one.
        return False if number == "int" and operator == "==" else (operator, decimal(value))
    if number != "float" or abs(value) <= 2**53:
        return operator, str(int(value))
    return _between_floats(operator, int(value))


def _between_floats(operator: Operator, value: int) -> tuple[Operator, str] | bool:
    try:
        near = float(value)
    except OverflowError:
        near = sys.float_info.max if value > 0 else -sys.float_info.max
    if near == value:
        return operator, decimal(near)
    below = near if near < value else math.nextafter(near, -math.inf)
    above = near if near > value else math.nextafter(near, math.inf)
    if operator == "==":
        return False
    if operator in ("<", "<="):
        return False if math.isinf(below) else ("<=", decimal(below))
    return False if math.isinf(above) else (">=", decimal(above))


def decimal(value: float) -> str:
    """Return the shortest decimal of a float, which is also its JSON.

    >>> decimal(1e23), decimal(-0.0)
    ('1e23', '0.0')
    """
    return repr(value + 0.0).replace("e+", "e")
