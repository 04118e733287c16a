"""The worker: `flowdsl.runtime.worker.Worker`. Reading order: worker, engine, exchange, ledger, attempt."""
