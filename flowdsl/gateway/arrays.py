"""Binary arrays for the hot path.

psycopg adapts a list element by element in Python; a batch of results is five lists. These classes hold elements that
are already in PostgreSQL's binary form and are joined once.
"""

import struct
from collections.abc import Iterable, Sequence
from uuid import UUID

import psycopg
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.adapt import Dumper

_HEADER = struct.Struct("!5i")  # dimensions, has-null flag, element oid, length, lower bound
_EMPTY = struct.Struct("!3i")
_LENGTH = struct.Struct("!i")
_INT4 = struct.Struct("!ii")
_INT8 = struct.Struct("!iq")
_JSONB = struct.Struct("!iB")  # length, jsonb's format version
_NULL = _LENGTH.pack(-1)


def _array(element_oid: int, items: Sequence[bytes]) -> bytes:
    """An array of ready items, each already led by its length."""
    return _joined(element_oid, len(items), items)


def _joined(element_oid: int, count: int, parts: Sequence[bytes]) -> bytes:
    if not count:
        return _EMPTY.pack(0, 0, element_oid)
    return b"".join((_HEADER.pack(1, 0, element_oid, count, 1), *parts))


class PgArray:
    """An array parameter in binary form."""

    __slots__ = ("data",)
    data: bytes


class JsonbArray(PgArray):
    """`jsonb[]` from JSON bytes; None is SQL NULL."""

    __slots__ = ()

    def __init__(self, values: Iterable[bytes | None]) -> None:
        # Each value is copied once, by the join. Putting lengths before values one by one, and the header before the whole,
        # made it three times: 1.1 ms instead of 0.04 for 100 values of 10 kB, 56 instead of 3.3 for 32 of 1 MB.
        pack = _JSONB.pack
        parts: list[bytes] = []
        count = 0
        for value in values:
            count += 1
            if value is None:
                parts.append(_NULL)
            else:
                parts.append(pack(len(value) + 1, 1))
                parts.append(value)
        self.data = _joined(3802, count, parts)


class UuidArray(PgArray):
    """`uuid[]`."""

    __slots__ = ()

    def __init__(self, values: Iterable[UUID]) -> None:
        length = _LENGTH.pack(16)
        self.data = _array(2950, [length + v.bytes for v in values])


class TextArray(PgArray):
    """`text[]`."""

    __slots__ = ()

    def __init__(self, values: Iterable[str]) -> None:
        encoded = [v.encode() for v in values]
        self.data = _array(25, [_LENGTH.pack(len(v)) + v for v in encoded])


class Int4Array(PgArray):
    """`int4[]`."""

    __slots__ = ()

    def __init__(self, values: Iterable[int]) -> None:
        self.data = _array(23, [_INT4.pack(4, v) for v in values])


class Int8Array(PgArray):
    """`int8[]`."""

    __slots__ = ()

    def __init__(self, values: Iterable[int]) -> None:
        self.data = _array(20, [_INT8.pack(8, v) for v in values])


class _PgArrayDumper(Dumper):
    format = pq.Format.BINARY

    def dump(self, obj: PgArray) -> Buffer | None:
        return obj.data


def _register() -> None:
    """Teach psycopg our own classes; adapters of the user's types are not touched."""
    for cls, oid in ((JsonbArray, 3807), (UuidArray, 2951), (TextArray, 1009), (Int4Array, 1007), (Int8Array, 1016)):
        dumper = type(f"{cls.__name__}Dumper", (_PgArrayDumper,), {"oid": oid})
        psycopg.adapters.register_dumper(cls, dumper)


_register()
