"""From the tree of a predicate to a jsonpath predicate that is true or false of every judged value.

jsonpath knows a third verdict, unknown, and in its lax mode it looks into arrays on its own. So each atom is written such
that neither happens: where it is not sure that the JSON type is the atom's, that is looked at first. A default of the model,
which the codec always writes but others may leave out, counts where its key is absent: that case is decided here. An atom
is false of what is absent, so the case of what is there needs no guard against the others.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any, Final

from flowdsl.model.predicates.expressions import (
    ABSENT,
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
    Operator,
    Or,
    Place,
    StartsWith,
    Step,
    bound,
    reached,
)
from flowdsl.model.predicates.pathtext import (
    Atom,
    Text,
    all_of,
    json_type,
    literal,
    negated,
    path,
    quoted,
    size_path,
    some_of,
    written,
)
from flowdsl.model.predicates.values import compared, found, number_comparison

_FLIPPED: Final[dict[Operator, Operator]] = {"==": "==", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPPOSITE: Final[dict[Operator, Operator]] = {"==": "!=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def jsonpath(condition: Condition) -> str | bool:
    """Return the predicate's text; True or False if it has the same verdict on every value."""
    lowered = _lowered(condition)
    return lowered if isinstance(lowered, bool) else written(lowered)


def _lowered(condition: Condition) -> Text:
    match condition:
        case Always():
            return condition.verdict
        case Not():
            return negated(_lowered(condition.of))
        case And():
            return all_of(map(_lowered, condition.of))
        case Or():
            return some_of(map(_lowered, condition.of))
        case Compare(operator="!="):
            return negated(_lowered(replace(condition, operator="==")))
        case Compare():
            return _compare(condition.operator, condition.left, condition.right)
        case IsNone():
            return _is_none(condition.of)
        case StartsWith() | Matches():
            return some_of(all_of([guard, _of_text(condition, case)]) for guard, case in _cases(condition.of))
        case InList():
            return _in_list(condition)
        case AnyOf():
            return some_of(all_of([guard, _any_of(condition, case)]) for guard, case in _cases(condition.of))


# ---- which value counts ---------------------------------------------------------------------------------------------


def _cases(operand: Operand) -> Iterator[tuple[Text, Operand]]:
    """Yield what an operand can be: what is there, or a default; each with the condition under which it is that."""
    if isinstance(operand, Count):
        yield from _counts(operand.of)
    elif isinstance(operand, Place):
        yield True, _bare(operand)
        yield from _defaults(operand)
    else:
        yield True, operand


def _counts(of: Place | Constant) -> Iterator[tuple[Text, Operand]]:
    if isinstance(of, Constant):
        yield True, Constant(len(of.value or ()), of.shown)
        return
    bare, defaults = _bare(of), list(_defaults(of))
    is_there = _is_there(bare, "array")
    yield is_there, Count(bare)
    for guard, default in defaults:
        yield guard, Constant(len(default.value or ()), of.shown)
    yield all_of([negated(is_there), *(negated(guard) for guard, _ in defaults)]), Constant(0, of.shown)


def _defaults(place: Place) -> Iterator[tuple[Text, Constant]]:
    for at, step in enumerate(place.steps):
        if step.default is ABSENT:
            continue
        owner, here = (_bare(replace(place, steps=place.steps[:end], is_mixed=False)) for end in (at, at + 1))
        exists = f"exists({path(here)})"
        is_absent = Atom(f"!{exists}", exists)
        # What an absent owner has is None, and no default.
        guard = all_of([_is_there(owner, "object"), is_absent])
        yield guard, Constant(reached(step.default, place.steps[at + 1 :]), place.shown)


def _bare(place: Place) -> Place:
    """Return the place as the JSON has it: where a default would count, nothing may be."""
    steps = (step if step.default is ABSENT else Step(accessor=step.accessor, may_be_none=True) for step in place.steps)
    return replace(place, steps=tuple(steps))


def _is_there(place: Place, kind: str) -> Text:
    """Say that a place holds a value of that JSON type; nothing to say where it surely does."""
    if not place.may_be_none and not place.is_mixed:
        return True
    return Atom(f'{path(place)}.type() == "{kind}"')


# ---- atoms ----------------------------------------------------------------------------------------------------------


def _is_none(operand: Place | Constant) -> Text:
    if isinstance(operand, Constant):
        return operand.value is None
    cases = ((guard, _is_something(case)) for guard, case in _cases(operand))
    return negated(some_of(all_of([guard, verdict]) for guard, verdict in cases))


def _is_something(operand: Operand) -> Text:
    if not isinstance(operand, Place):
        return isinstance(operand, Constant) and operand.value is not None
    # Not `!= null`, which would look into an array.
    return not operand.may_be_none or Atom(f'{path(operand)}.type() != "null"')


def _compare(operator: Operator, left: Operand, right: Operand) -> Text:
    parts = [
        all_of([one, other, _comparison(operator, first, second)])
        for (one, first), (other, second) in product(_cases(left), _cases(right))
    ]
    if operator == "==" and isinstance(left, Place | Constant) and isinstance(right, Place | Constant):
        parts.append(all_of([_may_be_none(left) and _may_be_none(right), _is_none(left), _is_none(right)]))
    return some_of(parts)


