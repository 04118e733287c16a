"""The command of every peer: as a client it measures a workload, with `--serve` it is one of the worker processes."""

import signal
import sys
import traceback

from bench.peers.common import MeasurementFailed, Result, Role, answer, options, parser, say
from bench.peers.database import Server
from bench.peers.peer import Peer
from bench.peers.processes import hold
from bench.peers.workloads import WORKLOADS


def main(peer: Peer) -> None:
    """Read the command line and do what it says."""
    command = parser(peer.name, peer.runs)
    arguments = command.parse_args()
    if arguments.serve:
        hold()
        peer.serve(arguments.database_url, Role(arguments.serve))
        return
    if arguments.workload is None:
        command.error("--workload is missing: name one of W1 to W5")
    # A client that is asked to end drops its databases; its workers end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = options(arguments)
    result = Result(settings=dict(peer.settings), not_measured=dict(peer.not_measured))
    server = Server(chosen.url, peer.name, peer.install)
    try:
        with server.template():
            WORKLOADS[chosen.workload](peer, server, chosen, result)
    except Exception as error:  # a peer may raise anything; the last line is the reason for the caller
        if not isinstance(error, MeasurementFailed):
            traceback.print_exc()
        say(reason(error))
        sys.exit(1)
    print(answer(peer.name, peer.package, chosen.workload, result))


def reason(error: Exception) -> str:
    """Return one line for whoever called: what happened, without the rest of a foreign message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    what = lines[0] if lines else "no message"
    return what if isinstance(error, MeasurementFailed) else f"{type(error).__name__}: {what}"
