"""A handler returns what JSON cannot hold."""

from news import Site

from flowdsl import Flow


class Browser:
    """A window with a site in it."""

    def __init__(self, site: Site) -> None:
        self.site = site


def opened(site: Site) -> Browser:
    """Open a window."""
    return Browser(site)


news = Flow("news", Site).step(opened)
