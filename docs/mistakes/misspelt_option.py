"""An option is misspelt."""

from news import Site, website

from flowdsl import Flow

news = Flow("news", Site).step(website, timeuot=30)
