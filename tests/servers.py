"""PostgreSQL servers for the tests: which version, which programs, which settings.

`FLOWDSL_TEST_PG` names the major version (default 18). 18 and 16 come from the `embedded` extra; any other version from
`/usr/lib/postgresql/<version>/bin`, or from the directory named by `FLOWDSL_TEST_PG_BIN`.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from flowdsl.core.manifest import install_sql
from flowdsl.postgres import BUNDLED_VERSIONS, PostgresServer, bundled_programs, reachable_programs, server_account

# The tests start hundreds of databases and lose none of them: a crash of the machine is not what they are about.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "on"}
COMMON = {"max_connections": "200", "shared_buffers": "128MB", "timezone": "UTC", "log_min_messages": "warning"}


def version() -> int:
    """Return the PostgreSQL major version under test."""
    return int(os.environ.get("FLOWDSL_TEST_PG", "18"))


def programs() -> Path:
    """Return the directory of the programs of the version under test."""
    chosen = os.environ.get("FLOWDSL_TEST_PG_BIN")
    if chosen:
        return Path(chosen)
    if version() in BUNDLED_VERSIONS:
        return bundled_programs(version())
    return Path(f"/usr/lib/postgresql/{version()}/bin")


def scratch_directory() -> Path:
    """Make a temporary directory that the server's account can reach; short, for sockets lie below it."""
    directory = Path(tempfile.mkdtemp(prefix="pgflow-test-"))
    directory.chmod(0o755)
    return directory


def new_server(directory: Path, *, durable: bool = False) -> PostgresServer:
    """Make a server below `directory` (not started). `durable` leaves fsync on, for tests that are about a crash."""
    account = server_account()
    server = PostgresServer(
        programs=reachable_programs(programs(), account, directory / "programs"),
        data=directory / "data",
        sockets=directory / "socket",
        account=account,
        settings=COMMON | ({} if durable else FAST),
    )
    server.create(sync=False)
    return server


def install_core(url: str) -> None:
    """Install the SQL core into the database at `url`."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(install_sql().encode())


@contextmanager
def removed(directory: Path) -> Iterator[Path]:
    """Remove the directory at the end, whatever happened."""
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
