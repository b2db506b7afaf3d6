"""What each flag does: is implemented, is refused, or is accepted with a warning. There is no fourth."""

from __future__ import annotations

import inspect
import logging
import os
import sysconfig
from collections.abc import Iterator
from typing import Any

import pyre
import pytest
from click.testing import CliRunner, Result
from pyre import cli, flags
from pyre.config import Config
from pyre.main import run

ON_WINDOWS = flags.IS_WINDOWS
THREADED = "implemented" if sysconfig.get_config_var("Py_GIL_DISABLED") and not ON_WINDOWS else "refused"
ON_POSIX_ONLY = "refused" if ON_WINDOWS else "implemented"

# uvicorn 0.54's flags: arguments that ask each for something, and which of the three comes of it.
UVICORN: dict[str, tuple[list[str], str]] = {
    "--host": (["--host", "0.0.0.0"], "implemented"),
    "--port": (["--port", "9000"], "implemented"),
    "--uds": (["--uds", "app.sock"], ON_POSIX_ONLY),
    "--fd": (["--fd", "3"], ON_POSIX_ONLY),
    "--reload": (["--reload"], "implemented"),
    "--reload-dir": (["--reload", "--reload-dir", "."], "implemented"),
    "--reload-include": (["--reload", "--reload-include", "*.html"], "implemented"),
    "--reload-exclude": (["--reload", "--reload-exclude", "x*"], "implemented"),
    "--reload-delay": (["--reload", "--reload-delay", "0.5"], "implemented"),
    "--workers": (["--workers", "2"], "refused"),
    "--loop": (["--loop", "asyncio"], "implemented"),
    "--http": (["--http", "h11"], "accepted"),
    "--http2": (["--http2"], "refused"),
    "--ws": (["--ws", "websockets"], "refused"),
    "--ws-max-size": (["--ws-max-size", "16777216"], "refused"),
    "--ws-max-queue": (["--ws-max-queue", "32"], "refused"),
    "--ws-ping-interval": (["--ws-ping-interval", "20.0"], "refused"),
    "--ws-ping-timeout": (["--ws-ping-timeout", "20.0"], "refused"),
    "--ws-per-message-deflate": (["--ws-per-message-deflate", "true"], "refused"),
    "--lifespan": (["--lifespan", "on"], "implemented"),
    "--interface": (["--interface", "wsgi"], "implemented"),
    "--env-file": (["--env-file", "env"], "implemented"),
    "--log-config": (["--log-config", "log.json"], "implemented"),
    "--log-level": (["--log-level", "trace"], "implemented"),
    "--access-log": (["--access-log"], "implemented"),
    "--no-access-log": (["--no-access-log"], "implemented"),
    "--use-colors": (["--use-colors"], "implemented"),
    "--no-use-colors": (["--no-use-colors"], "implemented"),
    "--proxy-headers": (["--proxy-headers"], "implemented"),
    "--no-proxy-headers": (["--no-proxy-headers"], "implemented"),
    "--server-header": (["--server-header"], "implemented"),
    "--no-server-header": (["--no-server-header"], "implemented"),
    "--date-header": (["--date-header"], "implemented"),
    "--no-date-header": (["--no-date-header"], "implemented"),
    "--forwarded-allow-ips": (["--forwarded-allow-ips", "10.0.0.0/8"], "implemented"),
    "--root-path": (["--root-path", "/api"], "implemented"),
    "--limit-concurrency": (["--limit-concurrency", "10"], "implemented"),
    "--backlog": (["--backlog", "128"], "implemented"),
    "--limit-max-requests": (["--limit-max-requests", "1000"], "implemented"),
    "--limit-max-requests-jitter": (["--limit-max-requests-jitter", "10"], "implemented"),
    "--timeout-keep-alive": (["--timeout-keep-alive", "5"], "implemented"),
    "--timeout-graceful-shutdown": (["--timeout-graceful-shutdown", "3"], "implemented"),
    "--timeout-worker-healthcheck": (["--timeout-worker-healthcheck", "5"], "accepted"),
    "--ssl-keyfile": (["--ssl-keyfile", "key.pem"], "refused"),
    "--ssl-certfile": (["--ssl-certfile", "cert.pem"], "refused"),
    "--ssl-keyfile-password": (["--ssl-keyfile-password", "x"], "refused"),
    "--ssl-version": (["--ssl-version", "17"], "refused"),
    "--ssl-cert-reqs": (["--ssl-cert-reqs", "2"], "refused"),
    "--ssl-ca-certs": (["--ssl-ca-certs", "ca.pem"], "refused"),
    "--ssl-ciphers": (["--ssl-ciphers", "HIGH"], "refused"),
    "--header": (["--header", "x-served-by: pyre"], "implemented"),
    "--app-dir": (["--app-dir", "."], "implemented"),
    "--h11-max-incomplete-event-size": (["--h11-max-incomplete-event-size", "65536"], "accepted"),
    "--reset-contextvars": (["--reset-contextvars"], "implemented"),
    "--factory": (["--factory"], "implemented"),
}

