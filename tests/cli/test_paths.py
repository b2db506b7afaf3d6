"""Names of files as people have them: with spaces, beyond ASCII, long, of any case, open elsewhere."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path

import pyre._core
import pytest
from command_process import HANG_GUARD, IS_WINDOWS, Command, get
from free_port import free_port

pytestmark = pytest.mark.skipif(
    pyre._core.build_info().get("core") == "fake", reason="the native module is not built: ./scripts/setup"
)

MAIN = """
import logging, os
from pathlib import Path
HERE = Path(__file__).parent

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    status, body = 200, os.environ.get("FROM_FILE", "nothing").encode()
    if scope["path"] == "/log":
        logging.getLogger("pyre.error").warning("Grüße, Łódź und 東京")
    await send({"type": "http.response.start", "status": status, "headers": []})
    if scope["path"] == "/file":
        file = Path(os.environ["SENT_FILE"])
        await send({"type": "http.response.pathsend", "path": str(file)})
    else:
        await send({"type": "http.response.body", "body": body})
"""

# The first one is more than 260 characters by itself, in pieces that each file system takes.
LONG = os.path.join(*["a directory with a long name, number " + str(number) for number in range(8)])
NAMES = {"spaces": "my web site", "umlauts": "Grüße für Łódź", "kanji": "東京 サーバー", "long": LONG}


@pytest.fixture(params=NAMES)
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    directory = tmp_path / NAMES[request.param]
    os.makedirs(reach(directory))
    (reach(directory) / "main.py").write_text(MAIN, encoding="utf-8")
    return directory


def reach(path: Path) -> Path:
    """Long paths for us, who test: the prefix that switches their limit off."""
    return Path(f"\\\\?\\{path}") if IS_WINDOWS else path


def test_app_dir_env_file_and_log_configuration(directory: Path, tmp_path: Path) -> None:
    pytest.importorskip("dotenv")
    (reach(directory) / "my env").write_bytes("\ufeffFROM_FILE=grün\n".encode())
    config = {
        "version": 1,
        "formatters": {"plain": {"format": "%(message)s"}},
        "handlers": {
            "file": {"class": "pyre.log_file.LogFile", "filename": str(directory / "pyre.log"), "formatter": "plain"}
        },
        "loggers": {"pyre": {"handlers": ["file"], "level": "INFO"}},
    }
    (reach(directory) / "log.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8-sig")
    port = free_port()
    arguments = ["--app-dir", str(directory), "--env-file", str(directory / "my env")]
    arguments += ["--log-config", str(directory / "log.json"), "--port", str(port)]
    with Command("main:app", *arguments, directory=tmp_path) as command:
        until_listening(port)
        assert get(port) == (200, "grün")
        assert get(port, "/log")[0] == 200
        assert command.end() == 0
    lines = (reach(directory) / "pyre.log").read_text(encoding="utf-8")
    assert "Grüße, Łódź und 東京" in lines
    assert "Finished server process" in lines


def test_a_file_is_sent(directory: Path, tmp_path: Path) -> None:
    (reach(directory) / "page of ours.txt").write_bytes(b"contents" * 100_000)
    env = {"SENT_FILE": str(directory / "page of ours.txt")}
    with Command("main:app", "--app-dir", str(directory), "--port", "0", directory=tmp_path, env=env) as command:
        assert get(command.port(), "/file") == (200, "contents" * 100_000)
        assert command.end() == 0


def test_changes_are_seen(directory: Path, tmp_path: Path) -> None:
    arguments = ["--reload", "--reload-dir", str(directory), "--reload-delay", "50ms", "--app-dir", str(directory)]
    with Command("main:app", *arguments, "--port", "0", directory=tmp_path, env={"FROM_FILE": "x"}) as command:
        port = command.port()
        assert get(port) == (200, "x")
        (reach(directory) / "main.py").write_text(MAIN.replace('"nothing"', '"x"') + "\n", encoding="utf-8")
        command.err.wait_for("detected changes")
        command.err.wait_for("Application startup complete")
        assert command.end() == 0


def until_listening(port: int) -> None:
    for _ in range(HANG_GUARD * 20):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=HANG_GUARD).close()
            return
        except ConnectionRefusedError:
            threading.Event().wait(0.05)
    raise AssertionError("it does not listen")


@pytest.fixture
def simple(tmp_path: Path) -> Path:
    (tmp_path / "main.py").write_text(MAIN, encoding="utf-8")
    return tmp_path


@pytest.mark.skipif(not IS_WINDOWS, reason="backslashes and case are a part of the name elsewhere")
def test_backslashes_and_any_case_name_the_application(simple: Path) -> None:
    (simple / "package").mkdir()
    (simple / "package" / "Site.py").write_text(MAIN, encoding="utf-8")
    for name in (r"package\Site.py:app", r"PACKAGE\SITE.PY:app", rf"{simple}\package\site.py:app"):
        with Command(name, "--port", "0", directory=simple) as command:
            assert get(command.port()) == (200, "nothing")


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii"])
@pytest.mark.parametrize("arguments", [[], ["--log-format", "json"]], ids=" ".join)
def test_a_code_page_without_a_character_loses_no_line(encoding: str, arguments: list[str], simple: Path) -> None:
    env = {"PYTHONUTF8": "0", "PYTHONIOENCODING": f"{encoding}:strict"}
    with Command("main:app", "--port", "0", *arguments, directory=simple, env=env) as command:
        port = int(command.err.wait_for("Pyre running on").partition("127.0.0.1:")[2].partition(" ")[0].strip('",'))
        assert get(port, "/log") == (200, "nothing")
        command.err.wait_for("\\u6771\\u4eac")
        assert get(port) == (200, "nothing")
        assert command.end() == 0


@pytest.mark.parametrize("what", ["renamed", "deleted"])
def test_a_file_may_go_away_while_it_is_sent(what: str, simple: Path) -> None:
    path = simple / "large.bin"
    contents = os.urandom(1024) * 8 * 1024  # more than all the buffers on the way
    path.write_bytes(contents)
    env = {"SENT_FILE": str(path)}
    with Command("main:app", "--port", "0", directory=simple, env=env) as command:
        with socket.create_connection(("127.0.0.1", command.port()), timeout=HANG_GUARD) as client:
            client.sendall(b"GET /file HTTP/1.0\r\nhost: x\r\n\r\n")
            answer = b""
            while len(answer) < 4096:  # some of the file
                answer += client.recv(4096)
            if what == "renamed":
                path.rename(simple / "other.bin")
            else:
                path.unlink()
            while piece := client.recv(1 << 20):
                answer += piece
        assert answer.partition(b"\r\n\r\n")[2] == contents
        assert command.end() == 0


def test_a_log_file_may_be_rotated_by_others(simple: Path) -> None:
    config = {
        "version": 1,
        "handlers": {"file": {"class": "pyre.log_file.LogFile", "filename": "pyre.log"}},
        "loggers": {"pyre": {"handlers": ["file"], "level": "INFO"}},
    }
    (simple / "log.json").write_text(json.dumps(config))
    port = free_port()
    with Command("main:app", "--log-config", "log.json", "--port", str(port), directory=simple) as command:
        until_listening(port)
        (simple / "pyre.log").rename(simple / "pyre.log.1")
        assert get(port, "/log")[0] == 200
        assert command.end() == 0
    assert "Started server process" in (simple / "pyre.log.1").read_text(encoding="utf-8")
    assert "Grüße" in (simple / "pyre.log").read_text(encoding="utf-8")


def test_two_servers_on_one_port_end_with_a_sentence(simple: Path) -> None:
    with Command("main:app", "--port", "0", directory=simple) as first:
        port = first.port()
        with Command("main:app", "--port", str(port), directory=simple) as second:
            assert second.exit_code() == 3
            output = second.err.rest()
            assert f"Cannot listen on http://127.0.0.1:{port}: " in output
            assert "in use already" in output or "another program has this port" in output
            assert "Traceback" not in output
        assert get(port) == (200, "nothing")
