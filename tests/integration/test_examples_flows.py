"""The examples, each by the commands its own text names, from the file to the result."""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from examples import analyze_website, stdlib_audit
from examples.analyze_website import Page
from examples.stdlib_audit import Measured, SourceFile, Unreadable
from tests.integration.dask_support import free_port
from tests.integration.examples_support import EXAMPLES, Project


@pytest.fixture
def project(tmp_path: Path, empty_dsn: str) -> Project:
    return Project(tmp_path, empty_dsn)


# ---- hello_flow -----------------------------------------------------------------------------------------------------


def test_the_hello_flow_runs_by_the_commands_in_its_docstring(project: Project) -> None:
    flow = EXAMPLES / "hello_flow.py"
    project.prepare(flow)
    with project.worker(str(flow)):
        order = {"customer": "Ada", "items": ["tea", "cup", "tea"]}
        output = project.run("pgflow", "start", str(flow), "--input", json.dumps(order), "--wait")
    assert json.loads(output) == "Ada: 3 items, 9.00 EUR"


def test_the_hello_flow_is_short_enough_to_be_read_at_once() -> None:
    assert len((EXAMPLES / "hello_flow.py").read_text().splitlines()) < 60


# ---- conditions -----------------------------------------------------------------------------------------------------


def test_conditions_run_by_the_commands_in_their_docstring(project: Project) -> None:
    flow = EXAMPLES / "conditions.py"
    project.prepare(flow)
    answers = []
    with project.worker(str(flow)):
        for letter in ({"customer": "Ada", "text": "The cup is broken."}, {"customer": "Bob", "text": "A lovely cup."}):
            output = project.run("pgflow", "start", str(flow), "--input", json.dumps(letter), "--wait")
            answers.append(json.loads(output))
    assert answers == [
        "Dear Ada: a ticket for your angry letter, no discount.",
        "Dear Bob: thank you, no discount.",
    ]


def test_the_conditions_are_drawn_by_pgflow_graph(project: Project) -> None:
    drawn = project.run("pgflow", "graph", str(EXAMPLES / "conditions.py"))
    assert 'escalate  str   <- run, judge; when {"judge": {"label": "angry"}}; when unmet: skip' in drawn
    assert "<- run, maybe(escalate), maybe(discount)" in drawn
    assert r"when mood.label is 'happy' and letter.text matches /\bcup/; when unmet: skip" in drawn


def test_the_conditions_are_short_enough_to_be_read_at_once() -> None:
    assert len((EXAMPLES / "conditions.py").read_text().splitlines()) < 65


# ---- dask_cluster ---------------------------------------------------------------------------------------------------


DASK_CLUSTER = (str(EXAMPLES / "dask_cluster.py"), "--project", "migrated")


@pytest.mark.skipif(find_spec("distributed") is None, reason="the extra flowdsl[dask] is not installed")
def test_the_flow_on_a_dask_cluster_ends_well_although_one_of_two_workers_is_killed(project: Project) -> None:
    killed, output = project.run("python", *DASK_CLUSTER).splitlines()
    assert re.fullmatch(r"killed the Dask worker \d+ in the middle of the map", killed)
    found = re.fullmatch(r'"pi = 3\.14\d \(60 throws: (\d+) by (\d+), (\d+) by (\d+)\)"', output)
    assert found is not None, output
    assert int(found[1]) + int(found[3]) == 60
    assert killed.split()[4] in {found[2], found[4]}, "the killed worker had results, and they count"
    assert [path.name for path in project.directory.iterdir()] == ["migrated"], "it leaves nothing else behind"


@pytest.mark.skipif(find_spec("distributed") is None, reason="the extra flowdsl[dask] is not installed")
def test_the_dask_cluster_without_a_database_says_so_and_starts_nothing(project: Project) -> None:
    project.environment["DATABASE_URL"] = f"postgresql://postgres@127.0.0.1:{free_port()}/postgres"
    result = project.result("python", *DASK_CLUSTER)
    assert result.returncode > 0
    assert "connection failed" in result.stderr
    assert result.stderr.endswith("The flow could not be brought into the database; nothing was started.\n")
    assert result.stdout == ""


