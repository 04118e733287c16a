"""Every error of ours has an exit code, and the help explains every code."""

from collections.abc import Iterator

import pytest

from flowdsl import errors
from flowdsl.cli.exits import EXPLANATION, ExitCode, exit_code
from flowdsl.errors import FlowError

EXPECTED = {
    "DefinitionError": ExitCode.UNFIT,
    "CompileError": ExitCode.UNFIT,
    "ConfigError": ExitCode.UNFIT,
    "ClusterError": ExitCode.DATABASE,
    "InputError": ExitCode.UNFIT,
    "InvalidInput": ExitCode.UNFIT,
    "DatabaseError": ExitCode.DATABASE,
    "DatabaseUnavailable": ExitCode.DATABASE,
    "CoreNotInstalled": ExitCode.DATABASE,
    "CoreVersionMismatch": ExitCode.DATABASE,
    "RunFailed": ExitCode.FAILED,
    "RunCancelled": ExitCode.FAILED,
    "ResultTimeout": ExitCode.FAILED,
    "OutputUnavailable": ExitCode.FAILED,
    "ProcessDied": ExitCode.FAILED,
}


def classes(root: type[FlowError]) -> Iterator[type[FlowError]]:
    for cls in root.__subclasses__():
        if cls.__module__ == errors.__name__:
            yield cls
            yield from classes(cls)


@pytest.mark.parametrize("cls", list(classes(FlowError)), ids=lambda cls: cls.__name__)
def test_every_error_ends_with_the_code_of_its_kind(cls: type[FlowError]) -> None:
    error = cls.__new__(cls)
    assert exit_code(error) == EXPECTED.get(cls.__name__, ExitCode.REFUSED)


def test_the_table_names_no_class_that_is_gone() -> None:
    assert set(EXPECTED) <= {cls.__name__ for cls in classes(FlowError)}


def test_every_code_but_the_one_for_sigterm_is_explained() -> None:
    explained = {int(line.split()[0]) for line in EXPLANATION.splitlines()[2:]}
    assert explained == set(ExitCode) - {ExitCode.TERMINATED}
