"""Where access lines go: natively to stdout, through Python's logging, or nowhere.

The native way formats a line without the GIL and writes it from a thread of its own. It is taken when nobody has
asked for anything that only Python can do. As soon as the logger `pyre.access` has a handler or a filter of the
user's, or the logging configuration is the user's, the native log writes JSON lines to a pipe, and a thread turns
each into a `LogRecord`:

- `record.args` is uvicorn's tuple (client, method, path with query, http_version, status), so `record.getMessage()`
  and formatters made for uvicorn work;
- each of `FIELDS` is an attribute of the record.

If that thread cannot keep up, lines are dropped (and counted by the engine); the server never waits for them.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import Any

from pyre.logging import AccessFormatter, DefaultHandler, JsonFormatter, add_default_handler

FIELDS = ("client", "method", "path", "query", "http_version", "status", "bytes", "duration", "user_agent")
"""The fields of an access record. `bytes` counts the response's body; `duration` is in seconds."""

logger = logging.getLogger("pyre.access")

_READ_BYTES = 64 * 1024  # a pipe's capacity on Linux
_LINE_BYTES = 1024 * 1024  # the native ring's size: no line is longer


class AccessLogTarget:
    """A place for access lines. Make it with `open_target()`; `close()` it after the engine is closed.

    `fd` is for the engine's `access_log_fd` (-1: off), `line_format` for its `access_log_format`.
    """

    def __init__(self, fd: int, line_format: str, reader: threading.Thread | None = None) -> None:
        self.fd = fd
        self.line_format = line_format
        self._reader = reader

    def close(self) -> None:
        """Waits (2 s at most) until each line that was written has become a record."""
        if self._reader is not None:
            os.close(self.fd)
            self._reader.join(timeout=2.0)
            self._reader = None
            self.fd = -1


def open_target(*, enabled: bool, default_config: bool, log_format: str, use_colors: bool | None) -> AccessLogTarget:
    """Decides, by the state of the logger `pyre.access` now, where access lines go. See the module's text."""
    if not enabled or logger.disabled or not logger.isEnabledFor(logging.INFO):
        return AccessLogTarget(-1, log_format)
    foreign = [handler for handler in logger.handlers if not isinstance(handler, DefaultHandler)]
    if default_config and not foreign and not logger.filters:
        fd = _stdout_fd()
        if fd >= 0:
            return AccessLogTarget(fd, log_format)
    if default_config and not foreign:
        formatter = (
            JsonFormatter()
            if log_format == "json"
            else AccessFormatter(
                '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s %(bytes)d %(duration).6f',
                use_colors=use_colors,
            )
        )
        add_default_handler("pyre.access", "stdout", formatter)
    if not logger.hasHandlers():
        return AccessLogTarget(-1, log_format)
    read_fd, write_fd = os.pipe()
    reader = threading.Thread(target=_read_lines, args=(read_fd,), name="pyre.access", daemon=True)
    reader.start()
    return AccessLogTarget(write_fd, "json", reader)


def _stdout_fd() -> int:
    try:
        sys.stdout.flush()
        return sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # None, a replacement without a file, or closed
        return -1


def _read_lines(fd: int) -> None:
    pending = b""
    try:
        while data := os.read(fd, _READ_BYTES):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                _emit(line)
            if len(pending) > _LINE_BYTES:
                pending = b""
    finally:
        os.close(fd)


def _emit(line: bytes) -> None:
    import json

    try:
        fields: dict[str, Any] = json.loads(line)
    except ValueError:
        return  # the end of a line whose beginning was dropped
    if not logger.isEnabledFor(logging.INFO):
        return
    duration_ms = fields.get("duration_ms") or 0.0
    extra = {name: fields.get(name) for name in FIELDS}
    extra["duration"] = duration_ms / 1000
    target = fields.get("path") or ""
    if fields.get("query"):
        target += "?" + fields["query"]
    args = (fields.get("client"), fields.get("method"), target, fields.get("http_version"), fields.get("status"))
    record = logger.makeRecord(
        logger.name, logging.INFO, "pyre", 0, '%s - "%s %s HTTP/%s" %d', args, None, "access", extra
    )
    try:
        logger.handle(record)
    except Exception:  # a handler or filter of the user's
        logging.getLogger("pyre.error").exception("A handler of the logger pyre.access failed.")
