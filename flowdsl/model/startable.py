"""What the client needs of a flow: the same of a `Flow`, which has the handlers, and of a `FlowRef`, which has none."""

from abc import ABC, abstractmethod
from typing import Any, Generic, Protocol, TypeVar

from flowdsl.model.adapters import ValueAdapter
from flowdsl.model.refs import Handler
from flowdsl.types import FlowSlug, StepSlug

In = TypeVar("In")
Out = TypeVar("Out")


class ReadableStep(Protocol):
    """A step whose output can be asked for."""

    @property
    def flow_slug(self) -> FlowSlug:
        """The name of its flow."""
        ...

    @property
    def slug(self) -> StepSlug:
        """Its own name."""
        ...

    @property
    def step_output(self) -> ValueAdapter:
        """Between the whole step's output and JSON."""
        ...


class Startable(ABC, Generic[In, Out]):
    """A flow as its callers see it: it takes an input of type `In`, and its runs have an output of type `Out`."""

    @property
    @abstractmethod
    def slug(self) -> FlowSlug:
        """The flow's name."""

    @property
    @abstractmethod
    def fingerprint(self) -> str | None:
        """The shape the caller was written for; None for whatever version the database has."""

    @property
    @abstractmethod
    def input_adapter(self) -> ValueAdapter:
        """Between a run's input and JSON."""

    @property
    @abstractmethod
    def output_adapter(self) -> ValueAdapter:
        """Between a run's output and JSON."""

    @property
    @abstractmethod
    def output_step(self) -> StepSlug | None:
        """The step whose output is the run's, None when it is that of all leaf steps, or not known."""

    @property
    @abstractmethod
    def returns_leaves(self) -> bool:
        """Whether a run's output is an object of the outputs of its leaf steps, by slug."""

    @property
    @abstractmethod
    def when_outdated(self) -> str | None:
        """What to do when the database has the flow in another shape; None for what the database itself says."""

    @abstractmethod
    def step_for(self, handler: Handler) -> ReadableStep:
        """Return the step that is referred to; DefinitionError if there is none."""

    @abstractmethod
    def step_read_by(self, handler: Handler) -> ReadableStep:
        """Return the step whose whole output is asked for; DefinitionError if there is none."""


AnyStartable = Startable[Any, Any]
