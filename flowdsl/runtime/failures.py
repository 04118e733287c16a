"""What the database keeps about a failed attempt, made from whatever the handler raised.

It must never fail itself: the error may be an exception whose `__str__` raises, a group of a thousand errors, a message
with characters PostgreSQL cannot store, or not an `Exception` at all.
"""

import asyncio
import concurrent.futures
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType

from flowdsl.errors import InputError, NonRetryable, RetryAfter
from flowdsl.gateway.rows import AttemptFailure
from flowdsl.model.options import error_name

MESSAGE_MAX = 4_000
TRACEBACK_MAX = 32_000
_FRAMES_MAX = 200
_LEAVES_MAX = 1_000

_HERE = str(Path(__file__).parent)
# Frames that lie between us and the handler; they tell the reader nothing.
_OUR_FRAMES = (_HERE, str(Path(asyncio.__file__).parent), str(Path(concurrent.futures.__file__).parent))


def failure_of(error: BaseException, *, retryable: bool = True) -> AttemptFailure:
    """Describe an error a handler raised; `NonRetryable` and `RetryAfter` steer the retry, inside of groups too."""
    leaves = list(_leaves(error))
    waits = [leaf.seconds for leaf in leaves if isinstance(leaf, RetryAfter)]
    return AttemptFailure(
        error_class=error_name(type(error)),
        error_classes=_class_names(type(error)),
        message=message_of(error),
        traceback=_formatted(error),
        retryable=retryable and not any(isinstance(leaf, NonRetryable) for leaf in leaves),
        retry_after=max(waits, default=None),
    )


def input_failure(error: InputError) -> AttemptFailure:
    """Describe an input that does not fit; where it was found out is library code, and another attempt gets the same."""
    return AttemptFailure(
        error_class=error_name(type(error)),
        error_classes=_class_names(type(error)),
        message=clean(error.one_line, MESSAGE_MAX),
        traceback="",
        retryable=False,
    )


def timeout_failure(step_slug: str, seconds: int, where: str) -> AttemptFailure:
    """Describe an attempt that outlived its step's timeout; `where` is the handler's stack at that moment."""
    return AttemptFailure(
        error_class="TimeoutError",
        error_classes=_class_names(TimeoutError),
        message=f"step '{step_slug}' exceeded its timeout of {seconds} s",
        traceback=clean(where, TRACEBACK_MAX),
    )


def rejection(error: BaseException, what: str) -> AttemptFailure:
    """Describe a result the database would not store; another attempt would most likely return the same."""
    return AttemptFailure(
        error_class=error_name(type(error)),
        error_classes=_class_names(type(error)),
        message=clean(f"{what}: {message_of(error)}", MESSAGE_MAX),
        traceback="",
        retryable=False,
    )


def message_of(error: BaseException) -> str:
    """Return `str(error)`, or what can be said when that itself raises."""
    try:
        text = str(error)
    except BaseException as broken:
        text = f"<str() of this {type(error).__qualname__} raised {type(broken).__qualname__}>"
    return clean(text, MESSAGE_MAX)


def clean(text: str, limit: int) -> str:
    """Make text PostgreSQL can store: no NUL, no lone surrogates, at most `limit` characters, cut in the middle.

    >>> clean("a\\x00b", 10)
    'a\\\\x00b'
    >>> clean("x" * 100, 40)
    'xxxxxxx [… 86 characters left out …] xxxxxxx'
    """
    text = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= limit:
        return text
    kept = max(limit - 26, 0) // 2
    return f"{text[:kept]} [… {len(text) - 2 * kept} characters left out …] {text[len(text) - kept :]}"


def stack_text(frame: FrameType | None) -> str:
    """Return where a frame stands, in the form of a traceback without its error."""
    if frame is None:
        return ""
    entries = traceback.extract_stack(frame)
    ours = [index for index, entry in enumerate(entries) if entry.filename.startswith(_HERE)]
    below = entries[ours[-1] + 1 :] if ours else entries
    return "Stack (most recent call last):\n" + "".join(traceback.format_list(below[-_FRAMES_MAX:]))


def where_of(error: BaseException) -> str:
    """Return where the handler stood when `error` was thrown into it."""
    trace = _trimmed(error.__traceback__)
    if trace is None:
        return ""
    return "Stack (most recent call last):\n" + "".join(traceback.format_tb(trace, -_FRAMES_MAX))


def _class_names(cls: type[BaseException]) -> tuple[str, ...]:
    return tuple(error_name(base) for base in cls.__mro__ if issubclass(base, BaseException))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    waiting = [error]
    for _ in range(_LEAVES_MAX):
        if not waiting:
            return
        current = waiting.pop()
        yield current
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)


def _formatted(error: BaseException) -> str:
    trace = _trimmed(error.__traceback__)
    try:
        lines = traceback.TracebackException(type(error), error, trace, limit=-_FRAMES_MAX, compact=True).format()
        text = "".join(lines)
    except BaseException as broken:
        text = f"<the traceback of this {type(error).__qualname__} cannot be shown: {type(broken).__qualname__}>"
    return clean(text, TRACEBACK_MAX)


def _trimmed(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return trace


def _is_ours(filename: str) -> bool:
    return filename.startswith(_OUR_FRAMES)
