"""The named stop event of Windows: what a supervisor sets to end a server that has no console, where a signal cannot
come from another process."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

_SYNCHRONIZE = 0x0010_0000
_EVENT_MODIFY_STATE = 0x0002
_INFINITE = 0xFFFF_FFFF


class StopEvent:
    """Calls `on_set`, from a thread of its own, each time that the Win32 event `name` is set.

    The event is made if there is none of that name yet; it resets itself. One that was there, made by the supervisor
    to know that it can be set, is reset after each set, so that the next one counts too. As always with events, two
    sets right after one another may count as one.

    Raises `OSError` if it cannot be made or opened.
    """

    def __init__(self, name: str, on_set: Callable[[], None]) -> None:
        self._api = _kernel32()
        self._on_set = on_set
        # No more rights than needed: an event of another user's may give only these.
        self._event = self._create(name, _SYNCHRONIZE | _EVENT_MODIFY_STATE)
        try:
            self._quit = self._create(None, _SYNCHRONIZE | _EVENT_MODIFY_STATE)
        except OSError:
            self._api.CloseHandle(self._event)
            raise
        self._thread = threading.Thread(target=self._watch, name="pyre.stop_event", daemon=True)
        self._thread.start()

    def _create(self, name: str | None, access: int) -> int:
        handle = self._api.CreateEventExW(None, name, 0, access)
        if not handle:
            code = getattr(ctypes, "get_last_error")()  # noqa: B009  (only there on Windows)
            error: OSError = getattr(ctypes, "WinError")(code)  # noqa: B009
            raise OSError(error.errno, f"Cannot make the stop event {name!r}: {error.strerror}")
        return int(handle)

    def _watch(self) -> None:
        # ctypes lets the GIL go for the wait, which polls nothing.
        handles = (ctypes.c_void_p * 2)(self._quit, self._event)
        while self._api.WaitForMultipleObjects(2, handles, False, _INFINITE) == 1:
            self._api.ResetEvent(self._event)
            self._on_set()

    def close(self) -> None:
        """`on_set` is not called any more. The event goes away with its last handle."""
        self._api.SetEvent(self._quit)
        self._thread.join()
        self._api.CloseHandle(self._quit)
        self._api.CloseHandle(self._event)


def set_event(name: str) -> bool:
    """Sets the event `name`; False if there is none, or it is not ours to set."""
    api = _kernel32()
    handle = api.OpenEventW(_EVENT_MODIFY_STATE, False, name)
    if not handle:
        return False
    try:
        return bool(api.SetEvent(handle))
    finally:
        api.CloseHandle(handle)


def _kernel32() -> Any:
    api: Any = getattr(ctypes, "WinDLL")("kernel32", use_last_error=True)  # noqa: B009
    handle, number = ctypes.c_void_p, ctypes.c_uint32
    api.CreateEventExW.restype = api.OpenEventW.restype = handle
    api.CreateEventExW.argtypes = (handle, ctypes.c_wchar_p, number, number)
    api.OpenEventW.argtypes = (number, ctypes.c_int, ctypes.c_wchar_p)
    api.WaitForMultipleObjects.restype = number
    api.WaitForMultipleObjects.argtypes = (number, handle, ctypes.c_int, number)
    for name in ("SetEvent", "ResetEvent", "CloseHandle"):
        getattr(api, name).argtypes = (handle,)
    return api


if __name__ == "__main__":
    if len(sys.argv) != 2 or os.name != "nt":
        sys.exit("On Windows: python -m pyre.stop_event NAME")
    if not set_event(sys.argv[1]):
        sys.exit(f"There is no event {sys.argv[1]!r}, or it may not be set from here.")
