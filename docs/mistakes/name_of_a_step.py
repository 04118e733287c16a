"""A step depends on a name instead of a function."""

from news import Site, judge, website

from flowdsl import Flow

news = Flow("news", Site).step(website).step(judge, "website")
