"""Event loops by name."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable
from typing import Any

from pyre.errors import AppLoadError, ConfigError
from pyre.importer import import_from_string

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# On Windows only the Proactor loop has subprocesses, and it is not limited to 512 sockets.
_ASYNCIO: LoopFactory = getattr(asyncio, "ProactorEventLoop", asyncio.SelectorEventLoop)
_FAST = "winloop" if sys.platform == "win32" else "uvloop"


def loop_factory(name: str) -> LoopFactory | None:
    """The factory that `--loop` names.

    `auto` is uvloop, on Windows winloop, where it is installed, else asyncio; `asyncio`, `uvloop` and `winloop` are
    those; `none` is None: asyncio's event loop policy decides; anything else is `module:factory`, a callable that takes
    nothing and returns a new loop.

    Raises `ConfigError` if there is no such loop.
    """
    if name == "none":
        return None
    if name == "asyncio":
        return _ASYNCIO
    if name in ("auto", "uvloop", "winloop", "zuvloop"):
        try:
            module: Any = importlib.import_module(_FAST if name == "auto" else name)
        except ImportError:
            if name == "auto":
                return _ASYNCIO
            if (name == "uvloop") == (sys.platform == "win32") and name != "zuvloop":
                raise ConfigError(
                    f"--loop {name}: {name} does not exist for this system. Here it is {_FAST}; or use --loop auto."
                ) from None
            raise ConfigError(f"--loop {name} needs the package {name}: install it, or use --loop asyncio.") from None
        return module.new_event_loop  # type: ignore[no-any-return]
    if ":" not in name:
        raise ConfigError(f"There is no loop {name!r}: use auto, asyncio, uvloop, winloop, none or module:factory.")
    try:
        factory = import_from_string(name)
    except AppLoadError as error:
        raise ConfigError(f"--loop {name}: {error}") from error
    if not callable(factory):
        raise ConfigError(f"--loop {name} is not callable.")
    return factory  # type: ignore[no-any-return]
