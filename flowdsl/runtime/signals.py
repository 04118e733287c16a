"""SIGTERM and SIGINT: the first asks to stop, the second insists."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopping(*, on_first: Callable[[], None], on_second: Callable[[], None]) -> Iterator[None]:
    """Handle both signals in the running loop inside of the context; afterwards the former handlers are back.

    Only the main thread can do so.
    """
    loop = asyncio.get_running_loop()
    received = 0

    def receive() -> None:
        nonlocal received
        received += 1
        if received == 1:
            on_first()
        else:
            on_second()

    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, receive)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            if handler is not None:
                signal.signal(number, handler)
