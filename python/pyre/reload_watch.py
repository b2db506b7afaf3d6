"""Notices changed files: with the package watchfiles where it is installed, else by looking at all of them again and
again."""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from pyre.config import Config
from pyre.paths import reachable

logger = logging.getLogger("pyre.error")

DEFAULT_INCLUDES = ("*.py",)
DEFAULT_EXCLUDES = (".*", ".py[cod]", ".sw.*", "~*")


_LONGEST_WAIT = 0.5  # seconds


class Watcher(Protocol):
    """Notices changes."""

    name: str

    def wait(self) -> list[str]:
        """The changed paths, or none after a while, so that the caller can look after other things; at once if it is
        to stop."""
        ...


def watched_directories(config: Config) -> list[Path]:
    """The directories to watch, without those below another of them. Includes that are directories count."""
    given = [Path(reachable(text)) for text in config.reload_dirs]
    given += [Path(text) for text in config.reload_includes if os.path.isdir(text)]
    found = {_resolved(path) for path in given if path.is_dir()}
    if not found:
        if given:
            logger.warning("%s are no directories, watching the current one.", [str(path) for path in given])
        found = {_resolved(Path.cwd())}
        if config.app_dir:
            found.add(_resolved(Path(reachable(config.app_dir))))
    return sorted(path for path in found if not any(other in path.parents for other in found))


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except OSError:  # Windows has drives and names that cannot be
        return Path(os.path.abspath(path))


class FileFilter:
    """Whether a changed file matters. A default pattern that is given on the other side is not a default any more."""

    def __init__(self, config: Config) -> None:
        patterns = [text for text in config.reload_includes if not os.path.isdir(text)]
        unwanted = [text for text in config.reload_excludes if not os.path.isdir(text)]
        self.includes = {*patterns, *(item for item in DEFAULT_INCLUDES if item not in unwanted)}
        self.excludes = {*unwanted, *(item for item in DEFAULT_EXCLUDES if item not in patterns)}
        self.excluded_directories = {_resolved(Path(text)) for text in config.reload_excludes if os.path.isdir(text)}

    def wants_directory(self, path: Path) -> bool:
        """False for a directory in which nothing is wanted: an excluded one, a hidden one, or `__pycache__`."""
        if path in self.excluded_directories or path.name == "__pycache__":
            return False
        return not (path.name.startswith(".") and ".*" in self.excludes)

    def wants(self, path: Path, root: Path) -> bool:
        """Whether the file `path` below the watched `root` is wanted."""
        if not any(path.match(pattern) for pattern in self.includes):
            return False
        if any(path.match(pattern) for pattern in self.excludes):
            return False
        for parent in path.parents:
            if parent == root:
                return True
            if not self.wants_directory(parent):
                return False
        return True


class StatWatcher:
    """Compares times and sizes of all wanted files every `delay` seconds."""

    name = "StatReload"

    def __init__(self, directories: list[Path], file_filter: FileFilter, delay: float, stop: threading.Event) -> None:
        self._directories = directories
        self._filter = file_filter
        self._delay = delay
        self._stop = stop
        self._files = self._look()

    def wait(self) -> list[str]:
        left = self._delay
        while left > 0:  # in pieces, as on Windows a signal handler runs only between two waits
            if self._stop.wait(min(left, _LONGEST_WAIT)):
                return []
            left -= _LONGEST_WAIT
        files = self._look()
        changed = [path for path in {**self._files, **files} if files.get(path) != self._files.get(path)]
        self._files = files
        return changed

    def _look(self) -> dict[str, tuple[int, int]]:
        return {path: state for root in self._directories for path, state in self._walk(root, root)}

    def _walk(self, directory: Path, root: Path) -> Iterator[tuple[str, tuple[int, int]]]:
        try:
            entries = list(os.scandir(directory))
        except OSError:
            return
        for entry in entries:
            path = Path(entry.path)
            try:
                if entry.is_dir(follow_symlinks=False):
                    if self._filter.wants_directory(path):
                        yield from self._walk(path, root)
                elif self._filter.wants(path, root):
                    status = entry.stat()
                    yield entry.path, (status.st_mtime_ns, status.st_size)
            except OSError:
                continue  # it went away between the two looks


class NotifyWatcher:
    """Is told by the system, through the package watchfiles."""

    name = "WatchFiles"

    def __init__(
        self, watchfiles: Any, directories: list[Path], file_filter: FileFilter, delay: float, stop: threading.Event
    ) -> None:
        self._stop = stop
        roots = sorted(directories, key=lambda path: len(path.parts), reverse=True)

        def wanted(change: object, text: str) -> bool:
            path = Path(text)
            root = next((root for root in roots if root in path.parents), None)
            return root is not None and file_filter.wants(path, root)

        self._changes = watchfiles.watch(
            *directories,
            watch_filter=wanted,
            stop_event=stop,
            rust_timeout=max(int(delay * 1000), 50),  # ms without a change after which wait() returns
            yield_on_timeout=True,
            ignore_permission_denied=True,
            raise_interrupt=False,
        )

    def wait(self) -> list[str]:
        if self._stop.is_set():
            return []
        return sorted({path for _, path in next(self._changes, ())})


def make_watcher(directories: list[Path], file_filter: FileFilter, delay: float, stop: threading.Event) -> Watcher:
    """The best watcher that there is. `delay` is in seconds; `stop` makes `wait()` return."""
    try:
        watchfiles = importlib.import_module("watchfiles")
    except ImportError:
        return StatWatcher(directories, file_filter, delay, stop)
    return NotifyWatcher(watchfiles, directories, file_filter, delay, stop)
