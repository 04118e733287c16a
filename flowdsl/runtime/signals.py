"""SIGTERM and SIGINT: the first asks to stop, the second insists.

SIGHUP asks as well, unless it is ignored (nohup). It never insists: a terminal that closes may send it twice.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def stopping(*, on_first: Callable[[], None], on_second: Callable[[], None]) -> Iterator[None]:
    """Handle the signals in the running loop inside of the context; afterwards the former handlers are back.

    Only the main thread can do so.
    """
    loop = asyncio.get_running_loop()
    received = 0

    def receive(number: int) -> None:
        nonlocal received
        received += 1
        if received == 1:
            on_first()
        elif number != signal.SIGHUP:
            on_second()

    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]
    for number in before:
        loop.add_signal_handler(number, receive, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            if handler is not None:
                signal.signal(number, handler)
