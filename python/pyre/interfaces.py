"""Which interface an application speaks, and the adapter for the older form of ASGI."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

Interface = Literal["asgi3", "asgi2", "wsgi"]


def _positional_parameters(app: Callable[..., Any]) -> tuple[int, bool] | None:
    """The number of positional parameters without a default, and whether there is a `*args`. None if nobody knows."""
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return None
    required = 0
    variadic = False
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            variadic = True
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            required += parameter.default is parameter.empty
    return required, variadic


def _is_coroutine_callable(app: Any) -> bool:
    if inspect.iscoroutinefunction(app):
        return True
    return not inspect.isclass(app) and inspect.iscoroutinefunction(getattr(app, "__call__", None))  # noqa: B004


def is_factory(app: Any) -> bool:
    """Whether `app` can only be meant as `() -> application`: callable with no argument, and with nothing to take a
    scope.

    Decided by its signature, so that no code of the user's runs just to find out.
    """
    if not callable(app) or _is_coroutine_callable(app):
        return False
    parameters = _positional_parameters(app)
    return parameters is not None and parameters == (0, False)


def detect(app: Any) -> Interface:
    """The interface of a loaded application.

    A coroutine function, an object with an `async __call__`, or a class whose instances are awaitable, is ASGI 3.
    Else the number of arguments decides: three (scope, receive, send) are ASGI 3 behind a plain function, two
    (environ, start_response) are WSGI, one (scope) is ASGI 2. What cannot be inspected is taken for ASGI 3.
    """
    if inspect.isclass(app):
        if hasattr(app, "__await__"):
            return "asgi3"
    elif _is_coroutine_callable(app):
        return "asgi3"
    parameters = _positional_parameters(app)
    if parameters is None or parameters[1]:
        return "asgi3"
    return {1: "asgi2", 2: "wsgi"}.get(parameters[0], "asgi3")  # type: ignore[return-value]


class ASGI2Adapter:
    """Serves an ASGI 2 application, `app(scope)(receive, send)`, as ASGI 3."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if "asgi" in scope:  # "2.0" is what such an application may look for; the engine says "3.0" to all
            scope["asgi"] = {**scope["asgi"], "version": "2.0"}
        instance = self.app(scope)
        await instance(receive, send)