# Pyre's own.
OWN: dict[str, tuple[list[str], str]] = {
    "--uds-permissions": (["--uds-permissions", "600"], "implemented"),
    "--bind": (["--bind", "127.0.0.1:80", "-b", "[::1]:80"], "implemented"),
    "--ipv6-only": (["--ipv6-only"], "implemented"),
    "--no-ipv6-only": (["--no-ipv6-only"], "implemented"),
    "--threads": (["--threads", "4"], "implemented"),
    "--static": (["--static", "/static=.", "--static", "/=."], "implemented"),
    "--static-max-age": (["--static-max-age", "3600"], "implemented"),
    "--compress": (["--compress", "zstd,br:5,gzip:6"], "implemented"),
    "--compress-min-size": (["--compress-min-size", "2k"], "implemented"),
    "--compress-types": (["--compress-types", "text/*,application/json", "--compress-types", "*+json"], "implemented"),
    "--io-threads": (["--io-threads", "1"], "implemented"),
    "--worker-mode": (["--worker-mode", "thread"], THREADED),
    "--worker-threads": (["--worker-mode", "thread", "--worker-threads", "2"], THREADED),
    "--lifespan-scope": (["--worker-mode", "thread", "--lifespan-scope", "process"], THREADED),
    "--reuse-port": (["--reuse-port"], "refused" if ON_WINDOWS else "implemented"),
    "--stop-event": (["--stop-event", "my-server"], "implemented" if ON_WINDOWS else "refused"),
    "--limit-connections": (["--limit-connections", "20000"], "implemented"),
    "--limit-request-line": (["--limit-request-line", "16k"], "implemented"),
    "--limit-request-fields": (["--limit-request-fields", "50"], "implemented"),
    "--limit-request-header-size": (["--limit-request-header-size", "128k"], "implemented"),
    "--limit-request-body": (["--limit-request-body", "16m"], "implemented"),
    "--timeout-header": (["--timeout-header", "5s"], "implemented"),
    "--timeout-body": (["--timeout-body", "1m"], "implemented"),
    "--timeout-body-min-rate": (["--timeout-body-min-rate", "0"], "implemented"),
    "--timeout-write": (["--timeout-write", "500ms"], "implemented"),
    "--log-format": (["--log-format", "json"], "implemented"),
}

# Values that ask for nothing, or for what there is.
HARMLESS = [
    ["--workers", "1"],
    ["--http", "auto"],
    ["--ws", "auto"],
    ["--ws", "none"],
    ["--ws-per-message-deflate", "false"],
    ["--io-threads", "0"],
    ["--worker-mode", "process", "--lifespan-scope", "loop"],
]
HARMFUL = [
    ["--http", "2"],
    ["--http", "my.module:Protocol"],
    ["--ws", "wsproto"],
    ["--ws", "websockets-sansio"],
]


class Started:
    """What the command hands to `pyre.run()`, as a Config."""

    def __init__(self) -> None:
        self.config: Config | None = None

    def __call__(self, app: Any, **options: Any) -> None:
        self.config = Config(app, **options)


