"""From what users write as `when`, `unless`, `when_unmet` and `when_exhausted` to conditions, with all that is wrong.

A pattern that can never match is a step that never runs, and nobody is told. So each pattern is held against the types of
what it is about, before any run.
"""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flowdsl.model.adapters import ValueAdapter
from flowdsl.model.conditions import SKIP_MODES, WHEN_EXHAUSTED, WHEN_UNMET, Conditions, Pattern, Predicate, SkipMode
from flowdsl.model.containment import Misfit, misfits
from flowdsl.model.predicates.inputs import Input, Inputs
from flowdsl.model.problems import Code
from flowdsl.model.step import RUN
from flowdsl.suggest import closest, did_you_mean

CONDITION_OPTIONS: Final = ("when", "unless", "when_unmet", "when_exhausted")
_EXAMPLE: Final = "{'status': 404}"
_NEVER: Final[Mapping[str, str]] = {"when": "when can never be met", "unless": "unless can never apply"}
_MENDED_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong with a step's conditions: its code, what it is, what mends it.

    `mended` are the option and the source it should have, None to leave it out, where that is known.
    """

    code: Code
    what: str
    fix: str
    mended: tuple[str, str | None] | None = None


def read_conditions(options: Mapping[str, Any], inputs: Inputs) -> tuple[Conditions, tuple[Mistake, ...]]:
    """Read the conditions among a step's options; what is wrong is reported and left at its default."""
    mistakes: list[Mistake] = []
    patterns: dict[str, Pattern | None] = {}
    functions: dict[str, Callable[..., Any]] = {}
    for name in ("when", "unless"):
        patterns[name] = None
        value = options.get(name)
        if value is None:
            continue
        if callable(value) and not isinstance(value, type):
            functions[name] = value
            continue
        mistake = _no_pattern(name, value)
        if mistake is not None:
            mistakes.append(mistake)
        # Even so there is a condition: others may well ask for the step with maybe.
        patterns[name] = Pattern.of(value if mistake is None else {})
    predicate, wrong = _predicate(functions, inputs) if functions else (None, ())
    mistakes.extend(wrong)
    modes: dict[str, SkipMode] = {"when_unmet": WHEN_UNMET, "when_exhausted": WHEN_EXHAUSTED}
    for name, default in modes.items():
        value = options.get(name)
        if value in SKIP_MODES:
            modes[name] = value
        elif name in options:
            known = ", ".join(map(repr, SKIP_MODES))
            suggestion = did_you_mean(value, SKIP_MODES) if isinstance(value, str) else ""
            fix = f"{suggestion} It is one of {known}; without it {default!r}.".lstrip()
            right = closest(value, SKIP_MODES) if isinstance(value, str) else None
            mended = None if right is None else (name, f'"{right}"')
            mistakes.append(Mistake(Code.BAD_OPTION, f"{name}={value!r} is no mode.", fix, mended))
    if options.get("when_unmet") is not None and options.get("when") is None and options.get("unless") is None:
        what = "when_unmet says what follows an unmet condition, but the step has none."
        fix = "Leave it out, or give the step when=… or unless=…."
        mistakes.append(Mistake(Code.POINTLESS_MODE, what, fix, ("when_unmet", None)))
    conditions = Conditions(
        required=patterns["when"],
        forbidden=patterns["unless"],
        predicate=predicate,
        when_unmet=modes["when_unmet"],
        when_exhausted=modes["when_exhausted"],
    )
    return conditions, tuple(mistakes)


def _predicate(
    functions: Mapping[str, Callable[..., Any]], inputs: Inputs
) -> tuple[Predicate | None, tuple[Mistake, ...]]:
    # Most flows have no predicates, and shall not pay for loading what reads them.
    from flowdsl.model.predicates.mistakes import PredicateError
    from flowdsl.model.predicates.reading import UNKNOWN, predicate_of, read_predicate

    if inputs.values is None or not _can_be_read(inputs.values):
        return UNKNOWN, ()
    conditions, mistakes = [], []
    for name, function in functions.items():
        try:
            conditions.append(read_predicate(name, function, inputs.values, is_root=inputs.is_root))
        except PredicateError as error:
            mended = None if error.mended is None else (name, error.mended)
            mistakes.append(Mistake(error.code, error.what, error.fix, mended))
    if mistakes:
        # Even so there is a condition: others may well ask for the step with maybe.
        return UNKNOWN, tuple(mistakes)
    try:
        return predicate_of(conditions), ()
    except PredicateError as error:
        return UNKNOWN, (Mistake(error.code, error.what, error.fix),)


