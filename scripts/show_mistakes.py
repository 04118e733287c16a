"""Write docs/mistakes.md: typical mistakes, with all that `pgflow check` and mypy say about them.

Usage: python scripts/show_mistakes.py [--check]

The examples are the files of docs/mistakes. mypy is run with --strict and nothing else; the page names its version, and with
another one installed its part of the page is not compared.
"""

import ast
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "docs" / "mistakes"
PAGE = ROOT / "docs" / "mistakes.md"
SHARED = "news.py"
NAMES = (
    "collect_forgotten",
    "wrong_type",
    "dependency_forgotten",
    "swapped",
    "misspelt_option",
    "name_of_a_step",
    "map_over_no_list",
    "maybe_forgotten",
    "predicate_with_and",
    "no_json",
    "ten_mistakes",
)
HEADER = """# Ten typical mistakes

Each with all that is said about it: by `pgflow check`, and by mypy {mypy} with `--strict`. All examples use the models and
handlers of [`mistakes/news.py`](mistakes/news.py). Every code is explained in [errors](errors.md#mistakes-in-a-flow).

This page is written by `scripts/show_mistakes.py`, and a test holds it against the real outputs.
"""
NOTHING_SEEN = "mypy cannot see this one:"
LITTLE_SEEN = (
    "mypy loses the type of the flow at the first call it refuses, and says nothing about the rest of the chain:"
)
COLOURS = ("FORCE_COLOR", "CLICOLOR_FORCE", "MYPY_FORCE_COLOR")
BREAK = "\n\n"
SHOWN_BY_MYPY = re.compile(r"mypy ([\d.]+) with")


def mypy_version() -> str:
    return version("mypy")


def version_on_page(text: str) -> str:
    found = SHOWN_BY_MYPY.search(text)
    return "" if found is None else found[1]


def said(*command: str) -> str:
    """Return what a command prints in the directory of the examples, as in a pipe."""
    plain = {name: value for name, value in os.environ.items() if name not in COLOURS}
    done = subprocess.run(command, cwd=EXAMPLES, env=plain, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def checked(file: str) -> str:
    return said(sys.executable, "-B", "-m", "flowdsl.cli.app", "check", file)


def typed(file: str, cache: str) -> str:
    return said(sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}", file)


def console(command: str, output: str) -> str:
    return f"```console\n$ {command}\n{output.rstrip()}\n```\n"


def of_mypy(file: str, output: str) -> str:
    """Return mypy's output, the lists of all overloads folded away."""
    command = f"mypy --strict {file}"
    brief = "".join(f"{line}\n" for line in output.splitlines() if ": note:" not in line)
    if brief == output:
        return console(command, output)
    return (
        f"{console(command, brief)}\n<details><summary>The same with mypy's notes</summary>\n\n"
        f"{console(command, output)}\n</details>\n"
    )


def section(name: str, check: str, mypy: str) -> str:
    file = f"{name}.py"
    source = (EXAMPLES / file).read_text(encoding="utf-8")
    title = (ast.get_docstring(ast.parse(source)) or "").rstrip(".")
    code = source.partition('"""\n\n')[2].rstrip()
    remark = NOTHING_SEEN if mypy.startswith("Success") else LITTLE_SEEN if name == NAMES[-1] else ""
    return (
        f"\n## {title}\n\n```python\n{code}\n```\n\n{console(f'pgflow check {file}', check)}\n"
        f"{remark and remark + BREAK}{of_mypy(file, mypy)}"
    )


def page() -> str:
    """Return the page as it has to be."""
    text = HEADER.format(mypy=mypy_version())
    with tempfile.TemporaryDirectory() as cache:
        for name in NAMES:
            text += section(name, checked(f"{name}.py"), typed(f"{name}.py", cache))
    return text


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        return int(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
