"""One future in front of another: the caller's, and the one a cluster's library made for the call.

The two know each other only while the call is under way. A finished call whose future is still referred to is kept by
Dask, result and all, and is done once more when the worker that holds the result dies; waiting for the garbage collector
to find a circle of futures would be enough for that.
"""

import concurrent.futures
from collections.abc import Callable
from typing import Any, TypeAlias

Future: TypeAlias = "concurrent.futures.Future[Any]"
Explain: TypeAlias = Callable[[BaseException], BaseException]


class Relay:
    """Hands what becomes of `inner` to `outer`, and a cancellation of `outer` to `inner`, from any thread.

    Args:
        inner: the future of the call on the cluster.
        outer: the future its caller has.
        explain: says what an error means that is not the function's; a cancellation that is not the caller's is one.
        cancel: takes the call back.
    """

    __slots__ = ("_cancel", "_explain", "_inner", "_outer")

    def __init__(self, inner: Future, outer: Future, explain: Explain, cancel: Callable[[], object]) -> None:
        self._inner: Future | None = inner
        self._outer: Future | None = outer
        self._explain = explain
        self._cancel: Callable[[], object] | None = cancel
        outer.add_done_callback(self._outer_done)
        inner.add_done_callback(self._inner_done)

    def _outer_done(self, outer: Future) -> None:
        cancel = self._cancel
        if outer.cancelled() and cancel is not None:
            cancel()

    def _inner_done(self, inner: Future) -> None:
        outer, self._inner, self._outer, self._cancel = self._outer, None, None, None
        if outer is None or not outer.set_running_or_notify_cancel():
            return
        try:
            result = inner.result()
        except BaseException as error:
            outer.set_exception(self._explain(error))
        else:
            outer.set_result(result)
