"""`LogFile`, a handler for `--log-config` whose file others may rename or remove while it is open, on Windows too."""

from __future__ import annotations

import logging.handlers
import os
import sys
from typing import Any


class LogFile(logging.handlers.WatchedFileHandler):
    """Appends to a file, and begins a new one of that name when the old one was renamed or removed.

    On Windows Python's own handlers open their file so that nobody can rename it meanwhile; this one shares it. It is
    UTF-8 unless said otherwise.

    In a configuration: `{"class": "pyre.log_file.LogFile", "filename": "logs/pyre.log"}`.
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        mode: str = "a",
        encoding: str | None = "utf-8",
        delay: bool = False,
        errors: str | None = "backslashreplace",
    ) -> None:
        super().__init__(filename, mode, encoding, delay, errors)

    def _open(self) -> Any:
        return open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=_OPENER)


def _open_shared(path: str, flags: int) -> int:
    import ctypes
    import msvcrt

    from pyre.paths import reachable

    append = bool(flags & os.O_APPEND)
    access = 0x0004 | 0x0010_0080 if append else 0x4000_0000  # FILE_APPEND_DATA, to be atomic; or GENERIC_WRITE
    api: Any = getattr(ctypes, "WinDLL")("kernel32", use_last_error=True)  # noqa: B009  (only there on Windows)
    create = api.CreateFileW
    create.restype = ctypes.c_void_p
    number = ctypes.c_uint32
    create.argtypes = (ctypes.c_wchar_p, number, number, ctypes.c_void_p, number, number, ctypes.c_void_p)
    # Reading, writing and deleting are shared; OPEN_ALWAYS or CREATE_ALWAYS; an ordinary file.
    handle = create(reachable(path), access, 7, None, 4 if append else 2, 0x80, None)
    if handle is None or handle == ctypes.c_void_p(-1).value:
        code = getattr(ctypes, "get_last_error")()  # noqa: B009
        raise getattr(ctypes, "WinError")(code)  # noqa: B009
    open_osfhandle: Any = getattr(msvcrt, "open_osfhandle")  # noqa: B009
    return int(open_osfhandle(handle, flags))


_OPENER: Any = _open_shared if sys.platform == "win32" else None
