"""What a child process could never find: functions and classes that no module has under their name.

Only what is certain from the name alone: whatever else keeps a value from being pickled shows when a worker starts. Pickling
here would run the users' code, and the module that is being imported has not all of its names yet.
"""

from collections.abc import Iterator
from functools import partial
from types import FunctionType
from typing import Any, get_args

from flowdsl.model.options import ExecutorChoice
from flowdsl.model.step import StepSpec
from flowdsl.model.typenames import type_name

_LOCAL = "<locals>"
_LAMBDA = "<lambda>"


def unreachable(step: StepSpec, executor: ExecutorChoice | None) -> Iterator[str]:
    """Yield, in words, what of a step no child process can find; nothing when it runs elsewhere. `executor` is its flow's."""
    if (executor if step.options.executor is None else step.options.executor) != "process":
        return
    handler = step.handler
    while isinstance(handler, partial):
        handler = handler.func
    if isinstance(handler, FunctionType):
        kind = "a lambda" if handler.__name__ == _LAMBDA else "a local function"
        if _LOCAL in handler.__qualname__ or _LAMBDA in handler.__qualname__:
            yield f"its handler is {kind}"
    declared = (step.element_type, *(dep.type for dep in step.deps), step.output_type)
    for cls in dict.fromkeys(cls for part in declared for cls in _local_classes(part)):
        yield f"it takes or returns the local class {type_name(cls)}"


def _local_classes(declared: Any) -> Iterator[type]:
    if isinstance(declared, type) and _LOCAL in declared.__qualname__:
        yield declared
    for part in get_args(declared):
        yield from _local_classes(part)
