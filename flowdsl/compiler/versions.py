"""A version of a flow as the migrations know it: what the next compile is compared with, and what a drop has to bring back."""

from dataclasses import dataclass

from flowdsl.model.shape import FlowShape


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowVersion:
    """A compiled version, and how far back it reaches.

    `serves_from` is the oldest version whose runs its workers carry out as well, `accepts_from` the oldest one whose callers
    may start it and read its output. The fingerprint is stored rather than computed from the shape: a later flowdsl may
    compute it differently, and what workers are compared with is what the migration wrote.
    """

    version: int
    fingerprint: str
    shape: FlowShape
    serves_from: int
    accepts_from: int

    @classmethod
    def of(
        cls, version: int, shape: FlowShape, serves_from: int | None = None, accepts_from: int | None = None
    ) -> "FlowVersion":
        """Make a version with the fingerprint of its shape; it reaches back to itself alone unless told otherwise."""
        return cls(
            version=version,
            fingerprint=shape.fingerprint,
            shape=shape,
            serves_from=serves_from or version,
            accepts_from=accepts_from or version,
        )
