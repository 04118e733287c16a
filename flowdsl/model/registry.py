"""Finding flows by name: `package.module`, `package.module:attribute`, `path/to/file.py[:attribute]`.

Importing a user's module can fail in any way; whatever happens becomes one failure that names the user's line. One spec
that leads nowhere keeps nobody from looking at the others: all that is wrong is told at once.
"""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn

from flowdsl.errors import ConfigError, DefinitionError, FlowError, Problem
from flowdsl.model.cautions import caught
from flowdsl.model.chain import shown_path
from flowdsl.model.flow import Flow
from flowdsl.model.gathering import Gathered, gathering
from flowdsl.model.problems import WHY, Code
from flowdsl.model.source import is_library
from flowdsl.suggest import did_you_mean

AnyFlow = Flow[Any, Any]

_OURS = tuple(str(Path(__file__).parents[1] / part) for part in ("model", "clusters"))

BESIDE: Final = "_flowdsl_"
"""Begins the names of modules that were loaded from files whose own names belong to others; nobody can import them by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a spec gives no flows, or none that can stand beside the others."""

    what: str
    reason: str | None = None
    hint: str | None = None
    location: str | None = None
    code: Code = Code.UNUSABLE_MODULE
    flow_slug: str | None = None
    is_empty: bool = False
    """The module is there, and has no flow in it."""

    def problem(self) -> Problem:
        """Return it as one more problem beside those of the flows."""
        return Problem(
            code=self.code,
            flow_slug=self.flow_slug,
            location=self.location,
            what=f"{self.what}." if self.reason is None else f"{self.what}: {self.reason}",
            fix=self.hint or "",
            why=WHY[self.code],
        )

    def __str__(self) -> str:
        return self.what if self.reason is None else f"{self.what} ({self.location or 'no line known'}): {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What the specs name: their flows, sound or not, what is wrong with those, and which specs could not be followed.

    A flow that has the slug of one before it is among the `duplicates`.

    `module_warnings` are those that no flow knows of itself.
    """

    flows: tuple[AnyFlow, ...]
    duplicates: tuple[AnyFlow, ...]
    definition_problems: tuple[Problem, ...]
    failures: tuple[Failure, ...]
    module_warnings: tuple[Problem, ...]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong."""
        return (*self.definition_problems, *(failure.problem() for failure in self.failures))

    def warnings(self) -> tuple[Problem, ...]:
        """Return the warnings of modules and of all flows without problems."""
        sound = (flow for flow in (*self.flows, *self.duplicates) if not flow.problems())
        return (*self.module_warnings, *(warning for flow in sound for warning in flow.warnings()))

    def sound_flows(self, *, empty_allowed: bool = False) -> list[AnyFlow]:
        """Return the flows if nothing is wrong; else raise the one error that tells everything that is.

        With `empty_allowed` a module may have lost its flows.
        """
        if self.definition_problems:
            raise DefinitionError(self.problems)
        if failures := [failure for failure in self.failures if not (empty_allowed and failure.is_empty)]:
            raise _refusal(failures)
        return list(self.flows)


def load_flows(*specs: str, directory: Path | None = None) -> list[AnyFlow]:
    """Return the flows the specs name, in that order, each once.

    A bare module stands for all of its module-level flows whose names do not begin with an underscore, in the order of
    their definition. After the colon comes an attribute of the module, or the slug of one of its flows. Modules are
    looked for in `directory` first (the working directory).

    Raises:
        ConfigError: a spec leads nowhere, its module fails on import, or two flows have the same slug.
        DefinitionError: flows are wrong; it tells all problems of all of them, and of specs that lead nowhere.
    """
    return inspect_flows(*specs, directory=directory).sound_flows()


