"""Names of test cases that are the same in every process: tests run in several, which have to agree on them."""

import re


def readable(value: object) -> str:
    """Return the value as text, without addresses.

    >>> readable([1, object()])
    '[1, <object object>]'
    """
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))
