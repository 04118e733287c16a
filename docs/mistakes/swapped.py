"""The dependencies are in another order than the parameters."""

from news import Site, judge, report, website

from flowdsl import Flow

news = Flow("news", Site).step(website).step(judge, website).step(report, judge, Site)
