"""The pulse's process: it is told, it is replaced, and it never outlives its worker."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest

from flowdsl.runtime.horizon import SLACK_SECONDS, Horizon
from flowdsl.runtime.pulse import Pulse

WORKER = UUID(int=1)
NOWHERE = "host=/nowhere connect_timeout=1"


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123 - of the kernel
            return file.read().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen in time"
        time.sleep(0.01)


def pid_of(pulse: Pulse) -> int | None:
    return pulse.pid


@contextlib.contextmanager
def started(horizon: Horizon | None = None) -> Iterator[Pulse]:
    pulse = Pulse(
        NOWHERE,
        lease_seconds=30,
        horizon=horizon or Horizon(),
        remaining=lambda: 60.0,
        now=time.monotonic,
    )
    pulse.start()
    try:
        yield pulse
    finally:
        pulse.close()


def test_paths_that_are_no_text_do_not_keep_it_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])
    with started() as pulse:
        pulse.beat(WORKER)
        assert pulse.pid is not None
        assert is_running(pulse.pid)
    assert capfd.readouterr().err == ""


def test_it_ends_when_it_is_closed() -> None:
    with started() as pulse:
        pid = pulse.pid
        assert pid is not None
        assert is_running(pid)
    assert pulse.pid is None
    assert not is_running(pid)
    pulse.close()


def test_it_is_in_no_group_that_a_terminal_signals_and_takes_no_signal_for_an_end() -> None:
    with started() as pulse:
        assert pulse.pid is not None
        assert os.getpgid(pulse.pid) == pulse.pid
        pulse.beat(WORKER)
        # Before its handlers are in place a signal does end it; wait until it reads.
        wait_until(lambda: "pulse.py" in command_of(pulse.pid) and not has_default_handlers(pulse.pid))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pulse.pid, number)
        before = pulse.pid
        pulse.beat(WORKER)
        assert pulse.pid == before


def command_of(pid: int | None) -> str:
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:  # noqa: PTH123 - of the kernel
        return file.read()


def has_default_handlers(pid: int | None) -> bool:
    with open(f"/proc/{pid}/status", encoding="ascii") as file:  # noqa: PTH123 - of the kernel
        caught = next(int(line.split()[1], 16) for line in file if line.startswith("SigCgt"))
    return not all(caught >> (number - 1) & 1 for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))


def test_one_that_was_killed_is_replaced_with_the_next_beat(caplog: pytest.LogCaptureFixture) -> None:
    with started() as pulse:
        first = pulse.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: not is_running(first))
        pulse.beat(WORKER)
        assert pulse.pid not in (None, first)
        assert [record.getMessage() for record in caplog.records] == [
            "the process that keeps the lease when handlers hold the interpreter ended (-9); starting another"
        ]


def test_one_that_could_not_be_started_is_started_with_a_later_beat_but_not_after_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", no_room)
        pulse = Pulse(NOWHERE, lease_seconds=30, horizon=Horizon(), remaining=lambda: 60.0, now=time.monotonic)
        pulse.start()
        assert pid_of(pulse) is None
        assert "cannot be started" in caplog.text
    try:
        pulse.beat(WORKER)
        pid = pid_of(pulse)
        assert pid is not None
        assert is_running(pid)
    finally:
        pulse.close()
    pulse.beat(WORKER)
    assert pid_of(pulse) is None


def test_one_that_does_not_read_holds_nobody_up() -> None:
    with started() as pulse:
        assert pulse.pid is not None
        os.kill(pulse.pid, signal.SIGSTOP)
        began = time.monotonic()
        for _ in range(3000):
            pulse.beat(WORKER)
        assert time.monotonic() - began < 10
        os.kill(pulse.pid, signal.SIGCONT)


def test_it_ends_with_its_worker_however_that_ends() -> None:
    script = (
        "import os, time\n"
        "from tests.unit.runtime.test_pulse import started\n"
        "with started() as pulse:\n"
        "    print(pulse.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        pid = int(worker.stdout.readline())
        assert is_running(pid)
        worker.kill()
    wait_until(lambda: not is_running(pid))


def test_beginnings_are_told_once_a_second_at_most_and_again_after_each_beat() -> None:
    told: list[float] = []
    horizon = Horizon()
    assert horizon.told == float("inf")
    horizon.listen(told.append)
    for begun in range(1000):
        due_at = 60.0 + begun / 1000
        if due_at > horizon.told:
            horizon.reach(due_at)
    assert told == [60.0 + SLACK_SECONDS]
    horizon.forget()
    assert horizon.told < 0
    horizon.close()
    assert horizon.told == float("inf")
