"""Structured logs: one JSON object a line, on stderr."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final, TextIO

import orjson

from worker.core.errors import ConfigurationError, LedgerockError

LOG_LEVEL_VARIABLE: Final = "LEDGEROCK_LOG_LEVEL"
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
FRAMES_MAX: Final = 12
"""Frames of a traceback that a log line names, the innermost."""


def log_level(environment: Mapping[str, str] = os.environ) -> str:
    """Return the level that the environment asks for, `info` by default.

    Raises:
        ConfigurationError: There is no such level.
    """
    level = environment.get(LOG_LEVEL_VARIABLE, "").strip().lower() or "info"
    if level not in LEVELS:
        message = f"{LOG_LEVEL_VARIABLE}={level}: give one of {', '.join(LEVELS)}"
        raise ConfigurationError(message)
    return level


def configure_logs(level: str = "info", stream: TextIO | None = None) -> None:
    """Write every log line as one JSON object, with its time in ISO 8601 UTC, to stderr.

    Lines of libraries (from `logging`) are written the same way, from warnings on.
    """
    import structlog  # noqa: PLC0415 - 60 ms, and the functions write their logs without it

    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        explain_exception,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_json)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_json),
            ],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))


def _json(document: Mapping[str, Any], **_options: object) -> str:
    return orjson.dumps(document, default=str).decode()


def explain_exception(
    _logger: object, _method: str, line: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace an exception by its type and where it was raised (a processor of structlog).

    Its message is kept only where it is ours or the operating system's: any other may quote what
    a caller wrote.
    """
    raised = line.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()
    error = raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        line["error_type"] = type(error).__name__
        if isinstance(error, LedgerockError | OSError):
            line["error"] = str(error)
        line["error_at"] = _frames(error)
    return line


def _frames(error: BaseException) -> Sequence[str]:
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_MAX:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
