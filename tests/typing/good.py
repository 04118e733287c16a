"""Correct flows: no checker may complain, and every `assert_type` must hold."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from pydantic import BaseModel
from typing_extensions import TypedDict

from flowdsl import Context, Flow, collect, maybe, named
from flowdsl.client import Client, Run


@dataclass
class Site:
    url: str


class Page(BaseModel):
    content: str


@dataclass
class Mood:
    score: float
    label: str


class Totals(TypedDict):
    pages: int
    words: int


async def website(site: Site, ctx: Context) -> Page:
    return Page(content=site.url + str(ctx.run_id))


async def sentiment(page: Page) -> Mood:
    return Mood(0.0, page.content)


def summary(page: Page) -> str:
    return page.content


async def links(page: Page) -> list[Site]:
    return [Site(page.content)]


def words(page: Page, ctx: Context) -> list[str]:
    return page.content.split()[: ctx.attempt]


async def fetch(link: Site) -> Page:
    return Page(content=link.url)


async def weigh(link: Site, mood: Mood, ctx: Context) -> float:
    return mood.score + len(link.url) + ctx.task_index


async def merge(pages: list[Page], mood: Mood) -> int:
    return len(pages)


async def rank(pages: Sequence[Page], weights: Sequence[float]) -> list[int]:
    return [len(pages), len(weights)]


async def double(number: int) -> int:
    return 2 * number


def count(numbers: list[int], text: str) -> Totals:
    return {"pages": len(numbers), "words": len(text)}


async def escalate(site: Site, mood: Mood, ctx: Context) -> str | None:
    return site.url


async def save(site: Site, text: str, ticket: str | None) -> bool:
    return ticket is None


def nothing(done: bool) -> None:
    return None


class Archive:
    def store(self, page: Page) -> int:
        return len(page.content)

    def __call__(self, page: Page) -> str:
        return page.content


def scaled(factor: int, page: Page) -> float:
    return factor * len(page.content)


archive = Archive()
triple: Callable[[Page], float] = functools.partial(scaled, 3)
second_summary = named("second_summary", summary)

flow = (
    Flow("analyze", Site, max_attempts=3, base_delay=timedelta(seconds=5), queue="web", priority=3)
    .step(website, retry_on=[TimeoutError, ConnectionError])
    .step(sentiment, website, timeout=30, max_attempts=5)
    .step(summary, website, start_delay=timedelta(minutes=1), max_delay=600)
    .step(second_summary, website, slug="second_summary")
    .array(links, website, queue="slow", priority=-1)
    .array(words, website)
    .map(fetch, links)
    .map(weigh, links, sentiment)
    .step(merge, collect(fetch), sentiment)
    .array(rank, collect(fetch), collect(weigh))
    .map(double, rank)
    .map(named("quadruple", double), collect(double))
    .step(count, rank, second_summary)
    .step(escalate, Site, sentiment)
    .step(save, Site, summary, escalate)
    .step(nothing, save, base_delay=1)
    .step(archive.store, website)
    .step(archive, website, slug="archived")
    .step(triple, website, slug="triple")
    .returns(save)
)
assert_type(flow, Flow[Site, bool])
assert_type(flow.returns(summary), Flow[Site, str])
assert_type(flow.returns(second_summary), Flow[Site, str])
assert_type(flow.returns(collect(fetch)), Flow[Site, list[Page]])
assert_type(flow.returns(count), Flow[Site, Totals])
assert_type(flow.returns(nothing), Flow[Site, None])
assert_type(flow.returns(archive.store), Flow[Site, int])


async def shout(word: str) -> str:
    return word.upper()


async def repeat(word: str, times: int) -> str:
    return word * times


def longest(all_words: list[str]) -> int:
    return max(map(len, all_words))


shouted = Flow("words", list[str]).map(shout)
assert_type(shouted, Flow[list[str], dict[str, Any]])

repeated = Flow("repeated", list[str]).step(longest).map(repeat, list[str], longest).returns(collect(repeat))
assert_type(repeated, Flow[list[str], list[str]])


def total(numbers: dict[str, int]) -> int:
    return sum(numbers.values())


totals = Flow("totals", dict[str, int]).step(total).returns(total)
assert_type(totals, Flow[dict[str, int], int])


def first(text: str) -> int:
    return len(text)


def letters(text: str) -> list[str]:
    return list(text)


def ten(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int, j: int, k: str, ctx: Context) -> str:
    return k * (a + b + c + d + e + f + g + h + j)


def ten_of_map(a: str, b: int, c: int, d: int, e: int, f: int, g: int, h: int, j: int, k: str) -> str:
    return k + a * (b + c + d + e + f + g + h + j)


n1, n2, n3 = named("n1", first), named("n2", first), named("n3", first)
n4, n5, n6 = named("n4", first), named("n5", first), named("n6", first)
n7, n8, n9 = named("n7", first), named("n8", first), named("n9", first)
wide = (
    Flow("wide", str)
    .step(n1)
    .step(n2)
    .step(n3)
    .step(n4)
    .step(n5)
    .step(n6)
    .step(n7)
    .step(n8)
    .step(n9)
    .array(letters)
    .step(ten, n1, n2, n3, n4, n5, n6, n7, n8, n9, str)
    .map(ten_of_map, letters, n2, n3, n4, n5, n6, n7, n8, n9, str)
    .returns(ten)
)
assert_type(wide, Flow[str, str])


# ---- conditions and what may be skipped ----


async def judge(site: Site) -> Mood:
    return Mood(1.0, site.url)


async def ticket(mood: Mood) -> str:
    return mood.label


def pages(site: Site) -> list[Site]:
    return [site]


def follow_up(mood: Mood, text: str | None) -> int | None:
    return None if text is None else len(text)


def sum_up(found: list[Page] | None, number: int | None, ctx: Context) -> Totals:
    return {"pages": len(found or ()), "words": number or ctx.attempt}


def annotate(link: Site, text: str | None) -> str:
    return link.url + (text or "")


pattern = {"judge": {"label": "bad"}}
careful = (
    Flow("careful", Site, deadline=timedelta(hours=1))
    .step(judge, when={"url": "https://example.org"}, when_unmet="fail")
    .step(ticket, judge, when=pattern, unless={"run": {"url": "x"}}, when_exhausted="skip")
    .array(pages, unless={"url": "x"}, when_unmet="skip-cascade")
    .map(fetch, pages, when={"pages": [{"url": "x"}], "run": {}}, when_exhausted="skip")
    .map(annotate, pages, maybe(ticket), when=None)
    .step(follow_up, judge, maybe(ticket))
    .step(sum_up, maybe(collect(fetch)), follow_up)
    .returns(maybe(collect(fetch)))
)
assert_type(careful, Flow[Site, list[Page] | None])
assert_type(careful.returns(maybe(ticket)), Flow[Site, str | None])
assert_type(careful.returns(maybe(sum_up)), Flow[Site, Totals | None])


async def use(client: Client) -> None:
    run = await client.start(flow, Site("https://example.org"))
    assert_type(run, Run[bool])
    assert_type(await run.result(), bool)
    assert_type(await run.result(timeout=timedelta(minutes=1)), bool)
    assert_type(await run.output(sentiment), Mood)
    assert_type(await run.output(summary), str)
    assert_type(await run.output(second_summary), str)
    assert_type(await run.output(collect(fetch)), list[Page])
    assert_type(await run.output(archive.store), int)
    assert_type(await run.output(maybe(summary)), str | None)
    careful_run = await client.start(careful, Site("https://example.org"))
    assert_type(await careful_run.result(), list[Page] | None)
    runs = await client.start_many(repeated, [["a"], ["b", "c"]])
    assert_type(await runs[0].result(), list[str])
    assert_type(await (await client.start(shouted, ["a"])).result(), dict[str, Any])
    assert_type(await (await client.start(totals, {"a": 1})).result(), int)
    assert_type(client.run(flow, run.run_id), Run[bool])
