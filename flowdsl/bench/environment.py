"""Where it was measured: machine, versions, and the settings that decide about durability and memory."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from psycopg import Cursor

from flowdsl.bench.stage import Connection

SETTINGS = (
    "fsync", "synchronous_commit", "full_page_writes", "wal_level", "wal_sync_method", "shared_buffers", "max_wal_size",
    "checkpoint_timeout", "autovacuum", "autovacuum_naptime",
)  # fmt: skip
DISTRIBUTIONS = ("flowdsl", "psycopg", "pydantic")
_GIB = 1 << 30


def environment(conn: Connection) -> dict[str, Any]:
    """Return it, with the server's part as the server says."""
    found = Cursor(conn).execute(
        "select name, current_setting(name) from pg_settings where name = any(%s)", (list(SETTINGS),)
    )
    settings = dict(found.fetchall())
    return {
        "machine": {
            "processor": _processor(),
            "architecture": platform.machine(),
            "cores": os.cpu_count(),
            "memory_gb": _memory_gb(),
            "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        },
        "versions": {
            "postgresql": conn.info.parameter_status("server_version"),
            "python": platform.python_version(),
            **{name: version(name) for name in DISTRIBUTIONS},
        },
        "settings": {name: settings[name] for name in SETTINGS if name in settings},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB, 1)
    except (ValueError, OSError):
        return None