def _may_be_none(operand: Place | Constant) -> bool:
    return operand.may_be_none if isinstance(operand, Place) else operand.value is None


def _comparison(operator: Operator, left: Operand, right: Operand) -> Text:
    if isinstance(left, Constant) and isinstance(right, Constant):
        return compared(operator, left.value, right.value)
    if isinstance(left, Constant):
        return _comparison(_FLIPPED[operator], right, left)
    if isinstance(right, Constant):
        return _with_constant(operator, left, right.value)
    one, other = _place(left), _place(right)
    if operator in ("<=", ">=") and one.may_be_none and other.may_be_none:
        # Two nulls are equal, but None is not at most None.
        guard: Text = Atom(f"{path(one)} != null")
        return all_of([guard, _atom(operator, left, right)])
    if one.is_mixed or other.is_mixed:
        return _decided(f"{_operand(left)} {operator} {_operand(right)}")
    return _atom(operator, left, right)


def _with_constant(operator: Operator, operand: Operand, value: Any) -> Text:
    if value is None:
        return False  # that two are None is said apart
    place = _place(operand)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        number = "int" if isinstance(operand, Count) else place.number
        adapted = number_comparison(operator, value, number)
        if isinstance(adapted, bool):
            return adapted and (_is_there(place, "number") if isinstance(operand, Place) else True)
        operator, text = adapted
    else:
        text = literal(value)
    atom = _atom(operator, operand, text)
    return all_of([_is_there(place, json_type(value)), atom]) if place.is_mixed else atom


def _atom(operator: Operator, left: Operand, right: Operand | str) -> Text:
    one, other = _operand(left), right if isinstance(right, str) else _operand(right)
    sides = (left,) if isinstance(right, str) else (left, right)
    is_sure = all(isinstance(side, Count) or not _place(side).may_be_none for side in sides)
    opposite = f"{one} {_OPPOSITE[operator]} {other}" if is_sure else ""
    return Atom(f"{one} {operator} {other}", opposite)


def _place(operand: Operand) -> Place:
    place = operand.of if isinstance(operand, Count) else operand
    if not isinstance(place, Place):
        raise TypeError(f"{operand!r} is no place")
    return place


def _operand(operand: Operand) -> str:
    return size_path(_place(operand)) if isinstance(operand, Count) else path(_place(operand))


def _decided(text: str) -> Text:
    """Let an atom be false where it would be unknown, because of JSON types that are not comparable."""
    return all_of([Atom(f"!(({text}) is unknown)"), Atom(text)])


def _of_text(condition: StartsWith | Matches, operand: Operand) -> Text:
    if isinstance(operand, Constant):
        value = operand.value
        if not isinstance(value, str):
            return False
        if isinstance(condition, StartsWith):
            return value.startswith(condition.prefix)
        return found(condition.pattern, value)
    place = _place(operand)
    if isinstance(condition, StartsWith):
        atom = Atom(f"{path(place)} starts with {quoted(condition.prefix)}")
    else:
        atom = Atom(f'{path(place)} like_regex {quoted(condition.translated)} flag "s"')
    return all_of([_is_there(place, "string"), atom])


def _in_list(condition: InList) -> Text:
    of, choices = condition.of, condition.choices
    parts = [
        all_of([one, other, _is_element(first, second)])
        for (one, first), (other, second) in product(_cases(of), _cases(choices))
    ]
    if condition.elements_may_be_none and _may_be_none(of):
        nothing = some_of(all_of([guard, _has_none(case)]) for guard, case in _cases(choices))
        parts.append(all_of([_is_none(of), nothing]))
    return some_of(parts)


def _is_element(of: Operand, choices: Operand) -> Text:
    if isinstance(choices, Constant):
        return some_of(_comparison("==", of, Constant(value, "")) for value in choices.value or ())
    place = _place(choices)
    elements = f"{path(place)}[*]"
    if isinstance(of, Constant):
        if of.value is None:
            return False
        right = literal(of.value)
        if json_type(of.value) == "number":
            adapted = number_comparison("==", of.value, place.number)
            if isinstance(adapted, bool):
                return False
            right = adapted[1]
        guard: Text = True
    else:
        right = path(_place(of))
        # Nothing is an element of None, yet null[*] is null.
        guard = _is_there(place, "array") if _place(of).may_be_none and place.may_be_none else True
    text = f"{elements} == {right}"
    is_mixed = place.is_mixed or (isinstance(of, Place) and of.is_mixed)
    return all_of([guard, _decided(text) if is_mixed else Atom(text)])


def _has_none(choices: Operand) -> Text:
    if isinstance(choices, Constant):
        return None in (choices.value or ())
    place = _place(choices)
    return all_of([_is_list(place), Atom(f"{path(place)}[*] == null")])


def _is_list(place: Place) -> Text:
    return Atom(f'{path(place)}.type() == "array"') if place.may_be_none else True


def _any_of(condition: AnyOf, operand: Operand) -> Text:
    if isinstance(operand, Constant):
        return some_of(_lowered(bound(condition.test, condition.root, value)) for value in operand.value or ())
    place = _place(operand)
    test = _lowered(condition.test)
    if test is False:
        return False
    elements = f"{path(place)}[*]" if test is True else f"{path(place)}[*] ? ({written(test)})"
    return all_of([_is_list(place), Atom(f"exists({elements})", f"!exists({elements})")])
