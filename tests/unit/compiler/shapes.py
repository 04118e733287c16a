"""Flow shapes for tests, written in one line each."""

from typing import Any

from flowdsl.compiler.versions import FlowVersion
from flowdsl.model.conditions import Pattern, Predicate, SkipMode
from flowdsl.model.schemas import Schema
from flowdsl.model.shape import FLOW_OPTIONS, STEP_OPTIONS, FlowShape, OptionValue, OptionValues, StepShape
from flowdsl.types import FlowSlug, StepSlug, StepType

DEFAULTS: dict[str, OptionValue] = {
    "max_attempts": 3,
    "base_delay": 5,
    "max_delay": 3600,
    "timeout": 60,
    "queue": None,
    "priority": 0,
    "deadline": None,
}

AWKWARD_TEXTS = [
    "it's \"quoted\" ''twice''",
    "colon :name ::cast :'x' :\"y\"",
    "percent % %s %(x)s %%",
    "jinja {{ 7 * 7 }} {% raw %} {# no #}",
    "back\\slash \\' \\n \\\\",
    "dollars $$ $fn$ $1",
    "new\nline \r\n tab\t",
    "žluťoučký 🐘 \u202e \u2028 \ufeff e\u0301",
    "-- comment; /* block",
    'python """ \'\'\' r"" \x1b[31m',
    "${mako} <% x %> @param",
    "?",
    "\\:escaped \\",
]


def step(
    slug: str,
    *deps: str,
    over: str | None = None,
    run: bool | None = None,
    when: dict[str, Any] | None = None,
    unless: dict[str, Any] | None = None,
    predicate: Predicate | None = None,
    takes: dict[str, Any] | None = None,
    gives: dict[str, Any] | None = None,
    when_unmet: SkipMode = "skip",
    when_exhausted: SkipMode = "fail",
    **options: OptionValue,
) -> StepShape:
    """Make a step; `over` makes it a map, `run` defaults to "when it has no dependencies".

    `takes` are the schemas of what it is given, by name; a name that ends in "?" may be missing. `gives` is its output's.
    """
    edges = deps if over in (None, "run") else (str(over), *deps)
    return StepShape(
        slug=StepSlug(slug),
        step_type=StepType.SINGLE if over is None else StepType.MAP,
        deps=tuple(StepSlug(dep) for dep in edges),
        map_over=over,
        uses_run_input=(not edges and over is None) if run is None else run,
        options=OptionValues.of({**dict.fromkeys(STEP_OPTIONS), "start_delay": 0, **options}),
        required_input_pattern=None if when is None else Pattern.of(when),
        forbidden_input_pattern=None if unless is None else Pattern.of(unless),
        input_predicate=predicate,
        input_schema=None if takes is None else Schema.of(taken(takes)),
        output_schema=None if gives is None else Schema.of(gives),
        when_unmet=when_unmet,
        when_exhausted=when_exhausted,
    )


def taken(takes: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the object of what a step is given."""
    return {
        "type": "object",
        "properties": {name.rstrip("?"): schema for name, schema in takes.items()},
        "required": [name for name in takes if not name.endswith("?")],
    }


def flow(
    slug: str,
    *steps: StepShape,
    returns: str | None = None,
    takes: dict[str, Any] | None = None,
    gives: dict[str, Any] | None = None,
    **options: OptionValue,
) -> FlowShape:
    """Make a flow with the default options and these; `takes` and `gives` are the schemas of a run's input and output."""
    assert set(options) <= set(FLOW_OPTIONS)
    return FlowShape(
        slug=FlowSlug(slug),
        output_step=None if returns is None else StepSlug(returns),
        options=OptionValues.of({**DEFAULTS, **options}),
        steps=steps,
        input_schema=None if takes is None else Schema.of(takes),
        output_schema=None if gives is None else Schema.of(gives),
    )


def versions(*shapes: FlowShape) -> list[FlowVersion]:
    """Make the history of a flow; each version reaches back to itself alone."""
    return [FlowVersion.of(number, shape) for number, shape in enumerate(shapes, 1)]


INTEGER: dict[str, Any] = {"type": "integer"}
NUMBER: dict[str, Any] = {"type": "number"}
STRING: dict[str, Any] = {"type": "string"}


def listed(items: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def objects(**properties: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an object; a property whose name ends in an underscore may be missing."""
    return {
        "type": "object",
        "properties": {name.rstrip("_"): schema for name, schema in properties.items()},
        "required": [name for name in properties if not name.endswith("_")],
    }


PLAIN = flow("hello", step("greet"), step("shout", "greet"), returns="shout")

AWKWARD = flow(
    "awkward",
    step("list_it", timeout=30, max_attempts=5, base_delay=0, max_delay=10, start_delay=3),
    step("each", over="list_it", run=True, retry_on=("ValueError", "shop.errors.Gone"), priority=-5),
    step("root_map", over="run", queue=AWKWARD_TEXTS[0]),
    *(step(f"text_{number}", "each", queue=text) for number, text in enumerate(AWKWARD_TEXTS)),
    queue='it\'s the "queue" \\ :of % {{ all }}',
    priority=7,
)

AWKWARD_PATTERN = {text: [text, {"nested": text}] for text in AWKWARD_TEXTS} | {"0": [None, True, False, 0, -1.5, 1e20]}

CONDITIONAL = flow(
    "conditional",
    step("judge"),
    step("escalate", "judge", run=True, when={"judge": {"label": "bad"}}, unless={"run": {"quiet": True}}),
    step("insist", "judge", when=AWKWARD_PATTERN, when_unmet="fail"),
    step("tell", "escalate", unless=AWKWARD_PATTERN, when_unmet="skip-cascade", when_exhausted="skip"),
    step("each", over="judge", when_exhausted="skip-cascade"),
    deadline=86400,
)

SITE = objects(url=STRING)
ORDER = objects(lines=listed(objects(price=NUMBER, name=STRING, count_=INTEGER)), **{'it\'s "x" \\ :y %': STRING})
TYPED = flow(
    "typed",
    step("find", takes={"run": SITE}, gives=ORDER),
    step("total", "find", takes={"find": ORDER}, gives=NUMBER),
    returns="total",
    takes=SITE,
    gives=NUMBER,
)
TYPED_NEXT = flow(
    "typed",
    step("find", takes={"run": SITE}, gives=objects(lines=listed(objects(price=STRING, name=STRING)))),
    step("total", "find", run=True, takes={"run": SITE, "find": ORDER}, gives=STRING),
    returns="total",
    takes=SITE,
    gives=STRING,
    timeout=9,
)
AWKWARD_PREDICATE = flow(
    "awkward_predicate",
    step("only", predicate=Predicate('$."it\'s \\"x\\" \\\\ :y" == "100 % {{ x }}"', 'it\'s == "100 % {{ x }}" \\')),
)
