"""A reference to a flow: all that is needed to start its runs and read their outputs, without a single handler.

A service that only starts a flow does not import the code that carries it out. `pgflow client` writes a file with such a
reference and the models of its values.
"""

from functools import cached_property
from typing import Any, Generic, NoReturn, TypeVar, overload

from typing_extensions import is_typeddict

from flowdsl.errors import ConfigError, DefinitionError, Problem
from flowdsl.model.adapters import ValueAdapter, why_not_json
from flowdsl.model.problems import Code
from flowdsl.model.refs import Handler, Ref, handler_name
from flowdsl.model.startable import In, Out, Startable
from flowdsl.model.step import is_valid_slug
from flowdsl.model.typenames import type_name
from flowdsl.types import FlowSlug, StepSlug

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class StepRef(Generic[R_co]):
    """A reference to a step of a flow, whose whole output is of type `R`; a map step's is a list.

    `run.output(sentiment)` returns that output, and `run.output(maybe(sentiment))` None when the step was skipped.

    Args:
        flow: the slug of the flow.
        slug: the slug of the step.
        output: the type `R` once more. Of a type that is no class say it beside: `StepRef[Mood | None](…, Mood | None)`.
    """

    @overload
    def __init__(self: "StepRef[R]", flow: str, slug: str, output: type[R]) -> None: ...
    @overload
    def __init__(self, flow: str, slug: str, output: Any) -> None: ...
    def __init__(self, flow: str, slug: str, output: Any) -> None:
        self._flow_slug = FlowSlug(flow)
        self._slug = StepSlug(slug)
        self._output_type = output

    def __repr__(self) -> str:
        return f"<StepRef {self._flow_slug}.{self._slug}: {type_name(self._output_type)}>"

    # As with `Ref`: the one form all checkers infer the type from, wherever a handler may stand.
    def __call__(self, *args: Any) -> R_co:
        """Refuse: a reference stands for a step's output, it is no function."""
        raise TypeError(f"step '{self._slug}' is a reference and cannot be called")

    @property
    def flow_slug(self) -> FlowSlug:
        """The slug of the flow."""
        return self._flow_slug

    @property
    def slug(self) -> StepSlug:
        """The slug of the step."""
        return self._slug

    @property
    def output_type(self) -> Any:
        """The type of the whole step's output."""
        return self._output_type

    @cached_property
    def step_output(self) -> ValueAdapter:
        """Between the whole step's output and JSON."""
        return _adapter(f"step '{self._slug}' of flow '{self._flow_slug}'", "output", self._output_type)


class FlowRef(Startable[In, Out]):
    """A reference to a flow that takes an input of type `In` and whose runs have an output of type `Out`.

    Args:
        slug: the slug of the flow.
        input: the type `In`: what a run is given.
        output: the type `Out`: of the step the flow returns, else a TypedDict of the outputs of its leaf steps.
            Of types that are no classes say both beside: `FlowRef[Site, Mood | None](…, Site, Mood | None)`.
        fingerprint: the shape of the flow this was written for. When the database's current version does not take callers
            of that shape, a start is refused with FlowNotCompiled; None starts whatever version there is.
        made_with: the command that writes this reference anew, which that error then names.

    Raises:
        ConfigError: the slug cannot name a flow.
    """

    @overload
    def __init__(
        self,
        slug: str,
        input: type[In],
        output: type[Out],
        *,
        fingerprint: str | None = ...,
        made_with: str | None = ...,
    ) -> None: ...
    @overload
    def __init__(
        self, slug: str, input: Any, output: Any, *, fingerprint: str | None = ..., made_with: str | None = ...
    ) -> None: ...
    def __init__(
        self, slug: str, input: Any, output: Any, *, fingerprint: str | None = None, made_with: str | None = None
    ) -> None:
        if not is_valid_slug(slug):
            raise ConfigError(f"'{slug}' cannot name a flow", hint="Give FlowRef the slug the flow was defined with.")
        self._slug = FlowSlug(slug)
        self._input_type = input
        self._output_type = output
        self._fingerprint = fingerprint
        self._made_with = made_with

    def __repr__(self) -> str:
        return f"<FlowRef {self._slug}({type_name(self._input_type)}) -> {type_name(self._output_type)}>"

    @property
    def slug(self) -> FlowSlug:
        """The flow's name."""
        return self._slug

    @property
    def input_type(self) -> Any:
        """The type of a run's input."""
        return self._input_type

    @property
    def output_type(self) -> Any:
        """The type of a run's output."""
        return self._output_type

    @property
    def fingerprint(self) -> str | None:
        """The shape of the flow this reference was written for."""
        return self._fingerprint

    @cached_property
    def input_adapter(self) -> ValueAdapter:
        """Between a run's input and JSON."""
        return _adapter(f"flow '{self._slug}'", "input", self._input_type)

    @cached_property
    def output_adapter(self) -> ValueAdapter:
        """Between a run's output and JSON."""
        return _adapter(f"flow '{self._slug}'", "output", self._output_type)

    @property
    def output_step(self) -> StepSlug | None:
        """None: a reference does not know which step the output is of."""
        return None

    @property
    def returns_leaves(self) -> bool:
        """Whether a run's output is an object of the outputs of its leaf steps, as a TypedDict without required keys says."""
        return is_typeddict(self._output_type) and not self._output_type.__required_keys__

    @property
    def when_outdated(self) -> str | None:
        """What to do when the database has the flow in another shape."""
        anew = "write this reference anew" if self._made_with is None else f"run: {self._made_with}"
        return f"If the flow has changed, {anew}"

    def step_for(self, handler: Handler) -> StepRef[Any]:
        """Return the reference to a step, `maybe` included; DefinitionError if it is none of this flow."""
        ref = handler.handler if isinstance(handler, Ref) else handler
        if not isinstance(ref, StepRef):
            self._refuse(
                f"{handler_name(handler)} is no step of a reference.", "Ask for a StepRef, such as Steps.name."
            )
        if ref.flow_slug != self._slug:
            self._refuse(f"'{ref.slug}' is a step of flow '{ref.flow_slug}'.", "Ask for a step of this flow.")
        return ref

    def step_read_by(self, handler: Handler) -> StepRef[Any]:
        """Return the step whose whole output is asked for; `collect` has nothing to add to a reference."""
        step = self.step_for(handler)
        if isinstance(handler, Ref) and handler.collects:
            what = f"a reference to '{step.slug}' stands for its whole output already."
            self._refuse(what, "Ask for it without collect.")
        return step

    def _refuse(self, what: str, fix: str) -> NoReturn:
        problem = Problem(code=Code.UNKNOWN_STEP, flow_slug=self._slug, what=what, fix=fix)
        raise DefinitionError([problem])


def _adapter(owner: str, subject: str, declared: Any) -> ValueAdapter:
    obstacle = why_not_json(declared)
    if obstacle is not None:
        name = type_name(declared)
        raise ConfigError(
            f"the reference to {owner}: its {subject} type {name} cannot be turned into JSON: {obstacle.what}",
            hint=obstacle.fix,
        )
    return ValueAdapter(declared)
