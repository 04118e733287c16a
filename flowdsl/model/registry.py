"""Finding flows by name: `package.module`, `package.module:attribute`, `path/to/file.py[:attribute]`.

Importing a user's module can fail in any way; whatever happens becomes one ConfigError that names the user's line.
"""

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from flowdsl.errors import ConfigError, FlowError
from flowdsl.model.chain import shown_path
from flowdsl.model.flow import Flow
from flowdsl.suggest import did_you_mean

_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def load_flows(*specs: str, directory: Path | None = None) -> list[Flow[Any, Any]]:
    """Return the flows the specs name, in that order, each once.

    A bare module stands for all of its module-level flows whose names do not begin with an underscore, in the order of
    their definition. After the colon comes an attribute of the module, or the slug of one of its flows. Modules are
    looked for in `directory` first (the working directory).

    Raises:
        ConfigError: a spec leads nowhere, its module fails on import, or two flows have the same slug.
        DefinitionError: a flow is wrong.
    """
    root = str((directory or Path.cwd()).resolve())
    flows: list[Flow[Any, Any]] = []
    for spec in specs:
        for flow in _load(spec, root):
            _add(flows, flow)
    return flows


def _load(spec: str, root: str) -> Iterable[Flow[Any, Any]]:
    path, attribute = _split(spec)
    module = _import_file(path, root) if _is_file(path) else _import_module(path, root, hint=_module_hint(path, root))
    flows = {name: value for name, value in vars(module).items() if isinstance(value, Flow)}
    if attribute is None:
        public = [flow for name, flow in flows.items() if not name.startswith("_")]
        if not public:
            raise ConfigError(
                f"there is no flow in '{path}'", hint="Define one at module level: my_flow = Flow(…).step(…)"
            )
        return public
    return [_pick(module, path, attribute, flows)]


def _split(spec: str) -> tuple[str, str | None]:
    head, colon, tail = spec.rpartition(":")
    if not colon or "/" in tail or "\\" in tail:
        head, tail = spec, ""
    is_relative = head.startswith(".") and not _is_file(head)
    if not head or is_relative or (colon and head != spec and not tail):
        raise ConfigError(
            f"'{spec}' names no flow", hint="Write package.module, package.module:flow or path/to/file.py:flow."
        )
    return head, tail or None


def _is_file(path: str) -> bool:
    return path.endswith(".py") or "/" in path or "\\" in path


def _pick(module: ModuleType, path: str, attribute: str, flows: dict[str, Flow[Any, Any]]) -> Flow[Any, Any]:
    if attribute in flows:
        return flows[attribute]
    by_slug = [flow for flow in flows.values() if flow.slug == attribute]
    if by_slug:
        return by_slug[-1]
    if hasattr(module, attribute):
        kind = type(getattr(module, attribute)).__name__
        raise ConfigError(f"'{path}:{attribute}' is no flow, it is a {kind}", hint=_flows_there(attribute, flows))
    raise ConfigError(f"there is no '{attribute}' in '{path}'", hint=_flows_there(attribute, flows))


def _flows_there(attribute: str, flows: dict[str, Flow[Any, Any]]) -> str:
    suggestion = did_you_mean(attribute, flows)
    return f"{suggestion} Flows there: {', '.join(flows) or 'none'}.".lstrip()


def _add(flows: list[Flow[Any, Any]], flow: Flow[Any, Any]) -> None:
    if any(flow is known for known in flows):
        return
    same = next((known for known in flows if known.slug == flow.slug), None)
    if same is not None:
        raise ConfigError(
            f"two flows are called '{flow.slug}': {same.location} and {flow.location}",
            hint="Rename one, name the one you mean (module:flow), or begin the other's name with an underscore.",
        )
    flows.append(flow)


# ---- importing ------------------------------------------------------------------------------------------------------


def _import_file(path: str, root: str) -> ModuleType:
    file = (Path(root) / path).resolve()
    if not file.is_file():
        near = did_you_mean(file.name, (other.name for other in file.parent.glob("*.py")))
        raise ConfigError(f"there is no file '{path}'", hint=near or f"Looked for {shown_path(str(file))}.")
    parts = [file.stem]
    parent = file.parent
    # A file inside a package has to be imported as its member, or its relative imports fail.
    while (parent / "__init__.py").is_file():
        parts.append(parent.name)
        parent = parent.parent
    name = ".".join(reversed(parts))
    module = _import_module(name, str(parent), hint=None)
    if module.__file__ is not None and Path(module.__file__).resolve() == file:
        return module
    return _import_beside(file, f"_flowdsl_{name}")


def _import_beside(file: Path, name: str) -> ModuleType:
    """Import a file whose name belongs to another module already (`types.py`, `test.py`)."""
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"'{shown_path(str(file))}' cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[name]
        raise _import_failure(shown_path(str(file)), error) from error
    return module


def _import_module(name: str, root: str, *, hint: str | None) -> ModuleType:
    if root not in sys.path:
        sys.path.insert(0, root)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"there is no module '{name}'", hint=hint) from error
        raise _import_failure(name, error) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _import_failure(name, error) from error


def _module_hint(name: str, root: str) -> str:
    here = Path(root)
    known = [file.stem for file in here.glob("*.py")] + [file.parent.name for file in here.glob("*/__init__.py")]
    return f"{did_you_mean(name, known)} Looked in {root} and in the installed packages.".lstrip()


def _import_failure(name: str, error: BaseException) -> FlowError:
    if isinstance(error, FlowError):
        return error
    if isinstance(error, SystemExit):
        what = "it ends the program; keep that under `if __name__ == '__main__':`"
    else:
        what = f"{type(error).__name__}: {error}"
    return ConfigError(f"module '{name}' fails on import ({_users_line(error)}): {what}")


def _users_line(error: BaseException) -> str:
    """Return the innermost line of the traceback that is neither Python's own nor an installed package's."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{shown_path(error.filename)}:{error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_library(frame.filename)]
    if not frames:
        return "no line known"
    return f"{shown_path(frames[-1].filename)}:{frames[-1].lineno}"


def _is_library(filename: str) -> bool:
    return filename.startswith("<frozen") or filename == __file__ or filename.startswith(_LIBRARIES)
