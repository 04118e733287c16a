"""The arguments of `Flow(…)`: the definition that begins with them, and what is wrong with them.

Python itself refuses a call that does not fit the signature, with a TypeError that knows nothing of flows. So a call is
looked at before Python binds it: a misspelt option is a problem beside the others, with the line and the right name.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from types import FrameType
from typing import Any, Final, TypeVar, cast

from flowdsl.model.adapters import why_not_json
from flowdsl.model.build import SLUG_RULE, good_slug, option_edits
from flowdsl.model.chain import location_of, nearby, place_of
from flowdsl.model.definition import Definition
from flowdsl.model.findings import Findings
from flowdsl.model.mending import Argument, Edit, Option, Renamed
from flowdsl.model.options import FlowOptions, StepOptions, flow_options
from flowdsl.model.problems import Code
from flowdsl.model.refs import NO_HANDLER
from flowdsl.model.step import is_valid_slug
from flowdsl.model.typenames import type_name
from flowdsl.suggest import closest
from flowdsl.types import FlowSlug

Init = TypeVar("Init", bound=Callable[..., None])

BY_POSITION: Final = ("slug", "input")
_TYPING: Final = ("typing", "typing_extensions", "types")


def told_when_wrong(init: Init) -> Init:
    """Let a constructor that is called with other arguments than it has be told so; type checkers see none of this."""

    @wraps(init)
    def checked(self: Any, *args: Any, **options: Any) -> None:
        if fits(args, options):
            init(self, *args, **options)
        else:
            self._begin(args, options)

    return cast("Init", checked)


def fits(args: tuple[Any, ...], options: Mapping[str, Any]) -> bool:
    """Tell whether Python could bind the arguments."""
    by_name = set(BY_POSITION[len(args) :])
    return len(args) <= len(BY_POSITION) and by_name <= set(options) <= by_name | set(FlowOptions.__dataclass_fields__)


def begun(args: tuple[Any, ...], options: Mapping[str, Any], frame: FrameType | None) -> Definition:
    """Return the definition that begins with these arguments, with all that is wrong with them."""
    given = {**dict(zip(BY_POSITION, args, strict=False)), **options}
    misspelt = _misspelt(given)
    for name, right in misspelt.items():
        value = given.pop(name)
        if right in BY_POSITION:
            given[right] = value
    location, place = location_of(frame), place_of(frame, None)
    has_slug = "slug" in given
    slug = str(given.pop("slug", "?"))
    names = nearby(frame)
    findings = Findings(flow_slug=slug, step_slug=None, location=location, place=place, known=tuple, nearby=names)
    for name, right in misspelt.items():
        fix = f"Did you mean '{right}'?"
        findings.add(Code.BAD_OPTION, f"unknown option '{name}'.", fix, Renamed(name, right))
    input_type = given.pop("input", Any)
    if not has_slug or ("input" not in options and "input" not in misspelt.values() and len(args) < len(BY_POSITION)):
        _lacks(findings, args, has_slug=has_slug)
    elif len(args) > len(BY_POSITION):
        extra = ", ".join(map(repr, args[len(BY_POSITION) :]))
        what = f"Flow(…) takes two values by position, a slug and an input type, but is given {len(args)}: {extra}."
        findings.add(Code.WRONG_ARGUMENTS, what, "Options have names, as in Flow('slug', Input, timeout=30).")
    if has_slug:
        _check_slug(findings, slug, given_slug=args[0] if args else options.get("slug", slug))
    input_type = _checked_input(findings, input_type, names)
    good, bad_options = flow_options(given)
    for bad in bad_options:
        findings.add(Code.BAD_OPTION, f"{bad.what}.", bad.fix, *option_edits(bad))
    definition = Definition(slug=FlowSlug(slug), input_type=input_type, options=good, location=location)
    return definition.with_output(None, tuple(findings.items))


def _misspelt(given: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that are unknown, and the ones that were meant."""
    known = {*BY_POSITION, *FlowOptions.__dataclass_fields__}
    unknown = given.keys() - known - set(StepOptions.__dataclass_fields__)
    near = {name: closest(name, known - set(given)) for name in given if name in unknown}
    return {name: right for name, right in near.items() if right is not None}


