"""The table of mistakes: by topic, each with its mended form and with what the definition says."""

from collections.abc import Mapping
from dataclasses import replace

from tests.typing.entry import Entry
from tests.typing.table.arities import ARITIES
from tests.typing.table.clients import CLIENTS
from tests.typing.table.conditions import CONDITIONS
from tests.typing.table.handlers import HANDLERS
from tests.typing.table.maps import MAPS
from tests.typing.table.options import OPTIONS
from tests.typing.table.outputs import OUTPUTS
from tests.typing.table.predicates import PREDICATES
from tests.typing.table.references import REFERENCES
from tests.typing.table.skips import SKIPS
from tests.typing.table.types import TYPES
from tests.typing.table.wiring import WIRING

TOPICS: Mapping[str, tuple[Entry, ...]] = {
    "wiring": WIRING,
    "handlers": HANDLERS,
    "types": TYPES,
    "arities 0 to 10": ARITIES,
    "maps and arrays": MAPS,
    "maybe": SKIPS,
    "options": OPTIONS,
    "conditions": CONDITIONS,
    "predicates": PREDICATES,
    "outputs": OUTPUTS,
    "clients": CLIENTS,
    "references": REFERENCES,
}

TABLE = tuple(replace(entry, topic=topic) for topic, entries in TOPICS.items() for entry in entries)
