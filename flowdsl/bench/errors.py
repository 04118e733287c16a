"""What can go wrong with a benchmark itself."""

from flowdsl.errors import FlowError


class BenchError(FlowError):
    """A workload could not be measured: a process of it died, or nothing moved any more."""
