"""Show, statement by statement, what the core's functions ask of the tables of runs: with the run id at hand, or across runs.

    python scripts/show_shards.py            print the table of docs/citus.md
    python scripts/show_shards.py --write    put it into the page

If those tables lay on several servers by run id (Citus), or in partitions, a statement that names the run would go to one of
them. The others would go to all. What that means for each function that has such statements is written here, beside its name;
the tests fail when a function is missing, or is listed without need.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
FUNCTIONS = ROOT / "flowdsl" / "core" / "functions"
PAGE = ROOT / "docs" / "citus.md"
BEGIN, END = "<!-- statements: begin -->\n", "<!-- statements: end -->\n"
TABLES = ("runs", "step_states", "step_tasks", "task_attempts")

_REFERENCE = re.compile(
    r"\b(from|join|update|insert into|delete from|using|lock table)\s+(?:only\s+)?pgflow\.(\w+)\b"
    r"(?:\s+(?:as\s+)?(?!(?:set|where|on|for|order|limit|group|using|join|left|cross|values|select|offset|union|in|is|as)\b)(\w+))?"
)
_KEYS = ("lane_id", "last_worker_id", "message_id", "deadline_at", "status", "flow_slug", "started_at")

_CLAIM = "claims of all runs in one order need every server: a lane (and its queue of tasks) per server, and workers that ask several"
_LANE = "as the claim: a lane's tasks have to lie on one server"
_HELD = "what a worker holds lies on all servers: to be asked of each"
_LIST = "read from all servers; slower, otherwise as it is"
_SWEEP = "a sweep per server, which then names its runs"
_WHOLE = "a definition is dropped on all servers: as it is, in a distributed transaction"
_AUDIT = "joins of tables that lie together by run id: all servers at once, as it is"

NOTES = {
    "_advance_claim_floor": _LANE,
    "_explain_lane": _LIST,
    "_holds_tasks": _HELD,
    "_is_isolated": _HELD,
    "_move_abandoned_tasks": _SWEEP,
    "_move_queued_tasks": _SWEEP,
    "_output_violations": _AUDIT,
    "_promote_due_tasks": _LANE,
    "_reserve_tasks": _CLAIM,
    "_run_violations": _AUDIT,
    "_size_violations": _AUDIT,
    "_skip_violations": _AUDIT,
    "_step_violations": _AUDIT,
    "_task_violations": _AUDIT,
    "claim_tasks": _CLAIM,
    "delete_flow_and_data": _WHOLE,
    "drop_flow_version": _WHOLE,
    "enforce_deadlines": _SWEEP,
    "find_runs": _LIST,
    "list_flows": _LIST,
    "list_runs": _LIST,
    "open_runs": _LIST,
    "prune_data_older_than": _SWEEP,
    "recover_tasks": _SWEEP,
    "release_strays": _HELD,
    "requeue_stalled_tasks": _SWEEP,
    "set_vt_batch": "looks for messages, which do not name their runs: to be given the runs as well",
    "start_tasks": "looks for messages, which do not name their runs: to be given the runs as well",
}
"""What would have to change in each function that has a statement across runs."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One mention of a table of runs in a statement. `way`: run, row (by ctid), insert, or what it is looked for by."""

    table: str
    way: str
    locks: bool


def code_of(path: Path) -> str:
    """Return a function's text without comments, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"--[^\n]*", "", path.read_text(encoding="utf-8")))


def references(code: str) -> Iterator[Reference]:
    """Yield what a body asks of the tables of runs."""
    for found in _REFERENCE.finditer(code):
        verb, table, alias = found[1], found[2], found[3]
        if table not in TABLES:
            continue
        scope = _scope(code, found.start())
        locks = verb in {"update", "delete from"} or re.search(r"\bfor (no key )?update\b", scope) is not None
        yield Reference(table, "insert" if verb == "insert into" else _way(scope, alias or table), locks)


def _scope(code: str, at: int) -> str:
    """Return the query that a position belongs to: within its parentheses, or its statement."""
    depth, begin = 0, at
    while begin > 0 and depth >= 0 and not (depth == 0 and code[begin] == ";"):
        begin -= 1
        depth += {")": 1, "(": -1}.get(code[begin], 0)
    depth, end = 0, at
    while end < len(code) and depth >= 0 and not (depth == 0 and code[end] == ";"):
        depth += {"(": 1, ")": -1}.get(code[end], 0)
        end += 1
    return code[begin:end]


def _way(scope: str, alias: str) -> str:
    for column, way in (("ctid", "row"), ("run_id", "run")):
        name = rf"\b{alias}\.{column}\b"
        if re.search(rf"{name} (=|in\b)|= {name}|\busing \({column}\b", scope):
            return way
    return next((key for key in _KEYS if re.search(rf"\b{alias}\.{key}\b", scope)), "all rows")


def runs_at_a_time(code: str) -> str:
    """Return how many runs a call is about, by the function's parameters: one, many or all."""
    head = code.partition(" language ")[0]
    if "uuid[]" in head:
        return "many"
    return "one" if re.search(r"run_id uuid", head.partition(" returns ")[0]) or "returns trigger" in head else "all"


def verdict(name: str, runs: str, found: list[Reference]) -> str:
    """Return what would have to change for a function to go to the servers of its runs."""
    if name in NOTES:
        return NOTES[name]
    if runs == "one":
        return "goes to the run's server as it is"
    changes = ["one call per server, with its part of the arrays"]
    if any(reference.way == "row" for reference in found):
        changes.append("the run named beside each `ctid`")
    return "; ".join(changes)


def is_across(runs: str, found: list[Reference]) -> bool:
    """Tell whether a function has a statement that does not name its runs."""
    return runs == "all" or any(reference.way not in {"run", "row", "insert"} for reference in found)


def functions() -> dict[str, tuple[str, list[Reference]]]:
    """Return, by name, the functions that touch the tables of runs: runs at a time, and what they ask."""
    codes = {path.stem: code_of(path) for path in sorted(FUNCTIONS.glob("*.sql"))}
    found = {name: list(references(code)) for name, code in codes.items()}
    return {name: (runs_at_a_time(codes[name]), asked) for name, asked in found.items() if asked}


def problems() -> list[str]:
    """Return what the notes lack, and what they say too much."""
    across = {name for name, (runs, asked) in functions().items() if is_across(runs, asked)}
    return [
        *(
            f"{name} has statements across runs: say in NOTES what they would need"
            for name in sorted(across - set(NOTES))
        ),
        *(f"{name} has no statement across runs: take it out of NOTES" for name in sorted(set(NOTES) - across)),
    ]


def table() -> str:
    """Return the table as Markdown."""
    lines = [
        "| Function | Runs a call | By run | By `ctid` | Inserts | Across runs, by | What would have to change |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (runs, asked) in functions().items():
        ways = Counter(reference.way for reference in asked)
        others = sorted({reference.way for reference in asked} - {"run", "row", "insert"})
        across = ", ".join(
            f"{sum(r.way == way for r in asked)} {way}{' (locks)' if any(r.way == way and r.locks for r in asked) else ''}"
            for way in others
        )
        numbers = " | ".join(str(ways[way] or "") for way in ("run", "row", "insert"))
        lines.append(f"| `{name}` | {runs} | {numbers} | {across} | {verdict(name, runs, asked)} |")
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    """Return the page with the table of today."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def main() -> None:
    """Print the table, or put it into the page."""
    for problem in problems():
        print(problem, file=sys.stderr)
    if "--write" in sys.argv:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table(), end="")
    sys.exit(bool(problems()))


if __name__ == "__main__":
    main()
