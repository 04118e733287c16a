"""The public face: what can be imported, what is documented, and what importing it costs."""

import inspect
import json
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import flowdsl
from flowdsl import errors, model

HEAVY = {"psycopg", "psycopg_pool", "alembic", "sqlalchemy", "typer", "rich", "jinja2", "starlette"}


def public_names(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value) and not name.startswith("@")
    ]


def test_all_is_sorted_and_real() -> None:
    assert flowdsl.__all__ == sorted(flowdsl.__all__)
    assert len(set(flowdsl.__all__)) == len(flowdsl.__all__)
    for name in flowdsl.__all__:
        assert hasattr(flowdsl, name)


def test_all_holds_every_public_name() -> None:
    assert sorted(public_names(flowdsl)) == flowdsl.__all__


def test_everything_needed_to_define_a_flow_is_at_the_root() -> None:
    assert {"Flow", "collect", "maybe", "named", "Context", "NonRetryable", "RetryAfter"} <= set(flowdsl.__all__)
    assert {"FlowError", "DefinitionError"} <= set(flowdsl.__all__)


@pytest.mark.parametrize("name", ["Event", "when", "unless"])
def test_what_the_engine_does_not_honour_yet_cannot_be_imported(name: str) -> None:
    assert not hasattr(flowdsl, name)


def test_everything_public_has_a_docstring() -> None:
    assert flowdsl.__doc__
    for name in flowdsl.__all__:
        public = getattr(flowdsl, name)
        assert public.__doc__, name
        assert not public.__doc__.startswith(f"{name}("), f"{name} has only the docstring of a dataclass"
        for attribute, member in vars(public).items() if inspect.isclass(public) else ():
            if not attribute.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                assert member.__doc__, f"{name}.{attribute}"


def test_every_module_of_the_model_says_why_it_exists() -> None:
    for info in pkgutil.walk_packages(model.__path__, "flowdsl.model."):
        module = sys.modules.get(info.name) or __import__(info.name, fromlist=["_"])
        assert module.__doc__, info.name


def test_every_error_has_a_docstring_of_its_own() -> None:
    for name, cls in vars(errors).items():
        if inspect.isclass(cls) and issubclass(cls, Exception):
            assert cls.__dict__.get("__doc__"), name


@pytest.mark.parametrize("module", ["flowdsl", "flowdsl.model.registry", "flowdsl.model.codec", "flowdsl.model.shape"])
def test_importing_the_language_loads_no_driver_and_no_tool(module: str) -> None:
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & HEAVY
    assert "pydantic" in loaded


def test_importing_the_language_loads_no_layer_above_the_model() -> None:
    code = "import json, sys, flowdsl; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name.split(".")[1] for name in json.loads(done.stdout) if name.startswith("flowdsl.")}
    assert ours == {"errors", "model", "suggest", "types"}
