"""Structured logs: one event name with fields, on stderr. Fields outside the list below never get out.

The list holds ids, names of closed sets, numbers and moments. Buyers' words, names, addresses and secrets have no key.
Telling never ends what is told of: a line that cannot be written is lost and counted.
"""

import io
import logging
import sys
import threading
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO, cast

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars, merge_contextvars
from structlog.typing import FilteringBoundLogger

__all__ = ["bind_contextvars", "bound_contextvars", "clear_contextvars", "configure", "get_logger", "lost"]

_ALLOWED = """
event level timestamp room service
account marketplace kind kinds type purpose act name facet channel source action state from_state to_state phase
delivery_id fact_id case_id order_id errand_id task_id message_id event_id parked_id ref clock playbook version rule
queue exchange partition partitions owner url_host port method status path code reason why where fault attempt attempts
count batch size bytes seconds due_at at until since next_at pending held outcome verdict answer principal key_name file line
fact faults table before after waiting consumers trace accounts
"""
ALLOWED = frozenset(_ALLOWED.split())
_MAX_TEXT = 300
_NOWHERE = io.StringIO()
_NOWHERE.close()


class _Lines:
    """Writes each line whole. A stream that is closed, full or read by nobody any more costs the line and nothing else."""

    lost = 0

    def __init__(self, out: TextIO | None) -> None:
        """`out` is None where the process was started without the stream."""
        self._out = out or _NOWHERE
        self._one = threading.Lock()

    def msg(self, line: str) -> None:
        try:
            with self._one:
                print(line, file=self._out, flush=True)
        except (OSError, ValueError):  # ValueError: closed
            _Lines.lost += 1

    def on_terminal(self) -> bool:
        return not self._out.closed and self._out.isatty()

    debug = info = warning = error = critical = exception = msg


def lost() -> int:
    """How many lines this process could not write."""
    return _Lines.lost


def get_logger(name: str) -> FilteringBoundLogger:
    return cast(FilteringBoundLogger, structlog.get_logger(room=name))


def configure(form: Literal["console", "json"] = "console", level: str = "info", stream: TextIO | None = None) -> None:
    """Once per process. What other libraries log (warnings and worse) goes the same way."""
    lines = _Lines(stream or sys.stderr)
    number = logging.getLevelNamesMapping()[level.upper()]
    renderer: Any = (
        structlog.processors.JSONRenderer(sort_keys=True)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=lines.on_terminal(), pad_event_to=28)
    )
    structlog.configure(
        processors=[
            merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _trace,
            only_allowed,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Passing()], level=logging.WARNING, force=True)


def only_allowed(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drops fields that are not on the list, naming them once in `dropped`; cuts long text, takes control signs out."""
    kept = {key: _plain(value) for key, value in event.items() if key in ALLOWED}
    dropped = sorted(str(key)[:40] for key in event if key not in ALLOWED)
    return {**kept, "dropped": dropped} if dropped else kept


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in list(value)[:20]]
    text = str(value)[:_MAX_TEXT]
    return "".join(char if char.isprintable() else " " for char in text)


def _trace(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """`exc_info=True` becomes the type and the places it went through; never the message or local values."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    elif isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if not info or info[0] is None:
        return event
    places = []
    trace = info[2]
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    event.setdefault("fault", info[0].__name__)
    event["trace"] = places[-8:]
    return event


class _Passing(logging.Handler):
    """Libraries' own log records: where from and which level, with the template but not its arguments."""

    def emit(self, record: logging.LogRecord) -> None:
        info = record.exc_info if record.exc_info and record.exc_info[0] else None
        level = record.levelname.lower() if record.levelname.lower() in ("warning", "error", "critical") else "info"
        log = structlog.get_logger(room=record.name)
        getattr(log, level)("library", why=str(record.msg), exc_info=info)
