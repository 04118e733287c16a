"""A worker to be killed, in a process of the nursery."""

import asyncio
import logging
import sys
from datetime import timedelta
from typing import Any

from flowdsl.runtime.worker import Worker
from flowdsl.torture.flows import FLOWS
from flowdsl.torture.journal import open_journal


def serve(dsn: str, journal_dsn: str, name: str, retention_days: int | None = None, **options: Any) -> None:
    """Serve the tortured flows until a signal ends it. `dsn` may lead through a proxy, `journal_dsn` never does."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    open_journal(journal_dsn, name)
    retention = None if retention_days is None else timedelta(days=retention_days)
    asyncio.run(Worker(FLOWS, dsn, name=name, retention=retention, **options).run())
