"""What the snippets of the table share: types, the flow `base` with a step of each kind, and handlers that are no steps of it.

Handlers named `read_…` and `each_…` are in no flow yet: snippets add them, rightly and wrongly.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, Literal, NewType, TypeVar

from pydantic import BaseModel
from typing_extensions import TypedDict

from flowdsl import Context, Flow, FlowRef, StepRef, named

T = TypeVar("T")


@dataclass
class Site:
    url: str
    tags: list[str] = field(default_factory=list[str])


class Page(BaseModel):
    content: str
    title: str | None = None


class LongPage(Page):
    chapters: int = 1


@dataclass
class Mood:
    score: float
    label: str


class Totals(TypedDict):
    pages: int
    words: int


class Box(BaseModel, Generic[T]):
    value: T


class Level(Enum):
    LOW = "low"
    HIGH = "high"


UserId = NewType("UserId", int)
Verdict = Literal["good", "bad"]

# ---- the steps of base ----


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


async def numbers(page: Page) -> list[int]:
    return [len(page.content)]


async def fetch(link: Site) -> Page:
    return Page(content=link.url)


async def weigh(link: Site, mood: Mood, ctx: Context) -> float:
    return mood.score + len(link.url) + ctx.task_index


def length(page: Page) -> int:
    return len(page.content)


def totals(page: Page) -> Totals:
    return {"pages": 1, "words": len(page.content)}


async def lookup(site: Site) -> Page | None:
    return None if site.tags else Page(content=site.url)


def long_page(site: Site) -> LongPage:
    return LongPage(content=site.url)


def user(site: Site) -> UserId:
    return UserId(len(site.url))


def level(site: Site) -> Level:
    return Level.HIGH if site.tags else Level.LOW


def verdict(site: Site) -> Verdict:
    return "bad" if site.tags else "good"


def counts(site: Site) -> dict[str, int]:
    return {tag: len(tag) for tag in site.tags}


def boxed(site: Site) -> Box[int]:
    return Box(value=len(site.url))


def either(site: Site) -> Page | Mood:
    return Page(content=site.url) if site.tags else Mood(0.0, site.url)


def anything(site: Site) -> Any:
    return site.url


async def judge(site: Site) -> Mood:
    return Mood(1.0, site.url)


async def ticket(mood: Mood) -> str:
    return mood.label


def pages(site: Site) -> list[Site]:
    return [site]


async def visit(link: Site) -> Page:
    return Page(content=link.url)


second_summary = named("second_summary", summary)

base = (
    Flow("analyze", Site, max_attempts=3)
    .step(website)
    .step(sentiment, website)
    .step(summary, website)
    .step(second_summary, website)
    .array(links, website)
    .array(words, website)
    .array(numbers, website)
    .map(fetch, links)
    .map(weigh, links, sentiment)
    .step(length, website)
    .step(totals, website)
    .step(lookup)
    .step(long_page)
    .step(user)
    .step(level)
    .step(verdict)
    .step(counts)
    .step(boxed)
    .step(either)
    .step(anything)
    # What may be skipped:
    .step(judge, when={"url": "https://example.org"}, when_unmet="skip")
    .step(ticket, sentiment, when={"sentiment": {"label": "bad"}}, when_unmet="skip")
    .array(pages, unless={"url": "x"}, when_unmet="skip")
    .map(visit, links, when_exhausted="skip")
)
analyze = base.returns(summary)

texts = Flow("texts", list[str])

analyze_ref = FlowRef("analyze", Site, str)
sentiment_ref = StepRef("analyze", "sentiment", Mood)


# ---- handlers that are no steps yet ----


def read_site(site: Site) -> str:
    return site.url


def read_page(page: Page) -> str:
    return page.content


async def read_page_later(page: Page, ctx: Context) -> bytes:
    return page.content.encode() * ctx.attempt


async def read_mood(mood: Mood) -> float:
    return mood.score


def read_text(text: str) -> int:
    return len(text)


def read_number(number: int) -> str:
    return str(number)


def read_float(number: float) -> str:
    return str(number)


def read_floats(given: list[float]) -> float:
    return sum(given)


def read_any_floats(given: Sequence[float]) -> float:
    return sum(given)


def read_links(given: list[Site]) -> int:
    return len(given)


async def read_pages(given: list[Page]) -> int:
    return len(given)


def read_pages_and_mood(given: list[Page], mood: Mood) -> list[int]:
    return [len(given), int(mood.score)]


async def read_weights(given: Sequence[float], mood: Mood) -> float:
    return sum(given) + mood.score


def read_site_and_mood(site: Site, mood: Mood, ctx: Context) -> str | None:
    return None if mood.score else site.url


async def read_site_text_and_page(site: Site, text: str, page: Page | None) -> bool:
    return page is None


def read_totals(given: Totals) -> int:
    return given["pages"]


def read_title(title: str | None) -> int:
    return len(title or "")


def read_maybe_page(page: Page | None) -> bool:
    return page is None


def read_maybe_pages(given: list[Page] | None, ctx: Context) -> int:
    return len(given or ()) + ctx.attempt


def read_mood_and_title(mood: Mood, title: str | None) -> Totals:
    return {"pages": 0, "words": len(mood.label)}


def read_maybe_mood(mood: Mood | None) -> str | None:
    return None if mood is None else mood.label


def read_user(given: UserId) -> int:
    return given


def read_level(given: Level) -> str:
    return given.value


def read_verdict(given: Verdict) -> bool:
    return given == "good"


def read_counts(given: dict[str, int]) -> int:
    return sum(given.values())


def read_float_counts(given: dict[str, float]) -> float:
    return sum(given.values())


def read_any_counts(given: Mapping[str, float]) -> float:
    return sum(given.values())


def read_box(given: Box[int]) -> int:
    return given.value


def read_text_box(given: Box[str]) -> str:
    return given.value


def read_page_or_mood(given: Page | Mood) -> str:
    return given.content if isinstance(given, Page) else given.label


def read_long_page(page: LongPage) -> int:
    return page.chapters


def read_anything(given: Any) -> str:
    return str(given)


def read_nothing() -> int:
    return 1


def longest(given: list[str]) -> int:
    return max(map(len, given))


def read_each_page(*given: Page) -> int:
    return len(given)


def list_words(text: str) -> list[str]:
    return text.split()


async def list_links(page: Page) -> list[Site]:
    return [Site(page.content)]


def each_link(link: Site) -> str:
    return link.url


async def each_word(word: str) -> str:
    return word.upper()


async def each_word_times(word: str, times: int) -> str:
    return word * times


def each_number(number: int) -> int:
    return 2 * number


async def each_page(page: Page) -> int:
    return len(page.content)


def each_link_with_mood(link: Site, mood: Mood, ctx: Context) -> float:
    return mood.score * ctx.task_index


def each_link_with_title(link: Site, title: str | None) -> str:
    return link.url + (title or "")


def wrapped(value: T) -> list[T]:
    return [value]


def scaled(factor: int, page: Page) -> float:
    return factor * len(page.content)


triple: Callable[[Page], float] = functools.partial(scaled, 3)


class Archive:
    def store(self, page: Page) -> int:
        return len(page.content)

    async def store_later(self, page: Page, mood: Mood) -> int:
        return len(page.content + mood.label)

    @classmethod
    def described(cls, page: Page) -> str:
        return cls.__name__ + page.content

    @staticmethod
    async def printed(page: Page) -> bool:
        return bool(page.content)

    def __call__(self, page: Page) -> str:
        return page.content


archive = Archive()


# ---- flows of many steps ----


def first(site: Site) -> int:
    return len(site.url)


def text(site: Site) -> str:
    return site.url


n1, n2, n3 = named("n1", first), named("n2", first), named("n3", first)
n4, n5, n6 = named("n4", first), named("n5", first), named("n6", first)
n7, n8, n9 = named("n7", first), named("n8", first), named("n9", first)
n10, n11 = named("n10", first), named("n11", first)
one = Flow("many", Site).array(pages).step(text)
many = one.step(n1).step(n2).step(n3).step(n4).step(n5).step(n6).step(n7).step(n8).step(n9).step(n10).step(n11)


class Pool(ThreadPoolExecutor):
    """An executor of the user's own."""
