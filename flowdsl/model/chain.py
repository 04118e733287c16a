"""Does the chain of builder calls go on after this call?

All problems of a flow shall be reported at once, yet each builder call returns before the next begins. So a call that
met a problem looks at its caller's bytecode: when the next thing done with the returned flow is another builder call,
it keeps the problem and lets that call go on collecting; otherwise it raises all of them. Only flows with problems pay
for the look-ahead, and where bytecode cannot tell, the error is raised at once: earlier, never lost.
"""

import dis
import os
import sys
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

BUILDER_METHODS: Final = frozenset({"step", "array", "map", "returns"})
_ATTRIBUTE_LOADS: Final = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_NOTHING_DONE: Final = frozenset({"CACHE", "NOP"})
# A generic alias (`Flow[Site, int](...)`) and the metaclass machinery call `__init__` from frames of their own.
_FOREIGN_FRAMES: Final = frozenset({"typing", "typing_extensions", "functools", "contextlib"})


def calling_frame() -> FrameType | None:
    """Return the frame of the user's code that called into the model."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to the calling frame
    while frame is not None and _is_ours(frame):
        frame = frame.f_back
    return frame


def _is_ours(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__", "")
    return module in _FOREIGN_FRAMES or module == "flowdsl.model" or module.startswith("flowdsl.model.")


def chain_goes_on(frame: FrameType | None) -> bool:
    """Tell whether the frame's next instruction reads a builder method from the value the running call returns."""
    operation, argument = _following(frame)
    if frame is None or operation not in _ATTRIBUTE_LOADS:
        return False
    # Since 3.12 the lowest bit tells a method from another attribute.
    index = argument >> 1 if operation == "LOAD_ATTR" and sys.version_info >= (3, 12) else argument
    names = frame.f_code.co_names
    return index < len(names) and names[index] in BUILDER_METHODS


def is_dropped(frame: FrameType | None) -> bool:
    """Tell whether the value the running call returns is thrown away."""
    return _following(frame)[0] == "POP_TOP"


def _following(frame: FrameType | None) -> tuple[str, int]:
    """Return the frame's next instruction and its argument; read from the bytes, for `dis` would begin at the first."""
    if frame is None or frame.f_lasti < 0:
        return "", 0
    code = frame.f_code.co_code
    extended = 0
    for offset in range(frame.f_lasti + 2, len(code), 2):
        operation, argument = dis.opname[code[offset]], code[offset + 1] | extended
        if operation == "EXTENDED_ARG":
            extended = argument << 8
        elif operation not in _NOTHING_DONE:
            return operation, argument
    return "", 0


@dataclass(frozen=True, slots=True)
class Place:
    """One call in the user's code. Which text that is, is looked up only when somebody asks: for wrong flows.

    `method` is the builder method that was called, None for `Flow` itself.
    """

    code: CodeType
    instruction: int
    method: str | None

    @property
    def file(self) -> str:
        """The file, as Python knows it."""
        return self.code.co_filename

    def end(self) -> tuple[int, int] | None:
        """Return line (from 1) and column (from 0, in bytes) behind the call's closing bracket, which no other call shares."""
        positions = next(islice(self.code.co_positions(), self.instruction // 2, None), None)
        if positions is None or positions[1] is None or positions[3] is None:
            return None  # compiled without columns (python -X no_debug_ranges)
        return positions[1], positions[3]


def place_of(frame: FrameType | None, method: str | None) -> Place | None:
    """Return the call the frame is carrying out."""
    return None if frame is None else Place(frame.f_code, frame.f_lasti, method)


def location_of(frame: FrameType | None) -> str:
    """Return the line the frame is at as `file.py:41`, relative to the working directory where it lies below it."""
    if frame is None:  # called from no Python code at all
        return "?"
    return f"{shown_path(frame.f_code.co_filename)}:{frame.f_lineno}"


def nearby(frame: FrameType | None) -> Mapping[str, Any]:
    """Return the names that are known where the frame is."""
    return {} if frame is None else ChainMap(frame.f_locals, frame.f_globals)


def shown_path(filename: str) -> str:
    """Return the shortest form of a path that still opens from here."""
    try:
        return str(Path(filename).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return os.fspath(filename)