def test_the_dask_cluster_without_dask_says_how_to_install_it(project: Project) -> None:
    without = "import runpy, sys; sys.modules['distributed'] = None; sys.argv = sys.argv[1:]; "
    run = "runpy.run_path(sys.argv[0], run_name='__main__')"
    result = project.result("python", "-c", without + run, *DASK_CLUSTER)
    assert (result.returncode, result.stdout) == (3, "")
    assert result.stderr == (
        "Dask is not installed. Install it: pip install 'flowdsl[dask]', or in a checkout of flowdsl: "
        "pip install '.[dask]'\n"
    )


@pytest.mark.skipif(find_spec("distributed") is None, reason="the extra flowdsl[dask] is not installed")
def test_the_dask_cluster_whose_worker_ends_says_so_and_claims_no_death(project: Project) -> None:
    program = (EXAMPLES / "dask_cluster.py").read_text()
    broken = project.directory / "dask_cluster.py"
    broken.write_text(program.replace('"--concurrency", "8"', '"--concurrency", "none"'))
    result = project.result("python", str(broken), "--project", "migrated")
    assert (result.returncode, result.stdout) == (1, "")
    assert "Invalid value for '--concurrency'" in result.stderr
    assert "pgflow worker ended with exit code 2. The end of Dask's log:" in result.stderr


# ---- stdlib_audit ---------------------------------------------------------------------------------------------------

LIBRARY = {
    "alpha.py": b'"""Documented."""\n\n\ndef f(x):\n    return 1 if x else 2\n',
    "package/__init__.py": b"",
    "package/beta.py": b"class C:\n    def m(self):\n        for _ in ():\n            pass\n",
    "package/pipe|name.py": b"x = 1\n",
    "package/syntax.py": b"print 'old'\n",
    "package/encoding.py": b"# coding: utf-8\nname = '\xf6'\n",
    "package/null.py": b"x = '\x00'\n",
    "package/escape.py": b"pattern = '\\d'\n",
}
LEFT_OUT = ("test_alpha.py", "package/test_more/helper.py", "site-packages/other.py", "package/__pycache__/gamma.py")
BROKEN = {"package/syntax.py", "package/encoding.py", "package/null.py"}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    root = tmp_path / "library"
    for name, content in {**LIBRARY, **dict.fromkeys(LEFT_OUT, b"left = 'out'\n")}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "not_there.py").symlink_to(root / "nowhere")
    return root


def test_the_audit_reports_every_file_once_and_the_broken_ones_with_a_reason(project: Project, library: Path) -> None:
    flow = EXAMPLES / "stdlib_audit.py"
    project.prepare(flow)
    with project.worker(str(flow)):
        request = {"directory": "report", "root": str(library)}
        printed = project.run("pgflow", "start", str(flow), "--input", json.dumps(request), "--wait")
    report = (project.directory / "report" / "report.md").read_text()
    assert json.loads(printed) == {
        "report": "report/report.md",
        "chart": "report/chart.svg",
        "files": len(LIBRARY),
        "unreadable": len(BROKEN),
        "lines": 11,
    }
    assert Counter(reported_files(report)) == Counter(name.replace("|", "\\|") for name in LIBRARY)
    for name in BROKEN:
        assert f"\n- `{name}`: " in report
    chart = ElementTree.parse(project.directory / "report" / "chart.svg").getroot()  # noqa: S314 - our own file
    assert [text.text for text in chart.iter("{http://www.w3.org/2000/svg}text")][1:] == ["package", "6"]
    assert sorted(path.name for path in (project.directory / "report").iterdir()) == ["chart.svg", "report.md"]


def test_a_module_is_measured(library: Path) -> None:
    audit = stdlib_audit.audit_module(SourceFile(path=str(library / "alpha.py"), name="alpha.py"))
    assert audit == Measured(name="alpha.py", lines=5, functions=1, branches=1, documentable=2, documented=1)


def test_a_file_that_has_vanished_is_a_finding(tmp_path: Path) -> None:
    audit = stdlib_audit.audit_module(SourceFile(path=str(tmp_path / "gone.py"), name="gone.py"))
    assert isinstance(audit, Unreadable)
    assert "FileNotFoundError" in audit.reason


