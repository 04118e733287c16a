import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowdsl import DefinitionError
from flowdsl.errors import ConfigError
from flowdsl.model.registry import load_flows
from flowdsl.model.source import is_library

TWO_FLOWS = """\
from flowdsl import Flow

def length(text: str) -> int:
    return len(text)

zebra = Flow("zebra", str).step(length).returns(length)
ant = Flow("ant_flow", str).step(length)
_draft = Flow("zebra", str).step(length)
number = 7
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory to work in; whatever is imported from it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        # Not the libraries: those that were loaded before know their parts by identity.
        if not is_library(getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def write(path: Path, text: str = TWO_FLOWS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def slugs(*specs: str) -> list[str]:
    return [flow.slug for flow in load_flows(*specs)]


def refusal(*specs: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_flows(*specs)
    return str(caught.value)


def test_a_module_stands_for_its_public_flows_in_the_order_of_their_definition(project: Path) -> None:
    write(project / "my_flows.py")
    assert slugs("my_flows") == ["zebra", "ant_flow"]


def test_a_flow_is_named_by_attribute_or_by_slug(project: Path) -> None:
    write(project / "my_flows.py")
    assert slugs("my_flows:ant") == ["ant_flow"]
    assert slugs("my_flows:ant_flow") == ["ant_flow"]
    assert slugs("my_flows:_draft") == ["zebra"]


def test_several_specs_give_their_flows_in_order_and_each_once(project: Path) -> None:
    write(project / "my_flows.py")
    assert slugs("my_flows:ant", "my_flows", "my_flows:zebra") == ["ant_flow", "zebra"]


def test_files_are_loaded_by_path(project: Path) -> None:
    write(project / "sub" / "file_flows.py")
    assert slugs("sub/file_flows.py") == ["zebra", "ant_flow"]
    assert slugs("sub/file_flows.py:ant") == ["ant_flow"]
    assert slugs(f"{project}/sub/file_flows.py:zebra") == ["zebra"]


def test_a_file_in_a_package_is_imported_as_its_member(project: Path) -> None:
    write(project / "pack" / "__init__.py", "")
    write(project / "pack" / "shared.py", "from flowdsl import Flow\ndef f(text: str) -> int: return 1\n")
    write(project / "pack" / "flows.py", "from .shared import *\nmain = Flow('main', str).step(f)\n")
    assert slugs("pack/flows.py", "pack.flows:main") == ["main"]


def test_a_file_named_like_another_module_is_loaded_all_the_same(project: Path) -> None:
    write(project / "string.py")
    assert slugs("./string.py:ant") == ["ant_flow"]


def test_a_file_may_import_its_neighbours(project: Path) -> None:
    write(project / "jobs" / "neighbour_handlers.py", "def f(text: str) -> int: return 1\n")
    write(
        project / "jobs" / "neighbour_flows.py",
        "from flowdsl import Flow\nfrom neighbour_handlers import f\nmain = Flow('main', str).step(f)\n",
    )
    assert slugs("jobs/neighbour_flows.py") == ["main"]


def test_modules_are_looked_for_in_the_directory_given(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project / "app" / "given_flows.py")
    assert [flow.slug for flow in load_flows("given_flows:ant", directory=project / "app")] == ["ant_flow"]


def test_a_module_that_does_not_exist_is_told_with_a_near_one(project: Path) -> None:
    write(project / "billing.py")
    assert refusal("biling").startswith("there is no module 'biling'\nDid you mean 'billing'?")
    assert "there is no module 'billing.deep'" in refusal("billing.deep")
    assert "Looked in" in refusal("xyz_nothing")


def test_a_file_that_does_not_exist_is_told_with_a_near_one(project: Path) -> None:
    write(project / "billing.py")
    assert refusal("biling.py") == "there is no file 'biling.py'\nDid you mean 'billing.py'?"
    assert "Looked for other/nothing.py" in refusal("other/nothing.py")


def test_a_module_that_fails_on_import_names_the_exception_and_the_line(project: Path) -> None:
    write(project / "failing.py", "import json\n\njson.loads('{')\n")
    message = refusal("failing")
    assert "module 'failing' fails on import (failing.py:3): JSONDecodeError" in message


def test_a_failure_inside_of_an_imported_module_names_that_module(project: Path) -> None:
    write(project / "outer.py", "import inner\n")
    write(project / "inner.py", "x = 1\nboom = undefined\n")
    assert "(inner.py:2): NameError: name 'undefined' is not defined" in refusal("outer")


def test_a_missing_import_inside_of_a_module_is_a_failure_of_that_module(project: Path) -> None:
    write(project / "needy.py", "import surely_not_installed\n")
    message = refusal("needy")
    assert "module 'needy' fails on import (needy.py:1): ModuleNotFoundError" in message
    assert "surely_not_installed" in message


def test_a_syntax_error_names_its_line(project: Path) -> None:
    write(project / "typo.py", "x = 1\ndef f(:\n")
    assert "(typo.py:2): SyntaxError" in refusal("typo")


def test_a_module_that_ends_the_program_is_told(project: Path) -> None:
    write(project / "script.py", "import sys\nsys.exit(3)\n")
    assert "module 'script' fails on import (script.py:2): it ends the program" in refusal("script")


def test_a_file_that_fails_beside_a_module_of_its_name_is_told(project: Path) -> None:
    write(project / "string.py", "1 / 0\n")
    assert "(string.py:1): ZeroDivisionError" in refusal("./string.py")


def test_a_wrong_flow_is_told_by_its_own_error(project: Path) -> None:
    write(
        project / "wrong_flow.py",
        "from flowdsl import Flow\ndef f(n: int) -> int: return n\nbad = Flow('bad', str).step(f)\n",
    )
    with pytest.raises(DefinitionError, match=r"PF-E105 flow 'bad', step 'f' \(wrong_flow\.py:3\)"):
        load_flows("wrong_flow")


def test_a_module_without_flows_is_told(project: Path) -> None:
    write(project / "empty_module.py", "x = 1\n")
    assert "there is no flow in 'empty_module'" in refusal("empty_module")


def test_an_attribute_that_does_not_exist_is_told_with_a_near_one(project: Path) -> None:
    write(project / "my_flows.py")
    message = refusal("my_flows:zebr")
    assert message.startswith("there is no 'zebr' in 'my_flows'\nDid you mean 'zebra'? Flows there: zebra, ant")


def test_an_attribute_that_is_no_flow_is_told(project: Path) -> None:
    write(project / "my_flows.py")
    assert refusal("my_flows:number").startswith("'my_flows:number' is no flow, it is a int")


def test_two_flows_of_one_slug_are_told_with_both_places(project: Path) -> None:
    write(project / "my_flows.py")
    message = refusal("my_flows", "my_flows:_draft")
    assert "two flows are called 'zebra': my_flows.py:6 and my_flows.py:8" in message


@pytest.mark.parametrize("spec", ["", ":", ":flow", "module:"])
def test_other_texts_are_no_specs(spec: str) -> None:
    assert f"'{spec}' names no flow" in refusal(spec)


def test_names_that_no_module_can_have_are_told() -> None:
    for spec in ("..relative", "a..b", "a b", "näh.so"):
        assert "module" in refusal(spec)


def test_what_a_module_prints_does_not_go_where_data_go(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(project / "loud.py", f"print('loading')\n{TWO_FLOWS}")
    write(project / "loud_and_broken.py", "print('breaking')\n1 / 0\n")
    assert slugs("loud") == ["zebra", "ant_flow"]
    assert "ZeroDivisionError" in refusal("loud_and_broken.py")
    sys.stdout.write("an answer\n")
    assert capsys.readouterr() == ("an answer\n", "loading\nbreaking\n")


def test_an_exception_without_a_text_is_told_by_its_class(project: Path) -> None:
    broken = "class Odd(Exception):\n    def __str__(self):\n        raise ValueError\n"
    write(project / "odd.py", f"{broken}raise Odd\n")
    assert refusal("odd") == (
        "module 'odd' fails on import (odd.py:4): Odd (its text cannot be told: __str__ raises ValueError)\n"
        "Mend that line; what comes below it has not been looked at."
    )
    write(project / "textless.py", "raise KeyError\n")
    assert "fails on import (textless.py:1): KeyError\n" in refusal("textless")
