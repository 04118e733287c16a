"""What the children of the nursery's tests do."""

import sys
import time
from pathlib import Path


def say(text: str) -> None:
    sys.stdout.write(text)


def fail() -> None:
    raise ValueError("on purpose")


def wait() -> None:
    time.sleep(600)


def leave(path: str) -> None:
    Path(path).write_text("cleaned up")
