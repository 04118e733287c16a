"""What a peer is to the workloads: something to install, to send work to, and to work it off with."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import ClassVar

from bench.peers.common import MeasurementFailed, Role


class Session(ABC):
    """A client: one process with an open connection (or the pool that the peer's client insists on)."""

    @abstractmethod
    def start(self, number: int) -> None:
        """Start one run of the 3-step flow and return when that is committed."""

    @abstractmethod
    def start_batch(self, numbers: range) -> None:
        """Start many runs by whatever way of the peer is fastest."""

    @abstractmethod
    def round_trip(self, number: int) -> None:
        """Start one run and return when its result is here."""

    @abstractmethod
    def fan_outs(self) -> Mapping[str, Callable[[int], None]]:
        """Give the ways of mapping over so many elements and aggregating; each returns when the aggregate is done."""

    def start_plain(self, numbers: range) -> None:
        """Queue independent jobs, for peers that are plain queues."""
        raise MeasurementFailed("This peer has no plain jobs.")


class Peer(ABC):
    """One peer: its name, its settings with their sources, and its SQL for reading what has happened.

    Times are taken from the peer's own rows where they come from the server's clock (or from a clock of the same
    machine), so that starting a worker process is not measured.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    settings: ClassVar[Mapping[str, str]]
    # What about this peer's workloads differs from ours, by metric or workload; it ends up in `not_measured`.
    not_measured: ClassVar[Mapping[str, str]] = {}
    runs: ClassVar[int]
    batch: ClassVar[int] = 500
    plain_jobs: ClassVar[bool] = False

    # Each returns one number.
    finished_runs: ClassVar[str]
    completed_steps: ClassVar[str]
    work_seconds: ClassVar[str]

    @abstractmethod
    def install(self, url: str) -> None:
        """Install the peer's schema into an empty database."""

    @abstractmethod
    def session(self, url: str) -> AbstractContextManager[Session]:
        """Open a client."""

    @abstractmethod
    def serve(self, url: str, role: Role) -> None:
        """Work until the process is ended."""

    def in_process(self, url: str) -> AbstractContextManager[Callable[[int], object]] | None:
        """Give a call that runs the flow in the client's own process, for peers that can; None for the others."""
        del url
        return None
