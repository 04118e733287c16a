"""Handlers and types that the tests of the model share."""

from pydantic import BaseModel

from flowdsl import Context


class Site(BaseModel):
    url: str


class Page(BaseModel):
    content: str


class Mood(BaseModel):
    score: float
    label: str


async def website(site: Site) -> Page:
    return Page(content=site.url)


async def sentiment(page: Page) -> Mood:
    return Mood(score=0.5, label=page.content)


def summary(page: Page) -> str:
    return page.content


async def links(page: Page) -> list[str]:
    return page.content.split()


async def fetch(link: str, ctx: Context) -> Page:
    return Page(content=f"{link} {ctx.attempt}")


async def save(site: Site, mood: Mood, text: str, pages: list[Page]) -> bool:
    return len(pages) > 0


def shout(word: str) -> str:
    return word.upper()
