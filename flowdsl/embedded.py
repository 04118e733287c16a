"""The embedded PostgreSQL of a project: one server in `.pgflow/`, shared by every process that works on the project.

A worker, a `pgflow start` and a `pgflow show` run at the same time and want the same server; the first one in starts it and
the last one out stops it. Who is in is told by shared locks on a file, never by a list of process ids: the system drops the
lock of a process however it ends, so a killed one leaves nothing to clean up (its server stays, and the next process uses it
and stops it). A second lock makes starting and stopping exclusive.
"""

import atexit
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from flowdsl.errors import ConfigError
from flowdsl.postgres import (
    BUNDLED_VERSIONS,
    Account,
    PostgresServer,
    bundled_programs,
    reachable,
    reachable_programs,
    server_account,
    socket_directory,
)

DEFAULT_VERSION = 18

# Where root's servers live when their account cannot reach the project (a project below /root, for instance). Opening the
# user's directories to everybody, the other way out, is not ours to do.
STATE_HOME_VARIABLE = "FLOWDSL_STATE_HOME"
DEFAULT_STATE_HOME = "/var/lib/flowdsl"

SETTINGS = {"max_connections": "200", "timezone": "UTC", "log_min_messages": "warning"}


@dataclass(kw_only=True)
class EmbeddedLease:
    """This process's use of the embedded server; given back by `release`, or at the end of the process."""

    server: PostgresServer
    home: Path
    users: TextIO
    _owner: int = field(default_factory=os.getpid)

    @property
    def url(self) -> str:
        """URL of the embedded database."""
        return self.server.url()

    def release(self) -> None:
        """Stop using the server, and stop it when nobody else uses it. Calling it again does nothing."""
        atexit.unregister(self.release)
        # A forked child shares our locks and must not give them back for us.
        if self.users.closed or self._owner != os.getpid():
            return
        if not self.home.exists():
            # Removed under our feet; a server whose data are gone ends by itself.
            self.users.close()
            return
        with _exclusive(self.home):
            self.users.close()
            with (self.home / "users").open("a") as users:
                if _try_exclusively(users):
                    self.server.stop()


def use_embedded(home: Path) -> EmbeddedLease:
    """Make and start the server below `home` (a project's `.pgflow`) as far as needed, and use it until the process ends.

    Raises ConfigError when the `embedded` extra is missing or the directory cannot be used, DatabaseUnavailable when
    PostgreSQL does not start.
    """
    _make_home(home)
    with _exclusive(home):
        server = _server(home)
        server.create()
        users = (home / "users").open("a")
        try:
            fcntl.flock(users, fcntl.LOCK_SH)
            server.start()
        except BaseException:
            users.close()
            raise
    lease = EmbeddedLease(server=server, home=home, users=users)
    atexit.register(lease.release)
    return lease


def _server(home: Path) -> PostgresServer:
    account = server_account()
    data = _data_directory(home, account)
    return PostgresServer(
        programs=reachable_programs(bundled_programs(_version(data)), account, _state_home() / "programs"),
        data=data,
        sockets=socket_directory(data.parent / "socket"),
        account=account,
        settings=SETTINGS,
    )


def _data_directory(home: Path, account: Account | None) -> Path:
    data = home.absolute() / "postgres"
    if account is None or data.is_symlink() or reachable(data, account):
        return data.resolve()
    if data.exists():
        raise ConfigError(
            f"PostgreSQL runs as '{account.name}' here, because it refuses to run as root, and '{account.name}' cannot reach "
            f"{data}. Let it pass through the directories above, or name a database with --database-url."
        )
    elsewhere = _state_home() / uuid.uuid4().hex[:12] / "postgres"
    elsewhere.parent.mkdir(mode=0o755, parents=True)
    (elsewhere.parent / "belongs-to").write_text(f"{home.absolute()}\n")
    data.symlink_to(elsewhere)
    return elsewhere


def _state_home() -> Path:
    return Path(os.environ.get(STATE_HOME_VARIABLE) or DEFAULT_STATE_HOME)


def _version(data: Path) -> int:
    try:
        text = (data / "PG_VERSION").read_text().strip()
    except OSError:
        return DEFAULT_VERSION
    if text not in map(str, BUNDLED_VERSIONS):
        raise ConfigError(f"The data in {data} were written by PostgreSQL {text}, which the embedded one is not.")
    return int(text)


def _make_home(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        ignore = home / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise ConfigError(
            f"The embedded PostgreSQL needs a directory it may write to, and {home} is none: {error.strerror}. "
            "Name a database with --database-url or DATABASE_URL."
        ) from error


@contextmanager
def _exclusive(home: Path) -> Iterator[None]:
    with (home / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _try_exclusively(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
