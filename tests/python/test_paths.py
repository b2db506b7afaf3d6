from __future__ import annotations

import io
import logging
import os
import sys
from pathlib import Path

import pytest
from pyre.log_file import LogFile
from pyre.logging import DefaultHandler
from pyre.paths import is_same, reachable, real_name

on_windows = pytest.mark.skipif(os.name != "nt", reason="elsewhere a path is what it is")


def test_a_path_that_can_be_reached_stays_as_it_was(tmp_path: Path) -> None:
    assert reachable("relative/file.txt") == "relative/file.txt"
    assert reachable(str(tmp_path)) == str(tmp_path)


@on_windows
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("C:\\" + "x" * 300, "\\\\?\\C:\\" + "x" * 300),
        ("C:/a/../" + "x" * 300, "\\\\?\\C:\\" + "x" * 300),
        ("\\\\server\\share\\" + "x" * 300, "\\\\?\\UNC\\server\\share\\" + "x" * 300),
        ("\\\\?\\C:\\" + "x" * 300, "\\\\?\\C:\\" + "x" * 300),
    ],
)
def test_a_long_path_that_cannot_gets_the_prefix(path: str, expected: str) -> None:
    assert reachable(path) == expected


@on_windows
def test_a_name_is_found_by_any_case(tmp_path: Path) -> None:
    (tmp_path / "Main.py").touch()
    assert real_name(str(tmp_path), "MAIN.PY") == "Main.py"
    assert is_same(f"{tmp_path}/main.py", f"{tmp_path}\\MAIN.py")


def test_a_log_file_is_begun_anew_when_it_was_renamed(tmp_path: Path) -> None:
    handler = LogFile(tmp_path / "log")
    try:
        handler.emit(logging.makeLogRecord({"msg": "first, 東京"}))
        (tmp_path / "log").rename(tmp_path / "log.1")
        handler.emit(logging.makeLogRecord({"msg": "second"}))
    finally:
        handler.close()
    assert (tmp_path / "log.1").read_text(encoding="utf-8") == "first, 東京\n"
    assert (tmp_path / "log").read_text(encoding="utf-8") == "second\n"


def test_a_log_file_is_appended_to(tmp_path: Path) -> None:
    for text in ("first", "second"):
        handler = LogFile(tmp_path / "log")
        handler.emit(logging.makeLogRecord({"msg": text}))
        handler.close()
    assert (tmp_path / "log").read_text() == "first\nsecond\n"


def test_a_stream_that_lacks_a_character_gets_an_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    bytes_written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_written, encoding="cp1252", newline="\n"))
    DefaultHandler("stdout").emit(logging.makeLogRecord({"msg": "Grüße, 東京"}))
    assert bytes_written.getvalue() == "Grüße, ".encode("cp1252") + b"\\u6771\\u4eac\n"