def inspect_flows(*specs: str, directory: Path | None = None) -> Inspection:
    """Import what the specs name, whatever is wrong with it, and return the flows with all problems of all of them.

    What the modules print meanwhile goes to stderr: on stdout stands the answer of whoever asks.
    """
    root = str((directory or Path.cwd()).resolve())
    before = set(sys.modules)
    flows: list[AnyFlow] = []
    duplicates: list[AnyFlow] = []
    failures: list[Failure] = []
    with redirect_stdout(sys.stderr), gathering() as gathered:
        for spec in specs:
            try:
                for flow in _load(spec, root, gathered):
                    failures += _added(flows, duplicates, flow)
            except _UnusableError as error:
                failure = error.failure
                failures.append(failure if failure.location else replace(failure, location=spec or None))
    problems = list(gathered.problems)
    # Without steps a flow cannot be used; one that was imported earlier is not gathered again.
    problems += [problem for flow in (*flows, *duplicates) for problem in flow.problems() if problem not in problems]
    if problems:
        _forget(before)
    return Inspection(
        flows=tuple(flows),
        duplicates=tuple(duplicates),
        definition_problems=tuple(problems),
        failures=tuple(failures),
        module_warnings=(*gathered.warnings, *(caught(known) for known in gathered.caught if known not in problems)),
    )


def _forget(before: set[str]) -> None:
    """Undo the imports: a later one shall meet the problems again, as it does after an import that failed."""
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and not is_library(file) and not name.startswith("flowdsl."):
            del sys.modules[name]


class _UnusableError(Exception):
    """A spec cannot be followed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.what)
        self.failure = failure


def _fail(what: str, hint: str | None = None, *, is_empty: bool = False) -> NoReturn:
    raise _UnusableError(Failure(what=what, hint=hint or None, is_empty=is_empty))


def _refusal(failures: Sequence[Failure]) -> ConfigError:
    if len(failures) == 1:
        return ConfigError(str(failures[0]), hint=failures[0].hint)
    hints = {failure: "".join(f"\n  {line}" for line in (failure.hint or "").splitlines()) for failure in failures}
    return ConfigError(f"{len(failures)} problems\n" + "\n".join(f"{failure}{hint}" for failure, hint in hints.items()))


def _load(spec: str, root: str, gathered: Gathered) -> Iterable[AnyFlow]:
    path, attribute = _split(spec)
    is_file = _is_file(path)
    module = (
        _import_file(path, root, gathered)
        if is_file
        else _import_module(path, root, gathered, hint=_module_hint(path, root))
    )
    flows = {name: value for name, value in vars(module).items() if isinstance(value, Flow)}
    if attribute is None:
        public = [flow for name, flow in flows.items() if not name.startswith("_")]
        if not public:
            hint = "Define one at module level: my_flow = Flow(…).step(…)"
            _fail(f"there is no flow in '{path}'", hint, is_empty=True)
        return public
    return [_pick(module, path, attribute, flows)]


def _split(spec: str) -> tuple[str, str | None]:
    head, colon, tail = spec.rpartition(":")
    if not colon or "/" in tail or "\\" in tail:
        head, tail = spec, ""
    is_relative = head.startswith(".") and not _is_file(head)
    if not head or is_relative or (colon and head != spec and not tail):
        _fail(f"'{spec}' names no flow", "Write package.module, package.module:flow or path/to/file.py:flow.")
    return head, tail or None


def _is_file(path: str) -> bool:
    return path.endswith(".py") or "/" in path or "\\" in path


def _pick(module: ModuleType, path: str, attribute: str, flows: dict[str, AnyFlow]) -> AnyFlow:
    if attribute in flows:
        return flows[attribute]
    by_slug = [flow for flow in flows.values() if flow.slug == attribute]
    if by_slug:
        return by_slug[-1]
    if hasattr(module, attribute):
        kind = type(getattr(module, attribute)).__name__
        _fail(f"'{path}:{attribute}' is no flow, it is a {kind}", _flows_there(attribute, flows))
    _fail(f"there is no '{attribute}' in '{path}'", _flows_there(attribute, flows))


def _flows_there(attribute: str, flows: dict[str, AnyFlow]) -> str:
    suggestion = did_you_mean(attribute, flows)
    return f"{suggestion} Flows there: {', '.join(flows) or 'none'}.".lstrip()


def _added(flows: list[AnyFlow], duplicates: list[AnyFlow], flow: AnyFlow) -> list[Failure]:
    """Add a flow, once; return why it cannot stand beside the others, if so."""
    if any(flow is known for known in (*flows, *duplicates)):
        return []
    same = next((known for known in flows if known.slug == flow.slug), None)
    if same is None:
        flows.append(flow)
        return []
    duplicates.append(flow)
    what = f"two flows are called '{flow.slug}': {same.location} and {flow.location}"
    hint = "Rename one, name the one you mean (module:flow), or begin the other's name with an underscore."
    if same.location == flow.location:
        what = f"two flows are called '{flow.slug}': both go on from the one that begins at {flow.location}"
        hint = "Begin the name of what is only a base with an underscore, or name the one you mean (module:flow)."
    return [Failure(code=Code.DUPLICATE_FLOW, flow_slug=flow.slug, location=flow.location, what=what, hint=hint)]


# ---- importing ------------------------------------------------------------------------------------------------------


def _import_file(path: str, root: str, gathered: Gathered) -> ModuleType:
    file = (Path(root) / path).resolve()
    if not file.is_file():
        near = did_you_mean(file.name, (other.name for other in file.parent.glob("*.py")))
        _fail(f"there is no file '{path}'", near or f"Looked for {shown_path(str(file))}.")
    parts = [file.stem]
    parent = file.parent
    # A file inside a package has to be imported as its member, or its relative imports fail.
    while (parent / "__init__.py").is_file():
        parts.append(parent.name)
        parent = parent.parent
    name = ".".join(reversed(parts))
    module = _import_module(name, str(parent), gathered, hint=None)
    if module.__file__ is not None and Path(module.__file__).resolve() == file:
        return module
    return _import_beside(file, f"{BESIDE}{name}", gathered)


def _import_beside(file: Path, name: str, gathered: Gathered) -> ModuleType:
    """Import a file whose name belongs to another module already (`types.py`, `test.py`)."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        _fail(f"'{shown_path(str(file))}' cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[name]
        raise _import_failure(shown_path(str(file)), error, gathered) from error
    return module


