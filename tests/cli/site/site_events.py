"""Windows: events that stand for signals, between a test and the command that it started."""

from __future__ import annotations

import ctypes
import signal
from typing import Any

SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGBREAK] if hasattr(signal, "SIGBREAK") else [])]
GROUP = "group"  # a Ctrl-C for every process that the test started, directly or not

_INFINITE = 0xFFFF_FFFF


def api() -> Any:
    kernel32: Any = getattr(ctypes, "WinDLL")("kernel32")  # noqa: B009  (only there on Windows)
    kernel32.CreateEventW.restype = ctypes.c_void_p
    kernel32.CreateEventW.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_wchar_p)
    kernel32.SetEvent.argtypes = (ctypes.c_void_p,)
    kernel32.WaitForMultipleObjects.argtypes = (ctypes.c_uint32, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
    return kernel32


def create(token: str, name: str) -> Any:
    return ctypes.c_void_p(api().CreateEventW(None, name == GROUP, False, f"{token}-{name}"))


def set_event(event: Any) -> None:
    assert api().SetEvent(event)


def raise_signals(token: str, *, group_only: bool) -> None:
    """Raises the signals whose events are set: on this thread, as the system raises its own on one that it makes."""
    names = [GROUP] if group_only else [GROUP, *map(str, SIGNALS)]
    events = [create(token, name) for name in names]
    while True:
        handles = (ctypes.c_void_p * len(events))(*[event.value for event in events])
        name = names[api().WaitForMultipleObjects(len(events), handles, False, _INFINITE)]
        if name == GROUP:
            del names[0], events[0]  # it stays set
        signal.raise_signal(signal.SIGINT if name == GROUP else signal.Signals(int(name)))
        if not events:
            return
