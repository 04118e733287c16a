"""Logs of the worker command, for people or for machines. The library never configures logging; this command does."""

import json
import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum

from flowdsl.cli.output import harmless

KEYS = ("worker_id", "run_id", "flow_slug", "step_slug", "task_index", "attempt")


class LogFormat(StrEnum):
    """How a log line is written."""

    HUMAN = "human"
    JSON = "json"


class HumanFormatter(logging.Formatter):
    """`09:48:12 WARNING message  run_id=… step_slug=…`, without what a terminal would act on."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, with its traceback below."""
        at = f"{datetime.fromtimestamp(record.created).astimezone():%H:%M:%S}"
        about = " ".join(f"{key}={record.__dict__[key]}" for key in KEYS[1:] if key in record.__dict__)
        line = f"{at} {record.levelname:<7} {record.getMessage()}" + (f"  {about}" if about else "")
        if record.exc_info:
            line += f"\n{self.formatException(record.exc_info)}"
        return harmless(line)


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {key: record.__dict__[key] for key in KEYS if key in record.__dict__}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


def configure_logging(log_format: LogFormat, *, verbose: bool) -> None:
    """Send all logs to stderr, in this format; flowdsl's own from DEBUG on when verbose, else from INFO on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else HumanFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("flowdsl").setLevel(logging.DEBUG if verbose else logging.INFO)
