"""One log for everything that runs in a process: ours, uvicorn's, dramatiq's; lines for people or JSON for machines."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TextIO, cast

import structlog
from structlog.typing import Processor

# Chatty at `info` about things that our own events already say.
QUIET = ("httpx", "httpcore", "uvicorn.error", "uvicorn.access", "alembic", "stamina")


class BestEffortStream:
    """Text stream that drops lines which cannot be written (full disk, closed pipe) instead of raising."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write ``text``; errors of the underlying stream are ignored."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush; errors of the underlying stream are ignored."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def configure_logging(level: str = "info", *, as_json: bool = False) -> None:
    """Send every log line of this process to stderr in one form.

    Args:
        level: debug, info, warning or error.
        as_json: One JSON object a line instead of a line for people.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    final: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                # Not the pretty traceback: it prints local variables, and with them keys and tenants' data.
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    root = logging.getLogger()
    root.setLevel(level.upper())
    # Our own events go straight out: by way of the standard library a line costs several times as much.
    structlog.configure(
        processors=[*shared, *final],
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, BestEffortStream(sys.stderr))),
        wrapper_class=structlog.make_filtering_bound_logger(root.level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
            foreign_pre_chain=shared,
        )
    )
    root.handlers[:] = [handler]
    for name in QUIET:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
