"""A step may be skipped, and the next one does not know."""

from news import Site, judge, website

from flowdsl import Flow

news = Flow("news", Site).step(website, when_exhausted="skip").step(judge, website)
