"""Unit tests of the Python half: they run against a fake of the native engine, whether that is built or not."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import fake_core
from records import Records

try:
    import pyre._core  # noqa: F401
except ImportError:
    fake_core.install()


@pytest.fixture(autouse=True)
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> type[fake_core.Engine]:
    """The class of the engines that servers make in these tests; the last one is `made[-1]`."""
    monkeypatch.setattr(sys.modules["pyre._core"], "Engine", fake_core.Engine)
    fake_core.Engine.made.clear()
    return fake_core.Engine


@pytest.fixture(autouse=True)
def clean_loggers() -> Iterator[None]:
    """Puts back what a test's Config did to the loggers, so that caplog sees their records."""
    yield
    for name in ("pyre", "pyre.error", "pyre.access", "pyre.asgi"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.filters.clear()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
        logger.disabled = False


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def app_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory that is the current one and can be imported from; modules from it are forgotten afterwards."""
    before_path, before_modules = list(sys.path), set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    sys.path[:] = before_path
    for name in set(sys.modules) - before_modules:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def records() -> Iterator[Records]:
    handler = Records()
    logging.getLogger("pyre.error").addHandler(handler)
    yield handler
    logging.getLogger("pyre.error").removeHandler(handler)
