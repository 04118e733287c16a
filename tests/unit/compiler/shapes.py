"""Flow shapes for tests, written in one line each."""

from typing import Any

from flowdsl.model.conditions import Pattern, SkipMode
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
    when_unmet: SkipMode = "skip",
    when_exhausted: SkipMode = "fail",
    **options: OptionValue,
) -> StepShape:
    """Make a step; `over` makes it a map, `run` defaults to "when it has no dependencies"."""
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
        when_unmet=when_unmet,
        when_exhausted=when_exhausted,
    )


def flow(slug: str, *steps: StepShape, returns: str | None = None, **options: OptionValue) -> FlowShape:
    """Make a flow with the default options and these."""
    assert set(options) <= set(FLOW_OPTIONS)
    return FlowShape(
        slug=FlowSlug(slug),
        output_step=None if returns is None else StepSlug(returns),
        options=OptionValues.of({**DEFAULTS, **options}),
        steps=steps,
    )


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
