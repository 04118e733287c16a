"""docs/mistakes.md shows what `pgflow check` and mypy really say about the files beside it."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "mistakes.md"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("show_mistakes", ROOT / "scripts" / "show_mistakes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_script_writes(script: ModuleType) -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown, installed = script.version_on_page(text), script.mypy_version()
    if shown == installed:
        assert text == script.page(), "run: python scripts/show_mistakes.py"
        return
    for name in script.NAMES:
        assert script.console(f"pgflow check {name}.py", script.checked(f"{name}.py")) in text
    pytest.skip(f"the page shows mypy {shown}, and {installed} is installed: only pgflow check has been compared")


def test_every_example_is_shown(script: ModuleType) -> None:
    files = {file.name for file in script.EXAMPLES.glob("*.py")}
    assert files == {f"{name}.py" for name in script.NAMES} | {script.SHARED}
    assert len(script.NAMES) == 11


def test_the_flow_with_ten_mistakes_has_ten_and_each_has_its_mended_line(script: ModuleType) -> None:
    said = script.checked("ten_mistakes.py")
    assert len(re.findall(r"^ten_mistakes\.py:\d+: PF-E1\d\d ", said, re.MULTILINE)) == 10
    assert len(re.findall(r"^  write: ", said, re.MULTILINE)) == 10
    assert said.endswith("10 problems in 1 flow\n")


def test_the_page_names_no_directory_of_a_machine() -> None:
    assert not re.search(r"(/tmp/|/home/|/work/|site-packages)", PAGE.read_text(encoding="utf-8"))
