"""Typed workflows in Python, executed by PostgreSQL.

Everything needed to define a flow is here. `flowdsl.client.Client` starts runs, `flowdsl.runtime.Worker` executes them.
"""

from flowdsl.errors import DefinitionError, FlowError, NonRetryable, RetryAfter
from flowdsl.model.context import Context
from flowdsl.model.flow import Flow
from flowdsl.model.refs import collect, named

__all__ = [
    "Context",
    "DefinitionError",
    "Flow",
    "FlowError",
    "NonRetryable",
    "RetryAfter",
    "collect",
    "named",
]
