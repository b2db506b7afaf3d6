"""Pyre: an HTTP server for Python with a core in C++.

import pyre

pyre.run("main:app", port=8000)
"""

from __future__ import annotations

try:
    from pyre._core import ClientDisconnected, __version__
except ImportError as _error:
    raise ImportError(
        f"Pyre's native core (pyre._core) cannot be imported: {_error}. "
        "It is a part of the distribution 'pyre-server' and is built for one version of Python: install it for this "
        "one with 'python -m pip install --force-reinstall pyre-server', or, in a source tree, build it first."
    ) from _error

from pyre.config import Config
from pyre.errors import AppLoadError, BindError, ConfigError, NotBuiltError
from pyre.main import run
from pyre.server import Server

DISTRIBUTION = "pyre-server"
"""The distribution that this package is from; other distributions have a package `pyre` too."""

__all__ = [
    "AppLoadError",
    "BindError",
    "ClientDisconnected",
    "Config",
    "ConfigError",
    "NotBuiltError",
    "Server",
    "__version__",
    "run",
]
