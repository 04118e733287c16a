"""Audit Python's standard library: several hundred real files, one task each, and one report at the end.

Shows: a list made at run time (`.array`), one task per element (`.map`), results brought together (`collect`), a union
as an output, and steps that write files in a way that a second attempt does no harm. `make demo` runs it; by hand:

    pgflow compile stdlib_audit.py && alembic upgrade head
    pgflow worker stdlib_audit.py &
    pgflow start stdlib_audit.py --input '{"directory": "report"}' --wait

Modules whose name begins with `test_` are left out; the data of the standard library's tests are not: some of them are
broken on purpose, and a file that cannot be read or parsed is a finding of the audit, not a failure of the run.
"""

import ast
import os
import sysconfig
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape

from pydantic import BaseModel

from flowdsl import Flow, NonRetryable, collect

NOT_THE_LIBRARY = {"site-packages", "dist-packages", "__pycache__"}
BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.BoolOp, ast.comprehension)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
SINGLE_FILES = "(single files)"
TOP = 10

# The interpreter parses one file at a time anyway, and `catch_warnings` is not safe in threads.
_parser = threading.Lock()


# ---- values ---------------------------------------------------------------------------------------------------------


class AuditRequest(BaseModel):
    """What to audit, and the directory the report goes to (made if missing; relative to the worker's)."""

    directory: str
    root: str | None = None
    """Where the modules are; None: the standard library of the worker's Python."""
    limit: int | None = None
    """Audit the first so many files only."""


class SourceFile(BaseModel):
    """A file to audit: where it is, and its name in the report (`asyncio/tasks.py`)."""

    path: str
    name: str


class Measured(BaseModel):
    """What was counted in one file."""

    kind: Literal["measured"] = "measured"
    name: str
    lines: int
    functions: int
    branches: int
    documentable: int
    """Modules, classes and functions whose names do not begin with an underscore."""
    documented: int


class Unreadable(BaseModel):
    """A file that could not be read or parsed, and why."""

    kind: Literal["unreadable"] = "unreadable"
    name: str
    reason: str


class Ranking(BaseModel):
    """The files at the top of each list, most first."""

    longest: list[Measured]
    most_branched: list[Measured]
    least_documented: list[Measured]


class Package(BaseModel):
    """The sums of a package, or of all single-file modules together."""

    name: str
    files: int = 0
    lines: int = 0
    functions: int = 0
    branches: int = 0
    documentable: int = 0
    documented: int = 0


class Summary(BaseModel):
    """The sums of everything, and those of each package, the one with the most lines first."""

    total: Package
    packages: list[Package]
    unreadable: list[Unreadable]


class Report(BaseModel):
    """Where the report is, and what it is about."""

    report: str
    chart: str
    files: int
    unreadable: int
    lines: int


# ---- handlers -------------------------------------------------------------------------------------------------------


def list_modules(request: AuditRequest) -> list[SourceFile]:
    """List the library's Python files by name."""
    root = Path(request.root or sysconfig.get_path("stdlib"))
    if not root.is_dir():
        raise NonRetryable(f"there is no directory {root}")
    names = sorted(path.relative_to(root) for path in root.rglob("*.py") if path.is_file())
    kept = [name for name in names if not any(_left_out(part) for part in name.parts)]
    return [SourceFile(path=str(root / name), name=name.as_posix()) for name in kept[: request.limit]]


def audit_module(source: SourceFile) -> Measured | Unreadable:
    """Count lines, functions, branches and docstrings of one file."""
    try:
        content = Path(source.path).read_bytes()
        tree = _parsed(content)
    except SyntaxError as error:
        return Unreadable(name=source.name, reason=f"line {error.lineno}: {error.msg}" if error.lineno else error.msg)
    except (OSError, ValueError, RecursionError) as error:
        return Unreadable(name=source.name, reason=f"{type(error).__name__}: {error}")
    nodes = list(ast.walk(tree))
    public = [node for node in nodes if isinstance(node, DOCUMENTED) and not getattr(node, "name", "").startswith("_")]
    return Measured(
        name=source.name,
        lines=len(content.splitlines()),
        functions=sum(isinstance(node, FUNCTIONS) for node in nodes),
        branches=sum(isinstance(node, BRANCHES) for node in nodes),
        documentable=len(public),
        documented=sum(ast.get_docstring(node, clean=False) is not None for node in public),
    )


def rank(audits: list[Measured | Unreadable]) -> Ranking:
    """Find the files that stand out."""
    measured = [audit for audit in audits if isinstance(audit, Measured)]
    return Ranking(
        longest=_top(measured, lambda audit: audit.lines),
        most_branched=_top(measured, lambda audit: audit.branches),
        least_documented=_top(measured, lambda audit: audit.documentable - audit.documented),
    )


def summarise(audits: list[Measured | Unreadable]) -> Summary:
    """Add everything up, by package and in all."""
    total = Package(name="all")
    packages: dict[str, Package] = {}
    for audit in audits:
        if isinstance(audit, Measured):
            package = _package(audit.name)
            _add(packages.setdefault(package, Package(name=package)), audit)
            _add(total, audit)
    return Summary(
        total=total,
        packages=sorted(packages.values(), key=lambda package: (-package.lines, package.name)),
        unreadable=[audit for audit in audits if isinstance(audit, Unreadable)],
    )


def draw_chart(request: AuditRequest, summary: Summary) -> str:
    """Draw the largest packages as bars, the documented part of each one darker; return the file's name."""
    return _write(
        request, "chart.svg", _svg([package for package in summary.packages if package.name != SINGLE_FILES][:TOP])
    )


