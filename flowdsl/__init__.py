"""Typed workflows in Python, executed by PostgreSQL.

Everything needed to define a flow is here, and the errors one may want to catch. `flowdsl.client.Client` starts runs,
`flowdsl.runtime.worker.Worker` executes them.
"""

from flowdsl.errors import (
    CompileError,
    ConfigError,
    DatabaseError,
    DefinitionError,
    FlowError,
    InputError,
    NonRetryable,
    OutputUnavailable,
    ResultTimeout,
    RetryAfter,
    RunCancelled,
    RunFailed,
)
from flowdsl.model.context import Context
from flowdsl.model.flow import Flow
from flowdsl.model.flow_ref import FlowRef, StepRef
from flowdsl.model.predicates.functions import all_, any_, count, in_, is_none, matches, not_, startswith
from flowdsl.model.refs import collect, maybe, named

__all__ = [
    "CompileError",
    "ConfigError",
    "Context",
    "DatabaseError",
    "DefinitionError",
    "Flow",
    "FlowError",
    "FlowRef",
    "InputError",
    "NonRetryable",
    "OutputUnavailable",
    "ResultTimeout",
    "RetryAfter",
    "RunCancelled",
    "RunFailed",
    "StepRef",
    "all_",
    "any_",
    "collect",
    "count",
    "in_",
    "is_none",
    "matches",
    "maybe",
    "named",
    "not_",
    "startswith",
]
