from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest
from pyre.config import Config
from pyre.interfaces import ASGI2Adapter, detect, is_factory


async def asgi3_function(scope: Any, receive: Any, send: Any) -> None: ...


def asgi3_behind_a_plain_function(scope: Any, receive: Any, send: Any) -> Any:
    return asgi3_function(scope, receive, send)


class Asgi3Object:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class Asgi3PlainObject:
    def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return asgi3_function(scope, receive, send)


class Asgi3Class:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def __await__(self) -> Any: ...


class Asgi2Class:
    def __init__(self, scope: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


def asgi2_function(scope: Any) -> Any:
    async def instance(receive: Any, send: Any) -> None:
        await send({"type": "hello", "path": scope["path"]})

    return instance


def wsgi_function(environ: Any, start_response: Any) -> list[bytes]:
    return []


class WsgiObject:
    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []


def anything(*args: Any, **kwargs: Any) -> Any: ...


@pytest.mark.parametrize(
    ("app", "interface"),
    [
        (asgi3_function, "asgi3"),
        (asgi3_behind_a_plain_function, "asgi3"),
        (Asgi3Object(), "asgi3"),
        (Asgi3PlainObject(), "asgi3"),
        (Asgi3Object().__call__, "asgi3"),
        (functools.partial(asgi3_function), "asgi3"),
        (functools.partial(asgi3_behind_a_plain_function), "asgi3"),
        (Asgi3Class, "asgi3"),
        (Asgi2Class, "asgi2"),
        (asgi2_function, "asgi2"),
        (wsgi_function, "wsgi"),
        (WsgiObject(), "wsgi"),
        (anything, "asgi3"),
        (dict.update, "asgi3"),
    ],
)
def test_detection(app: Any, interface: str) -> None:
    assert detect(app) == interface
    assert not is_factory(app)


class ApplicationClass:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


def create() -> Any: ...


def create_with_default(settings: Any = None) -> Any: ...


@pytest.mark.parametrize("app", [create, create_with_default, ApplicationClass, lambda: None])
def test_factories_are_recognised_without_being_called(app: Any) -> None:
    assert is_factory(app)


def test_asgi2_is_served_as_asgi3() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(ASGI2Adapter(asgi2_function)({"path": "/x"}, None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "hello", "path": "/x"}]


def test_an_asgi2_application_sees_version_2_and_the_shared_dict_is_left_alone() -> None:
    seen: list[Any] = []

    def app(scope: Any) -> Any:
        seen.append(scope["asgi"])
        return asgi2_function(scope)

    async def send(message: Any) -> None: ...

    shared = {"version": "3.0", "spec_version": "2.5"}
    asyncio.run(ASGI2Adapter(app)({"path": "/x", "asgi": shared}, None, send))  # type: ignore[arg-type]
    assert seen == [{"version": "2.0", "spec_version": "2.5"}]
    assert shared["version"] == "3.0"


def test_the_interface_can_be_told() -> None:
    config = Config(anything, interface="asgi2")
    config.load()
    assert config.loaded_interface == "asgi2"
    assert config.asgi_version == "2.0"


def test_frameworks_are_detected() -> None:
    flask = pytest.importorskip("flask")
    assert detect(flask.Flask("x")) == "wsgi"
    starlette = pytest.importorskip("starlette.applications")
    assert detect(starlette.Starlette()) == "asgi3"


def test_django_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    wsgi = pytest.importorskip("django.core.handlers.wsgi")
    asgi = pytest.importorskip("django.core.handlers.asgi")
    assert detect(wsgi.WSGIHandler.__new__(wsgi.WSGIHandler)) == "wsgi"
    assert detect(asgi.ASGIHandler.__new__(asgi.ASGIHandler)) == "asgi3"
