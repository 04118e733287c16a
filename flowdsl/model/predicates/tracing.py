# ruff: noqa: SLF001 - the stand-ins and what reads them are parts of one thing
# ruff: noqa: RET503 - what refuses never returns
"""Stand-ins for the values of a step's inputs: what a predicate does with them becomes the tree of a condition.

Whatever cannot become one raises at once: Python would take the stand-in for a value, and the predicate would be another
one than was written.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Final, Never

from flowdsl.model.predicates.comparisons import check_pair, check_text, constant_of
from flowdsl.model.predicates.expressions import (
    RUN_ROOT,
    AnyOf,
    Compare,
    Condition,
    Constant,
    Count,
    InList,
    IsNone,
    Matches,
    Number,
    Operator,
    Or,
    Place,
    StartsWith,
    Step,
    both,
    either,
    opposite,
    places,
)
from flowdsl.model.predicates.functions import Traced
from flowdsl.model.predicates.kinds import Field, Kind, Node
from flowdsl.model.predicates.mistakes import NEVER, PredicateError, impossible, pointless
from flowdsl.model.predicates.regex import translated
from flowdsl.model.predicates.standin import FIXES, StandIn, Tracing, refusal
from flowdsl.model.predicates.values import compared
from flowdsl.model.problems import Code
from flowdsl.suggest import closest

_MAX_CHOICES: Final = 1000


class TracedCondition(StandIn):
    """What a comparison returns: a condition, to be joined with others."""

    __slots__ = ("_pf_condition",)

    def __init__(self, tracing: Tracing, condition: Condition) -> None:
        self._pf_tracing = tracing
        self._pf_condition = condition

    @property
    def _pf_shown(self) -> str:
        from flowdsl.model.predicates.words import words

        return f"'{words(self._pf_condition)}'"

    def __and__(self, other: object) -> "TracedCondition":
        return TracedCondition(self._pf_tracing, both(self._pf_condition, condition_of(self._pf_tracing, other, "&")))

    def __rand__(self, other: object) -> "TracedCondition":
        return TracedCondition(self._pf_tracing, both(condition_of(self._pf_tracing, other, "&"), self._pf_condition))

    def __or__(self, other: object) -> "TracedCondition":
        return TracedCondition(self._pf_tracing, either(self._pf_condition, condition_of(self._pf_tracing, other, "|")))

    def __ror__(self, other: object) -> "TracedCondition":
        return TracedCondition(self._pf_tracing, either(condition_of(self._pf_tracing, other, "|"), self._pf_condition))

    def __invert__(self) -> "TracedCondition":
        return TracedCondition(self._pf_tracing, opposite(self._pf_condition))

    def _pf_compared(self, _: object) -> Never:
        fix = "It is a condition by itself: write it alone, or not_(…) of it; parentheses go around each comparison."
        self._pf_tracing.refuse(f"{self._pf_tracing.option} compares the condition {self._pf_shown}", fix)

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _pf_compared
    __hash__ = refusal("hash()")

    def _pf_call(self, function: str, *arguments: Any) -> Any:
        return ~self if function == "not_" else self._pf_refuse(f"{function}(…)")


class _Comparable(StandIn):
    """What can be compared: a value or a count."""

    __slots__ = ()

    def _pf_compare(self, operator: Operator, other: object) -> TracedCondition:
        raise NotImplementedError

    def __eq__(self, other: object) -> Any:
        return self._pf_compare("==", other)

    def __ne__(self, other: object) -> Any:
        return self._pf_compare("!=", other)

    def __lt__(self, other: object) -> TracedCondition:
        return self._pf_compare("<", other)

    def __le__(self, other: object) -> TracedCondition:
        return self._pf_compare("<=", other)

    def __gt__(self, other: object) -> TracedCondition:
        return self._pf_compare(">", other)

    def __ge__(self, other: object) -> TracedCondition:
        return self._pf_compare(">=", other)

    __hash__ = refusal("hash()")

    def __and__(self, other: object) -> TracedCondition:
        return TracedCondition(self._pf_tracing, condition_of(self._pf_tracing, self, "&")) & other

    def __rand__(self, other: object) -> TracedCondition:
        return other & TracedCondition(self._pf_tracing, condition_of(self._pf_tracing, self, "&"))

    def __or__(self, other: object) -> TracedCondition:
        return TracedCondition(self._pf_tracing, condition_of(self._pf_tracing, self, "|")) | other

    def __ror__(self, other: object) -> TracedCondition:
        return other | TracedCondition(self._pf_tracing, condition_of(self._pf_tracing, self, "|"))

    def __invert__(self) -> TracedCondition:
        return ~TracedCondition(self._pf_tracing, condition_of(self._pf_tracing, self, "~"))


class TracedCount(_Comparable):
    """What count(…) of a list returns."""

    __slots__ = ("_pf_place",)

    def __init__(self, tracing: Tracing, place: Place) -> None:
        self._pf_tracing = tracing
        self._pf_place = place

    @property
    def _pf_shown(self) -> str:
        return f"count({self._pf_place.shown})"

    def _pf_compare(self, operator: Operator, other: object) -> TracedCondition:
        tracing, own = self._pf_tracing, Count(self._pf_place)
        if isinstance(other, TracedCount):
            return TracedCondition(tracing, Compare(operator, own, Count(other._pf_place)))
        if isinstance(other, TracedValue):
            shown = (self._pf_shown, other._pf_shown)
            return _checked(
                tracing,
                lambda: check_pair(_COUNT, other._pf_kind, operator, shown),
                lambda: Compare(operator, own, other._pf_place),
            )
        return _checked(tracing, lambda: None, lambda: self._pf_with_constant(operator, other))

    def _pf_with_constant(self, operator: Operator, other: Any) -> Compare:
        constant = constant_of(_COUNT_NODE, operator, other, self._pf_shown)
        near = int(constant.value)
        verdicts = {
            _verdict(operator, number, constant.value) for number in (0, near - 1, near, near + 1) if number >= 0
        }
        if len(verdicts) == 1:
            what = f"{self._pf_shown} {operator} {other!r} is {'always' if True in verdicts else 'never'} true"
            make = pointless if True in verdicts else impossible
            raise make(f"{what}, for a count is 0 or more, and whole.", "Compare with another number.")
        return Compare(operator, Count(self._pf_place), constant)

    def _pf_call(self, function: str, *arguments: Any) -> Any:
        return _in_choices(self, arguments[0]) if function == "in_" else self._pf_refuse(f"{function}(…)")


def _verdict(operator: Operator, left: Any, right: Any) -> bool:
    return not compared("==", left, right) if operator == "!=" else compared(operator, left, right)


_COUNT_NODE: Final = Node({"type": "int"}, {}, None, by_alias=False)
_COUNT: Final = _COUNT_NODE.kind


class TracedValue(_Comparable):
    """What stands for a value of the inputs: its place in the JSON, and its type."""

    __slots__ = ("_pf_node", "_pf_place")

    def __init__(self, tracing: Tracing, node: Node, place: Place) -> None:
        self._pf_tracing = tracing
        self._pf_node = node
        self._pf_place = _described(place, node.kind)

    @property
    def _pf_kind(self) -> Kind:
        return self._pf_node.kind

    @property
    def _pf_shown(self) -> str:
        return self._pf_place.shown

    # ---- parts ----

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        kind = self._pf_kind
        if kind.by_attribute and name in kind.fields:
            return self._pf_field(kind.fields[name], f".{name}", list(kind.fields).index(name))
        if name == "startswith" and any(scalar.family is str for scalar in kind.scalars):
            return lambda prefix: self._pf_starts_with(prefix)
        self._pf_unknown(name)

    def __getitem__(self, key: object) -> Any:
        kind, tracing = self._pf_kind, self._pf_tracing
        if isinstance(key, StandIn):
            what = f"{tracing.option} looks for {key._pf_shown} in {self._pf_shown}"
            tracing.refuse(what, "An index or key has to be a constant; in_(value, list) finds a value.")
        if isinstance(key, slice):
            tracing.refuse(f"{tracing.option} takes a slice of {self._pf_shown}", "Use an index, any_, all_ or count.")
        if isinstance(key, str) and not kind.is_array:
            if kind.values is not None:
                step = Step(key, may_be_none=True)
                _checked_text(tracing, key)
                return self._pf_at(kind.values, step, f"[{key!r}]")
            if kind.fields and not kind.by_attribute and key in kind.fields:
                return self._pf_field(kind.fields[key], f"[{key!r}]", 0)
        elif isinstance(key, int) and not isinstance(key, bool) and kind.is_array and not kind.is_union:
            return self._pf_element(key)
        self._pf_unknown(key)

    def _pf_element(self, index: int) -> "TracedValue":
        kind, tracing = self._pf_kind, self._pf_tracing
        if not kind.is_ordered:
            tracing.refuse(f"{self._pf_shown} is {kind.name}, which has no order", "Use in_, any_, all_ or count.")
        if kind.rest is not None:
            if abs(index) >= 2**31 - 1:
                tracing.refuse(f"{index} is no index of a list in JSON", "Use a smaller one.")
            return self._pf_at(kind.rest, Step(index, may_be_none=True), f"[{index}]")
        if not -len(kind.elements) <= index < len(kind.elements):
            tracing.refuse(
                f"{self._pf_shown} has {len(kind.elements)} elements, and none at {index}", "Use another index."
            )
        node = kind.elements[index]
        return self._pf_at(node, Step(index % len(kind.elements), may_be_none=node.kind.is_nullable), f"[{index}]")

    def _pf_field(self, found: Field, shown: str, index: int) -> "TracedValue":
        if self._pf_kind.is_array:  # the field of a named tuple, which is written as a list
            step = Step(index, may_be_none=found.node.kind.is_nullable)
        elif not found.key:  # the root of a root model, which is written in its place
            place = replace(self._pf_place, shown=self._pf_shown + shown)
            if found.node.kind.is_nullable:
                place = place.or_none()
            return TracedValue(self._pf_tracing, found.node, place)
        else:
            step = Step(found.key, may_be_none=found.node.kind.is_nullable or found.may_lack, default=found.default)
        return self._pf_at(found.node, step, shown)

    def _pf_at(self, node: Node, step: Step, shown: str) -> "TracedValue":
        steps = (*self._pf_place.steps, step)
        return TracedValue(
            self._pf_tracing, node, replace(self._pf_place, steps=steps, shown=f"{self._pf_place.shown}{shown}")
        )

    def _pf_unknown(self, key: object) -> Never:
        kind, tracing, shown = self._pf_kind, self._pf_tracing, self._pf_shown
        part = f"[{key!r}]" if not isinstance(key, str) or (kind.fields and not kind.by_attribute) else f".{key}"
        if kind.opaque:
            tracing.refuse(
                f"{shown}{part} is not known: {kind.opaque}", "Declare the type of it: a model, a TypedDict."
            )
        if kind.is_union:
            fix = "Give it one type; a union can be compared with == and !=."
            tracing.refuse(f"{shown} is {kind.name}, and {part} is not known of all of these", fix)
        if not kind.fields or kind.values is not None:
            fix = FIXES["a call"] if kind.is_scalar or kind.is_array else f"Write {shown}[{key!r}]."
            tracing.refuse(f"{shown} is {kind.name}, and {part} of it is nothing the database could look at", fix)
        known = list(kind.fields)
        if isinstance(key, str) and key in known:
            right = f".{key}" if kind.by_attribute else f"[{key!r}]"
            tracing.refuse(f"{shown} is {kind.name}", f"Write {shown}{right}.")
        match = closest(key, known) if isinstance(key, str) else None
        suggestion = f"Did you mean '{match}'? " if match is not None else ""
        noun = "attribute" if kind.by_attribute else "key"
        error = PredicateError(
            Code.UNKNOWN_PATTERN_KEY,
            f"{NEVER[tracing.option]}: {kind.name} has no {noun} {key!r}, in {shown}.",
            f"{suggestion}Its {noun}s: {', '.join(known) or 'none'}.",
        )
        raise tracing.placed(error, renamed=None if match is None else (str(key), match))

    # ---- conditions ----

    def _pf_compare(self, operator: Operator, other: object) -> TracedCondition:
        tracing = self._pf_tracing
        if isinstance(other, TracedCount):
            flipped: dict[Operator, Operator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
            return other._pf_compare(flipped.get(operator, operator), self)
        if isinstance(other, TracedCondition):
            return other._pf_compared(self)
        if isinstance(other, TracedValue):
            shown = (self._pf_shown, other._pf_shown)
            return _checked(
                tracing,
                lambda: check_pair(self._pf_kind, other._pf_kind, operator, shown),
                lambda: Compare(operator, self._pf_place, other._pf_place),
            )
        if other is None and operator in ("==", "!="):
            is_none = self._pf_is_none()
            return is_none if operator == "==" else ~is_none
        return _checked(
            tracing,
            lambda: None,
            lambda: Compare(operator, self._pf_place, constant_of(self._pf_node, operator, other, self._pf_shown)),
        )

    def _pf_is_none(self) -> TracedCondition:
        kind, tracing = self._pf_kind, self._pf_tracing
        if kind.opaque and kind.name != "Any":
            tracing.refuse(f"whether {self._pf_shown} is None is not known: {kind.opaque}", "Look at another field.")
        if not kind.is_nullable and (root := kind.root_field) is not None and root.node.kind.is_nullable:
            # Both are null in JSON, and only the second is None in Python, too.
            what = f"whether {self._pf_shown} is None is not known: {kind.name} with None inside is written the same"
            tracing.refuse(what, f"Write is_none({self._pf_shown}.root).")
        if not self._pf_place.may_be_none and kind.name != "Any":
            raise tracing.placed(impossible(f"{self._pf_shown} is {kind.name}, never None.", "Leave the question out."))
        return TracedCondition(tracing, IsNone(self._pf_place))

    def _pf_starts_with(self, prefix: object) -> TracedCondition:
        self._pf_check_text("startswith")
        prefixes = prefix if isinstance(prefix, tuple) else (prefix,)
        if not prefixes or not all(isinstance(part, str) for part in prefixes):
            self._pf_tracing.refuse(
                f"{self._pf_shown}.startswith({prefix!r}) needs a constant text", "Give a text in quotes."
            )
        parts = [StartsWith(self._pf_place, _checked_text(self._pf_tracing, part)) for part in prefixes]
        return TracedCondition(self._pf_tracing, parts[0] if len(parts) == 1 else Or(tuple(parts)))

    def _pf_matches(self, pattern: object) -> TracedCondition:
        self._pf_check_text("matches")
        if not isinstance(pattern, str):
            self._pf_tracing.refuse(f"{pattern!r} is no regular expression", "Give a text in quotes, as r'…'.")
        return _checked(
            self._pf_tracing, lambda: check_text(pattern), lambda: Matches(self._pf_place, pattern, translated(pattern))
        )

    def _pf_check_text(self, function: str) -> None:
        kind = self._pf_kind
        texts = [scalar for scalar in kind.scalars if scalar.json_type == "string"]
        if kind.opaque or not texts or any(scalar.family is not str for scalar in texts):
            reason = f": {kind.opaque}" if kind.opaque else ""
            self._pf_tracing.refuse(
                f"{function} is about texts, but {self._pf_shown} is {kind.name}{reason}", "Use a str."
            )

    def _pf_in(self, options: object) -> TracedCondition:
        if isinstance(options, TracedValue):
            return options._pf_contains(self)
        return _in_choices(self, options)

    def _pf_contains(self, value: object) -> TracedCondition:
        """Return whether a value is an element of this list."""
        kind, tracing = self._pf_kind, self._pf_tracing
        element = self._pf_elements("in_")
        if element.kind.is_array:
            tracing.refuse(
                f"elements of {self._pf_shown} may be lists, which cannot be compared", "Let them be models."
            )
        if isinstance(value, TracedCount):
            tracing.refuse(f"{value._pf_shown} cannot be looked for in a list", "Compare it with any_.")
        if value is None:
            if not element.kind.is_nullable:
                raise tracing.mended(
                    impossible(f"{self._pf_shown} is {kind.name}: None is not in it.", "Leave it out.")
                )
            item: Place | Constant = Constant(None, "None")
        elif isinstance(value, TracedValue):
            shown = (value._pf_shown, f"an element of {self._pf_shown}")
            _checked(tracing, lambda: check_pair(value._pf_kind, element.kind, "==", shown), lambda: IsNone(_NOWHERE))
            item = value._pf_place
        else:
            found: list[Constant] = []
            _checked(
                tracing,
                lambda: found.append(constant_of(element, "==", value, f"an element of {self._pf_shown}")),
                lambda: IsNone(_NOWHERE),
            )
            item = found[0]
        described = _described(self._pf_place, element.kind)
        return TracedCondition(tracing, InList(item, described, element.kind.is_nullable))

    def _pf_elements(self, function: str) -> Node:
        kind, tracing = self._pf_kind, self._pf_tracing
        if not kind.is_array or kind.is_union:
            reason = f": {kind.opaque}" if kind.opaque else ""
            tracing.refuse(f"{function} is about lists, but {self._pf_shown} is {kind.name}{reason}", "Use a list.")
        if kind.rest is None:
            tracing.refuse(f"{self._pf_shown} is {kind.name}, whose elements differ", "Look at each by its index.")
        return kind.rest

    def _pf_any(self, function: str, predicate: Any, *, negate: bool) -> TracedCondition:
        tracing, element = self._pf_tracing, self._pf_elements(function)
        if element.kind.is_array:
            what = f"the elements of {self._pf_shown} are lists, into which {function} cannot look one by one"
            tracing.refuse(what, "Let the elements be models that hold the lists.")
        if isinstance(predicate, Traced) or not callable(predicate):
            tracing.refuse(f"{function} needs a function of an element", f"Write {function}(…, lambda item: …).")
        tracing.roots += 1
        root, name = tracing.roots, _parameter(predicate)
        item = TracedValue(tracing, element, Place(root, (), name, root_may_be_none=element.kind.is_nullable))
        test = condition_of(tracing, predicate(item), function)
        foreign = next((place for place in places(test) if place.root not in (RUN_ROOT, root)), None)
        if foreign is not None and foreign.root < root:
            what = f"{function} over {self._pf_shown} looks at {foreign.shown}, an element of the list around it"
            tracing.refuse(what, "Inside of any_ and all_ are their own element, whole inputs and constants.")
        inner = opposite(test) if negate else test
        found: Condition = AnyOf(self._pf_place, root, name, inner)
        return TracedCondition(tracing, opposite(found) if negate else found)

    def _pf_count(self) -> TracedCount:
        kind, tracing = self._pf_kind, self._pf_tracing
        if not kind.is_array or kind.is_union:
            reason = f": {kind.opaque}" if kind.opaque else ""
            tracing.refuse(
                f"count is about lists, but {self._pf_shown} is {kind.name}{reason}", "Count in the step before."
            )
        return TracedCount(tracing, self._pf_place)

    def _pf_call(self, function: str, *arguments: Any) -> Any:
        match function:
            case "any_" | "all_":
                return self._pf_any(function, arguments[0], negate=function == "all_")
            case "count":
                return self._pf_count()
            case "in_":
                return self._pf_in(arguments[0])
            case "contains":
                return self._pf_contains(arguments[0])
            case "is_none":
                return self._pf_is_none()
            case "matches":
                return self._pf_matches(arguments[0])
            case "startswith":
                return self._pf_starts_with(arguments[0])
            case _:
                return ~self


_NOWHERE: Final = Place(RUN_ROOT, (), "")


def _described(place: Place, kind: Kind) -> Place:
    """Return the place with what its type says about the JSON there."""
    names = {_number_name(scalar.name, scalar.values) for scalar in kind.scalars if scalar.json_type == "number"}
    number: Number = None
    if names:
        number = "either" if len(names) > 1 else "float" if names == {"float"} else "int"
    return replace(place, number=number, is_mixed=kind.is_union)


def _number_name(name: str, values: tuple[Any, ...] | None) -> str:
    if values is None:
        return "float" if name == "float" else "int"
    return "float" if any(isinstance(value, float) for value in values) else "int"


def condition_of(tracing: Tracing, value: object, operator: str) -> Condition:
    """Return the condition a value stands for: one that was traced, or a boolean of the inputs."""
    if isinstance(value, TracedCondition):
        return value._pf_condition
    if isinstance(value, TracedValue):
        kind = value._pf_kind
        if kind.is_scalar and not kind.is_union and kind.scalars[0].family is bool:
            return Compare("==", value._pf_place, Constant(True, "True"))
        fix = f"Compare it: {value._pf_shown} == …"
        if kind.is_array:
            fix = f"Ask for its elements: count({value._pf_shown}) > 0, any_({value._pf_shown}, lambda item: …)"
        elif not kind.is_scalar:
            fix = "Compare a part of it"
        what = f"{operator} takes conditions, but {value._pf_shown} is {kind.name}"
        tracing.refuse(what, f"{fix}; parentheses go around each comparison.")
    if isinstance(value, TracedCount):
        tracing.refuse(
            f"{operator} takes conditions, but {value._pf_shown} is a number", f"Write {value._pf_shown} > 0."
        )
    what = f"{operator} takes conditions, but {value!r} is decided while the flow is defined"
    fix = "Put parentheses around each comparison, write is_none(x) for 'x is None', and leave constants out."
    tracing.refuse(what, fix)


def _checked(tracing: Tracing, check: Callable[[], None], make: Callable[[], Condition]) -> TracedCondition:
    """Return a condition that passed its check; errors are told with the predicate's place."""
    try:
        check()
        return TracedCondition(tracing, make())
    except PredicateError as error:
        raise tracing.placed(error) from None


