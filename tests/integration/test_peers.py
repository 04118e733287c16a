"""Each peer does each workload, tiny, when its environment is there; nothing is said about how fast."""

from pathlib import Path

import psycopg
import pytest

from bench.peers.catalog import PEERS, PYTHON_VARIABLE, SETUP, WORKLOADS, measure, peers_python
from flowdsl.postgres import PostgresServer

EXPECTED = {
    "W1": {"starts_per_second", "batch_starts_per_second", "steps_per_second_1"},
    "W2": {"seconds_20"},
    "W3": {"p50_ms", "p99_ms", "samples"},
    "W4": {"wal_bytes_per_step", "statements_per_step", "round_trips_per_step"},
    "W5": {"steps_per_second_queued_400"},
}


@pytest.fixture(scope="module")
def python() -> Path:
    found = peers_python()
    if found is None:
        pytest.skip(f"the peers are not installed: {SETUP}, or name an interpreter that has them in {PYTHON_VARIABLE}")
    return found


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_peer_does_the_workload_and_leaves_no_database(
    server: PostgresServer, python: Path, peer: str, workload: str
) -> None:
    answer = measure(
        peer, server.url(), workload, python, runs=20, elements=(20,), processes=(1,), samples=4, queued=(400,)
    )
    assert EXPECTED[workload] <= set(answer["metrics"])
    assert all(value > 0 for value in answer["metrics"].values())
    assert (answer["peer"], answer["workload"]) == (peer, workload)
    assert answer["settings"]
    with psycopg.connect(server.url(), autocommit=True) as conn:
        assert conn.execute("select datname from pg_database where datname like 'bench_peer%'").fetchall() == []
