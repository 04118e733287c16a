"""What goes on beside the work: the heartbeat in its thread, the listener and the sweeper in the event loop.

They live in a scope around the work, so that leases are renewed until the last result is handed in.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from typing import Any

from flowdsl.gateway.rows import Refusal, TaskRef
from flowdsl.runtime.connection import Link
from flowdsl.runtime.heartbeat import Heartbeat
from flowdsl.runtime.horizon import Horizon
from flowdsl.runtime.listener import Listener
from flowdsl.runtime.options import WorkerOptions
from flowdsl.runtime.pulse import Pulse
from flowdsl.runtime.registration import Registration
from flowdsl.runtime.sweeper import Sweeper, sweeps_of


@contextlib.asynccontextmanager
async def services(
    conninfo: str,
    registration: Registration,
    options: WorkerOptions,
    *,
    queues: Collection[str],
    on_work: Callable[[], None],
    running: Callable[[], Sequence[TaskRef]],
    on_revoked: Callable[[Sequence[Refusal]], None],
    on_lost: Callable[[], None],
    on_deprecated: Callable[[], None],
    horizon: Horizon,
    latest_due_at: Callable[[], float | None],
) -> AsyncIterator[None]:
    """Run the services inside of the context.

    `on_work` (there may be tasks), `on_revoked` (these claims are not current any more) and `on_lost` (the database no longer
    knows the worker) are called in the event loop, `running` (the claims of running attempts) and `on_deprecated` (it is asked
    to drain) in a thread. So is `latest_due_at`, when the last of the running attempts will have run out of time; `horizon` is
    told of attempts that begin.
    """
    loop = asyncio.get_running_loop()
    extra = registration.log_fields

    def in_loop(function: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(function, *arguments)

        return call

    def remaining() -> float:
        due_at = latest_due_at()
        return 0.0 if due_at is None else max(due_at - loop.time(), 0.0)

    pulse = Pulse(
        conninfo,
        lease_seconds=options.lease_seconds,
        horizon=horizon,
        remaining=remaining,
        now=loop.time,
        extra=extra,
    )
    heartbeat = Heartbeat(
        conninfo,
        registration,
        lease_seconds=options.lease_seconds,
        on_deprecated=on_deprecated,
        running=running,
        on_revoked=in_loop(on_revoked),
        on_lost=in_loop(on_lost),
        pulse=pulse if options.pulse else None,
    )
    sweeper = Sweeper(Link(conninfo, "sweeps", extra=extra), sweeps_of(options), on_work=on_work, extra=extra)
    loops: list[Coroutine[Any, Any, None]] = [sweeper.run()]
    if options.listen:
        link = Link(conninfo, "notifications", extra=extra)
        loops.append(Listener(link, queues=queues, on_work=on_work, extra=extra).run())
    with heartbeat:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(service) for service in loops]
            yield
            # After an error the group cancels them, and a second time would cut short how they leave their connections.
            for task in tasks:
                task.cancel()
