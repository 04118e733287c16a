"""The client: starts runs, one or many, and finds them again."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from flowdsl.client.ids import RunIds
from flowdsl.client.run import Run
from flowdsl.client.session import TRIES, Session, Work
from flowdsl.client.watcher import Watcher
from flowdsl.errors import ConfigError, FlowNotCompiled, FlowNotFound, InputError
from flowdsl.gateway import calls, connections
from flowdsl.gateway.connections import Connection
from flowdsl.gateway.rows import RunRow
from flowdsl.model.codec import encode_input
from flowdsl.model.flow_ref import FlowRef
from flowdsl.model.startable import In, Out, Startable
from flowdsl.types import RunId, RunStatus

T = TypeVar("T")

START_MAX = 1000
START_BYTES = 32 * 1024 * 1024
"""One statement starts at most so many runs, with not many more bytes of inputs than this."""


class Client:
    """Starts flows and looks at their runs: `async with Client(dsn) as client: …`.

    Wherever a flow is asked for, a `FlowRef` will do.

    Connections are opened when they are needed. Every call accepts the caller's own psycopg connection instead, and then
    neither commits nor rolls back: a run started so begins when the caller's transaction commits, and never if it does not.

    Args:
        dsn: a PostgreSQL URL.
        min_size: how many connections the pool keeps open.
        max_size: how many it opens at most. Waiting for results takes none; all waits share one more, which listens.
    """

    def __init__(self, dsn: str, *, min_size: int = 1, max_size: int = 10) -> None:
        if not 0 <= min_size <= max_size or max_size < 1:
            raise ConfigError(
                f"client options: 0 <= min_size <= max_size and max_size >= 1, not {min_size} and {max_size}"
            )
        self._session = Session(connections.conninfo(dsn, "flowdsl client"), min_size=min_size, max_size=max_size)
        self._ids = RunIds()
        self._group: asyncio.TaskGroup | None = None
        self._watcher: Watcher | None = None
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._group = await asyncio.TaskGroup().__aenter__()
        self._session.is_entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        group, self._group = self._group, None
        if self._watching is not None:
            self._watching.cancel()
        self._watching = self._watcher = None
        try:
            if group is not None:
                # Not told of the caller's error, which the group would wrap.
                await group.__aexit__(None, None, None)
        finally:
            await self._session.close()

    # -- starting

    async def start(
        self, flow: Startable[In, Out], input: In, *, run_id: UUID | None = None, connection: Connection | None = None
    ) -> Run[Out]:
        """Start a run of the flow's current version.

        Args:
            flow: the flow, or a reference to it in a program that does not have its handlers.
            input: what the run is given; strictly of the flow's input type.
            run_id: an id of your own makes the call idempotent: a run that exists with the same flow and input is returned.

        Raises:
            InputError: the input is not of the flow's input type.
            FlowNotFound, FlowNotCompiled: the database does not have this flow, or has it in a shape that does not take callers
                of this one.
            FlowRetired: it takes no new runs.
            RunConflict: the id belongs to a run of another flow or input.
        """
        chosen = RunId(run_id) if run_id is not None else self._ids.next()
        await self._start(flow, [(chosen, encode_input(flow, input))], connection)
        return Run(self, flow, chosen)

    async def start_many(
        self, flow: Startable[In, Out], inputs: Sequence[In], *, connection: Connection | None = None
    ) -> list[Run[Out]]:
        """Start one run per input, in that order, all or none.

        Raises:
            InputError: naming the first input that does not fit; nothing is started.
            FlowNotFound, FlowNotCompiled, FlowRetired.
        """
        starts = [(self._ids.next(), data) for data in _encoded(flow, inputs)]
        if starts:
            await self._start(flow, starts, connection)
        return [Run(self, flow, run_id) for run_id, _ in starts]

    async def _start(
        self, flow: Startable[Any, Any], starts: list[tuple[RunId, bytes]], connection: Connection | None
    ) -> None:
        fingerprint = flow.fingerprint
        chunks = list(_chunks(starts))

        async def send(conn: Connection, chunk: list[tuple[RunId, bytes]]) -> None:
            await calls.start_flows(
                conn, flow.slug, [data for _, data in chunk], [run_id for run_id, _ in chunk], fingerprint
            )

        async def send_all(conn: Connection) -> None:
            if len(chunks) == 1:
                return await send(conn, chunks[0])
            async with connections.transaction(conn):
                for chunk in chunks:
                    await send(conn, chunk)
            return None

        try:
            await self._session.do(send_all, connection)
        except FlowNotCompiled as error:
            if flow.when_outdated is None:
                raise
            raise FlowNotCompiled(error.message, hint=flow.when_outdated) from error

    # -- finding

    async def flow_ref(self, slug: str, *, connection: Connection | None = None) -> FlowRef[Any, Any]:
        """Return a reference to a flow by what the database says of it, for those who have no types.

        Its input is plain JSON values (dicts, lists, …), checked by the schema that is stored with the flow; so are outputs.

        Raises:
            FlowNotFound.
        """
        from flowdsl.references.dynamic import UntypedFlowRef

        described = await self._session.do(lambda conn: calls.describe_flow(conn, slug), connection)
        if described is None:
            raise FlowNotFound(f"there is no flow '{slug}' in the database", hint="Listed by: pgflow flows")
        return UntypedFlowRef(described)

    def run(self, flow: Startable[Any, Out], run_id: UUID | str) -> Run[Out]:
        """Return a handle on a run that was started earlier; nothing is asked of the database yet.

        Raises:
            ConfigError: the id is not a UUID.
        """
        return Run(self, flow, _known(run_id))

    async def list_runs(
        self,
        flow: Startable[Any, Any] | str | None = None,
        status: RunStatus | None = None,
        *,
        limit: int = 50,
        before: RunRow | datetime | None = None,
        connection: Connection | None = None,
    ) -> list[RunRow]:
        """Return runs, newest first; `before` continues a listing after its last row.

        Given that row itself, no run is missed or listed twice, even when many started at the same moment.
        """
        slug = flow.slug if isinstance(flow, Startable) else flow
        at, last = (before.started_at, before.run_id) if isinstance(before, RunRow) else (before, None)
        return await self._session.do(lambda conn: calls.list_runs(conn, slug, status, limit, at, last), connection)

    # -- cancelling

    async def cancel(
        self, run_id: UUID | str, reason: str | None = None, *, connection: Connection | None = None
    ) -> RunStatus:
        """Cancel a run: nothing of it is started any more, and handlers that run are cancelled by their workers soon.

        Return what has become of the run: CANCELLED, or how it had ended before; that stays as it is.

        Raises:
            RunNotFound.
            ConfigError: the id is not a UUID.
        """
        known = _known(run_id)
        head = await self._session.do(lambda conn: calls.cancel_run(conn, known, reason), connection)
        return head.status

    # -- for the runs

    async def do(self, work: Work[T], connection: Connection | None = None, *, tries: int = TRIES) -> T:
        """Do a piece of work on the given connection, or on one of the pool, and then again if that breaks."""
        return await self._session.do(work, connection, tries=tries)

    def watcher(self) -> Watcher:
        """Return the listener all runs share; the first who asks starts it."""
        if self._watcher is None:
            self._watcher = Watcher(self._session.conninfo)
            if self._group is not None:
                self._watching = self._group.create_task(self._watcher.run())
        return self._watcher


def _known(run_id: UUID | str) -> RunId:
    try:
        return RunId(run_id if isinstance(run_id, UUID) else UUID(run_id))
    except ValueError:
        raise ConfigError(f"{run_id!r} is not a run id (a UUID)") from None


def _encoded(flow: Startable[In, Any], inputs: Sequence[In]) -> Iterator[bytes]:
    for index, value in enumerate(inputs):
        try:
            yield encode_input(flow, value)
        except InputError as error:
            raise InputError(flow.slug, None, f"input {index}", error.problems) from error


def _chunks(starts: list[tuple[RunId, bytes]]) -> Iterator[list[tuple[RunId, bytes]]]:
    chunk: list[tuple[RunId, bytes]] = []
    size = 0
    for start in starts:
        if chunk and (len(chunk) == START_MAX or size + len(start[1]) > START_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(start)
        size += len(start[1])
    yield chunk