def test_an_audit_of_nothing_makes_a_report_all_the_same(tmp_path: Path) -> None:
    request = stdlib_audit.AuditRequest(directory=str(tmp_path / "out"), root=str(tmp_path))
    assert stdlib_audit.list_modules(request) == []
    summary = stdlib_audit.summarise([])
    chart = stdlib_audit.draw_chart(request, summary)
    report = stdlib_audit.write_report(request, [], summary, stdlib_audit.rank([]), chart)
    assert (report.files, report.unreadable, report.lines) == (0, 0, 0)
    assert "None." in Path(report.report).read_text()


def test_the_standard_library_of_this_python_has_several_hundred_files_to_audit(tmp_path: Path) -> None:
    listed = stdlib_audit.list_modules(stdlib_audit.AuditRequest(directory=str(tmp_path)))
    assert 400 < len(listed) < 2000
    assert len({source.name for source in listed}) == len(listed)
    assert "ast.py" in {source.name for source in listed}
    limited = stdlib_audit.list_modules(stdlib_audit.AuditRequest(directory=str(tmp_path), limit=7))
    assert limited == listed[:7]


def reported_files(report: str) -> list[str]:
    """Return the first column of the report's table of every file."""
    table = report.partition("## Every file\n\n")[2].splitlines()[2:]
    return [line.removeprefix("| ").partition(" | ")[0].rstrip() for line in table]


# ---- analyze_website ------------------------------------------------------------------------------------------------


@contextmanager
def site(*statuses: int) -> Iterator[tuple[str, list[str]]]:
    """A server that gives these answers in turn, the last one for ever; yields its address and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(statuses[min(len(asked), len(statuses)) - 1])
            self.send_header("Content-Type", "text/html; charset=latin-1")
            self.end_headers()
            self.wfile.write("<p>Ein schöner, great place</p>".encode("latin-1"))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def analysed(project: Project, *arguments: str, code: int = 0) -> str:
    script = str(EXAMPLES / "analyze_website.py")
    return project.run("python", script, *arguments, "--project", str(project.directory / "migrations"), code=code)


def test_the_bundled_website_is_analysed_twice_with_the_same_result(project: Project) -> None:
    first, second = (analysed(project), analysed(project))
    for printed in (first, second):
        lines, _, document = printed.partition("{")
        assert [line.split()[0] for line in lines.splitlines()] == ["200", "200", "404"]
        found = json.loads("{" + document)
        assert (found["pages"], found["mood"]["label"]) == (3, "good")
        assert [link.rpartition("/")[2] for link in found["broken_links"]] == ["last-summer.html"]


def test_a_site_in_trouble_is_asked_again(project: Project) -> None:
    with site(503, 200) as (url, asked):
        found = json.loads(analysed(project, url))
    assert asked == ["/", "/"]
    assert found["summary"] == "Ein schöner, great place"


def test_a_page_that_does_not_exist_is_asked_for_once_and_fails_the_run(project: Project) -> None:
    with site(404) as (url, asked):
        said = analysed(project, url, code=1)
    assert asked == ["/"]
    assert "failed in step 'website'" in said
    assert f"{url} answered 404" in said
    assert "Traceback" not in said


def test_only_web_addresses_are_fetched(project: Project) -> None:
    assert "is not a web address" in analysed(project, "file:///etc/passwd", code=1)


def test_links_lead_to_other_pages_of_the_same_site_once(run: Any) -> None:
    content = "".join(
        f'<a href="{target}">x</a>'
        for target in ("a.html", "/a.html#top", "#here", "", "https://other.example/", "mailto:x@y", "b?c=1")
    )
    page = Page(url="https://site.example/dir/", status=200, content=content + "<a>none</a>")
    assert run(analyze_website.links(page)) == [
        "https://site.example/dir/a.html",
        "https://site.example/a.html",
        "https://site.example/dir/b?c=1",
    ]


def test_scripts_and_styles_are_not_text() -> None:
    content = "<title>t</title><script>var awful</script><p>nice</p><style>p {}</style> end"
    assert analyze_website.Text.of(content).split() == ["nice", "end"]