def _can_be_read(values: Collection[Input]) -> bool:
    try:
        for value in values:
            value.adapter()
    except Exception:  # the type's own hooks may fail in any way, which is told as another mistake
        return False
    return True


# ---- is it a pattern? -----------------------------------------------------------------------------------------------


def _no_pattern(name: str, value: object) -> Mistake | None:
    if not isinstance(value, dict):
        what = f"{name}={value!r} is no pattern."
        fix = f"Give a dict the inputs have to contain, {name}={_EXAMPLE}, or a function of the step's inputs."
        return Mistake(Code.NO_PATTERN, what, fix)
    if not value:
        effect = "is met by every input" if name == "when" else "keeps the step from ever running"
        return Mistake(
            Code.NO_PATTERN, f"{name}={{}} {effect}.", f"Leave it out, or say what to look for: {name}={_EXAMPLE}."
        )
    reason = _why_not_json(value)
    if reason is None:
        return None
    fix = "Use dicts with text keys, lists, texts, numbers, True, False and None; of an Enum member its value."
    return Mistake(Code.NO_PATTERN, f"{name} is not JSON: {reason}.", fix)


def _why_not_json(value: object) -> str | None:
    try:
        if (reason := next(_not_json(value), None)) is not None:
            return reason
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        return "it holds itself, or is nested too deep"
    except (ValueError, UnicodeEncodeError) as error:  # an integer too long to be written, half of a surrogate pair
        return str(error)
    return None


