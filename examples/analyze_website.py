"""Analyse a website: fetch a page, judge it, follow its links, and put the results together.

Shows: real HTTP in handlers, sync and async; a failure worth another attempt and one that is not; a worker and a client
inside of one program, with typed results.

    python analyze_website.py                            three pages that come with it, served on this machine
    python analyze_website.py https://www.python.org     any site

The migrations go to `.demo/website`. The database is DATABASE_URL, or else an embedded PostgreSQL in that directory.
"""

import argparse
import asyncio
import functools
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

from pydantic import BaseModel

from flowdsl import Context, Flow, FlowError, NonRetryable, collect
from flowdsl.client import Client
from flowdsl.database import resolve_database
from flowdsl.runtime.worker import Worker

PAGES = Path(__file__).resolve().parent / "pages"
PROJECT = PAGES.parent.parent / ".demo" / "website"
GOOD = {"beautiful", "excellent", "good", "great", "happy", "love", "lovely", "nice", "warm", "wonderful"}
BAD = {"awful", "bad", "broken", "cold", "error", "hate", "sad", "slow", "terrible", "wrong"}
LINKS_MAX = 20
BYTES_MAX = 2_000_000


class Site(BaseModel):
    """What a run starts with."""

    url: str


class Page(BaseModel):
    """What the server answered."""

    url: str
    status: int
    content: str


class Mood(BaseModel):
    """How a text sounds: from -1 (bad words only) to 1 (good words only)."""

    score: float
    label: str


class Analysis(BaseModel):
    """What the run found out."""

    url: str
    mood: Mood
    summary: str
    pages: int
    broken_links: list[str]


async def website(site: Site, context: Context) -> Page:
    """Fetch the page; a server in trouble is asked again, a page that does not exist is not."""
    page = await asyncio.to_thread(get, site.url)
    if page.status >= 500:
        raise RuntimeError(f"{site.url} answered {page.status} in attempt {context.attempt} of {context.max_attempts}")
    if page.status >= 400:
        raise NonRetryable(f"{site.url} answered {page.status}")
    return page


async def sentiment(page: Page) -> Mood:
    """Weigh the good words against the bad ones."""
    words = re.findall(r"[a-z]+", Text.of(page.content).lower())
    good, bad = (sum(word in known for word in words) for known in (GOOD, BAD))
    score = round((good - bad) / max(good + bad, 1), 2)
    return Mood(score=score, label="good" if score > 0 else "bad" if score < 0 else "neutral")


def summary(page: Page) -> str:
    """Say in one line what the page is about."""
    return " ".join(Text.of(page.content).split())[:80]


async def links(page: Page) -> list[str]:
    """List the pages of the same site that this one leads to."""
    found = (urldefrag(urljoin(page.url, target)).url for target in Text(page.content).targets)
    same_site = [url for url in dict.fromkeys(found) if urlsplit(url)[:2] == urlsplit(page.url)[:2] and url != page.url]
    return same_site[:LINKS_MAX]


def fetch(link: str) -> Page:
    """Fetch one of the linked pages; an answer that says no is a result too."""
    return get(link)


async def save(site: Site, mood: Mood, text: str, pages: list[Page]) -> Analysis:
    """Put it all together."""
    broken = [page.url for page in pages if page.status >= 400]
    return Analysis(url=site.url, mood=mood, summary=text, pages=len(pages), broken_links=broken)


analyze_website = (
    Flow("analyze_website", Site, max_attempts=3, base_delay=1, timeout=20)
    .step(website)
    .step(sentiment, website)
    .step(summary, website)
    .array(links, website)
    .map(fetch, links)
    .step(save, Site, sentiment, summary, collect(fetch))
    .returns(save)
)


def get(url: str) -> Page:
    """Ask a server for a page; no answer at all is an OSError."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise NonRetryable(f"{url!r} is not a web address")
    request = urllib.request.Request(url, headers={"User-Agent": "flowdsl-example"})  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            content = answer.read(BYTES_MAX).decode(answer.headers.get_content_charset("utf-8"), errors="replace")
            return Page(url=answer.url, status=answer.status, content=content)
    except urllib.error.HTTPError as error:
        with error:
            return Page(url=url, status=error.code, content="")


class Text(HTMLParser):
    """The readable text of a page, and what its links lead to."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.targets: list[str] = []
        self._hidden = 0
        self.feed(content)

    @classmethod
    def of(cls, content: str) -> str:
        """Return the text of a page."""
        return " ".join(cls(content).words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a link; skip what is not shown."""
        self._hidden += tag in {"script", "style", "title"}
        self.targets += [value for name, value in attrs if tag == "a" and name == "href" and value]

    def handle_endtag(self, tag: str) -> None:
        """Go on after what is not shown."""
        self._hidden -= tag in {"script", "style", "title"}

    def handle_data(self, data: str) -> None:
        """Note the text."""
        if self._hidden <= 0:
            self.words.append(data)


# ---- running it -----------------------------------------------------------------------------------------------------


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and says nothing about it."""

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log."""


@contextmanager
def bundled_site() -> Iterator[str]:
    """Serve the bundled pages on this machine; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=str(PAGES)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/index.html"
    finally:
        server.shutdown()
        server.server_close()


def prepare(project: Path) -> None:
    """Bring the flow into the database with the commands of any project: init, compile, upgrade."""
    project.mkdir(parents=True, exist_ok=True)
    programs = Path(sys.executable).parent
    for command in (["pgflow", "init"], ["pgflow", "compile", __file__], ["alembic", "upgrade", "head"]):
        subprocess.run([programs / command[0], *command[1:]], cwd=project, check=True, stdout=sys.stderr)  # noqa: S603


async def analyse(url: str, dsn: str) -> tuple[Analysis, list[Page]]:
    """Run a worker in this very process, start a run, and wait for it."""
    worker = Worker([analyze_website], dsn)
    async with asyncio.TaskGroup() as group, Client(dsn) as client:
        group.create_task(worker.run(stop_signals=False))
        try:
            run = await client.start(analyze_website, Site(url=url))
            return await run.result(timeout=120), await run.output(collect(fetch))
        finally:
            worker.stop()


def main() -> int:
    """Analyse the site named on the command line, or the bundled one."""
    arguments = argparse.ArgumentParser(description="Analyse a website.")
    arguments.add_argument("url", nargs="?", help="default: three pages that come with the example")
    arguments.add_argument("--project", type=Path, default=PROJECT, help="directory of the migrations")
    given = arguments.parse_args()
    try:
        prepare(given.project)
    except subprocess.CalledProcessError as error:
        return error.returncode
    database = resolve_database(directory=given.project)
    failures: list[str] = []
    try:
        with bundled_site() as bundled:
            analysis, pages = asyncio.run(analyse(given.url or bundled, database.url))
        for page in pages:
            print(f"{page.status} {page.url}")
        print(analysis.model_dump_json(indent=2))
    except* FlowError as group:
        failures += [str(error) for error in group.exceptions]
    finally:
        database.close()
    if failures:
        print(*failures, sep="\n", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
