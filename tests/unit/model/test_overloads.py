import inspect
import re
import runpy
from pathlib import Path

import pytest

from flowdsl import Flow
from flowdsl.model import overloads
from flowdsl.model.options import StepOptions
from flowdsl.model.step import MAX_DEPENDENCIES

SCRIPT = Path(__file__).parents[3] / "scripts" / "generate_overloads.py"


def test_the_generated_file_is_what_the_script_generates() -> None:
    generate = runpy.run_path(str(SCRIPT))["generated"]
    assert Path(overloads.__file__).read_text(encoding="utf-8") == generate(), f"run: python {SCRIPT.name}"


def test_each_number_of_dependencies_has_its_overload() -> None:
    source = inspect.getsource(overloads)
    for method in ("step", "array", "map"):
        assert len(re.findall(rf"@overload\n    def {method}\(", source)) == MAX_DEPENDENCIES + 1


def test_each_option_is_spelled_out_in_each_overload() -> None:
    source = inspect.getsource(overloads)
    for name in (*StepOptions.__dataclass_fields__, "slug"):
        assert len(re.findall(rf"\b{name}: ", source)) == 3 * (MAX_DEPENDENCIES + 1)


def test_builder_methods_are_documented() -> None:
    for method in (Flow.step, Flow.array, Flow.map, Flow.returns):
        assert method.__doc__


@pytest.mark.parametrize(
    ("method", "count", "judged"),
    [("step", 0, "In"), ("step", 2, "A, B"), ("array", 1, "A"), ("map", 0, "list[A]"), ("map", 3, "list[A], B, C")],
)
def test_conditions_take_what_the_handler_takes_and_of_a_map_the_whole_list(
    method: str, count: int, judged: str
) -> None:
    signatures = re.findall(rf"@overload\n    (def {method}\(.*)", inspect.getsource(overloads))
    for option in ("when", "unless"):
        assert f" {option}: Condition[[{judged}]] = ..." in signatures[count]
