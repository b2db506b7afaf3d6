"""The pipe between the reloader and its child: how each end gets it, and the listening sockets, on each system."""

from __future__ import annotations

import errno
import importlib
import os
import pickle
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


class CommandPipe:
    """The reloader's end. One pipe is for one child."""

    def __init__(self) -> None:
        self._read_fd, self._write_fd = os.pipe()

    def start(self, options: bytes, sockets: Sequence[socket.socket]) -> subprocess.Popen[bytes]:
        """Starts the child, which gets the pickled `options` and the sockets. It may be dead already."""
        # What it must inherit is closed here, whether it was started or not.
        try:
            if os.name == "nt":
                child = self._spawn_windows()
                shared: list[Any] = []
                for sock in sockets:
                    try:
                        shared.append(_share(sock, child.pid))
                    except OSError:
                        break  # it died at once, which its reading of what follows would have told, too
            else:
                shared = [sock.fileno() for sock in sockets]
                child = subprocess.Popen(
                    _command_line(self._read_fd), pass_fds=[self._read_fd, *shared], close_fds=True
                )
        except BaseException:
            self.close()
            raise
        finally:
            os.close(self._read_fd)
        payload = pickle.dumps({"options": options, "argv": sys.argv, "sockets": shared})
        self.write(struct.pack("!Q", len(payload)) + payload)
        return child

    def _spawn_windows(self) -> subprocess.Popen[bytes]:
        handle: int = _system("msvcrt").get_osfhandle(self._read_fd)
        _system("os").set_handle_inheritable(handle, True)
        command = _command_line(handle)
        env = None
        # The python.exe of a virtual environment is a launcher, which starts the real one: that would be a grandchild,
        # with another process id, and what is shared by id would go astray. This is how the launcher does it.
        base = getattr(sys, "_base_executable", sys.executable)
        if os.path.normcase(base) != os.path.normcase(sys.executable):
            command[0] = base
            env = {**os.environ, "__PYVENV_LAUNCHER__": sys.executable}
        startup = _system("subprocess").STARTUPINFO(lpAttributeList={"handle_list": [handle]})
        return subprocess.Popen(command, startupinfo=startup, close_fds=True, env=env)

    def write(self, data: bytes) -> None:
        """Does nothing if the child is dead."""
        try:
            while data:
                data = data[os.write(self._write_fd, data) :]
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EINVAL):  # the latter on Windows
                raise

    def close(self) -> None:
        os.close(self._write_fd)


def _command_line(number: int) -> list[str]:
    # sys.path comes first: pyre itself may be found only there.
    code = f"import sys; sys.path[:] = {sys.path!r}; from pyre.reload_child import main; main({number})"
    interpreter_flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()
    return [sys.executable, *interpreter_flags, "-c", code]


class Order:
    """What the child was given, as its end of the pipe tells: `options`, `sockets`, and then commands."""

    def __init__(self, number: int) -> None:
        """`number` is the one of the command line. Raises `SystemExit(0)` if the reloader is gone."""
        if os.name == "nt":
            self._fd = _system("msvcrt").open_osfhandle(number, os.O_RDONLY)
        else:
            self._fd = number
        os.set_inheritable(self._fd, False)  # what the application starts must not hold it open
        (size,) = struct.unpack("!Q", self._read(8))
        payload = pickle.loads(self._read(size))
        sys.argv = payload["argv"]
        self.options: dict[str, Any] = pickle.loads(payload["options"])
        self.sockets = [_take_socket(entry) for entry in payload["sockets"]]

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = os.read(self._fd, size - len(data))
            if not piece:
                raise SystemExit(0)
            data += piece
        return data

    def next_command(self) -> bytes:
        """Waits for it. Nothing if the reloader is gone."""
        return os.read(self._fd, 1)


def _share(sock: Any, pid: int) -> bytes:
    return sock.share(pid)  # type: ignore[no-any-return]


def _system(module: str) -> Any:
    """A module, of which type checkers on other systems do not know all that it has on Windows."""
    return importlib.import_module(module)


def _take_socket(entry: Any) -> socket.socket:
    if os.name == "nt":
        return _system("socket").fromshare(entry)  # type: ignore[no-any-return]
    os.set_inheritable(entry, False)
    return socket.socket(fileno=entry)
