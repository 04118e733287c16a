"""What is known of a process's memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowdsl.bench.processes import resident_bytes, server_bytes

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells through /proc")


def test_the_resident_memory_grows_with_what_a_process_holds() -> None:
    before = resident_bytes(os.getpid())
    held = b"x" * 50_000_000
    after = resident_bytes(os.getpid())
    assert before is not None
    assert after is not None
    assert len(held) * 0.9 < after - before < len(held) * 2


def test_a_process_that_is_gone_has_none() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert resident_bytes(process.pid) is None


def test_a_process_that_only_has_the_number_of_a_server_s_is_not_taken_for_it() -> None:
    assert server_bytes(os.getpid()) is None
