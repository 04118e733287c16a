"""What the examples of mistakes share: models and handlers without a mistake."""

from pydantic import BaseModel


class Site(BaseModel):
    """What a run starts with."""

    url: str


class Page(BaseModel):
    """What a site holds."""

    text: str


class Mood(BaseModel):
    """What a page is like."""

    score: float
    label: str


def website(site: Site) -> Page:
    """Read a site."""
    return Page(text=site.url)


def links(page: Page) -> list[str]:
    """Find the links of a page."""
    return page.text.split()


def fetch(link: str) -> Page:
    """Read what a link leads to."""
    return Page(text=link)


def judge(page: Page) -> Mood:
    """Find out what a page is like."""
    return Mood(score=len(page.text) / 100, label="calm")


def count(pages: list[Page]) -> int:
    """Count the pages."""
    return len(pages)


def report(site: Site, mood: Mood) -> str:
    """Put it all in one line."""
    return f"{site.url}: {mood.label}"


def archive(page: Page, mood: Mood) -> None:
    """Keep a page."""
