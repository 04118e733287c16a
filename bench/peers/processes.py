"""Worker processes of a peer: started, held back until all are loaded, let go together, ended."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.peers.common import MeasurementFailed, Role

ROOT = Path(__file__).parents[2]
READY = "ready"
END_SECONDS = 15


def hold() -> None:
    """Inside of a worker: tell that everything is loaded, and wait for the word.

    Importing a peer takes up to two seconds of a core, in which the first worker would be measured alone.
    """
    print(READY, flush=True)
    sys.stdin.readline()
    threading.Thread(target=_end_with_the_client, daemon=True).start()


def _end_with_the_client() -> None:
    """End this process when the client's end of the pipe closes, however the client ended."""
    sys.stdin.read()
    os._exit(0)


@contextmanager
def workers(peer: str, url: str, count: int, role: Role = Role.FLOW) -> Iterator[None]:
    """Have worker processes while the block runs."""
    command = [sys.executable, "-m", "bench.peers", peer, "--database-url", url, "--serve", role]
    with ExitStack() as stack:
        started = [stack.enter_context(_worker(command)) for _ in range(count)]
        for process in started:
            assert process.stdout is not None  # noqa: S101 - we asked for a pipe
            if process.stdout.readline().strip() != READY:
                raise MeasurementFailed(f"A worker of {peer} ended before it began; it says why above.")
        for process in started:
            assert process.stdin is not None  # noqa: S101 - we asked for a pipe
            process.stdin.write("go\n")
            process.stdin.flush()
        yield


@contextmanager
def _worker(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        # A peer that drains politely would go on with what is queued; nobody needs that any more.
        process.kill()
        process.communicate(timeout=END_SECONDS)
