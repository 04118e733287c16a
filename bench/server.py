"""The server that is measured: PostgreSQL of the wheel in a temporary directory, as durable as it comes."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flowdsl.postgres import PostgresServer, bundled_programs, reachable_programs, server_account

SETTINGS = {
    # As they are by default; said, since everything depends on them.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_connections": "200",
    # The defaults are for a machine of 1995: with 128 MB and a checkpoint per GB of WAL, the disk would be measured.
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "timezone": "UTC",
    "log_min_messages": "warning",
}


@contextlib.contextmanager
def own_server(version: int = 18) -> Iterator[str]:
    """Start a server, and remove it at the end; the URL of its maintenance database."""
    directory = Path(tempfile.mkdtemp(prefix="pgflow-bench-"))
    directory.chmod(0o755)  # the server may run under another account
    account = server_account()
    server = PostgresServer(
        programs=reachable_programs(bundled_programs(version), account, directory / "programs"),
        data=directory / "data",
        sockets=directory / "socket",
        account=account,
        settings=SETTINGS,
    )
    try:
        server.create()
        server.start()
        yield server.url()
    finally:
        server.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)
