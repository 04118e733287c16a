"""A map runs over something that is no list."""

from news import Site, judge, website

from flowdsl import Flow

news = Flow("news", Site).step(website).map(judge, website)
