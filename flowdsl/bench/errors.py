"""What can go wrong with a benchmark itself."""

from typing import ClassVar

from flowdsl.errors import DatabaseError, FlowError


class BenchError(FlowError):
    """A workload could not be measured: a process of it died, or nothing moved any more."""


class MayNotCreateError(DatabaseError):
    """The server refuses databases of their own to the benchmarks."""

    SQLSTATE: ClassVar[str | None] = "42501"
