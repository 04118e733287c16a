"""Handlers in a module whose annotations are strings (PEP 563)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flowdsl import Flow

from .handlers_for_tests import Page, Site


async def postponed_handler(site: Site) -> Page:
    return Page(content=site.url)


def build_with_local_classes() -> Flow[str, Any]:
    @dataclass
    class Local:
        text: str

    def make(text: str) -> Local:
        # Not naming the class here: then it is no part of the closure.
        return eval("None")  # type: ignore[no-any-return] # noqa: S307

    def copy(local: Local) -> Local:
        return local

    return Flow("local", str).step(make).step(copy, make)
