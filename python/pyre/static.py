"""`--static ROUTE=DIR`: which paths are answered from which directories, without the application."""

from __future__ import annotations

import os
from collections.abc import Iterable

from pyre.errors import ConfigError
from pyre.paths import reachable


def parse_static(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Each `ROUTE=DIR` as the route, without a slash at its end, and the directory's absolute path.

    Raises `ConfigError`, with the sentence that names the flag.
    """
    routes: dict[str, str] = {}
    for text in texts:
        route, equals, directory = text.partition("=")
        if not equals or not directory:
            raise ConfigError(f"--static {text!r}: write it as ROUTE=DIR, /static=public.")
        _check_route(text, route)
        route = route.rstrip("/") or "/"
        if route in routes:
            raise ConfigError(f"--static {text!r}: the route {route} is there already.")
        # Absolute, so that an application that changes the directory while it is imported changes nothing here.
        path = os.path.abspath(directory)
        if not os.path.isdir(reachable(path)):
            what = "is no directory" if os.path.exists(reachable(path)) else "does not exist"
            raise ConfigError(f"--static {text!r}: the directory {path!r} {what}.")
        routes[route] = reachable(path)
    return list(routes.items())


def _check_route(text: str, route: str) -> None:
    if not route.startswith("/"):
        raise ConfigError(f"--static {text!r}: the route must begin with '/'.")
    # It is compared with the path as it is after decoding: an escape would never be found, nor would a query.
    if any(character in route for character in "%?#\\") or any(ord(character) < 0x20 for character in route):
        raise ConfigError(f"--static {text!r}: the route has a character that no decoded path has.")
    segments = route.strip("/").split("/") if route.strip("/") else []
    if any(segment in ("", ".", "..") for segment in segments) or route.startswith("//"):
        raise ConfigError(f"--static {text!r}: the route has an empty segment, '.' or '..'.")