def _import_module(name: str, root: str, gathered: Gathered, *, hint: str | None) -> ModuleType:
    if root not in sys.path:
        sys.path.insert(0, root)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            _fail(f"there is no module '{name}'", hint)
        raise _import_failure(name, error, gathered) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _import_failure(name, error, gathered) from error


def _module_hint(name: str, root: str) -> str:
    here = Path(root)
    known = [file.stem for file in here.glob("*.py")] + [file.parent.name for file in here.glob("*/__init__.py")]
    return f"{did_you_mean(name, known)} Looked in {root} and in the installed packages.".lstrip()


def _import_failure(name: str, error: BaseException, gathered: Gathered) -> _UnusableError:
    what, hint = f"module '{name}' fails on import", "Mend that line; what comes below it has not been looked at."
    if isinstance(error, DefinitionError):
        known = gathered.problems
        unknown = [problem for problem in error.problems if problem not in known]
        gathered.add(unknown, unknown)
        what, reason = f"the import of module '{name}' ends here", "it uses a flow that is wrong."
        hint = "Mend the flow; what comes below this line has not been looked at."
    elif isinstance(error, FlowError):
        reason, hint = error.message, error.hint or hint
    elif isinstance(error, SystemExit):
        reason = "it ends the program; keep that under `if __name__ == '__main__':`"
    else:
        reason = _told(error)
    return _UnusableError(Failure(what=what, reason=reason, hint=hint, location=_users_line(error)))


def _told(error: BaseException) -> str:
    """Return an exception as Python's own traceback ends with it, and that also when it has no text to tell."""
    kind = type(error).__name__
    try:
        text = str(error)
    except Exception as failure:
        return f"{kind} (its text cannot be told: __str__ raises {type(failure).__name__})"
    return f"{kind}: {text}" if text else kind


def _users_line(error: BaseException) -> str | None:
    """Return the innermost line of the traceback that is neither Python's own nor an installed package's."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{shown_path(error.filename)}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_not_the_users(frame.filename)]
    if not frames:
        return None
    return f"{shown_path(frames[-1].filename)}:{frames[-1].lineno}"


def _is_not_the_users(filename: str) -> bool:
    return filename.startswith(_OURS) or is_library(filename)
