"""What a worker's settings come to that its user may not expect, said once when it starts."""

import logging
from collections.abc import Collection, Iterator

from flowdsl.runtime.options import WorkerOptions
from flowdsl.suggest import did_you_mean

_WAITING_FACTOR = 4


def advice(options: WorkerOptions, known_queues: Collection[str], children: int | None) -> Iterator[tuple[int, str]]:
    """Yield level and text of what is to be said; `children` is how many child processes there may be, if there are any."""
    yield from _unused_queues(options.queues or (), known_queues)
    if children is not None and options.concurrency > _WAITING_FACTOR * children:
        yield logging.INFO, _many_wait(options.concurrency, children)


def _many_wait(concurrency: int, children: int) -> str:
    return (
        f"handlers run in {children} child process{'' if children == 1 else 'es'}, and up to {concurrency} tasks are claimed at"
        " once: those that wait for a child take slots from other steps, and no other worker gets them. Where such handlers take"
        f" long, give their steps a queue, and that queue a worker with concurrency and batch not far above {children}"
    )


def _unused_queues(served: Collection[str], known: Collection[str]) -> Iterator[tuple[int, str]]:
    # Not refused: an operator may have moved a step to another queue in the database.
    for queue in served:
        if queue not in known:
            guess = did_you_mean(queue, known)
            text = f"no step of the flows that this worker serves is defined for queue '{queue}', so it may never get a task from"
            yield (
                logging.WARNING,
                f"{text} there.{guess and ' '}{guess} Queues of these flows: {', '.join(sorted(known))}",
            )
