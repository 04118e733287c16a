"""The example of a reference: a service that starts a flow in a process that does not have its handlers."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.examples_support import EXAMPLES, PROGRAMS, Project

HERE = EXAMPLES / "reference"
PROBE = """
import asyncio
import importlib.util
import os
import re
import sys

import service

assert importlib.util.find_spec("price_order") is None
print(asyncio.run(service.ask("Ada", os.environ["DATABASE_URL"])))
loaded = [name for name in sys.modules if name.startswith(("flowdsl.runtime", "flowdsl.compiler", "datamodel"))]
assert not loaded, loaded
"""


@pytest.fixture
def project(tmp_path: Path, empty_dsn: str) -> Project:
    shutil.copytree(HERE, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path, empty_dsn)


def test_a_service_starts_a_flow_whose_handlers_it_cannot_import(project: Project, tmp_path: Path) -> None:
    project.prepare(Path("worker/price_order.py"))
    (tmp_path / "alone").mkdir()
    for file in ("service.py", "price_order_client.py"):
        shutil.copy(HERE / "service" / file, tmp_path / "alone")
    with project.worker("worker/price_order.py"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROBE],
            cwd=tmp_path / "alone",
            env=project.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = project.run("python", "service/service.py", "Bob")
    assert done.stdout == "Ada: 19.80 + 7.50 = 27.30, ready on 27.12.2026\n", done.stderr
    assert said == "Bob: 19.80 + 7.50 = 27.30, ready on 27.12.2026\n"


def test_the_reference_in_the_example_is_what_the_command_in_it_writes(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "service" / "price_order_client.py"
    text = file.read_text()
    command = ["pgflow", "client", "worker/price_order.py", "-o", "service/price_order_client.py"]
    assert " ".join(command) in text
    project.run(*command, "--check")
    file.unlink()
    project.run(*command)
    assert file.read_text() == text


def test_a_reference_that_is_out_of_date_is_found_by_check(project: Project, tmp_path: Path) -> None:
    file = tmp_path / "service" / "price_order_client.py"
    file.write_text(file.read_text().replace("customer: str", "customer: int"))
    command = ["pgflow", "client", "worker/price_order.py", "-o", "service/price_order_client.py", "--check"]
    assert "is out of date" in project.run(*command, code=1)
    file.unlink()
    assert "is missing" in project.run(*command, code=1)
    assert not file.exists()


def test_the_flow_in_the_example_changes_and_the_reference_is_refused_with_the_command_that_mends_it(
    project: Project, tmp_path: Path
) -> None:
    flow = tmp_path / "worker" / "price_order.py"
    flow.write_text(flow.read_text().replace("    customer: str\n    items", "    customer: int\n    items"))
    project.prepare(Path("worker/price_order.py"))
    done = subprocess.run(
        [*PROGRAMS["python"], "service/service.py", "Ada"],
        cwd=tmp_path, env={**os.environ, **project.environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "FlowNotCompiled" in done.stderr
    assert "run: pgflow client worker/price_order.py -o service/price_order_client.py" in done.stderr


# ---- docs/references.md ---------------------------------------------------------------------------------------------


def test_the_page_quotes_the_example() -> None:
    page = (EXAMPLES.parent / "docs" / "references.md").read_text()
    quotes = re.findall(r"^<!-- (\S+) -->\n```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert [name for name, _ in quotes] == ["price_order_client.py", "price_order_client.py", "service.py"]
    for name, quote in quotes:
        assert quote in (HERE / "service" / name).read_text()
