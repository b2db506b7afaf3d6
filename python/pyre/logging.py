"""The loggers `pyre` (server messages are on its child `pyre.error`) and `pyre.access`, and their default set-up.

`logging.config` is imported only for a configuration of the user's own: it costs 1.5 MB and the default needs three
calls.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping
from copy import copy, deepcopy
from typing import IO, TYPE_CHECKING, Any, Literal

from pyre.errors import ConfigError
from pyre.paths import reachable

TRACE = 5
"""Below DEBUG: the ASGI messages of every request."""

LEVELS: dict[str, int] = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}

if TYPE_CHECKING:
    from configparser import RawConfigParser

    LogConfig = Mapping[str, Any] | str | os.PathLike[str] | RawConfigParser | IO[Any]
else:
    LogConfig = Any

LOGGING_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "default": {"()": "pyre.logging.DefaultFormatter", "fmt": "%(levelprefix)s %(message)s", "use_colors": None},
        "access": {
            "()": "pyre.logging.AccessFormatter",
            "fmt": '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s %(bytes)d %(duration).6f',
        },
    },
    "handlers": {
        "default": {"formatter": "default", "class": "logging.StreamHandler", "stream": "ext://sys.stderr"},
        "access": {"formatter": "access", "class": "logging.StreamHandler", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        "pyre": {"handlers": ["default"], "level": "INFO", "propagate": False},
        "pyre.error": {"level": "INFO"},
        "pyre.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
    },
}
"""What the default set-up amounts to, as a start for a configuration of your own. Given unchanged, it is the
default."""

_PRISTINE_CONFIG = deepcopy(LOGGING_CONFIG)

_COLORS = {
    TRACE: "\x1b[34m",
    logging.DEBUG: "\x1b[36m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[91m",
}
_STATUS_COLORS = {1: "\x1b[97m", 2: "\x1b[32m", 3: "\x1b[33m", 4: "\x1b[31m", 5: "\x1b[91m"}
_BOLD = "\x1b[1m"
_RESET = "\x1b[0m"

Style = Literal["%", "{", "$"]


class DefaultFormatter(logging.Formatter):
    """Text lines with `%(levelprefix)s`, the level padded to 9 characters.

    `use_colors` None: colours if stderr is a terminal.
    """

    _stream_name = "stderr"

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Style = "%",
        use_colors: bool | None = None,
    ) -> None:
        super().__init__(fmt=fmt, datefmt=datefmt, style=style)
        if use_colors is None:
            stream = getattr(sys, self._stream_name, None)
            use_colors = stream is not None and stream.isatty() and "NO_COLOR" not in os.environ
        self.use_colors = use_colors

    def formatMessage(self, record: logging.LogRecord) -> str:
        record = copy(record)
        padding = " " * (8 - len(record.levelname))
        name = record.levelname
        if self.use_colors:
            name = _COLORS.get(record.levelno, "") + name + _RESET
        record.__dict__["levelprefix"] = f"{name}:{padding}"
        return super().formatMessage(record)


class AccessFormatter(DefaultFormatter):
    """Access lines, from the fields that every record of `pyre.access` carries (see `access_log.FIELDS`), with
    `%(request_line)s`, `%(client_addr)s` and a coloured `%(status_code)s` added under uvicorn's names."""

    _stream_name = "stdout"

    def formatMessage(self, record: logging.LogRecord) -> str:
        from http import HTTPStatus

        record = copy(record)
        fields = record.__dict__
        status = int(fields.get("status", 0))
        try:
            phrase = f"{status} {HTTPStatus(status).phrase}"
        except ValueError:
            phrase = str(status)
        target = fields.get("path", "")
        if fields.get("query"):
            target += "?" + fields["query"]
        line = f"{fields.get('method', '-')} {target} HTTP/{fields.get('http_version', '-')}"
        if self.use_colors:
            line = _BOLD + line + _RESET
            phrase = _STATUS_COLORS.get(status // 100, "") + phrase + _RESET
        fields.setdefault("bytes", 0)
        fields.setdefault("duration", 0.0)
        fields.update(client_addr=fields.get("client") or "-", request_line=line, status_code=phrase)
        return super().formatMessage(record)


_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC, ms), level, logger, message, `exception`, and each `extra` field."""

    def format(self, record: logging.LogRecord) -> str:
        import json

        seconds = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
        document: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage().rstrip("\n"),
        }
        for name, value in record.__dict__.items():
            if name not in _STANDARD_FIELDS and name not in document:
                document[name] = value
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            document["stack"] = self.formatStack(record.stack_info)
        return json.dumps(document, default=str, ensure_ascii=False)

    converter = staticmethod(time.gmtime)


class DefaultHandler(logging.StreamHandler[Any]):
    """A handler of our own, so that setting up twice replaces it and leaves the user's handlers alone.

    It looks `sys.stderr` or `sys.stdout` up for each record: both may be replaced after the set-up.
    """

    def __init__(self, stream_name: Literal["stderr", "stdout"]) -> None:
        logging.Handler.__init__(self)
        self._stream_name = stream_name

    @property
    def stream(self) -> Any:
        return getattr(sys, self._stream_name)

    def emit(self, record: logging.LogRecord) -> None:
        stream = self.stream
        if stream is None:  # under pythonw and some services
            return
        try:
            text = self.format(record)
            try:
                stream.write(text + self.terminator)
            except UnicodeEncodeError:  # a code page that lacks a character: rather an escape than no line
                encoding = getattr(stream, "encoding", None) or "ascii"
                escaped = text.encode(encoding, "backslashreplace").decode(encoding)
                stream.write(escaped + self.terminator)
            self.flush()
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)


def is_default(log_config: LogConfig | None) -> bool:
    """Whether `log_config` says what `LOGGING_CONFIG` said when it was made (it, and a copy of it, may have been
    changed)."""
    return log_config == _PRISTINE_CONFIG


def level_number(level: str | int) -> int:
    """The number of a level given by name or number. Raises `ConfigError`."""
    if isinstance(level, int):
        return level
    try:
        return LEVELS[level.lower()]
    except KeyError:
        raise ConfigError(f"There is no log level {level!r}: use one of {', '.join(LEVELS)}.") from None


def configure(
    log_config: LogConfig | None,
    *,
    level: str | int | None = None,
    log_format: str = "text",
    use_colors: bool | None = None,
) -> None:
    """Sets the loggers up. `log_config` None leaves logging as it is, but for the level.

    A str or path names a file, in UTF-8: `.json`, `.yaml` / `.yml` (needs PyYAML), else the ini form of
    `logging.config.fileConfig`, which an open file or a `configparser` object may have too.

    Raises `ConfigError` if the configuration cannot be read or applied.
    """
    logging.addLevelName(TRACE, "TRACE")
    if is_default(log_config):
        _configure_default(log_format, use_colors)
    elif log_config is not None:
        try:
            _configure_from(log_config, use_colors)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError) as error:
            cause = f": {error.__cause__}" if error.__cause__ is not None else ""
            raise ConfigError(f"--log-config cannot be used: {error}{cause}") from error
    if level is not None:
        number = level_number(level)
        for name in ("pyre.error", "pyre.access", "pyre.asgi"):
            logging.getLogger(name).setLevel(number)


def add_default_handler(name: str, stream_name: Literal["stderr", "stdout"], formatter: logging.Formatter) -> None:
    """Gives the logger `name` a handler of ours, instead of an earlier one of ours."""
    logger = logging.getLogger(name)
    for handler in [handler for handler in logger.handlers if isinstance(handler, DefaultHandler)]:
        logger.removeHandler(handler)
    handler = DefaultHandler(stream_name)
    handler.setFormatter(formatter)
    logger.addHandler(handler)


def _configure_default(log_format: str, use_colors: bool | None) -> None:
    formatter: logging.Formatter
    formatter = (
        JsonFormatter()
        if log_format == "json"
        else DefaultFormatter("%(levelprefix)s %(message)s", None, "%", use_colors)
    )
    add_default_handler("pyre", "stderr", formatter)
    for name in ("pyre", "pyre.error", "pyre.access"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("pyre").propagate = False
    # pyre.access has no handler here: the lines are formatted and written natively (see access_log.py).
    logging.getLogger("pyre.access").propagate = False


def _configure_from(log_config: LogConfig, use_colors: bool | None) -> None:
    from configparser import RawConfigParser  # a Mapping too, but of the ini form
    from logging import config

    if isinstance(log_config, Mapping) and not isinstance(log_config, RawConfigParser):
        settings = {**log_config}
        formatters = settings.get("formatters", {})
        if use_colors is not None:
            names = ("pyre.logging.DefaultFormatter", "pyre.logging.AccessFormatter")
            settings["formatters"] = {
                name: {**item, "use_colors": use_colors} if item.get("()") in names else item
                for name, item in formatters.items()
            }
        _apply(settings)
        return
    path = reachable(os.fspath(log_config)) if isinstance(log_config, str | os.PathLike) else None
    if path is not None and path.endswith(".json"):
        import json

        with open(path, encoding="utf-8-sig") as file:
            _apply(json.load(file))
    elif path is not None and path.endswith((".yaml", ".yml")):
        import importlib

        try:
            yaml: Any = importlib.import_module("yaml")
        except ImportError:
            raise ImportError("a YAML file needs the package PyYAML: pip install pyyaml") from None
        with open(path, encoding="utf-8-sig") as file:
            _apply(yaml.safe_load(file))
    else:
        if path is not None and not os.path.isfile(path):
            raise FileNotFoundError(f"there is no file {path!r}")
        import configparser

        try:
            source = path if path is not None else log_config
            config.fileConfig(source, disable_existing_loggers=False, encoding="utf-8-sig")
        except configparser.Error as error:  # only since Python 3.11.4 a RuntimeError
            raise ValueError(error.message) from error


def _apply(settings: Mapping[str, Any]) -> None:
    from logging import config

    config.dictConfig(dict(settings))
    names = {name.partition(".")[0] for name in settings.get("loggers") or ()}
    if "uvicorn" in names and "pyre" not in names:
        logging.getLogger("pyre.error").warning(
            "The logging configuration names loggers of uvicorn and none of Pyre, which are 'pyre', 'pyre.error' and "
            "'pyre.access'."
        )
