"""`python -m bench.peers PEER …`: measure one workload of one peer once."""

import importlib
import sys

from bench.peers.catalog import PEERS


def main() -> None:
    """Hand over to the peer that the first argument names."""
    if len(sys.argv) < 2 or sys.argv[1] not in PEERS:
        sys.exit(f"Name a peer first, one of {', '.join(PEERS)}: python -m bench.peers {PEERS[0]} --help")
    # Imported here, and not run as the main module, so that values and handlers have the same names in every process.
    module = importlib.import_module(f"bench.peers.{sys.argv.pop(1)}_peer")
    module.run()


main()
