"""A step depends on one that gives something else."""

from news import Site, judge, links, website

from flowdsl import Flow

news = Flow("news", Site).step(website).array(links, website).step(judge, links)
