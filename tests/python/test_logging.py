from __future__ import annotations

import configparser
import io
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyre import access_log
from pyre import logging as pyre_logging
from pyre.config import Config
from pyre.errors import ConfigError

LINE = {
    "client": "192.0.2.1:1234",
    "method": "GET",
    "path": "/a",
    "query": "b=1",
    "http_version": "1.1",
    "status": 404,
    "bytes": 9,
    "duration_ms": 2.5,
    "user_agent": "curl",
}


def configure(**options: Any) -> None:
    Config("x:y", **options)


def open_target(**options: Any) -> access_log.AccessLogTarget:
    defaults: dict[str, Any] = {"enabled": True, "default_config": True, "log_format": "text", "use_colors": None}
    return access_log.open_target(**{**defaults, **options})


class Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def collector() -> Collector:
    return Collector()


# ---- the default


def test_messages_go_to_stderr_with_their_level(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    logging.getLogger("pyre.error").warning("hello %d", 3)
    assert capsys.readouterr() == ("", "WARNING:  hello 3\n")


def test_setting_up_twice_writes_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    configure()
    logging.getLogger("pyre.error").info("once")
    assert capsys.readouterr().err == "INFO:     once\n"


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="json")
    try:
        raise ValueError("x\ny")
    except ValueError:
        logging.getLogger("pyre.error").exception("it\nfailed", extra={"path": "/a"})
    line, rest = capsys.readouterr().err.split("\n", 1)
    document = json.loads(line)
    assert rest == ""
    assert document["level"] == "error"
    assert document["logger"] == "pyre.error"
    assert document["message"] == "it\nfailed"
    assert document["path"] == "/a"
    assert "ValueError: x\ny" in document["exception"]
    assert document["time"].endswith("Z")


@pytest.mark.parametrize(
    ("level", "shown"), [("debug", ["d", "i", "e"]), ("info", ["i", "e"]), ("error", ["e"]), (logging.ERROR, ["e"])]
)
def test_levels(level: Any, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_level=level)
    logger = logging.getLogger("pyre.error")
    logger.debug("d")
    logger.info("i")
    logger.error("e")
    assert [line[10:] for line in capsys.readouterr().err.splitlines()] == shown


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ConfigError, match="no log level 'loud'"):
        configure(log_level="loud")


def test_trace_is_a_level_with_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_level="trace")
    logging.getLogger("pyre.error").log(pyre_logging.TRACE, "detail")
    assert capsys.readouterr().err == "TRACE:    detail\n"


@pytest.mark.parametrize("use_colors", [True, False])
def test_colors(use_colors: bool, capsys: pytest.CaptureFixture[str]) -> None:
    configure(use_colors=use_colors)
    logging.getLogger("pyre.error").info("x")
    assert ("\x1b[" in capsys.readouterr().err) == use_colors


# ---- a configuration of the user's


DICT: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "mine %(levelname)s %(message)s"}},
    "handlers": {"err": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"}},
    "loggers": {"pyre": {"handlers": ["err"], "level": "INFO", "propagate": False}},
}
INI = """
[loggers]
keys=root,pyre
[handlers]
keys=err
[formatters]
keys=plain
[logger_root]
handlers=
[logger_pyre]
level=INFO
handlers=err
qualname=pyre
propagate=0
[handler_err]
class=StreamHandler
formatter=plain
args=(sys.stderr,)
[formatter_plain]
format=mine %(levelname)s %(message)s
"""


@pytest.mark.parametrize("kind", ["dict", "json", "yaml", "ini", "parser", "file"])
def test_log_config(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config: Any = DICT
    if kind == "parser":
        config = configparser.RawConfigParser()
        config.read_string(INI)
    elif kind == "file":
        config = io.StringIO(INI)
    elif kind != "dict":
        if kind == "yaml":
            text = pytest.importorskip("yaml").safe_dump(DICT)
        else:
            text = INI if kind == "ini" else json.dumps(DICT)
        config = tmp_path / f"log.{kind}"
        config.write_text(text)
    configure(log_config=config)
    logging.getLogger("pyre.error").info("hello")
    assert capsys.readouterr().err == "mine INFO hello\n"


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("b.json", "{}"), ("c.ini", "nothing"), ("d.ini", None)])
def test_a_log_config_that_cannot_be_used(name: str, text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match="--log-config"):
        configure(log_config=str(tmp_path / name))


