"""Logs: one event per line, as JSON or for the eye, with everything that is bound to the request.

structlog events ─┐
                  ├─ time, level, request id ── redaction ── JSON or console ── stderr
stdlib records ───┘
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from sidecar.telemetry.redaction import redact

_DIFFERENT_EVENTS = 1000


def configure_logging(
    *, form: str = "auto", level: str = "info", stream: TextIO | None = None, without_repeats: bool = False
) -> None:
    """Set up the logs of this process; for programs, not for libraries, and to be called once at their start.

    ``form`` is ``json``, ``console`` or ``auto`` (console when ``stream``, default stderr, is a terminal).
    ``without_repeats`` leaves out what an earlier line said in the same words: for a command that reports at its
    end how often what failed.
    """
    stream = stream or sys.stderr
    is_json = form == "json" or (form == "auto" and not stream.isatty())
    least = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Tracebacks become text before redaction, so that it sees what they quote.
    last: list[Processor] = [structlog.processors.format_exc_info, redact, *_renderer(stream, is_json=is_json)]
    structlog.configure(
        processors=[*([_FirstOnly()] if without_repeats else []), *shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(stream),  # one write a line
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(least, logging.INFO))
    # The client logs every call at info and every try that failed as a warning; who called says once what came of it.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)


class _FirstOnly:
    """Drops an event that equals one of the last thousand different ones; one with a traceback is never dropped."""

    def __init__(self) -> None:
        self._said: dict[str, None] = {}  # in the order of their first saying

    def __call__(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if event.get("exc_info"):
            return event
        words = repr((method, sorted(event.items())))
        if words in self._said:
            raise structlog.DropEvent
        self._said[words] = None
        if len(self._said) > _DIFFERENT_EVENTS:
            del self._said[next(iter(self._said))]
        return event


def _renderer(stream: TextIO, *, is_json: bool) -> list[Processor]:
    if is_json:
        return [structlog.processors.EventRenamer("message"), structlog.processors.JSONRenderer(_to_json)]
    return [structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=0)]


def _to_json(event: dict[str, Any], **_options: Any) -> str:
    try:
        return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()
    except orjson.JSONEncodeError:
        # Half a surrogate pair from a caller's text, or a number beyond 64 bits.
        return json.dumps(event, default=repr)