def write_report(
    request: AuditRequest, audits: list[Measured | Unreadable], summary: Summary, ranking: Ranking, chart: str
) -> Report:
    """Write the report in Markdown: the findings first, then every file."""
    report = _write(request, "report.md", _markdown(audits, summary, ranking, Path(chart).name))
    return Report(
        report=report,
        chart=chart,
        files=len(audits),
        unreadable=len(summary.unreadable),
        lines=summary.total.lines,
    )


stdlib_audit = (
    Flow("stdlib_audit", AuditRequest, timeout=60)
    .array(list_modules)
    .map(audit_module, list_modules)
    .step(rank, collect(audit_module))
    .step(summarise, collect(audit_module))
    .step(draw_chart, AuditRequest, summarise)
    .step(write_report, AuditRequest, collect(audit_module), summarise, rank, draw_chart)
    .returns(write_report)
)


# ---- counting -------------------------------------------------------------------------------------------------------


def _left_out(part: str) -> bool:
    return part in NOT_THE_LIBRARY or part.startswith("test_")


def _parsed(content: bytes) -> ast.Module:
    with _parser, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(content)


def _top(audits: Iterable[Measured], size: Callable[[Measured], int]) -> list[Measured]:
    return sorted(audits, key=lambda audit: (-size(audit), audit.name))[:TOP]


def _package(name: str) -> str:
    first, slash, _ = name.partition("/")
    return first if slash else SINGLE_FILES


def _add(package: Package, audit: Measured) -> None:
    package.files += 1
    package.lines += audit.lines
    package.functions += audit.functions
    package.branches += audit.branches
    package.documentable += audit.documentable
    package.documented += audit.documented


# ---- writing --------------------------------------------------------------------------------------------------------


def _write(request: AuditRequest, name: str, text: str) -> str:
    directory = Path(request.directory)
    directory.mkdir(parents=True, exist_ok=True)
    # Written aside and renamed: an attempt that is cut short, or made twice, never leaves half a file.
    aside = directory / f".{name}.{os.getpid()}"
    aside.write_text(text, encoding="utf-8")
    aside.replace(directory / name)
    return str(directory / name)


def _markdown(audits: list[Measured | Unreadable], summary: Summary, ranking: Ranking, chart: str) -> str:
    total = summary.total
    lines = [
        "# Audit of the standard library",
        "",
        f"{len(audits):,} files, {len(summary.unreadable)} of them unreadable.",
        f"{total.lines:,} lines, {total.functions:,} functions, {total.branches:,} branches.",
        f"{_share(total)} of {total.documentable:,} public modules, classes and functions have a docstring.",
        "",
        f"![Lines of the largest packages]({chart})",
        "",
        "## Largest packages",
        "",
        *_table(
            ("package", "files", "lines", "functions", "branches", "documented"),
            [
                (p.name, f"{p.files:,}", f"{p.lines:,}", f"{p.functions:,}", f"{p.branches:,}", _share(p))
                for p in summary.packages[:TOP]
            ],
        ),
        "",
        "## Unreadable files",
        "",
        *([f"- `{bad.name}`: {' '.join(bad.reason.split())}" for bad in summary.unreadable] or ["None."]),
    ]
    for title, column, files in (
        ("Longest files", "lines", [(file.name, file.lines) for file in ranking.longest]),
        ("Most branches", "branches", [(file.name, file.branches) for file in ranking.most_branched]),
        (
            "Most docstrings missing",
            "missing",
            [(file.name, file.documentable - file.documented) for file in ranking.least_documented],
        ),
    ):
        lines += ["", f"## {title}", "", *_table(("file", column), [(name, f"{count:,}") for name, count in files])]
    lines += [
        "",
        "## Every file",
        "",
        *_table(("file", "lines", "functions", "branches", "documented"), [_row(audit) for audit in audits]),
    ]
    return "\n".join(lines) + "\n"


def _row(audit: Measured | Unreadable) -> tuple[str, ...]:
    if isinstance(audit, Unreadable):
        return (audit.name, "unreadable", "", "", "")
    return (audit.name, f"{audit.lines:,}", f"{audit.functions:,}", f"{audit.branches:,}", _share(audit))


def _share(counted: Measured | Package) -> str:
    return f"{100 * counted.documented / counted.documentable:.0f} %" if counted.documentable else "–"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    if not rows:
        return ["None."]
    cells = [tuple(" ".join(cell.split()).replace("|", "\\|") for cell in row) for row in (header, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(row, widths) for row in cells]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [lines[0], _line(rule, widths), *lines[1:]]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
    return f"| {' | '.join([cells[0].ljust(widths[0]), *padded[1:]])} |"


def _svg(packages: list[Package]) -> str:
    """Return a bar chart as SVG text: one bar per package, as long as its lines, dark as far as it is documented."""
    height, left, width = 24, 130, 480
    longest = max((package.lines for package in packages), default=1)
    size = f'width="{left + width + 70}" height="{height * len(packages) + 40}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="8" y="18" font-weight="bold">Lines of the largest packages (dark: share with docstrings)</text>',
    ]
    for index, package in enumerate(packages):
        y = 32 + index * height
        bar = width * package.lines / longest
        dark = bar * package.documented / package.documentable if package.documentable else 0
        parts += [
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(package.name)}</text>',
            f'<rect x="{left}" y="{y}" width="{bar:.1f}" height="16" fill="#b9cfe4"/>',
            f'<rect x="{left}" y="{y}" width="{dark:.1f}" height="16" fill="#2f6ea5"/>',
            f'<text x="{left + bar + 6:.1f}" y="{y + 13}">{package.lines:,}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