@pytest.mark.parametrize(("names", "warned"), [(["uvicorn"], True), (["uvicorn.access", "pyre"], False), ([], False)])
def test_a_configuration_made_for_uvicorn_is_pointed_out(
    names: list[str], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    loggers = {name: {"level": "INFO"} for name in names}
    configure(log_config={"version": 1, "disable_existing_loggers": False, "loggers": loggers})
    assert ("names loggers of uvicorn" in caplog.text) == warned


def test_none_leaves_logging_alone(capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_config=None)
    assert logging.getLogger("pyre").handlers == []
    assert logging.getLogger("pyre").propagate


def test_the_published_dict_works_and_counts_as_the_default() -> None:
    copy = json.loads(json.dumps(pyre_logging.LOGGING_CONFIG))
    assert pyre_logging.is_default(copy)
    copy["loggers"]["pyre"]["level"] = "DEBUG"
    assert not pyre_logging.is_default(copy)
    configure(log_config=copy, use_colors=True)
    [handler] = logging.getLogger("pyre").handlers
    assert isinstance(handler.formatter, pyre_logging.DefaultFormatter)
    assert handler.formatter.use_colors
    assert copy["formatters"]["default"]["use_colors"] is None  # the caller's dict is not written to


# ---- where access lines go


@pytest.fixture
def stdout_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    # pytest replaces sys.stdout itself between a fixture and its test.
    with (tmp_path / "stdout").open("w") as file:
        monkeypatch.setattr(access_log, "_stdout_fd", file.fileno)
        yield file.fileno()


def test_by_default_lines_are_native_and_go_to_stdout(stdout_file: int) -> None:
    configure()
    target = open_target()
    assert (target.fd, target.line_format) == (stdout_file, "text")
    target.close()
    os.fstat(stdout_file)  # still open: it is not ours


@pytest.mark.usefixtures("stdout_file")
def test_json_is_native_too() -> None:
    configure(log_format="json")
    assert open_target(log_format="json").line_format == "json"


@pytest.mark.usefixtures("stdout_file")
@pytest.mark.parametrize("why", ["disabled by option", "level", "logger disabled"])
def test_off(why: str) -> None:
    configure(log_level="warning" if why == "level" else None)
    logging.getLogger("pyre.access").disabled = why == "logger disabled"
    assert open_target(enabled=why != "disabled by option").fd == -1


def _write(target: access_log.AccessLogTarget, *lines: dict[str, Any]) -> None:
    os.write(target.fd, b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def test_a_handler_of_the_users_gets_records(stdout_file: int, collector: Collector) -> None:
    configure()
    logging.getLogger("pyre.access").addHandler(collector)
    target = open_target()
    assert target.fd not in (-1, stdout_file)
    assert target.line_format == "json"
    _write(target, LINE, LINE)
    target.close()
    assert len(collector.records) == 2
    record = collector.records[0]
    assert record.getMessage() == '192.0.2.1:1234 - "GET /a?b=1 HTTP/1.1" 404'
    assert record.args == ("192.0.2.1:1234", "GET", "/a?b=1", "1.1", 404)
    fields = record.__dict__
    assert fields["duration"] == pytest.approx(0.0025)
    assert [fields[name] for name in ("status", "bytes", "path", "query", "user_agent")] == [
        404,
        9,
        "/a",
        "b=1",
        "curl",
    ]


@pytest.mark.usefixtures("stdout_file")
def test_a_filter_of_the_users_is_obeyed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    configure(use_colors=False)
    logging.getLogger("pyre.access").addFilter(lambda record: record.__dict__["path"] != "/healthz")
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    target = open_target(use_colors=False)
    _write(target, {**LINE, "path": "/healthz"}, LINE)
    target.close()
    assert out.getvalue() == 'INFO:     192.0.2.1:1234 - "GET /a?b=1 HTTP/1.1" 404 Not Found 9 0.002500\n'


def test_records_propagate_as_the_users_configuration_says(collector: Collector) -> None:
    configure(log_config=None)
    root = logging.getLogger()
    root.addHandler(collector)
    logging.getLogger("pyre.access").setLevel(logging.INFO)
    try:
        target = open_target(default_config=False)
        _write(target, LINE)
        target.close()
    finally:
        root.removeHandler(collector)
    assert [record.name for record in collector.records] == ["pyre.access"]


def test_nothing_is_made_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logging.getLogger("pyre.access").setLevel(logging.INFO)
    assert open_target(default_config=False).fd == -1


@pytest.mark.usefixtures("stdout_file")
def test_a_handler_that_fails_and_a_broken_line_do_not_end_the_log(
    collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.__dict__["status"] == 500:
                raise RuntimeError("handler")

    configure()
    logging.getLogger("pyre.access").addHandler(Failing())
    logging.getLogger("pyre.access").addHandler(collector)
    target = open_target()
    os.write(target.fd, b'half a line"}\n')
    _write(target, {**LINE, "status": 500}, LINE)
    target.close()
    assert [record.__dict__["status"] for record in collector.records] == [404]
    assert "A handler of the logger pyre.access failed." in capsys.readouterr().err


@pytest.mark.usefixtures("stdout_file")
def test_the_reader_thread_ends() -> None:
    configure()
    logging.getLogger("pyre.access").addHandler(logging.NullHandler())
    before = threading.active_count()
    target = open_target()
    assert threading.active_count() == before + 1
    target.close()
    assert threading.active_count() == before


def test_default_logging_does_not_import_logging_config() -> None:
    import subprocess

    code = (
        "import sys, runpy; sys.path.insert(0, sys.argv[1]); import fake_core; fake_core.install();"
        "import pyre; pyre.Server(pyre.Config('x:y'));"
        "heavy = {'logging.config', 'click', 'watchfiles', 'uvloop', 'dotenv', 'pyre.wsgi', 'pyre.reload', 'pyre.cli'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
