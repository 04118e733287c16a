"""Benchmarks, each workload with a few runs: what they say agrees with the databases they leave, and nothing else is left."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

from flowdsl.bench import flows, large_values, latency, seeding
from flowdsl.bench.errors import BenchError, MayNotCreateError
from flowdsl.bench.old_snapshot import _snapshot
from flowdsl.bench.processes import waiting
from flowdsl.bench.progress import until_completed
from flowdsl.bench.report import Report, Result
from flowdsl.bench.stage import Stage, drop, stage
from flowdsl.bench.suite import Plan, chosen, run
from flowdsl.bench.workload import Scale
from flowdsl.cli.app import app
from flowdsl.cli.exits import ExitCode, exit_code
from flowdsl.errors import DatabaseUnavailable
from flowdsl.postgres import PostgresServer
from tests.conftest import violations
from tests.integration.cli_support import COMMAND
from tests.servers import new_server, scratch_directory

SECONDS = 60.0
Figures = dict[str, float]


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as conn:
        return conn.execute(query.encode()).fetchall()


def databases(server: PostgresServer) -> list[str]:
    found = rows(server.url(), r"select datname from pg_database where datname like 'pgflow\_bench\_%'")
    return sorted(str(name) for (name,) in found)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def measured(server: PostgresServer) -> Iterator[Callable[[str], tuple[Figures, list[str]]]]:
    """Measure a workload; its medians, and the URLs of the databases it was measured in, in their order."""
    before = databases(server)

    def measure(key: str) -> tuple[Figures, list[str]]:
        made: list[str] = []
        plan = Plan(url=server.url(), workloads=chosen([key]), scale=Scale.TINY, keep=True, soak_seconds=3.0)
        (found,) = run(plan, made.append)
        prefix = made[0].split()[3].removesuffix("*,")
        kept = [name for name in databases(server) if name.startswith(f"{prefix}_")]
        kept.sort(key=lambda name: int(name.rpartition("_")[2]))
        figures = {figure.key: figure.median for figure in found.figures}
        assert figures
        assert all(isfinite(value) for value in figures.values())
        assert Result.of_json(json.loads(json.dumps(found.json()))).key == key
        return figures, [server.url(name) for name in kept]

    yield measure
    for name in set(databases(server)) - set(before):
        drop(server.url(), name)


def rate(url: str) -> float:
    """Steps per second by a query of the test's own; 0 when nothing was worked off."""
    ((count, seconds),) = rows(
        url,
        "select count(*), extract(epoch from max(completed_at) - min(started_at))::float8"
        " from pgflow.step_tasks where completed_at is not null",
    )
    return count / seconds if count else 0.0


def test_the_linear_flow_is_worked_off_by_workers_and_driver_at_the_rates_that_are_said(measured: Any) -> None:
    figures, urls = measured("W1")
    said = [value for key, value in figures.items() if key.startswith(("steps_", "worker_", "driver_"))]
    worked = [url for url in urls if rate(url)]
    assert sorted(said) == pytest.approx(sorted(rate(url) for url in worked))
    assert len(said) == 6
    for url in worked:
        assert rows(url, "select distinct status from pgflow.runs") == [("completed",)]
        assert violations(url) == []
    workers = [rows(url, "select count(*), min(function_name) from pgflow.workers")[0] for url in worked]
    assert workers == [(1, "bench"), (1, "driver"), (2, "bench"), (2, "driver"), (1, "bench"), (1, "driver")]
    assert min(figures["starts_per_second"], figures["batch_starts_per_second"], figures["commits_per_second_1"]) > 0


def test_commits_are_counted_without_pgbench_too(dsn: str) -> None:
    from flowdsl.bench.commits import commits_per_second

    rate = commits_per_second(dsn, 2, 1, None)
    ((count,),) = rows(dsn, "select count(*) from bench_commits")
    assert rate == count > 0


