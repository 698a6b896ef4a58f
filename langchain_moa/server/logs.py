"""Logs as JSON lines on standard error, without what was asked and answered, and without keys."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from traceback import format_tb

# Uvicorn's own, and one line per request of `observing`. The rest of the package is left out: its warnings quote
# providers, who quote prompts.
_SHOWN = ("langchain_moa.server", "uvicorn.error")


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as JSON; of an exception its type and its place, for its text may quote the conversation."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage().strip(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            line["traceback"] = "".join(format_tb(record.exc_info[2]))
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logs() -> None:
    """Have what the server logs written to standard error as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    for name in _SHOWN:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
