"""A predicate in plain words, for people who read a graph or a diff."""

from flowdsl.model.predicates.expressions import (
    Always,
    And,
    AnyOf,
    Compare,
    Condition,
    Constant,
    Count,
    InList,
    IsNone,
    Matches,
    Not,
    Operand,
    Or,
    StartsWith,
)

_NEGATED = {"==": "is not", "!=": "is", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_TEXT = {"==": "is", "!=": "is not"}


def words(condition: Condition) -> str:
    """Return the condition in words."""
    match condition:
        case Always():
            return "always" if condition.verdict else "never"
        case And():
            return " and ".join(_part(part) for part in condition.of)
        case Or():
            return " or ".join(_part(part) for part in condition.of)
        case Not():
            return _negated(condition.of)
        case _:
            return _atom(condition, "")


def _part(condition: Condition) -> str:
    text = words(condition)
    # What follows a colon reaches to the end.
    return f"({text})" if isinstance(condition, And | Or) or _is_about_elements(condition) else text


def _is_about_elements(condition: Condition) -> bool:
    return isinstance(condition, AnyOf) or (isinstance(condition, Not) and isinstance(condition.of, AnyOf))


def _negated(condition: Condition) -> str:
    match condition:
        case AnyOf(test=Not(of=test)):
            return f"every {condition.name} of {_operand(condition.of)}: {words(test)}"
        case AnyOf():
            return f"no {condition.name} of {_operand(condition.of)}: {words(condition.test)}"
        case Compare(operator="==" | "!="):
            return _comparison(condition, _NEGATED[condition.operator])
        case IsNone() | StartsWith() | Matches() | InList():
            return _atom(condition, "not ")
        case _:
            return f"not ({words(condition)})"


def _atom(condition: Condition, negation: str) -> str:
    match condition:
        case Compare():
            return _comparison(condition, _TEXT.get(condition.operator, condition.operator))
        case IsNone():
            return f"{_operand(condition.of)} is {negation}None"
        case StartsWith():
            verb = "does not start" if negation else "starts"
            return f"{_operand(condition.of)} {verb} with {condition.prefix!r}"
        case Matches():
            verb = "does not match" if negation else "matches"
            return f"{_operand(condition.of)} {verb} /{condition.pattern}/"
        case InList():
            return f"{_operand(condition.of)} is {negation}in {_operand(condition.choices)}"
        case AnyOf():
            return f"some {condition.name} of {_operand(condition.of)}: {words(condition.test)}"
        case _:
            raise TypeError(f"{condition!r} is no atom")


def _comparison(condition: Compare, verb: str) -> str:
    left, right = condition.left, condition.right
    if isinstance(right, Constant) and isinstance(right.value, bool) and condition.operator in ("==", "!="):
        is_true = right.value is (verb == "is")
        return _operand(left) if is_true else f"not {_operand(left)}"
    return f"{_operand(left)} {verb} {_operand(right)}"


def _operand(operand: Operand) -> str:
    return f"count of {_operand(operand.of)}" if isinstance(operand, Count) else operand.shown
