"""The clusters a name can stand for: `dask:ADDRESS`, `ray:ADDRESS`."""

from typing import Final

CLUSTERS: Final = ("dask", "ray")


def cluster_of(name: str) -> tuple[str, str] | None:
    """Return (kind, address) of the cluster a name stands for; None when it stands for none.

    >>> cluster_of("dask:tcp://10.0.0.1:8786")
    ('dask', 'tcp://10.0.0.1:8786')
    >>> cluster_of("dask:"), cluster_of("thread")
    (None, None)
    """
    kind, _, address = name.partition(":")
    return (kind, address) if kind in CLUSTERS and address else None
