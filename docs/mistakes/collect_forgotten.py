"""The results of a map step are asked for without `collect`."""

from news import Site, count, fetch, links, website

from flowdsl import Flow

news = Flow("news", Site).step(website).array(links, website).map(fetch, links).step(count, fetch)
