"""The table of docs/citus.md: what each function of the core asks of the tables of runs."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("show_shards", ROOT / "scripts" / "show_shards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["show_shards"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("select r.status from pgflow.runs r where r.run_id = p_run_id", [("runs", "run", False)]),
        ("delete from pgflow.step_states x where x.run_id = any (v_runs);", [("step_states", "run", True)]),
        (
            "update pgflow.step_tasks t set status = 'queued' from picked p where t.ctid = p.tid",
            [("step_tasks", "row", True)],
        ),
        (
            "select 1 from (select t.ctid as tid from pgflow.step_tasks t where t.lane_id = 1 for update skip locked) p",
            [("step_tasks", "lane_id", True)],
        ),
        (
            "insert into pgflow.task_attempts (run_id) select x.run_id from pgflow.flows x",
            [("task_attempts", "insert", False)],
        ),
        ("select count(*) from pgflow.runs", [("runs", "all rows", False)]),
        ("select * from pgflow.run_outcome(p_run_id) o join pgflow.workers w on true", []),
        (
            "select 1 from pgflow.runs a where a.run_id = p_run_id; select 1 from pgflow.runs a where a.flow_slug = 'f'",
            [("runs", "run", False), ("runs", "flow_slug", False)],
        ),
    ],
)
def test_a_statement_is_read_for_how_it_finds_its_rows(
    script: ModuleType, code: str, expected: list[tuple[str, str, bool]]
) -> None:
    assert [(found.table, found.way, found.locks) for found in script.references(code)] == expected


def test_every_function_with_statements_across_runs_says_what_it_would_need(script: ModuleType) -> None:
    assert script.problems() == []


def test_a_function_that_is_new_has_to_be_judged(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = {**script.NOTES, "cancel_run": "needless"}
    del notes["claim_tasks"]
    monkeypatch.setattr(script, "NOTES", notes)
    assert [problem.split()[0] for problem in script.problems()] == ["claim_tasks", "cancel_run"]


def test_no_mention_of_a_table_of_runs_is_overlooked(script: ModuleType) -> None:
    for path in script.FUNCTIONS.glob("*.sql"):
        if path.stem == "grant_roles":
            continue  # it says who may read them, and reads nothing
        code = script.re.sub(r"'[^']*'", "''", script.code_of(path))
        # A type is no statement (`returns setof pgflow.runs`, `v_run pgflow.runs`), nor is what a trigger stands on.
        types = script.re.findall(
            rf"(?:returns (?:setof )?|\bv_\w+ |::|before insert on )pgflow\.(?:{'|'.join(script.TABLES)})\b", code
        )
        mentions = script.re.findall(rf"\bpgflow\.(?:{'|'.join(script.TABLES)})\b", code)
        assert len(list(script.references(code))) == len(mentions) - len(types), path.name


def test_the_page_shows_the_statements_of_today(script: ModuleType) -> None:
    page = script.PAGE.read_text(encoding="utf-8")
    assert script.BEGIN in page
    assert script.written(page) == page, "run: python scripts/show_shards.py --write"
