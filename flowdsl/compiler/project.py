"""`[tool.pgflow]` in pyproject.toml, and where a first flow belongs: what `pgflow init` has to know of a Python project.

An existing pyproject.toml belongs to the user: a table is appended to its text, and nothing else in it is touched.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flowdsl.errors import ConfigError

PYPROJECT: Final = "pyproject.toml"
_HEADER: Final = re.compile(r"^[ \t]*\[[ \t]*tool[ \t]*\.[ \t]*pgflow[ \t]*\][ \t]*(?:#[^\n]*?)?\r?\n", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowsModule:
    """A module of flows: its import name and its file."""

    name: str
    path: Path


def read_pyproject(directory: Path) -> Mapping[str, Any]:
    """Return the contents of the project's pyproject.toml, empty when there is none.

    Raises:
        ConfigError: the file is not readable or not TOML.
    """
    path = directory / PYPROJECT
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", hint="Mend the file and try again.") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error


def pgflow_table(pyproject: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the table [tool.pgflow], None when there is none."""
    table = pyproject.get("tool", {}).get("pgflow")
    return table if isinstance(table, dict) else None


def with_settings(path: Path, text: str, settings: Mapping[str, str | list[str]]) -> str:
    """Return the text of a pyproject.toml with these settings: in its table [tool.pgflow], or in one added at the end.

    Raises:
        ConfigError: the settings cannot be put into this file without rewriting it.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = newline.join(f"{key} = {_toml(value)}" for key, value in settings.items()) + newline
    before = text if not text or text.endswith("\n") else text + newline
    header = _HEADER.search(before)
    if header is not None:
        extended = before[: header.end()] + lines + before[header.end() :]
    else:
        extended = f"{before}{newline if before.strip() else ''}[tool.pgflow]{newline}{lines}"
    try:
        added = pgflow_table(tomllib.loads(extended)) or {}
    except tomllib.TOMLDecodeError as error:
        added, reason = {}, f": {error}"
    else:
        reason = ""
    if any(added.get(key) != value for key, value in settings.items()):
        raise ConfigError(
            f"[tool.pgflow] cannot be added to {path}{reason}",
            hint=f"Put these settings under tool.pgflow yourself:\n{lines}".rstrip(),
        )
    return extended


def _toml(value: str | list[str]) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def first_flows_module(directory: Path, pyproject: Mapping[str, Any]) -> FlowsModule:
    """Return where a project keeps its flows: in its package when it has one by its own name, else in `flows.py`."""
    project = pyproject.get("project", {})
    name = project.get("name", "") if isinstance(project, dict) else ""
    package = re.sub(r"[-.]+", "_", name).lower() if isinstance(name, str) else ""
    if package.isidentifier():
        for root in (directory / "src", directory):
            if (root / package / "__init__.py").is_file():
                return FlowsModule(name=f"{package}.flows", path=root / package / "flows.py")
    return FlowsModule(name="flows", path=directory / "flows.py")