def test_the_fan_out_has_as_many_elements_as_is_said(measured: Any) -> None:
    figures, (url,) = measured("W2")
    # the first run is the warm-up
    assert rows(url, "select count(*) from pgflow.step_tasks where step_slug = 'touch' group by run_id order by 1") == [
        (1,),
        (7,),
    ]
    took = "select extract(epoch from completed_at - started_at)::float8 from pgflow.runs where input = '{\"elements\": 7}'"
    assert figures["seconds_7"] >= rows(url, took)[0][0] > 0
    assert figures["peak_7"] > 20


def test_the_latency_is_that_of_as_many_runs_as_is_said(measured: Any) -> None:
    figures, (url,) = measured("W3")
    assert rows(url, "select count(*) from pgflow.runs where status = 'completed'") == [(figures["samples"] + 5,)]
    ((shortest,),) = rows(
        url, "select extract(epoch from min(completed_at - started_at))::float8 * 1000 from pgflow.runs"
    )
    assert shortest <= figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]


def test_the_costs_are_those_of_the_steps_and_not_of_starts_or_warm_up(measured: Any) -> None:
    figures, (url,) = measured("W4")
    ((runs, tasks),) = rows(url, "select (select count(*) from pgflow.runs), (select count(*) from pgflow.step_tasks)")
    assert (runs, tasks) == (1 + 4, 3 * 5)
    # Each of the twelve steps writes its task twice at least, when it is claimed and when it is completed.
    assert figures["rows_per_step"] >= 2
    assert figures["wal_bytes_per_step"] > 100
    assert figures["wal_bytes_per_start"] > 100
    assert figures["round_trips_per_step"] * 12 == pytest.approx(round(figures["round_trips_per_step"] * 12))
    assert 0 < figures["round_trips_per_step"] <= figures["statements_per_step"] + 1
    assert 0 <= figures["hot_share"] <= 100


def test_backlog_and_history_are_as_long_as_is_said_and_sound(measured: Any) -> None:
    figures, (small, queued, finished) = measured("W5")
    assert set(figures) == {
        f"steps_per_second_{ground}{kind}"
        for ground in ("queued_60", "queued_600", "finished_60")
        for kind in ("", "_cold")
    }
    few = seeding.TEMPLATES
    # queued anew before each measurement, so what was worked off the first time comes on top
    ((runs,),) = rows(queued, "select count(*) from pgflow.runs")
    assert runs > few + 550
    ((left,),) = rows(small, "select count(*) from pgflow.runs where status <> 'completed'")
    assert left == 0
    ((old,),) = rows(finished, "select count(*) from pgflow.runs where status = 'completed'")
    assert old >= few + 60
    for url in (small, queued, finished):
        assert violations(url) == []


def test_below_the_old_snapshot_every_step_is_measured(measured: Any) -> None:
    figures, urls = measured("W6")
    assert [rows(url, "select count(*) from pgflow.step_tasks where status = 'completed'") for url in urls] == [
        [(30,)]
    ] * 2
    assert [figures["free_rate"], figures["old_snapshot_rate"]] == pytest.approx([rate(url) for url in urls])
    assert figures["old_snapshot_worst"] <= figures["old_snapshot_last"]


def test_the_soak_starts_as_many_runs_as_it_says_and_deletes_ended_ones(measured: Any) -> None:
    figures, urls = measured("W7")
    assert figures["full_rate"] == pytest.approx(rate(urls[0]))
    assert figures["pace"] == pytest.approx(figures["full_rate"] / 6, rel=0.5)
    assert figures["worker_first"] > 20
    assert figures["worker_last"] > 20
    assert figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"]
    ((left,),) = rows(urls[1], "select count(*) from pgflow.runs")
    assert left < figures["started"]
    assert violations(urls[1]) == []


