"""What goes on beside the work: the heartbeat in its thread, the listener and the reaper in the event loop.

They live in a scope around the work, so that leases are renewed until the last result is handed in.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from typing import Any

from flowdsl.runtime.connection import Link
from flowdsl.runtime.heartbeat import Heartbeat
from flowdsl.runtime.listener import Listener
from flowdsl.runtime.options import WorkerOptions
from flowdsl.runtime.reaper import Reaper
from flowdsl.runtime.registration import Registration

REAP_SECONDS_MAX = 30.0
"""Other workers' leases may be shorter than ours, so we look at least so often."""


@contextlib.asynccontextmanager
async def services(
    conninfo: str,
    registration: Registration,
    options: WorkerOptions,
    *,
    queues: Collection[str],
    on_work: Callable[[], None],
    on_lost: Callable[[], None],
    on_deprecated: Callable[[], None],
) -> AsyncIterator[None]:
    """Run the services inside of the context.

    `on_work` (there may be tasks) and `on_lost` (the database no longer knows the worker) are called in the event loop,
    `on_deprecated` (it is asked to drain) in a thread.
    """
    loop = asyncio.get_running_loop()
    extra = registration.log_fields

    def on_lost_in_thread() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(on_lost)

    heartbeat = Heartbeat(
        conninfo,
        registration,
        lease_seconds=options.lease_seconds,
        on_deprecated=on_deprecated,
        on_lost=on_lost_in_thread,
    )
    loops: list[Coroutine[Any, Any, None]] = [
        Reaper(conninfo, interval=min(options.lease_seconds, REAP_SECONDS_MAX), on_work=on_work, extra=extra).run()
    ]
    if options.listen:
        link = Link(conninfo, "notifications", extra=extra)
        loops.append(Listener(link, queues=queues, on_work=on_work, extra=extra).run())
    with heartbeat:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(service) for service in loops]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
