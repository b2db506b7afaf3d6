"""scripts/get-sdist: one archive from whatever index pip is configured for, and nothing that was not asked for."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = b"the archive of a library"
Get = Callable[..., "subprocess.CompletedProcess[str]"]
NAME = "some_lib-1.0+x.tar.gz"
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()
JSON = ("application/vnd.pypi.simple.v1+json", json.dumps({"files": [{"filename": NAME, "url": "../../files/it"}]}))
# What an index of files in folders answers: HTML, names in the addresses only, some of them escaped.
HTML = ("text/html; charset=utf-8", f'<a href="../../files/{NAME.replace("+", "%2B")}#sha256={SHA256}">it</a>')


class Index(ThreadingHTTPServer):
    """A package index with one file; `asked` is what it was asked for, `page` what its page says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.page = JSON
        self.archive = ARCHIVE
        self.failures = 0
        self.user = ""
        self.asked: list[str] = []

    def address(self, user: str = "") -> str:
        return f"http://{user}127.0.0.1:{self.server_port}/simple"


class Handler(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        index = self.server
        index.asked.append(self.path)
        page = self.path == "/simple/some-lib/"
        kind, body = (index.page[0], index.page[1].encode()) if page else ("application/gzip", index.archive)
        status = 200 if page or self.path.startswith("/files/") else 404
        if index.user and self.headers.get("Authorization") != index.user:
            status = 401
        if index.failures > 0:
            index.failures -= 1
            status = 503
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def get(tmp_path: Path) -> Get:
    def run(**settings: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.upper().startswith("PIP_") and "proxy" not in k.lower()}
        config = {"PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}
        command: list[str | Path] = [
            sys.executable,
            ROOT / "scripts/get-sdist",
            "some-lib",
            NAME,
            SHA256,
            tmp_path / "it",
        ]
        env = {**clean, **config, **settings}
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)

    return run


@pytest.mark.parametrize("page", [JSON, HTML], ids=["json", "html"])
def test_it_brings_the_file_that_the_page_names(index: Index, get: Get, tmp_path: Path, page: tuple[str, str]) -> None:
    index.page = page
    done = get(PIP_INDEX_URL=index.address())
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "it").read_bytes() == ARCHIVE
    assert len(index.asked) == 2


def test_a_file_of_pip_s_configuration_names_the_index(index: Index, get: Get, tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex-url = {index.address()}\n")
    assert get(PIP_CONFIG_FILE=str(config)).returncode == 0


def test_a_name_and_a_password_in_the_address_are_sent(index: Index, get: Get) -> None:
    index.user = "Basic " + base64.b64encode(b"me:p@ss").decode()
    assert get(PIP_INDEX_URL=index.address("me:p%40ss@")).returncode == 0
    assert "401" in get(PIP_INDEX_URL=index.address()).stderr


def test_another_archive_of_that_name_is_refused(index: Index, get: Get, tmp_path: Path) -> None:
    index.archive = ARCHIVE + b"!"
    done = get(PIP_INDEX_URL=index.address())
    assert done.returncode == 1
    assert "not the one that was tested" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_page_without_the_file_is_said_and_the_next_index_asked(index: Index, get: Get) -> None:
    index.page = ("text/html", "<a href='other-1.0.tar.gz'>other</a>")
    done = get(PIP_INDEX_URL=index.address())
    assert done.returncode == 1
    assert f"the index has no {NAME}" in done.stderr
    with Index() as second:
        threading.Thread(target=second.serve_forever, args=(0.05,)).start()
        assert get(PIP_INDEX_URL=index.address(), PIP_EXTRA_INDEX_URL=second.address()).returncode == 0
        second.shutdown()


def test_an_index_that_stumbles_is_asked_again_and_one_that_refuses_is_not(index: Index, get: Get) -> None:
    index.failures = 1
    assert get(PIP_INDEX_URL=index.address()).returncode == 0
    index.asked.clear()
    assert "404" in get(PIP_INDEX_URL=index.address() + "/nowhere").stderr
    assert len(index.asked) == 1


def test_without_an_index_it_says_so(get: Get) -> None:
    done = get(PIP_NO_INDEX="1")
    assert (done.returncode, done.stderr) == (1, "get-sdist: some-lib: pip is configured to use no index\n")