def test_a_diamond_has_a_hundred_branches_and_its_steps_follow_each_other(measured: Any) -> None:
    figures, (many, _) = measured("W8")
    assert figures["steps_per_second"] == pytest.approx(rate(many))
    ((tasks,),) = rows(many, "select count(*) from pgflow.step_tasks where status = 'completed'")
    assert tasks == 2 * (flows.BRANCHES + 4)
    assert 0 <= figures["step_p50_ms"] <= figures["step_p99_ms"]


def test_large_values_are_as_large_as_is_said(measured: Any) -> None:
    figures, (url,) = measured("W9")
    ((size,),) = rows(url, "select sum(length(output->>'text')) from pgflow.step_tasks where step_slug = 'inflate'")
    assert size == 2 * flows.BLOB_CHARACTERS
    ((largest,),) = rows(
        url, "select max(octet_length(output::text)) from pgflow.step_tasks where step_slug = 'inflate'"
    )
    assert largest > 0.999 * flows.MEGABYTE
    # All of them are given to one step, in an array: 100 MB are the most that it may be given.
    assert (largest + len(", ")) * large_values.ELEMENTS[Scale.FULL] <= 100_000_000
    assert figures["megabytes_per_second"] == pytest.approx(2 / figures["seconds"])


# ---- seeding --------------------------------------------------------------------------------------------------------


@pytest.fixture
def staged(server: PostgresServer) -> Iterator[Stage]:
    with stage(server.url()) as made:
        yield made


def test_a_seeded_queue_holds_all_steps_mixed_and_can_be_worked_off(staged: Stage) -> None:
    with staged.database() as url:
        ids = seeding.mixed_runs(url, 2)
        seeding.copy_runs(url, ids, 4)
        queue = rows(url, "select step_slug from pgflow.step_tasks where status = 'queued' order by message_id")
        assert len(queue) == 6 * 5
        for at in range(6, 30, 6):
            assert sorted(queue[at : at + 6]) == [("first",)] * 2 + [("second",)] * 2 + [("third",)] * 2
        assert violations(url) == []
        with waiting("worker", url, flows.linear.slug) as children:
            children[0].go()
            until_completed(url, 30, children)
        assert violations(url) == []


