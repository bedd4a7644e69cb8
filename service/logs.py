"""One log for everything that runs in a process: ours, uvicorn's, dramatiq's; lines for people or JSON for machines."""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

# Chatty at `info` about things that our own events already say.
QUIET = ("httpx", "httpcore", "uvicorn.error", "uvicorn.access", "alembic", "stamina")


def configure_logging(level: str = "info", *, as_json: bool = False) -> None:
    """Send every log line of this process to stderr in one form.

    Args:
        level: debug, info, warning or error.
        as_json: One JSON object a line instead of a line for people.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
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
    structlog.configure(
        # First of all what the level leaves out, so that it costs nothing.
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
