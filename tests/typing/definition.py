"""The second ring: each snippet is run, and what the definition says is held against the table."""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from flowdsl import DefinitionError, FlowError
from tests.typing.entry import Entry, Table, Unseen
from tests.typing.source import Sources, function_name, module_name
from tests.typing.verdict import Verdict

Answer = tuple[tuple[str, str], ...]
"""Code and text of each problem; empty when nothing was said."""


def defined(sources: Sources, table: Table) -> Verdict:
    """Run all snippets of the table and judge what was said about them."""
    missed, astray, flagged = [], [], []
    with imported_modules(sources) as modules:
        for entry in table:
            module = modules[module_name(entry.topic)]
            answer = _answer(module, entry, "wrong")
            if not _fits(answer, entry):
                missed.append(entry)
                astray.append(f"{entry.name}: {_text(answer)}, not {entry.says}")
            answer = _answer(module, entry, "right")
            if answer:
                flagged.append(f"{entry.name}: {_text(answer)}")
    return Verdict(tuple(missed), tuple(astray), tuple(flagged))


def _answer(module: ModuleType, entry: Entry, kind: str) -> Answer:
    if not entry.is_defined:
        return ()  # it needs a database to run
    try:
        getattr(module, function_name(entry, kind))()
    except DefinitionError as error:
        return tuple((problem.code, f"{problem.what} {problem.fix}") for problem in error.problems)
    except (FlowError, TypeError, AttributeError) as error:
        return ((type(error).__name__, str(error)),)
    return ()


def _fits(answer: Answer, entry: Entry) -> bool:
    if isinstance(entry.says, Unseen):
        return not answer
    expected = entry.says.problems
    return [code for code, _ in answer] == [code for code, _ in expected] and all(
        words in text for (_, words), (_, text) in zip(expected, answer, strict=True)
    )


def _text(answer: Answer) -> str:
    return "; ".join(f"{code} {text}" for code, text in answer) or "nothing said"


@contextmanager
def imported_modules(sources: Sources) -> Iterator[dict[str, ModuleType]]:
    """Import the generated modules, and forget them afterwards: other tables have modules of the same names."""
    names = ["declarations", *(file.stem for file in sources.files)]
    hidden = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    try:
        yield {name: _imported(sources, name) for name in names}
    finally:
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


def _imported(sources: Sources, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, sources.directory / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
