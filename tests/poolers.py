"""PgBouncer between the tests and their server.

The program is the one that `FLOWDSL_TEST_PGBOUNCER` names, else the one that is installed (`apt-get install pgbouncer`). Since
1.21 it can keep prepared statements apart; older ones cannot.
"""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from flowdsl.postgres import server_account

PREPARES_SINCE = (1, 21)
PORT = 6432
_START_SECONDS = 20.0


def program() -> str | None:
    """Return PgBouncer's program; None when there is none."""
    return os.environ.get("FLOWDSL_TEST_PGBOUNCER") or shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


def version() -> tuple[int, int]:
    """Return the version of the program."""
    said = subprocess.run([program() or "pgbouncer", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", said)
    assert found is not None, said
    return int(found[1]), int(found[2])


@dataclass
class Pooler:
    """A running PgBouncer: at most `pool_size` connections to a database's server, for any number of clients."""

    directory: Path
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """Return the URL of a database through the pooler."""
        return (
            f"postgresql://postgres@/{quote(database, safe='')}?host={quote(str(self.directory), safe='')}&port={PORT}"
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        account = server_account()
        self.process = subprocess.Popen(
            [program() or "pgbouncer", "-q", str(self.directory / "pgbouncer.ini")],
            stdin=subprocess.DEVNULL,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else [],
        )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                with psycopg.connect(self.url("pgbouncer"), autocommit=True) as conn:
                    conn.execute("show version", prepare=False)
                    return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.02)

    def kill(self) -> None:
        """End it at once, with all connections that lead through it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)


@contextmanager
def pgbouncer(sockets: Path, mode: str, pool_size: int, **settings: int | str) -> Iterator[Pooler]:
    """Start a pooler in front of the databases of the server whose socket lies in a directory, and end it."""
    account = server_account()
    with tempfile.TemporaryDirectory(prefix="pgflow-pool-") as name:
        directory = Path(name)
        lines = {
            "listen_addr": "",
            "listen_port": PORT,
            "unix_socket_dir": directory,
            "auth_type": "trust",
            "auth_file": directory / "users",
            "admin_users": "postgres",
            "pool_mode": mode,
            "default_pool_size": pool_size,
            "max_client_conn": 200,
            "logfile": directory / "log",
            "pidfile": directory / "pid",
            **settings,
        }
        (directory / "users").write_text('"postgres" ""\n')
        (directory / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={sockets}\n[pgbouncer]\n"
            + "".join(f"{key} = {value}\n" for key, value in lines.items())
        )
        if account is not None:
            for path in (directory, *directory.iterdir()):
                os.chown(path, account.uid, account.gid)
        pooler = Pooler(directory)
        try:
            pooler.start()
            yield pooler
        finally:
            pooler.kill()
