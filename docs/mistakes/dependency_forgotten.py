"""A handler has more parameters than its step has dependencies."""

from news import Site, judge, report, website

from flowdsl import Flow

news = Flow("news", Site).step(website).step(judge, website).step(report, judge)