class Invoke:
    def __init__(self, started: Started) -> None:
        self.started = started

    def __call__(self, *arguments: str, env: dict[str, str] | None = None) -> Result:
        self.started.config = None
        return CliRunner().invoke(cli.make_command(), ["main:app", *arguments], env=env)

    def config(self, *arguments: str, env: dict[str, str] | None = None) -> Config:
        result = self(*arguments, env=env)
        assert result.exit_code == 0, result.output
        assert self.started.config is not None
        return self.started.config


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Invoke]:
    for name in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "env").write_text("PYRE_TEST_VALUE=1\n")
    monkeypatch.setenv("PYRE_TEST_VALUE", "0")  # so that what the file sets is undone
    (tmp_path / "log.json").write_text('{"version": 1, "disable_existing_loggers": false}')
    started = Started()
    monkeypatch.setattr(pyre, "run", started)
    yield Invoke(started)
    for name in ("pyre", "pyre.error", "pyre.access", "pyre.asgi"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(logging.NOTSET)
        logging.getLogger(name).propagate = True


def verdict(result: Result, name: str) -> str:
    name = name.replace("--no-", "--")
    if result.exit_code == 2:
        assert f"{name}: " in result.output
        assert "No such option" not in result.output
        return "refused"
    assert result.exit_code == 0, result.output
    return "accepted" if f"WARNING:  {name}: " in result.output else "implemented"


@pytest.mark.parametrize("name", sorted(UVICORN | OWN))
def test_each_flag_does_one_of_three_things(name: str, invoke: Invoke) -> None:
    arguments, expected = (UVICORN | OWN)[name]
    assert verdict(invoke(*arguments), name) == expected


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--uds", "app.sock"], "Python has no UNIX sockets on Windows: listen on --host"),
        (["--fd", "3"], "On Windows sockets are no file descriptors"),
        (["--bind", "127.0.0.1:0", "--bind", "unix:app.sock"], "--bind: Python has no UNIX sockets on Windows"),
        (["--bind", "fd://3"], "--bind: On Windows sockets are no file descriptors"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_windows_says_what_it_does_not_have_and_what_to_use(
    arguments: list[str], sentence: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flags, "IS_WINDOWS", True)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert sentence in result.output


def test_a_stop_event_is_refused_where_there_are_signals(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "IS_WINDOWS", False)
    result = invoke("--stop-event", "x")
    assert result.exit_code == 2
    assert "--stop-event: Named events are there on Windows only: send SIGTERM" in result.output


@pytest.mark.parametrize("arguments", HARMLESS, ids=" ".join)
def test_a_value_that_asks_for_nothing_is_taken(arguments: list[str], invoke: Invoke) -> None:
    assert verdict(invoke(*arguments), arguments[0]) == "implemented"


@pytest.mark.parametrize("arguments", HARMFUL, ids=" ".join)
def test_a_value_that_asks_for_what_is_not_built_is_refused(arguments: list[str], invoke: Invoke) -> None:
    assert verdict(invoke(*arguments), arguments[0]) == "refused"


def test_every_flag_of_uvicorn_is_known() -> None:
    uvicorn_main = pytest.importorskip("uvicorn.main")
    theirs = {
        name
        for parameter in uvicorn_main.main.params
        for name in [*parameter.opts, *parameter.secondary_opts]
        if name.startswith("--") and name != "--version"
    }
    assert theirs <= set(UVICORN), "flags that this test does not know"
    ours = {name for parameter in cli.make_command().params for name in [*parameter.opts, *parameter.secondary_opts]}
    assert theirs <= ours


def test_every_flag_of_ours_is_in_this_test() -> None:
    ours = {
        name
        for parameter in cli.make_command().params
        for name in [*parameter.opts, *parameter.secondary_opts]
        if name.startswith("--")
    }
    assert ours - {"--version"} == set(UVICORN) | set(OWN)
    marked = {flag.name for flag in flags.FLAGS if flag.uvicorn}
    assert marked == {name for name in UVICORN if not name.startswith("--no-")}


def test_table_config_and_run_agree_on_names_and_defaults() -> None:
    config = inspect.signature(Config.__init__).parameters
    function = inspect.signature(run).parameters
    assert {n: p.default for n, p in config.items() if n != "self"} == {n: p.default for n, p in function.items()}
    assert {n: p.annotation for n, p in config.items() if n != "self"} == {n: p.annotation for n, p in function.items()}
    only_in_api = {"app", "ssl_context_factory", "timeout_notify", "callback_notify"}
    assert set(function) - only_in_api == set(flags.BY_PARAMETER)
    for name, flag in flags.BY_PARAMETER.items():
        # The command searches the current directory, and has no None for the default logging.
        if name not in ("app_dir", "log_config"):
            assert function[name].default == flag.default, name


def test_every_refusal_is_a_sentence_and_they_come_together(invoke: Invoke) -> None:
    result = invoke("--ssl-keyfile", "k", "--ssl-certfile", "c", "--workers", "4")
    assert result.exit_code == 2
    lines = [line for line in result.output.splitlines() if line]
    assert len(lines) == 3
    assert all(line.endswith(".") for line in lines)
    assert "not built yet" in lines[0]


@pytest.mark.parametrize("name", ["--no-such", "--limit-nothing", "--workers-max-rss"])
def test_an_unknown_flag_ends_with_2(name: str, invoke: Invoke) -> None:
    assert invoke(name, "1").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "70000"], "between 0 and 65535"),
        (["--bind", "127.0.0.1"], "the port is missing"),
        (["--bind", "127.0.0.1:1", "--port", "2"], "cannot be used together"),
        (["--bind", "::1:80"], "brackets"),
        (["--timeout-header", "0"], "cannot be switched off"),
        (["--timeout-body", "soon"], "is not a duration"),
        (["--limit-request-body", "many"], "is not a size"),
        (["--limit-concurrency", "0"], "must be 1 or more"),
        (["--header", "nocolon"], "Name: value"),
        (["--header", "bad name: x"], "is not a header name"),
        (["--header", "content-length: 3"], "for each response"),
        (["--static", "/static"], "ROUTE=DIR"),
        (["--static", "/static="], "ROUTE=DIR"),
        (["--static", "static=."], "must begin with '/'"),
        (["--static", "/a/../b=."], "'.' or '..'"),
        (["--static", "//a=."], "empty segment"),
        (["--static", "/a%20b=."], "no decoded path has"),
        (["--static", "/a=.", "--static", "/a/=."], "there already"),
        (["--static", "/a=no-such-directory"], "does not exist"),
        (["--static", "/a=env"], "is no directory"),
        (["--static-max-age", "-1"], "between 0 and"),
        (["--compress", "deflate"], "some of gzip, br, zstd"),
        (["--compress", "gzip,"], "some of gzip, br, zstd"),
        (["--compress", "gzip,on"], "some of gzip, br, zstd"),
        (["--compress", "gzip:10"], "between 1 and 9"),
        (["--compress", "br:"], "between 0 and 11"),
        (["--compress", "gzip,br,gzip:1"], "there already"),
        (["--compress-min-size", "-1"], "is not a size"),
        (["--compress-types", "text"], "write media types"),
        (["--compress-types", "*/*"], "write media types"),
        (["--compress-types", "text/"], "write media types"),
        (["--compress-types", "**"], "write media types"),
        (["--uds-permissions", "9"], "octal"),
        (["--lifespan", "maybe"], "maybe"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_value_ends_with_2_and_says_why(arguments: list[str], sentence: str, invoke: Invoke) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert sentence in result.output


def test_run_is_an_optional_first_word(invoke: Invoke) -> None:
    result = CliRunner().invoke(cli.make_command(), ["run", "main:app", "--port", "1"])
    assert result.exit_code == 0
    assert invoke.started.config is not None
    assert (invoke.started.config.app, invoke.started.config.port) == ("main:app", 1)


def test_the_app_can_come_from_the_environment(invoke: Invoke) -> None:
    result = CliRunner().invoke(cli.make_command(), [], env={"PYRE_APP": "other:app"})
    assert result.exit_code == 0
    assert invoke.started.config is not None
    assert invoke.started.config.app == "other:app"


def test_no_app_ends_with_2(invoke: Invoke) -> None:
    assert CliRunner().invoke(cli.make_command(), []).exit_code == 2


def test_flag_goes_before_environment_goes_before_default(invoke: Invoke) -> None:
    assert invoke.config().port == 8000
    assert invoke.config(env={"PYRE_PORT": "81"}).port == 81
    assert invoke.config("--port", "82", env={"PYRE_PORT": "81"}).port == 82


ENVIRONMENT = {
    "PYRE_TIMEOUT_KEEP_ALIVE": ("2m", "timeout_keep_alive", 120.0),
    "PYRE_LIMIT_REQUEST_BODY": ("16m", "limit_request_body", 16 * 1024**2),
    "PYRE_UDS_PERMISSIONS": ("600", "uds_permissions", 0o600),
    "PYRE_ACCESS_LOG": ("false", "access_log", False),
    "PYRE_FACTORY": ("1", "factory", True),
    "PYRE_BIND": ("127.0.0.1:1,[::1]:2", "bind", ["127.0.0.1:1", "[::1]:2"]),
    "PYRE_HEADER": ("x-a: 1, 2\nx-b: 3", "headers", [("x-a", "1, 2"), ("x-b", "3")]),
    "PYRE_HEADERS": ("x-a: 1", "headers", [("x-a", "1")]),
    "PYRE_STATIC_MAX_AGE": ("60", "static_max_age", 60),
    "PYRE_COMPRESS": ("on", "compress", [("zstd", None), ("br", None), ("gzip", None)]),
    "PYRE_COMPRESS_MIN_SIZE": ("1k", "compress_min_size", 1024),
    "PYRE_COMPRESS_TYPES": ("Text/CSS, *+JSON", "compress_types", ["text/css", "*+json"]),
    "PYRE_LOG_FORMAT": ("json", "log_format", "json"),
}


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_environment_variables_are_read_as_flags_are(name: str, invoke: Invoke) -> None:
    text, parameter, expected = ENVIRONMENT[name]
    assert getattr(invoke.config(env={name: text}), parameter) == expected


def test_static_routes_come_from_the_environment_and_are_absolute(invoke: Invoke) -> None:
    static = invoke.config(env={"PYRE_STATIC": "/a=.,/b/=."}).static
    assert static == [("/a", os.getcwd()), ("/b", os.getcwd())]
    assert invoke.config("--static", "/c=.", env={"PYRE_STATIC": "/a=."}).static == [("/c", os.getcwd())]


def test_every_flag_has_an_environment_variable() -> None:
    for parameter in cli.make_command().params:
        if parameter.name in flags.BY_PARAMETER:
            name = flags.BY_PARAMETER[parameter.name].name
            assert f"PYRE_{name[2:].replace('-', '_').upper()}" in (parameter.envvar or [])


def test_web_concurrency_counts_only_without_a_flag(invoke: Invoke) -> None:
    assert invoke.config(env={"WEB_CONCURRENCY": "1"}).workers == 1
    refused = invoke(env={"WEB_CONCURRENCY": "4"})
    assert refused.exit_code == 2
    assert "WEB_CONCURRENCY" in refused.output
    assert invoke.config("--workers", "1", env={"WEB_CONCURRENCY": "4"}).workers == 1
    assert invoke(env={"WEB_CONCURRENCY": "many"}).exit_code == 2


def test_forwarded_allow_ips_precedence(invoke: Invoke) -> None:
    assert invoke.config().forwarded_allow_ips == "127.0.0.1,::1,unix:"
    env = {"FORWARDED_ALLOW_IPS": "10.0.0.1"}
    assert invoke.config(env=env).forwarded_allow_ips == "10.0.0.1"
    assert invoke.config(env={**env, "PYRE_FORWARDED_ALLOW_IPS": "10.0.0.2"}).forwarded_allow_ips == "10.0.0.2"
    assert invoke.config("--forwarded-allow-ips", "*", env=env).forwarded_allow_ips == "*"
    assert invoke.config("--no-proxy-headers", env=env).engine_options()["forwarded_allow_ips"] == ""


def test_version_names_pyre_and_python() -> None:
    result = CliRunner().invoke(cli.make_command(), ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith(f"Pyre {pyre.__version__} with ")


def test_help_lists_every_flag() -> None:
    output = CliRunner().invoke(cli.make_command(), ["--help"]).output
    for flag in flags.FLAGS:
        assert flag.name in output


def test_another_package_called_pyre_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(pyre, "DISTRIBUTION")
    with pytest.raises(SystemExit) as caught:
        cli._check_package()
    assert caught.value.code == 2
    assert "is not Pyre, the HTTP server" in capsys.readouterr().err