def _not_json(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                yield f"the key {key!r} is no text"
            yield from _not_json(key)
            yield from _not_json(part)
    elif isinstance(value, list):
        for part in value:
            yield from _not_json(part)
    elif isinstance(value, str):
        if "\0" in value:
            yield "PostgreSQL cannot store the character U+0000"
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield f"{value!r} is no number of JSON"
    elif value is not None and not isinstance(value, (bool, int)):
        yield f"{value!r} is a {type(value).__name__}"


# ---- can it match? --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the patterns of a step are about: the run's input alone for a root step, else each dependency and `run`.

    `other_steps` are the steps before it on which it does not depend.
    """

    is_root: bool
    types: Mapping[str, Callable[[], ValueAdapter]]
    other_steps: Collection[str] = ()
    _schemas: dict[str, Any] = field(default_factory=dict, init=False)

    def schema(self, slug: str) -> Any:
        """Return the JSON Schema of one input; True, for anything, where there is none."""
        if slug not in self._schemas:
            try:
                self._schemas[slug] = self.types[slug]().written_schema()
            except Exception:  # the type's own hooks may fail in any way, which is told as another mistake
                self._schemas[slug] = True
        return self._schemas[slug]


def impossible_patterns(conditions: Conditions, subject: Subject) -> Iterator[Mistake]:
    """Find what keeps the patterns of a step from ever matching."""
    for name, pattern in conditions.patterns.items():
        if subject.is_root:
            yield from _of_root(name, pattern.value, subject)
        else:
            yield from _of_dependent(name, pattern.value, subject)


def _of_root(name: str, pattern: dict[str, Any], subject: Subject) -> Iterator[Mistake]:
    strangers = [key for key in pattern if key in subject.other_steps]
    for misfit in misfits(pattern, subject.schema(RUN)):
        if strangers and misfit.path == () and misfit.is_key:
            yield from (_stranger(name, slug) for slug in strangers)
            return
        if set(pattern) == {RUN} and misfit.path == () and misfit.is_key and isinstance(pattern[RUN], dict):
            what = f"{_NEVER[name]}: a step without dependencies is judged by the run's input itself."
            yield Mistake(Code.UNKNOWN_PATTERN_KEY, what, f"Leave out the key 'run': {name}={pattern[RUN]!r}.")
        elif misfit.path == () and not misfit.is_key:
            what = f"{_NEVER[name]}: the run's input {misfit.what.partition(', never ')[0]}, which has no keys."
            fix = "Only a step that depends on another one can look at it, under {'run': …}."
            yield Mistake(Code.IMPOSSIBLE_PATTERN, what, fix)
        else:
            place = ".".join(misfit.path)
            yield _told(name, f"{place} of the run's input" if place else "the run's input", misfit)


def _of_dependent(name: str, pattern: dict[str, Any], subject: Subject) -> Iterator[Mistake]:
    for slug, part in pattern.items():
        if slug in subject.types:
            for misfit in misfits(part, subject.schema(slug)):
                outer = misfit.inside(slug, pattern, slug)
                yield _told(name, ".".join(outer.path), outer)
        elif slug in subject.other_steps:
            yield _stranger(name, slug)
        else:
            yield _unknown_input(name, slug, pattern, subject)


def _stranger(name: str, slug: str) -> Mistake:
    what = f"{_NEVER[name]}: the step does not depend on '{slug}', so its output is not looked at."
    return Mistake(Code.UNKNOWN_PATTERN_KEY, what, f"Add {slug} to the dependencies, and a parameter to the handler.")


def _unknown_input(name: str, slug: str, pattern: dict[str, Any], subject: Subject) -> Mistake:
    known = ", ".join(subject.types)
    what = f"{_NEVER[name]}: the step has no dependency '{slug}'."
    match = closest(slug, subject.types)
    # Most often the level of the dependency was forgotten: the key is one of its output's.
    owners = [input_ for input_ in subject.types if not misfits({slug: pattern[slug]}, subject.schema(input_))]
    owners = [owner for owner in owners if slug in _keys(subject.schema(owner))]
    if match is not None and match not in pattern:
        mended: Any = {match if key == slug else key: part for key, part in pattern.items()}
        fix = f"Did you mean '{match}'? Its inputs: {known}.{_line(name, mended)}"
    elif len(owners) == 1 and owners[0] not in pattern:
        rest = {key: part for key, part in pattern.items() if key != slug}
        mended = {**rest, owners[0]: {slug: pattern[slug]}}
        fix = f"'{slug}' is a key of '{owners[0]}'.{_line(name, mended)}"
    else:
        mended = None
        fix = f"The first keys of the pattern are the step's inputs: {known}."
    return Mistake(Code.UNKNOWN_PATTERN_KEY, what, fix, _source(name, mended))


def _keys(schema: Any) -> Mapping[str, Any]:
    if isinstance(schema, dict) and "$ref" in schema:
        schema = schema.get("$defs", {}).get(str(schema["$ref"]).rpartition("/")[2], {})
    keys: Mapping[str, Any] = schema.get("properties", {}) if isinstance(schema, dict) else {}
    return keys


def _told(name: str, place: str, misfit: Misfit) -> Mistake:
    line = _line(name, misfit.mended[0]) if misfit.mended else ""
    source = _source(name, misfit.mended[0]) if misfit.mended else None
    if misfit.is_key:
        what = f"{_NEVER[name]}: {misfit.what} (in {place})."
        return Mistake(Code.UNKNOWN_PATTERN_KEY, what, misfit.fix + line, source)
    what = f"{_NEVER[name]}: {place} {misfit.what}."
    fix = (misfit.fix + line).lstrip() or "Look for a value of that type, or change the type."
    return Mistake(Code.IMPOSSIBLE_PATTERN, what, fix, source)


def _source(name: str, mended: Any) -> tuple[str, str] | None:
    return None if mended is None or len(repr(mended)) > _MENDED_MAX else (name, repr(mended))


def _line(name: str, mended: Any) -> str:
    text = repr(mended)
    return f"\nWrite {name}={text}." if len(text) <= _MENDED_MAX else ""