def test_a_queue_is_filled_up_to_its_length(staged: Stage) -> None:
    with staged.database() as url:
        for count in (30, 90):
            seeding.queue_runs(url, count)
            counted = "select step_slug, count(*) from pgflow.step_tasks where status = 'queued' group by 1 order by 1"
            assert rows(url, counted) == [("first", count // 3), ("second", count // 3), ("third", count // 3)]
        assert violations(url) == []


def test_a_seeded_history_is_of_finished_runs_with_all_of_their_rows(staged: Stage) -> None:
    with staged.database() as url:
        seeding.copy_runs(url, seeding.complete_runs(url, 3), 5)
        counted = "select (select count(*) from pgflow.runs where status = 'completed'), (select count(*) from pgflow.step_tasks)"
        assert rows(url, counted) == [(18, 54)]
        assert violations(url) == []


def test_frozen_statistics_stay_and_settled_ones_are_those_of_now(staged: Stage) -> None:
    known = "select reltuples::int from pg_class where oid = 'pgflow.runs'::regclass"
    off = "select count(*) from pg_class where relnamespace = 'pgflow'::regnamespace and reloptions::text like '%autovacuum_enabled=off%'"
    with staged.database() as url:
        few = seeding.complete_runs(url, 3)
        seeding.freeze_statistics(url)
        seeding.copy_runs(url, few, 10)
        assert rows(url, known) == [(3,)]
        assert rows(url, off)[0][0] > 5
        seeding.settle_statistics(url)
        assert rows(url, known) == [(33,)]
        assert rows(url, off) == [(0,)]


def test_the_old_snapshot_keeps_dead_rows_from_being_cleaned_up(staged: Stage) -> None:
    with staged.database() as url, psycopg.connect(url, autocommit=True) as conn:
        conn.execute("create table t as select 1 as n")
        with _snapshot(url):
            conn.execute("update t set n = 2")
            conn.execute("vacuum t")
            assert conn.execute("select pg_relation_size('t'), n from t").fetchone() == (8192, 2)
            held = "select state from pg_stat_activity where datname = current_database() and backend_xmin is not null and pid <> pg_backend_pid()"
            assert conn.execute(held).fetchall() == [("idle in transaction",)]


# ---- life -----------------------------------------------------------------------------------------------------------


def test_a_worker_process_that_dies_is_told(staged: Stage) -> None:
    with staged.database() as url, waiting("worker", url, flows.linear.slug) as children:
        os.kill(children[0].pid, signal.SIGKILL)
        with pytest.raises(BenchError, match="a worker process ended with -9"):
            until(lambda: until_completed(url, 1, children) is None)


def test_a_process_that_cannot_start_is_told(staged: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(BenchError, match="a worker process did not start"), waiting("worker", staged.url, "x"):
        pass


def test_a_role_that_may_not_create_databases_is_told_how_to_be_allowed(server: PostgresServer) -> None:
    with psycopg.connect(server.url(), autocommit=True) as conn:
        conn.execute("create role bench_guest login")
        try:
            with (
                pytest.raises(MayNotCreateError, match="role 'bench_guest' may not create one") as caught,
                stage(make_conninfo(server.url(), user="bench_guest")),
            ):
                pass
        finally:
            conn.execute("drop role bench_guest")
    assert caught.value.hint is not None
    assert "alter role bench_guest createdb" in caught.value.hint
    assert exit_code(caught.value) == ExitCode.REFUSED


def test_a_server_that_dies_is_told_with_the_databases_that_are_left_there() -> None:
    directory = scratch_directory()
    own = new_server(directory)
    own.start()
    left: list[str] = []

    def measure() -> None:
        with stage(own.url()) as made, made.database():
            left.extend(name for name in databases(own) if name in made.there)
            own.stop("immediate")

    try:
        with pytest.raises(DatabaseUnavailable) as caught:
            measure()
    finally:
        if own.is_running():
            own.stop("immediate")
        shutil.rmtree(directory)
    assert len(left) == 2
    assert caught.value.hint is not None
    assert "DATABASE_URL" not in caught.value.hint
    assert all(f"drop database if exists {name};" in caught.value.hint for name in left)


def test_the_command_measures_prints_json_and_leaves_no_database(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = databases(server)
    monkeypatch.setitem(latency.SAMPLES, Scale.QUICK, 2)
    arguments = ["bench", "--database-url", server.url(), "--only", "w3", "--quick", "--repeat", "2", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    report = Report.of_json(json.loads(done.stdout))
    assert [(result.key, result.rounds, result.scale) for result in report.results] == [("W3", 2, "quick")]
    assert {figure.key: len(figure.values) for figure in report.results[0].figures}["p50_ms"] == 2
    assert report.results[0].environment["versions"]["postgresql"]
    assert "measuring in databases pgflow_bench_" in done.stderr
    assert databases(server) == before


def test_a_command_that_is_told_to_end_drops_its_databases(server: PostgresServer) -> None:
    before = databases(server)
    command = [*COMMAND, "bench", "--database-url", server.url(), "--only", "W3", "--quick"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "runs, one after another" in line:
                break
        assert len(databases(server)) > len(before)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 143
    assert databases(server) == before


def test_a_command_that_is_killed_leaves_no_process(server: PostgresServer) -> None:
    before = set(databases(server))
    command = [*COMMAND, "bench", "--database-url", server.url(), "--only", "W3", "--quick"]
    connected = "select count(*) from pg_stat_activity where application_name like 'flowdsl%' and datname like 'pgflow\\_bench%'"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        until(lambda: rows(server.url(), connected)[0][0] > 1)
        process.kill()
    until(lambda: rows(server.url(), connected) == [(0,)])
    for name in set(databases(server)) - before:
        drop(server.url(), name)
