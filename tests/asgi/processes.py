"""What tests ask about other processes and do to them, which every system has its own way for."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

IS_WINDOWS = sys.platform == "win32"


def _library(name: str) -> Any:
    return getattr(ctypes, "WinDLL")(name)  # noqa: B009  (only there on Windows)


UNDER_WINE = IS_WINDOWS and hasattr(_library("ntdll"), "wine_get_version")

_SYSTEM_EXTENDED_HANDLE_INFORMATION = 64
_STATUS_INFO_LENGTH_MISMATCH = 0xC0000004


class _MemoryCounters(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint32),
        ("page_faults", ctypes.c_uint32),
        ("peak_working_set", ctypes.c_size_t),
        ("working_set", ctypes.c_size_t),
        ("quotas", ctypes.c_size_t * 4),
        ("pagefile", ctypes.c_size_t * 2),
    )


def _handle(process: subprocess.Popen[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(int(process._handle))  # type: ignore[attr-defined]


def resident_bytes(process: subprocess.Popen[Any]) -> int:
    """The memory that the process occupies."""
    if IS_WINDOWS:
        counters = _MemoryCounters(size=ctypes.sizeof(_MemoryCounters))
        assert _library("kernel32").K32GetProcessMemoryInfo(_handle(process), ctypes.byref(counters), counters.size)
        return int(counters.working_set)
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(process: subprocess.Popen[Any]) -> int:
    """How many files, sockets and the like the process has open; on Windows events and threads count, too."""
    if IS_WINDOWS:
        return _handles(process.pid)
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def _handles(pid: int) -> int:
    # GetProcessHandleCount always says 0 under Wine. The list of the whole system's handles is right everywhere.
    query = _library("ntdll").NtQuerySystemInformation
    size = 1 << 20
    while True:
        found = ctypes.create_string_buffer(size)
        status = query(_SYSTEM_EXTENDED_HANDLE_INFORMATION, found, size, None) & 0xFFFFFFFF
        if status != _STATUS_INFO_LENGTH_MISMATCH:
            break
        size *= 2
    assert status == 0, hex(status)
    count = struct.unpack_from("<Q", found, 0)[0]
    # Behind two counters: entries of 40 bytes, whose second word is the process.
    return sum(struct.unpack_from("<Q", found, 16 + 40 * number + 8)[0] == pid for number in range(count))


def suspend(process: subprocess.Popen[Any]) -> None:
    """The process does nothing until it is resumed."""
    if IS_WINDOWS:
        assert _library("ntdll").NtSuspendProcess(_handle(process)) == 0
    else:
        process.send_signal(signal.SIGSTOP)


def resume(process: subprocess.Popen[Any]) -> None:
    if IS_WINDOWS:
        assert _library("ntdll").NtResumeProcess(_handle(process)) == 0
    else:
        process.send_signal(signal.SIGCONT)


class Stopper:
    """Tells a server to end: by SIGTERM, or, on Windows, by the event that --stop-event names. (Ctrl-C and Ctrl-Break
    belong to consoles, which neither a CI job nor Wine has.)"""

    def __init__(self, kind: str) -> None:
        self._event: int | None = None
        self.arguments: list[str] = []
        if IS_WINDOWS and kind == "pyre":
            name = f"pyre-test-{uuid.uuid4()}"
            self.arguments = ["--stop-event", name]
            create = _library("kernel32").CreateEventW
            create.restype = ctypes.c_void_p
            self._event = create(None, False, False, ctypes.c_wchar_p(name))
            assert self._event

    def stop(self, process: subprocess.Popen[Any]) -> None:
        if self._event is not None:
            assert _library("kernel32").SetEvent(ctypes.c_void_p(self._event))
        else:
            process.terminate()

    def close(self) -> None:
        if self._event is not None:
            _library("kernel32").CloseHandle(ctypes.c_void_p(self._event))
            self._event = None
