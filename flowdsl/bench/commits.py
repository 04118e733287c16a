"""How often a second PostgreSQL commits the insert of one row: the other ceiling, that of starts one by one.

Measured by pgbench when there is one, with a prepared statement; else by a loop of our own over the same statement, which is
somewhat slower, since it is Python's.
"""

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from flowdsl.bench.errors import BenchError
from flowdsl.bench.flows import Item
from flowdsl.bench.stage import connect
from flowdsl.errors import ConfigError
from flowdsl.postgres import bundled_programs

_TABLE = "create table bench_commits (id bigint generated always as identity primary key, value jsonb)"
_INSERT = f"insert into bench_commits (value) values ('{Item(number=1).model_dump_json()}')"  # noqa: S608 - a constant
_TPS = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)


def pgbench_program() -> Path | None:
    """Return pgbench, from the PATH or beside the bundled server, if there is one."""
    found = shutil.which("pgbench")
    if found is not None:
        return Path(found)
    try:
        beside = bundled_programs() / "pgbench"
    except ConfigError:
        return None
    return beside if beside.exists() else None


def commits_per_second(url: str, clients: int, seconds: int, program: Path | None) -> float:
    """Measure with so many clients at once; `program` None stands for our own loop."""
    with connect(url) as conn:
        conn.execute(f"drop table if exists bench_commits; {_TABLE}")
    if program is None:
        return asyncio.run(_loops(url, clients, seconds))
    return _pgbench(program, url, clients, seconds)


def _pgbench(program: Path, url: str, clients: int, seconds: int) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(f"{_INSERT};\n")
        script.flush()
        # Not in the arguments, where others could read the password.
        given = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
        done = subprocess.run(  # noqa: S603 - found above, arguments as a list
            [
                str(program), "--no-vacuum", "--protocol", "prepared", "--file", script.name,
                "--client", str(clients), "--jobs", str(clients), "--time", str(seconds),
            ],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | _environment(given),
        )  # fmt: skip
    found = _TPS.search(done.stdout)
    if done.returncode or found is None:
        raise BenchError(f"pgbench failed: {' '.join(done.stderr.split())[-400:]}")
    return float(found[1])


def _environment(given: dict[str, str]) -> dict[str, str]:
    names = {info.keyword.decode(): info.envvar.decode() for info in psycopg.pq.Conninfo.get_defaults() if info.envvar}
    return {names[name]: value for name, value in given.items() if name in names}


async def _loops(url: str, clients: int, seconds: int) -> float:
    counts = await asyncio.gather(*(_loop(url, seconds) for _ in range(clients)))
    return sum(counts) / seconds


async def _loop(url: str, seconds: int) -> int:
    count = 0
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=0) as conn:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            await conn.execute(_INSERT.encode())
            count += 1
    return count