def _checked_text(tracing: Tracing, text: Any) -> str:
    _checked(tracing, lambda: check_text(text), lambda: IsNone(_NOWHERE))
    return str(text)


def _in_choices(value: TracedValue | TracedCount, options: object) -> TracedCondition:
    tracing = value._pf_tracing
    if isinstance(options, StandIn | str) or not isinstance(options, Collection):
        tracing.refuse(f"in_ needs a list of choices, not {options!r}", f"Write in_({value._pf_shown}, [a, b]).")
    if isinstance(options, set | frozenset):  # the order of a set is another one in each process
        options = sorted(options, key=lambda choice: (type(choice).__name__, repr(choice)))
    if not options:
        raise tracing.placed(impossible(f"in_({value._pf_shown}, []) is never true.", "Name the choices."))
    if len(options) > _MAX_CHOICES:
        fix = "Compare with a list in the inputs, or with bounds."
        tracing.refuse(f"in_ has {len(options)} choices, and at most {_MAX_CHOICES} can be written down", fix)
    parts = [value == choice for choice in options]
    return TracedCondition(
        tracing, parts[0]._pf_condition if len(parts) == 1 else Or(tuple(p._pf_condition for p in parts))
    )


def _parameter(predicate: Any) -> str:
    code = getattr(predicate, "__code__", None)
    return str(code.co_varnames[0]) if code is not None and code.co_argcount else "item"