def _lacks(findings: Findings, args: tuple[Any, ...], *, has_slug: bool) -> None:
    if args and _is_type(args[0]) and not isinstance(args[0], str):
        name = type_name(args[0])
        edit = Argument(0, f'"my_flow", {name}')
        what, fix = "Flow(…) lacks its slug.", f"The slug comes first: Flow('my_flow', {name})."
        findings.add(Code.WRONG_ARGUMENTS, what, fix, edit)
        return
    lacking = "its input type" if has_slug else "its slug and its input type"
    slug = args[0] if args else findings.flow_slug if has_slug else "my_flow"
    fix = f"Give the type of what a run starts with, a model, str, list[str], …: Flow({slug!r}, Input)."
    findings.add(Code.WRONG_ARGUMENTS, f"Flow(…) lacks {lacking}.", fix)


def _check_slug(findings: Findings, slug: str, given_slug: object) -> None:
    if is_valid_slug(slug) or (_is_type(given_slug) and not isinstance(given_slug, str)):
        return
    near = good_slug(slug) if isinstance(given_slug, str) else None
    edits: tuple[Edit, ...] = () if near is None else (Argument(0, f'"{near}"'),)
    findings.add(Code.BAD_SLUG, f"'{slug}' cannot name a flow.", SLUG_RULE, *edits)


def _checked_input(findings: Findings, input_type: Any, names: Mapping[str, Any]) -> Any:
    """Return the input's type, Any where there is none."""
    if not _is_type(input_type) or isinstance(input_type, str):
        kind, right = _meant(input_type, names)
        fix = "Give the type of the input, a model, str, list[str], …" + (f": {right}." if right else "")
        findings.add(
            Code.INPUT_IS_NO_TYPE, f"its input is {kind}, not a type.", fix, *((Argument(1, right),) if right else ())
        )
        return Any
    obstacle = why_not_json(input_type)
    if obstacle is None:
        return input_type
    what = f"its input type {type_name(input_type)} cannot be turned into JSON: {obstacle.what}."
    findings.add(Code.NO_JSON, what, obstacle.fix)
    return input_type


def _is_type(declared: Any) -> bool:
    if declared is None or isinstance(declared, type):
        return True
    return type(declared).__module__ in _TYPING and not _is_function(declared)


def _is_function(value: Any) -> bool:
    # Their classes are in `types`, as those of some types are.
    return hasattr(value, "__code__") or hasattr(value, "__func__")


def _meant(value: Any, names: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return what was given for a type, in words, and the type that was meant."""
    if isinstance(value, str):
        return f"the text {value!r}", value if isinstance(names.get(value), type) else None
    if _is_function(value):
        return f"the function {value.__name__}", None
    if isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], type):
        return f"{type(value).__name__} of a type", f"list[{type_name(value[0])}]"
    cls = type(value)
    is_known = names.get(cls.__name__) is cls or cls in (int, float, bool)
    shown = repr(value)
    return f"the value {shown}" if len(shown) <= 60 else f"a {cls.__name__}", cls.__name__ if is_known else None


# ---- of builder methods ---------------------------------------------------------------------------------------------


def check_handler_given(method: str, options: Mapping[str, Any], findings: Findings) -> None:
    """Tell that a builder method was called without a handler."""
    fix = f"It comes first, and without a name: {method}(handler)."
    findings.add(Code.WRONG_ARGUMENTS, f"{method}(…) lacks its handler.", fix)
    del options


def check_lone_handler(
    method: str, handler: object, more: tuple[Any, ...], options: Mapping[str, Any], findings: Findings
) -> None:
    """Tell what a method that takes a handler and nothing else was given beside it."""
    if handler is NO_HANDLER:
        check_handler_given(method, options, findings)
    elif more:
        what = f"{method}(…) takes one handler, but is given {len(more) + 1}."
        fix = "To return the outputs of several steps, gather them in a last step, or leave out .returns(…)."
        findings.add(Code.WRONG_ARGUMENTS, what, fix)
    for name in options:
        what = f"unknown option '{name}'."
        findings.add(Code.BAD_OPTION, what, f"{method}(…) takes a handler and no options.", Option(name, None))
